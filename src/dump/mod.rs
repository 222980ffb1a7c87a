//! What a dump file is: its header, its type and what it carries.

pub mod damage;
pub mod user;

pub use damage::{Damage, Damages};

//! The report: the serialised model of the JSON contract and its renderings.
//!
//! Facts and decisions come in, records go out. Renderings escape whatever text came from a dump.

mod answers;
pub(crate) mod believed;
mod build;
mod cause;
pub mod counted;
pub mod escape;
pub mod html;
pub mod json;
mod memory;
pub mod model;
pub mod notes;
pub mod records;
pub mod rows;
pub mod summary;
mod system;
pub mod table;
pub mod text;
mod values;

pub use build::{Input, build, failed};
pub use model::{Report, SCHEMA_VERSION, Status};
pub use values::{
    Code, Hex, RegisterValues, rfc3339_from_filetime, rfc3339_from_unix, unix_from_rfc3339,
};

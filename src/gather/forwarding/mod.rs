//! What memory and code show of multicast forwarding: the set of entries and its lock, the entries and
//! the timer lists they are on, and what became of the one a fault worked on.
//!
//! Of the reading wing only this folder and the code check know what KB943650 is about.

pub(super) mod findings;
pub(super) mod locks;
mod meanwhile;
pub(super) mod memory;
pub(super) mod mfe_state;
mod overwritten;
pub(super) mod removal;
pub mod set;
mod tears;
mod timer_lists;

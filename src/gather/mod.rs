//! Fills [`CrashFacts`] from a dump: whatever needs the file, memory, images or symbols happens here.
//!
//! `input` is the way in, to `kernel_dump` or to `user`; `memory_dump` reads what only a dump with memory
//! holds; `session` joins symbols, memory and the walk. Nothing here weighs what it found.
//!
//! [`CrashFacts`]: crate::facts::CrashFacts

mod clues;
mod code;
pub mod external;
mod fault;
pub mod forwarding;
mod input;
mod kernel_dump;
mod memory_dump;
mod module_image;
mod processors;
mod session;
mod user;
mod versions;
pub mod wer;

pub use input::{FolderState, Given, gather_input};
pub use kernel_dump::gather;
pub(crate) use session::codeview;
pub use user::gather_user;
pub use versions::{identify_builds, look_up};

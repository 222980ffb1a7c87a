//! Where bytes come from: a path, standard input, a list of files; and what a file is by its content.
//!
//! Opens, identifies and fingerprints. Knows the signatures of dumps and of what is mistaken for
//! one, but reads no field of a dump. Never writes next to a dump.

mod beside;
mod error;
mod fingerprint;
mod foreign;
mod identify;
mod list;
mod open;
pub mod platform;
mod stdin;

pub use crate::facts::{Beside, Container, SourceInfo};
pub use beside::{Folder, LARGEST_PART, add as add_beside, look as look_beside};
pub use error::{ErrorKind, SourceError};
pub use fingerprint::{fingerprint, fingerprint_read, sha256};
pub use identify::{FileKind, identify};
pub use list::{Joined, expand, files_from, open_list, read_decoded, read_list};
pub use open::{Source, open, open_found, open_listed};
pub use platform::{open as open_without_waiting, path_from_bytes};
pub use stdin::stdin;

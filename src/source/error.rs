//! What a failed system call means for an input, in the report's kinds and one line for a person.

use std::io;
use std::path::Path;

pub use crate::facts::{ErrorKind, SourceError};

/// What to do about a file that may not be read. The folders of dumps are closed to all but
/// administrators on Windows.
const NOT_ALLOWED: &str = if cfg!(windows) {
    "no permission to read it: start the command prompt as administrator, or copy the file"
} else {
    "no permission to read it: run as a user who may, or copy the file"
};

impl SourceError {
    /// What a failed system call on `path` means. `doing` completes "while ...".
    pub(crate) fn from_io(error: &io::Error, path: &Path, doing: &str) -> SourceError {
        if super::platform::is_held(error) {
            return SourceError::new(
                ErrorKind::Growing,
                "another program holds it open, as while a dump is written: try again later",
            );
        }
        match error.kind() {
            io::ErrorKind::NotFound => {
                let dangling = path
                    .symlink_metadata()
                    .is_ok_and(|found| found.file_type().is_symlink());
                SourceError::new(
                    ErrorKind::NotFound,
                    if dangling {
                        "the link points to a file that does not exist"
                    } else {
                        "no such file"
                    },
                )
            }
            io::ErrorKind::PermissionDenied => SourceError::new(ErrorKind::Permission, NOT_ALLOWED),
            io::ErrorKind::NotADirectory => SourceError::new(
                ErrorKind::NotFound,
                "no such file: a part of the path is not a directory",
            ),
            // What Windows says of a name with a wildcard that matched nothing.
            io::ErrorKind::InvalidFilename if path.to_string_lossy().contains(['*', '?']) => {
                match super::platform::unread_folder(path).map(|error| error.kind()) {
                    Some(io::ErrorKind::PermissionDenied) => {
                        SourceError::new(ErrorKind::Permission, NOT_ALLOWED)
                    }
                    _ => SourceError::new(ErrorKind::NotFound, "no file matches this pattern"),
                }
            }
            io::ErrorKind::InvalidFilename => SourceError::new(
                ErrorKind::NotFound,
                "no such file: this system has no file names like this",
            ),
            io::ErrorKind::IsADirectory => SourceError::directory(),
            _ => SourceError::new(ErrorKind::Io, format!("{error} while {doing}")),
        }
    }

    /// A directory in place of a dump.
    pub(super) fn directory() -> SourceError {
        SourceError::new(ErrorKind::IsDirectory, "is a directory: kbtriage scan DIR")
    }
}

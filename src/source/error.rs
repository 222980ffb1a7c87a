//! Why an input could not be analysed: the kinds the report contract names, and one line for a person.
//!
//! Knows nothing about reports: `report/` serialises this type, later rooms return it.

use std::io;
use std::path::Path;

use crate::vocabulary::open_enum;

open_enum! {
    /// The `error.kind` of a report.
    ErrorKind {
        /// The content is not that of a crash dump.
        NotADump = "not-a-dump",
        /// There is no such file, or a link points nowhere.
        NotFound = "not-found",
        /// The system does not allow reading it.
        Permission = "permission",
        /// A directory was named where a file is expected.
        IsDirectory = "is-directory",
        /// A dump that ends before anything useful could be read.
        Truncated = "truncated",
        /// The file changed while it was read.
        Growing = "growing",
        /// Compressed or archived: it must be unpacked first.
        Compressed = "compressed",
        /// The system failed to read it.
        Io = "io",
        /// A kind of file or dump that is recognised but not read.
        Unsupported = "unsupported",
        /// A limit set by the user or built in was reached.
        Limit = "limit",
        /// The time limit was reached.
        Timeout = "timeout",
        /// A defect of this program, contained.
        Internal = "internal",
    }
}

/// An input that gives no dump. `message` is one line without the path: what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// One line for a person.
    pub message: String,
}

/// What to do about a file that may not be read. The folders of dumps are closed to all but
/// administrators on Windows.
const NOT_ALLOWED: &str = if cfg!(windows) {
    "no permission to read it: start the command prompt as administrator, or copy the file"
} else {
    "no permission to read it: run as a user who may, or copy the file"
};

impl SourceError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> SourceError {
        SourceError {
            kind,
            message: message.into(),
        }
    }

    /// What a failed system call on `path` means. `doing` completes "while ...".
    pub(super) fn from_io(error: &io::Error, path: &Path, doing: &str) -> SourceError {
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
                SourceError::new(ErrorKind::NotFound, "no file matches this pattern")
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

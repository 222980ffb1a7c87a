//! Why an input could not be analysed: the kinds the report contract names, and one line for a person.
//!
//! Knows nothing about reports: `report/` serialises this type, later rooms return it.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The `error.kind` of a report. Names are part of the contract and open-ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The content is not that of a crash dump.
    NotADump,
    /// There is no such file, or a link points nowhere.
    NotFound,
    /// The system does not allow reading it.
    Permission,
    /// A directory was named where a file is expected.
    IsDirectory,
    /// A dump that ends before anything useful could be read.
    Truncated,
    /// The file changed while it was read.
    Growing,
    /// Compressed or archived: it must be unpacked first.
    Compressed,
    /// The system failed to read it.
    Io,
    /// A kind of file or dump that is recognised but not read.
    Unsupported,
    /// A limit set by the user or built in was reached.
    Limit,
    /// The time limit was reached.
    Timeout,
    /// A defect of this program, contained.
    Internal,
}

impl ErrorKind {
    /// The name as in the contract, for text output.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::NotADump => "not-a-dump",
            ErrorKind::NotFound => "not-found",
            ErrorKind::Permission => "permission",
            ErrorKind::IsDirectory => "is-directory",
            ErrorKind::Truncated => "truncated",
            ErrorKind::Growing => "growing",
            ErrorKind::Compressed => "compressed",
            ErrorKind::Io => "io",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Limit => "limit",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
            io::ErrorKind::PermissionDenied => SourceError::new(
                ErrorKind::Permission,
                "no permission to read it: run as a user who may, or copy the file",
            ),
            io::ErrorKind::NotADirectory => SourceError::new(
                ErrorKind::NotFound,
                "no such file: a part of the path is not a directory",
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

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn the_name_in_text_is_the_name_in_json() {
        for kind in [
            ErrorKind::NotADump,
            ErrorKind::NotFound,
            ErrorKind::Permission,
            ErrorKind::IsDirectory,
            ErrorKind::Truncated,
            ErrorKind::Growing,
            ErrorKind::Compressed,
            ErrorKind::Io,
            ErrorKind::Unsupported,
            ErrorKind::Limit,
            ErrorKind::Timeout,
            ErrorKind::Internal,
        ] {
            assert_eq!(serde_json::json!(kind), serde_json::json!(kind.name()));
        }
    }
}

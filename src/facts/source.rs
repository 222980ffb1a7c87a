//! Where an input came from, and why one could not be analysed: the kinds the report contract names,
//! and one line for a person.

use std::path::Path;
use std::sync::Arc;

use crate::vocabulary::open_enum;

/// Where an input came from, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceInfo {
    /// The path as given, `-` for standard input. Text that is not valid Unicode is replaced; nothing
    /// is escaped yet.
    pub path: String,
    /// The bytes of the path where `path` is not exact: as the system has them on Unix, WTF-8 on Windows.
    pub path_exact: Option<Vec<u8>>,
    /// Length in bytes when it was opened; `None` when it could not be asked for.
    pub size: Option<u64>,
    /// Last modification in seconds since 1970-01-01T00:00Z; `None` when unknown.
    pub modified: Option<i64>,
    /// The archive that holds it.
    pub container: Option<Container>,
    /// What lies beside it, where that was looked for.
    pub beside: Option<Arc<Beside>>,
}

/// What lies beside a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Files of an error report: name and content.
    pub parts: Vec<(String, Vec<u8>)>,
    /// Dumps in the folder, this one included.
    pub dumps: usize,
    /// An image or a symbol file is there.
    pub has_images: bool,
}

/// The archive an input is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Path of the archive, as [`SourceInfo::path`].
    pub path: String,
    /// Name of the member as the archive has it: data, never used as a path.
    pub member: String,
}

impl SourceInfo {
    /// What the path alone tells: for an input that could not be opened.
    pub fn of_path(path: &Path) -> SourceInfo {
        let exact = path.to_str().is_none();
        SourceInfo {
            path: path.to_string_lossy().into_owned(),
            path_exact: exact.then(|| path.as_os_str().as_encoded_bytes().to_vec()),
            ..SourceInfo::default()
        }
    }
}

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

impl SourceError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> SourceError {
        SourceError {
            kind,
            message: message.into(),
        }
    }
}

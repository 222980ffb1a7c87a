//! One argument of `kb check`: what it is, and which file and version it names.
//!
//! An existing path is a file; anything else has to be a version. Files that are no regular files
//! are not opened. What that says is judged in `judged`.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;

use super::code::{CodeCheck, CodeReader};
use super::image::{self, ImageIdentity};
use super::judged::{compare, judged};
use crate::knowledge::Basis;
use crate::knowledge::builds::{BuildTable, Identified};
use crate::knowledge::hotfix::{FileRole, KB943650};
use crate::knowledge::versions::{Applicability, Branch, Certainty, FileVersion, FixState};
use crate::report::SCHEMA_VERSION;
use crate::source;

/// Longest PE file that is read, in bytes: over ten times the largest file of the hotfix.
const MAX_IMAGE: u64 = 64 << 20;

/// Why an argument could not be checked. `kind` is one of the report contract's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckError {
    /// Word of the report contract.
    pub kind: &'static str,
    /// One line for a person.
    pub message: String,
}

impl CheckError {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// A remark on a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckNote {
    /// Stable name.
    pub code: &'static str,
    /// `info` or `warning`.
    pub severity: &'static str,
    /// JSON pointer to what the remark is about.
    pub field: &'static str,
    /// One line for a person.
    pub message: String,
}

impl CheckNote {
    pub(super) fn new(
        code: &'static str,
        severity: &'static str,
        field: &'static str,
        message: String,
    ) -> Self {
        Self {
            code,
            severity,
            field,
            message,
        }
    }
}

/// Identity from a PE header: lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identity {
    /// IMAGE_FILE_HEADER.Machine.
    pub machine: String,
    /// IMAGE_FILE_HEADER.TimeDateStamp.
    pub time_date_stamp: String,
    /// IMAGE_OPTIONAL_HEADER.SizeOfImage.
    pub size_of_image: String,
    /// IMAGE_OPTIONAL_HEADER.CheckSum.
    pub checksum: String,
}

/// The answer to one argument. The record of `--format json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileCheck {
    /// Always `file-check`.
    #[serde(rename = "type")]
    pub record: &'static str,
    /// Version of this record.
    pub schema_version: &'static str,
    /// Article checked against.
    pub kb: &'static str,
    /// As given; not escaped.
    pub argument: String,
    /// Lower case, without path.
    pub file: Option<String>,
    /// `original-filename`, `file-name`, `argument` or `assumed`.
    pub file_source: Option<&'static str>,
    /// `null`: not known.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub version: Option<FileVersion>,
    /// `image`, `table` or `argument`.
    pub version_source: Option<&'static str>,
    /// From the PE header; `null` for a version string.
    pub identity: Option<Identity>,
    /// Does it hold the fix?
    pub state: FixState,
    /// What that means for the hotfix.
    pub applicability: Applicability,
    /// Servicing branch, where the number tells one.
    pub branch: Option<Branch>,
    /// First fixed version.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub fixed_in: FileVersion,
    /// What the answer rests on.
    pub basis: Basis,
    /// How firmly it holds.
    pub certainty: Certainty,
    /// One sentence for a person.
    pub reason: String,
    /// `false`: this file shows that the package is not installed; `null`: it shows nothing.
    pub package_installed: Option<bool>,
    /// What the code of a tcpip.sys shows; `null` for anything else.
    pub code: Option<CodeCheck>,
    /// Remarks, those on other arguments included.
    pub notes: Vec<CheckNote>,
    /// Why it could not be checked.
    pub error: Option<CheckError>,
}

/// Checks all arguments, in order, and then against each other as files of one machine.
pub fn check(items: &[OsString], table: &BuildTable, code: &CodeReader<'_>) -> Vec<FileCheck> {
    let mut checks: Vec<FileCheck> = items
        .iter()
        .map(|item| match subject(item, table, code) {
            Ok(subject) => judged(item, subject),
            Err(error) => failed(item, error),
        })
        .collect();
    compare(&mut checks);
    checks
}

/// What an argument names.
pub(super) struct Subject {
    pub(super) file: String,
    pub(super) file_source: &'static str,
    /// The version and where it was learnt.
    pub(super) version: Option<(FileVersion, &'static str)>,
    pub(super) image: Option<ImageIdentity>,
    pub(super) code: Option<CodeCheck>,
    pub(super) notes: Vec<CheckNote>,
}

fn subject(item: &OsStr, table: &BuildTable, code: &CodeReader<'_>) -> Result<Subject, CheckError> {
    let path = Path::new(item);
    match std::fs::metadata(path) {
        Ok(_) => subject_of_file(path, table, code),
        Err(error) => match item.to_str().and_then(subject_of_version) {
            Some(subject) => Ok(subject),
            None if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidFilename
            ) =>
            {
                Err(CheckError::new("not-found", EXPECTED))
            }
            None => Err(of_io(&error)),
        },
    }
}

const EXPECTED: &str = "neither an existing file nor a version: expected a driver or DLL such as tcpip.sys, or a version such as 6.0.6001.18000 or tcpip.sys=6.0.6001.18000";

/// Source of a file name that nobody gave.
pub(super) const ASSUMED: &str = "assumed";

fn subject_of_version(text: &str) -> Option<Subject> {
    let (file, file_source, version) = match text.rsplit_once('=') {
        Some((name, version)) => (base_name(name)?, "argument", version),
        None => (KB943650.decides, ASSUMED, text),
    };
    Some(Subject {
        file: file.to_ascii_lowercase(),
        file_source,
        version: Some((version.parse().ok()?, "argument")),
        image: None,
        code: None,
        notes: Vec::new(),
    })
}

fn base_name(name: &str) -> Option<&str> {
    name.rsplit(['/', '\\'])
        .next()
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

fn subject_of_file(
    path: &Path,
    table: &BuildTable,
    code: &CodeReader<'_>,
) -> Result<Subject, CheckError> {
    let bytes = read_regular(path, MAX_IMAGE)?;
    if bytes.is_empty() {
        return Err(CheckError::new("truncated", "the file is empty"));
    }
    let image = image::identify(&bytes)
        .map_err(|error| CheckError::new("unsupported", error.to_string()))?;
    let file_name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let mut notes = Vec::new();
    let original = image
        .original_filename
        .as_deref()
        .map(str::to_ascii_lowercase);
    let (file, file_source) = match original {
        Some(original) => {
            if original != file_name {
                notes.push(CheckNote::new(
                    "renamed",
                    "info",
                    "/file",
                    format!("the file calls itself {}", original),
                ));
            }
            (original, "original-filename")
        }
        None => (file_name, "file-name"),
    };
    let version = image.version.map(|version| (version, "image")).or_else(|| {
        match table.identify(&file, image.time_date_stamp, image.size_of_image) {
            Identified::Known(build) => Some((build.version, "table")),
            Identified::Contradicted(..) => {
                notes.push(CheckNote::new(
                    "builds-contradict",
                    "warning",
                    "/version",
                    "the tables of known builds give two versions for it: neither is used"
                        .to_owned(),
                ));
                None
            }
            Identified::Unknown => None,
        }
    });
    let decides = KB943650.role(&file) == Some(FileRole::Decides);
    let code = decides.then(|| code(path, &bytes));
    Ok(Subject {
        file,
        file_source,
        version,
        image: Some(image),
        code,
        notes,
    })
}

/// Reads a regular file of at most `limit` bytes. Nothing else is opened: a pipe would block.
pub(super) fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, CheckError> {
    let found = std::fs::metadata(path).map_err(|error| of_io(&error))?;
    if found.is_dir() {
        return Err(CheckError::new(
            "is-directory",
            "is a directory: expected a file",
        ));
    }
    if !found.is_file() {
        return Err(CheckError::new(
            "unsupported",
            "a pipe or a device, not a file: not opened",
        ));
    }
    let source =
        source::open(path).map_err(|error| CheckError::new(error.kind.as_str(), error.message))?;
    let length = source.bytes().len();
    if length > limit {
        return Err(CheckError::new(
            "limit",
            format!("larger than {}, the most that is read", in_binary(limit)),
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut have = 0;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match source.bytes().read_at(have as u64, rest) {
            Ok(0) => break,
            Ok(count) => have = have.saturating_add(count),
            Err(error) => return Err(CheckError::new("io", error.to_string())),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

/// `64 KiB`, `16 MiB`.
fn in_binary(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

fn of_io(error: &std::io::Error) -> CheckError {
    let kind = match error.kind() {
        ErrorKind::NotFound => "not-found",
        ErrorKind::PermissionDenied => "permission",
        _ => "io",
    };
    CheckError::new(kind, error.to_string())
}

/// A record that knows nothing yet.
pub(super) fn blank(item: &OsStr) -> FileCheck {
    FileCheck {
        record: "file-check",
        schema_version: SCHEMA_VERSION,
        kb: KB943650.kb,
        argument: item.to_string_lossy().into_owned(),
        file: None,
        file_source: None,
        version: None,
        code: None,
        version_source: None,
        identity: None,
        state: FixState::Unknown,
        applicability: Applicability::Unknown,
        branch: None,
        fixed_in: KB943650.fixed_version,
        basis: Basis::None,
        certainty: Certainty::Unknown,
        reason: String::new(),
        package_installed: None,
        notes: Vec::new(),
        error: None,
    }
}

fn failed(item: &OsStr, error: CheckError) -> FileCheck {
    FileCheck {
        reason: format!("not checked: {}", error.message),
        error: Some(error),
        ..blank(item)
    }
}

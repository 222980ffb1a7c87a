//! Known driver builds: a PE header's TimeDateStamp and SizeOfImage name a file and its version.
//!
//! A triage dump holds no file versions, so this table is one way to learn them. The embedded part
//! is small: it holds only builds whose version was read or published. Users add theirs as text
//! (see [`parse`]); reading the file is the caller's affair.

use std::collections::BTreeMap;

use super::tables::rules::{BUILDS, PDB_VERSIONS};
use super::versions::FileVersion;

/// Identity and version of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// File name without path, lower case.
    pub file: String,
    /// IMAGE_FILE_HEADER.TimeDateStamp.
    pub time_date_stamp: u32,
    /// IMAGE_OPTIONAL_HEADER.SizeOfImage, bytes; 0 where only the stamp is published.
    pub size_of_image: u32,
    /// File version of this build.
    pub version: FileVersion,
    /// Where the version was learnt, as written in the table.
    pub provenance: String,
}

/// A row of the embedded table.
pub(super) struct EmbeddedBuild {
    pub file: &'static str,
    /// IMAGE_FILE_HEADER.TimeDateStamp.
    pub time_date_stamp: u32,
    /// IMAGE_OPTIONAL_HEADER.SizeOfImage, bytes.
    pub size_of_image: u32,
    /// File version of this build.
    pub version: FileVersion,
    pub provenance: &'static str,
}

/// A symbol file whose version is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PdbVersion {
    /// The image it belongs to, lower case.
    pub file: &'static str,
    /// GUID and age as a symbol store writes them: 32 hexadecimal digits and the age, upper case.
    pub identity: &'static str,
    /// File version of the image.
    pub version: FileVersion,
    /// Where that was learnt.
    pub provenance: &'static str,
}

/// The version of the image that asks for a symbol file, by its published identity.
pub fn by_symbols(file: &str, identity: &str) -> Option<&'static PdbVersion> {
    PDB_VERSIONS.iter().find(|row| {
        row.file.eq_ignore_ascii_case(file) && row.identity.eq_ignore_ascii_case(identity)
    })
}

/// What the table says about one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identified<'a> {
    /// The one build with this identity.
    Known(&'a Build),
    /// Two sources give different versions: neither is taken.
    Contradicted(&'a Build, &'a Build),
    /// In no table.
    Unknown,
}

/// Why a builds file was refused. Names the file, the line (from 1) and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildsError {
    /// A line is not of the documented form.
    #[error("{origin}:{line}: expected {expected}, found {found:?}")]
    Line {
        origin: String,
        line: usize,
        expected: &'static str,
        found: String,
    },
    /// One identity with two versions.
    #[error(
        "{origin}:{line}: {file} with this stamp and size is already {other} in line {other_line}"
    )]
    Contradiction {
        origin: String,
        line: usize,
        file: String,
        other: FileVersion,
        other_line: usize,
    },
    /// Longer than [`MAX_BUILDS_FILE`].
    #[error("{origin}: {size} bytes; a builds file holds at most {limit}")]
    TooLarge {
        origin: String,
        size: usize,
        limit: usize,
    },
}

/// Longest builds file that is read, in bytes: some 60,000 rows.
pub const MAX_BUILDS_FILE: usize = 4 << 20;

/// The embedded table, and whatever the user added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildTable {
    by_identity: BTreeMap<(u32, u32, String), Vec<Build>>,
    /// Every TimeDateStamp of them, ascending: most modules of a dump are told by it alone.
    stamps: Vec<u32>,
}

impl Default for BuildTable {
    fn default() -> Self {
        Self::embedded()
    }
}

impl BuildTable {
    /// Only what the program ships with.
    pub fn embedded() -> Self {
        let mut table = Self {
            by_identity: BTreeMap::new(),
            stamps: Vec::new(),
        };
        table.extend(BUILDS.iter().map(|row| Build {
            file: row.file.to_owned(),
            time_date_stamp: row.time_date_stamp,
            size_of_image: row.size_of_image,
            version: row.version,
            provenance: row.provenance.to_owned(),
        }));
        table
    }

    /// Adds builds, for instance those of [`parse`]. Rows that are there already add nothing.
    pub fn extend(&mut self, builds: impl IntoIterator<Item = Build>) {
        for build in builds {
            let key = (
                build.time_date_stamp,
                build.size_of_image,
                build.file.clone(),
            );
            if let Err(at) = self.stamps.binary_search(&build.time_date_stamp) {
                self.stamps.insert(at, build.time_date_stamp);
            }
            let rows = self.by_identity.entry(key).or_default();
            if !rows.iter().any(|row| row.version == build.version) {
                rows.push(build);
            }
        }
    }

    /// Number of different (file, stamp, size) identities.
    pub fn len(&self) -> usize {
        self.by_identity.len()
    }

    /// True without a single identity.
    pub fn is_empty(&self) -> bool {
        self.by_identity.is_empty()
    }

    /// False for a TimeDateStamp that no known build has.
    pub fn knows_stamp(&self, time_date_stamp: u32) -> bool {
        self.stamps.binary_search(&time_date_stamp).is_ok()
    }

    /// Looks a module up. Stamp *and* size have to agree, and the file name (any case) as well.
    pub fn identify(&self, file: &str, time_date_stamp: u32, size_of_image: u32) -> Identified<'_> {
        if !self.knows_stamp(time_date_stamp) {
            return Identified::Unknown;
        }
        let key = (time_date_stamp, size_of_image, file.to_ascii_lowercase());
        match self.by_identity.get(&key).map(Vec::as_slice) {
            None | Some([]) => Identified::Unknown,
            Some([only]) => Identified::Known(only),
            Some([first, second, ..]) => Identified::Contradicted(first, second),
        }
    }
}

impl BuildTable {
    /// The build that a stamp alone names, of a row whose size is not published. It is worth as much as a date:
    /// another file may have been linked in the same second.
    pub fn by_stamp(&self, file: &str, time_date_stamp: u32) -> Option<&Build> {
        let key = (time_date_stamp, 0, file.to_ascii_lowercase());
        match self.by_identity.get(&key).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        }
    }
}

/// Reads the text of a builds file. `origin` names it in errors.
///
/// One build a line: file name, TimeDateStamp, SizeOfImage, version and, optionally, where that was
/// learnt, separated by tabs. The two identities are hexadecimal with `0x`; a SizeOfImage of `-` is not
/// known, and the row is worth as much as a date. Empty lines and lines
/// that start with `#` are skipped:
///
/// ```text
/// tcpip.sys<TAB>0x47919120<TAB>0xE3000<TAB>6.0.6001.18000<TAB>our own inventory
/// ```
pub fn parse(text: &str, origin: &str) -> Result<Vec<Build>, BuildsError> {
    if text.len() > MAX_BUILDS_FILE {
        return Err(BuildsError::TooLarge {
            origin: origin.to_owned(),
            size: text.len(),
            limit: MAX_BUILDS_FILE,
        });
    }
    let mut seen: BTreeMap<(u32, u32, String), (FileVersion, usize)> = BTreeMap::new();
    let mut builds = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index.saturating_add(1);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let build = parse_line(line).map_err(|(expected, found)| BuildsError::Line {
            origin: origin.to_owned(),
            line: number,
            expected,
            found: found.chars().take(60).collect(),
        })?;
        let key = (
            build.time_date_stamp,
            build.size_of_image,
            build.file.clone(),
        );
        match seen.get(&key) {
            Some((other, other_line)) if *other != build.version => {
                return Err(BuildsError::Contradiction {
                    origin: origin.to_owned(),
                    line: number,
                    file: build.file,
                    other: *other,
                    other_line: *other_line,
                });
            }
            Some(_) => continue,
            None => seen.insert(key, (build.version, number)),
        };
        builds.push(build);
    }
    Ok(builds)
}

fn parse_line(line: &str) -> Result<Build, (&'static str, &str)> {
    const COLUMNS: &str = "file, TimeDateStamp, SizeOfImage and version, separated by tabs";
    let mut columns = line.split('\t').map(str::trim);
    let mut next = || columns.next().ok_or((COLUMNS, line));
    let (file, stamp, size, version) = (next()?, next()?, next()?, next()?);
    if file.is_empty() || file.contains(['/', '\\', ':']) {
        return Err(("a file name without a path", file));
    }
    let time_date_stamp =
        hexadecimal(stamp).ok_or(("a TimeDateStamp such as 0x47919120", stamp))?;
    let size_of_image = match size {
        "-" => 0,
        size => hexadecimal(size)
            .filter(|size| *size > 0)
            .ok_or(("a SizeOfImage above zero such as 0xE3000, or -", size))?,
    };
    let version = version
        .parse()
        .map_err(|_| ("a version such as 6.0.6001.18000", version))?;
    let provenance = columns
        .next()
        .filter(|text| !text.is_empty())
        .unwrap_or("user table");
    if let Some(extra) = columns.next() {
        return Err(("at most five columns", extra));
    }
    Ok(Build {
        file: file.to_ascii_lowercase(),
        time_date_stamp,
        size_of_image,
        version,
        provenance: provenance.to_owned(),
    })
}

fn hexadecimal(text: &str) -> Option<u32> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

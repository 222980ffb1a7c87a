//! A version inventory: which version of a file which machine had, and as of when, as management
//! systems export it.
//!
//! A row tells a dump's version only where it is certain to be about the same file: the module's stamp
//! and size agree, or the row is dated at the crash, or rows before and after it agree
//! (`docs/inventory.md`). Knows text, not files; reading them is the caller's affair.

mod text;

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use crate::hex;
use crate::knowledge::versions::FileVersion;

use self::text::{Fields, refused, row};

/// Longest inventory that is read, in bytes: some 400,000 rows.
pub const MAX_INVENTORY_FILE: usize = 32 << 20;
/// Different files in all inventories; the defect has a handful.
const MOST_FILES: u16 = 4096;
/// What is expected of what comes beyond.
const FEW_FILES: &str = "no more different files: 4096 are read";
/// Seconds of a day.
const DAY: i64 = 86_400;
/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Version of the file.
    pub version: FileVersion,
    /// When the machine had it, in seconds since 1970; a date alone is its midnight UTC.
    pub as_of: Option<i64>,
    /// TimeDateStamp and SizeOfImage of the file.
    pub identity: Option<(u32, u32)>,
}

/// The versions of many machines' files: a few dozen bytes a row, since an inventory may have hundreds of
/// thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Names of machines in upper case, one after the other.
    machines: String,
    /// Names of files in lower case, in the order they were met.
    files: Vec<String>,
    /// Numbers of the files in the order of their names.
    by_name: Vec<u16>,
    /// By machine, file, date and identity, each once.
    rows: Vec<Stored>,
}

/// One row and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    /// The machine's name: where in `machines`, bytes.
    machine: (u32, u16),
    /// Which of the file names.
    file: u16,
    /// Line in the text that is being read, from 1; 0 afterwards.
    line: u32,
    version: FileVersion,
    as_of: Option<i64>,
    identity: Option<(u32, u32)>,
}

impl Stored {
    fn row(&self) -> Row {
        Row {
            version: self.version,
            as_of: self.as_of,
            identity: self.identity,
        }
    }
}

/// A line that is not of the documented form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Names the file, the line (from 1) and what was expected.
    #[error("{origin}:{line}: expected {expected}, found {found:?}")]
    Line {
        /// File.
        origin: String,
        /// Line, from 1.
        line: u64,
        /// In words.
        expected: &'static str,
        /// What stands there, at most 60 characters.
        found: String,
    },
    /// One machine cannot have had two versions of one file at one time.
    #[error("{origin}:{line}: {machine} already has {file} {other} for the same time")]
    Contradiction {
        /// File.
        origin: String,
        /// Line, from 1.
        line: u64,
        /// Machine.
        machine: String,
        /// Its file.
        file: String,
        /// The version of the earlier line.
        other: FileVersion,
    },
    /// Another form of text altogether.
    #[error(
        "{origin}: XML is no inventory, which is CSV or JSON lines; the sysdata.xml of an error report is read \
         by itself where it lies in the dump's folder"
    )]
    Xml {
        /// File.
        origin: String,
    },
    /// Longer than [`MAX_INVENTORY_FILE`].
    #[error("{origin}: {size} bytes; an inventory holds at most {MAX_INVENTORY_FILE}")]
    TooLarge {
        /// File.
        origin: String,
        /// Its size in bytes.
        size: usize,
    },
}

impl Inventory {
    /// Adds the rows of an inventory's text: comma-separated values, or JSON objects one a line.
    /// `origin` names the text in errors.
    ///
    /// # Errors
    /// The first line that is not of the form, or contradicts another.
    pub fn read(&mut self, text: &str, origin: &str) -> Result<(), InventoryError> {
        if text.len() > MAX_INVENTORY_FILE {
            return Err(InventoryError::TooLarge {
                origin: origin.to_owned(),
                size: text.len(),
            });
        }
        let text = text.trim_start_matches('\u{feff}');
        self.rows
            .reserve(text.bytes().filter(|byte| *byte == b'\n').count());
        text::rows(text, origin, &mut |fields, line| {
            self.add(fields, origin, line)
        })?;
        self.settle(origin)
    }

    /// Sorts what was read, with one row of each that says the same.
    fn settle(&mut self, origin: &str) -> Result<(), InventoryError> {
        let mut rows = std::mem::take(&mut self.rows);
        // In place: the order within equal ones is that of the lines.
        rows.sort_unstable_by(|a, b| self.compare(a, b).then(a.line.cmp(&b.line)));
        let mut contradicting: Option<(Stored, FileVersion)> = None;
        rows.dedup_by(|later, earlier| {
            let same = self.compare(later, earlier) == Ordering::Equal;
            if same
                && later.version != earlier.version
                && contradicting.is_none_or(|(known, _)| later.line < known.line)
            {
                contradicting = Some((*later, earlier.version));
            }
            same
        });
        for row in &mut rows {
            row.line = 0;
        }
        self.rows = rows;
        match contradicting {
            None => Ok(()),
            Some((row, other)) => Err(InventoryError::Contradiction {
                origin: origin.to_owned(),
                line: u64::from(row.line),
                machine: self.machine_of(&row).to_owned(),
                file: self.file_of(&row).to_owned(),
                other,
            }),
        }
    }

    /// By what has to be there once: machine, file, date and identity.
    fn compare(&self, a: &Stored, b: &Stored) -> Ordering {
        let key = |row: &Stored| (row.as_of, row.identity);
        self.machine_of(a)
            .cmp(self.machine_of(b))
            .then_with(|| self.file_of(a).cmp(self.file_of(b)))
            .then_with(|| key(a).cmp(&key(b)))
    }

    fn machine_of(&self, row: &Stored) -> &str {
        let (at, len) = (row.machine.0 as usize, usize::from(row.machine.1));
        self.machines.get(at..at + len).unwrap_or_default()
    }

    fn file_of(&self, row: &Stored) -> &str {
        self.files
            .get(usize::from(row.file))
            .map_or("", String::as_str)
    }

    fn add(&mut self, fields: &Fields, origin: &str, line: u64) -> Result<(), InventoryError> {
        let row = row(fields).map_err(|error| refused(origin, line, error))?;
        let machine = fields.machine.trim().to_uppercase();
        let file = fields.file.trim().to_ascii_lowercase();
        let full = || InventoryError::TooLarge {
            origin: origin.to_owned(),
            size: self.machines.len(),
        };
        let place = match self.rows.last() {
            // Rows of one machine mostly follow each other.
            Some(last) if self.machine_of(last) == machine => last.machine,
            _ => {
                let at = u32::try_from(self.machines.len()).map_err(|_| full())?;
                let len = u16::try_from(machine.len()).map_err(|_| full())?;
                self.machines.push_str(&machine);
                (at, len)
            }
        };
        let name_of = |number: &u16| self.files.get(usize::from(*number)).map(String::as_str);
        let found = self
            .by_name
            .binary_search_by(|number| name_of(number).cmp(&Some(file.as_str())));
        let file = match found {
            Ok(at) => self.by_name.get(at).copied().unwrap_or_default(),
            Err(at) => {
                let number = u16::try_from(self.files.len())
                    .ok()
                    .filter(|number| *number < MOST_FILES);
                let Some(number) = number else {
                    return Err(refused(origin, line, (FEW_FILES, file)));
                };
                self.files.push(file);
                self.by_name.insert(at, number);
                number
            }
        };
        self.rows.push(Stored {
            machine: place,
            file,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            version: row.version,
            as_of: row.as_of,
            identity: row.identity,
        });
        Ok(())
    }

    /// A name for the rows: equal for the same rows, without any other meaning.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for row in &self.rows {
            let (machine, file) = (self.machine_of(row), self.file_of(row));
            digest.update(format!("{machine}\n{file}\n{:?}\n", row.row()));
        }
        hex::bytes(&digest.finalize())
    }

    /// True without a single row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// True when a row is about the machine.
    pub fn knows(&self, machine: &str) -> bool {
        !self.of_machine(machine).is_empty()
    }

    /// The version that a machine's file with this stamp and size had at `crash` (seconds since 1970).
    pub fn at_crash(
        &self,
        machine: &str,
        file: &str,
        identity: (u32, u32),
        crash: Option<i64>,
    ) -> Option<FileVersion> {
        let rows: Vec<Row> = self
            .of_machine(machine)
            .iter()
            .filter(|row| self.file_of(row).eq_ignore_ascii_case(file))
            .map(Stored::row)
            .collect();
        let same = rows.iter().filter(|row| row.identity == Some(identity));
        if let Some(version) = agreed(same) {
            return Some(version);
        }
        let crash = crash?;
        let dated = || {
            rows.iter()
                .filter(|row| row.identity.is_none())
                .filter_map(|row| Some((row.as_of?, row)))
        };
        let of_day = || dated().filter(|(at, _)| at.div_euclid(DAY) == crash.div_euclid(DAY));
        if of_day().next().is_some() {
            return agreed(of_day().map(|(_, row)| row));
        }
        let before = dated()
            .filter(|(at, _)| *at <= crash)
            .max_by_key(|(at, _)| *at)?;
        let after = dated()
            .filter(|(at, _)| *at > crash)
            .min_by_key(|(at, _)| *at)?;
        agreed([before.1, after.1].into_iter())
    }

    /// What the machine had last, file by file, as far as the rows are dated or only one is there.
    pub fn latest(&self, machine: &str) -> Vec<(&str, Row)> {
        let last = |rows: &[Stored]| match rows {
            [only] => Some(only.row()),
            several => several
                .iter()
                .filter(|row| row.as_of.is_some())
                .max_by_key(|row| row.as_of)
                .map(Stored::row),
        };
        self.of_machine(machine)
            .chunk_by(|a, b| a.file == b.file)
            .filter_map(|rows| Some((self.file_of(rows.first()?), last(rows)?)))
            .collect()
    }

    /// The rows of a machine, file by file.
    fn of_machine(&self, machine: &str) -> &[Stored] {
        let name = machine.trim().to_uppercase();
        let first = self
            .rows
            .partition_point(|row| self.machine_of(row) < name.as_str());
        let from = self.rows.get(first..).unwrap_or_default();
        let count = from.partition_point(|row| self.machine_of(row) == name);
        from.get(..count).unwrap_or_default()
    }
}

/// The version of all rows, where they name one.
fn agreed<'a>(mut rows: impl Iterator<Item = &'a Row>) -> Option<FileVersion> {
    let first = rows.next()?.version;
    rows.all(|row| row.version == first).then_some(first)
}

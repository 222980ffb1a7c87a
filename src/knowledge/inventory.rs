//! A version inventory: which version of a file which machine had, and as of when, as management
//! systems export it.
//!
//! A row tells a dump's version only where it is certain to be about the same file: the module's stamp
//! and size agree, or the row is dated at the crash, or rows before and after it agree
//! (`docs/inventory.md`). Knows text, not files; reading them is the caller's affair.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use crate::hex;
use crate::knowledge::versions::FileVersion;

/// Longest inventory that is read, in bytes: some 400,000 rows.
pub const MAX_INVENTORY_FILE: usize = 32 << 20;
/// Longest name of a machine or file, in characters.
const LONGEST: usize = 255;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// The columns, in their order where no header line gives another.
const COLUMNS: [&str; 6] = [
    "machine",
    "file",
    "version",
    "as_of",
    "time_date_stamp",
    "size_of_image",
];
/// What every line has to have.
const NEEDED: usize = 3;

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

/// The versions of many machines' files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// By machine in upper case and file in lower case.
    rows: BTreeMap<String, BTreeMap<String, Vec<Row>>>,
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
    /// Longer than [`MAX_INVENTORY_FILE`].
    #[error("{origin}: {size} bytes; an inventory holds at most {MAX_INVENTORY_FILE}")]
    TooLarge {
        /// File.
        origin: String,
        /// Its size in bytes.
        size: usize,
    },
}

/// The fields of one line as text.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    machine: String,
    file: String,
    version: String,
    as_of: Option<String>,
    time_date_stamp: Option<String>,
    size_of_image: Option<String>,
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
        match text.trim_start().starts_with('{') {
            true => self.read_json(text, origin),
            false => self.read_csv(text, origin),
        }
    }

    fn read_json(&mut self, text: &str, origin: &str) -> Result<(), InventoryError> {
        const EXPECTED: &str = "an object with machine, file, version and optionally as_of, \
                                time_date_stamp, size_of_image, all of them text";
        for (line, number) in text.lines().zip(1u64..) {
            if line.trim().is_empty() {
                continue;
            }
            let fields = serde_json::from_str(line)
                .map_err(|_| refused(origin, number, (EXPECTED, line.to_owned())))?;
            self.add(&fields, origin, number)?;
        }
        Ok(())
    }

    fn read_csv(&mut self, text: &str, origin: &str) -> Result<(), InventoryError> {
        const EXPECTED: &str =
            "machine,file,version and optionally as_of,time_date_stamp,size_of_image";
        const KNOWN: &str =
            "the columns machine, file, version, as_of, time_date_stamp, size_of_image, each once";
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
        let mut first = true;
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error.position().map_or(0, csv::Position::line);
                refused(origin, line, (EXPECTED, error.to_string()))
            })?;
            let line = record.position().map_or(0, |at| line_of(text, at));
            let shown = || record.iter().collect::<Vec<_>>().join(",");
            let names = std::mem::take(&mut first)
                && record
                    .iter()
                    .any(|field| field.eq_ignore_ascii_case("version"));
            if names {
                order = header(&record).ok_or_else(|| refused(origin, line, (KNOWN, shown())))?;
                continue;
            }
            if record.len() < NEEDED || record.len() > order.len() {
                return Err(refused(origin, line, (EXPECTED, shown())));
            }
            let mut columns: [Option<String>; COLUMNS.len()] = Default::default();
            for (field, column) in record.iter().zip(&order) {
                if let Some(slot) = columns.get_mut(*column) {
                    *slot = Some(field.to_owned()).filter(|text| !text.is_empty());
                }
            }
            let [
                machine,
                file,
                version,
                as_of,
                time_date_stamp,
                size_of_image,
            ] = columns;
            let fields = Fields {
                machine: machine.unwrap_or_default(),
                file: file.unwrap_or_default(),
                version: version.unwrap_or_default(),
                as_of,
                time_date_stamp,
                size_of_image,
            };
            self.add(&fields, origin, line)?;
        }
        Ok(())
    }

    fn add(&mut self, fields: &Fields, origin: &str, line: u64) -> Result<(), InventoryError> {
        let row = row(fields).map_err(|error| refused(origin, line, error))?;
        let machine = fields.machine.trim().to_uppercase();
        let file = fields.file.trim().to_ascii_lowercase();
        let of_machine = self.rows.entry(machine.clone()).or_default();
        let rows = of_machine.entry(file.clone()).or_default();
        let same = |known: &&Row| (known.as_of, known.identity) == (row.as_of, row.identity);
        match rows.iter().find(same) {
            Some(known) if known.version != row.version => Err(InventoryError::Contradiction {
                origin: origin.to_owned(),
                line,
                machine,
                file,
                other: known.version,
            }),
            Some(_) => Ok(()),
            None => {
                rows.push(row);
                Ok(())
            }
        }
    }

    /// The same for the same rows, of no other meaning.
    pub fn fingerprint(&self) -> String {
        hex::bytes(&Sha256::digest(format!("{:?}", self.rows)))
    }

    /// True without a single row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// True when a row is about the machine.
    pub fn knows(&self, machine: &str) -> bool {
        self.rows.contains_key(&machine.trim().to_uppercase())
    }

    /// The version that a machine's file with this stamp and size had at `crash` (seconds since 1970).
    pub fn at_crash(
        &self,
        machine: &str,
        file: &str,
        identity: (u32, u32),
        crash: Option<i64>,
    ) -> Option<FileVersion> {
        let rows = self.of(machine, file)?;
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
        let files = self.rows.get(&machine.trim().to_uppercase());
        let last = |rows: &Vec<Row>| match rows.as_slice() {
            [only] => Some(*only),
            several => several
                .iter()
                .filter(|row| row.as_of.is_some())
                .max_by_key(|row| row.as_of)
                .copied(),
        };
        files
            .into_iter()
            .flatten()
            .filter_map(|(file, rows)| Some((file.as_str(), last(rows)?)))
            .collect()
    }

    fn of(&self, machine: &str, file: &str) -> Option<&[Row]> {
        let files = self.rows.get(&machine.trim().to_uppercase())?;
        files.get(&file.to_ascii_lowercase()).map(Vec::as_slice)
    }
}

/// The line of a record: the reader's position is where the comments and empty lines before it start.
fn line_of(text: &str, at: &csv::Position) -> u64 {
    let rest = usize::try_from(at.byte())
        .ok()
        .and_then(|byte| text.get(byte..));
    let skipped = rest
        .unwrap_or_default()
        .split_inclusive('\n')
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'))
        .filter(|line| line.ends_with('\n'))
        .count() as u64;
    at.line().saturating_add(skipped)
}

/// The version of all rows, where they name one.
fn agreed<'a>(mut rows: impl Iterator<Item = &'a Row>) -> Option<FileVersion> {
    let first = rows.next()?.version;
    rows.all(|row| row.version == first).then_some(first)
}

/// Which column each field of the lines below a header line is.
fn header(names: &csv::StringRecord) -> Option<Vec<usize>> {
    let mut order = Vec::new();
    for name in names {
        let column = COLUMNS
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known))?;
        if order.contains(&column) {
            return None;
        }
        order.push(column);
    }
    (0..NEEDED)
        .all(|needed| order.contains(&needed))
        .then_some(order)
}

type Expected = (&'static str, String);

fn refused(origin: &str, line: u64, (expected, found): Expected) -> InventoryError {
    InventoryError::Line {
        origin: origin.to_owned(),
        line,
        expected,
        found: found.chars().take(60).collect(),
    }
}

fn row(fields: &Fields) -> Result<Row, Expected> {
    let named = |text: &str| (1..=LONGEST).contains(&text.trim().chars().count());
    if !named(&fields.machine) {
        return Err(("a machine's name", fields.machine.clone()));
    }
    if !named(&fields.file) || fields.file.contains(['/', '\\', ':']) {
        return Err(("a file name without a path", fields.file.clone()));
    }
    let version = fields
        .version
        .parse()
        .map_err(|_| ("a version such as 6.0.6001.18000", fields.version.clone()))?;
    let as_of = fields
        .as_of
        .as_deref()
        .map(|text| {
            moment(text).ok_or((
                "a date such as 2008-07-20 or 2008-07-20T03:14:07Z",
                text.to_owned(),
            ))
        })
        .transpose()?;
    let number = |text: &Option<String>| {
        text.as_deref()
            .map(|text| hexadecimal(text).ok_or(("a number such as 0x47919120", text.to_owned())))
            .transpose()
    };
    let identity = match (
        number(&fields.time_date_stamp)?,
        number(&fields.size_of_image)?,
    ) {
        (Some(stamp), Some(size)) => Some((stamp, size)),
        (None, None) => None,
        _ => {
            return Err((
                "time_date_stamp and size_of_image together",
                fields.file.clone(),
            ));
        }
    };
    Ok(Row {
        version,
        as_of,
        identity,
    })
}

fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let date = |text: &str| Date::parse(text, &Iso8601::DATE).ok();
    let time = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(time) => time,
        Err(_) => PrimitiveDateTime::new(date(text)?, time::Time::MIDNIGHT).assume_utc(),
    };
    Some(time.unix_timestamp())
}

fn hexadecimal(text: &str) -> Option<u32> {
    let digits = text
        .trim()
        .strip_prefix("0x")
        .or_else(|| text.trim().strip_prefix("0X"))?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok())?
}

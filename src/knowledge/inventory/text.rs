//! The rows of an inventory as text: comma-separated values or JSON objects, and how a row writes its names, its
//! version, its date and its numbers (`docs/inventory.md`).

use serde::Deserialize;
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use super::{InventoryError, Row};

/// Longest name of a machine or file, in characters.
const LONGEST: usize = 255;
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

/// The fields of one line as text.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) machine: String,
    pub(super) file: String,
    version: String,
    as_of: Option<String>,
    time_date_stamp: Option<String>,
    size_of_image: Option<String>,
}

/// Takes one row and its line.
type Each<'a> = &'a mut dyn FnMut(&Fields, u64) -> Result<(), InventoryError>;

/// Gives every row of `text` to `each`.
///
/// # Errors
/// The first line that is not of the form, or that `each` refuses.
pub(super) fn rows(text: &str, origin: &str, each: Each<'_>) -> Result<(), InventoryError> {
    match text.trim_start().chars().next() {
        Some('{') => json(text, origin, each),
        Some('<') => Err(InventoryError::Xml {
            origin: origin.to_owned(),
        }),
        _ => csv(text, origin, each),
    }
}

fn json(text: &str, origin: &str, each: Each<'_>) -> Result<(), InventoryError> {
    const EXPECTED: &str = "an object with machine, file, version and optionally as_of, \
                            time_date_stamp, size_of_image, all of them text";
    for (line, number) in text.lines().zip(1u64..) {
        if line.trim().is_empty() {
            continue;
        }
        let fields = serde_json::from_str(line)
            .map_err(|_| refused(origin, number, (EXPECTED, line.to_owned())))?;
        each(&fields, number)?;
    }
    Ok(())
}

fn csv(text: &str, origin: &str, each: Each<'_>) -> Result<(), InventoryError> {
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
        each(&fields, line)?;
    }
    Ok(())
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

/// What was expected, and what stands there.
type Expected = (&'static str, String);

pub(super) fn refused(origin: &str, line: u64, (expected, found): Expected) -> InventoryError {
    InventoryError::Line {
        origin: origin.to_owned(),
        line,
        expected,
        found: found.chars().take(60).collect(),
    }
}

/// What the fields of one line say.
pub(super) fn row(fields: &Fields) -> Result<Row, Expected> {
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

//! A store for analytical engines: its records by month, `month=2008-07/crashes.jsonl` or `.parquet`, in the layout that
//! DuckDB and Spark take for a partitioned table. A folder of its own that appears when it is whole.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Store, StoreError};
use crate::report::summary::Summary;
use crate::source::platform;

#[cfg(feature = "parquet")]
mod columns;

/// Rows that wait in memory before they are written.
const HELD: usize = 50_000;
/// The month of what has none, as Hive names it: engines read it as NULL.
const NO_MONTH: &str = "__HIVE_DEFAULT_PARTITION__";

/// Form of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// The summaries, one a line.
    Jsonl,
    /// What is asked about most, as columns.
    #[cfg(feature = "parquet")]
    Parquet,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is something at the place of the folder.
    #[error("{0}: exists already: name a new folder")]
    Exists(String),
    /// The library of the form says so.
    #[cfg(feature = "parquet")]
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// The rows of one month that wait, and the file they go to.
trait Month {
    fn add(&mut self, summary: &Summary, line: &str) -> Result<(), ExportError>;
    /// Writes what waits.
    fn flush(&mut self) -> Result<(), ExportError>;
    fn close(&mut self) -> Result<(), ExportError>;
}

/// Writes every record of `store` below `folder`, which must not exist, and gives how many there were, and how many besides
/// could not be read.
///
/// # Errors
/// [`ExportError`]; nothing is left below `folder` then.
pub fn export(store: &Store, form: ExportForm, folder: &Path) -> Result<(u64, u64), ExportError> {
    if folder.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(folder.to_string_lossy().into_owned()));
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let unfinished = tempfile::Builder::new()
        .prefix(".kbtriage-export-")
        .tempdir_in(parent)?;
    let whole = unfinished.path().join("whole");
    std::fs::create_dir(&whole)?;
    let mut months: BTreeMap<String, Box<dyn Month>> = BTreeMap::new();
    let mut count = 0u64;
    let mut held = 0;
    let unreadable = store.each_line(|summary, line| {
        let name = month(&summary);
        let month = match months.entry(name) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let folder = whole.join(format!("month={}", entry.key()));
                std::fs::create_dir(&folder)?;
                entry.insert(open(form, &folder)?)
            }
        };
        month.add(&summary, line)?;
        (count, held) = (count + 1, held + 1);
        if held >= HELD {
            held = 0;
            months.values_mut().try_for_each(|month| month.flush())?;
        }
        Ok::<(), ExportError>(())
    })?;
    months.values_mut().try_for_each(|month| month.close())?;
    drop(months);
    platform::rename(&whole, folder)?;
    Ok((count, unreadable))
}

/// `2008-07`: a name of digits only, whatever a dump says.
fn month(summary: &Summary) -> String {
    let time = summary
        .dump
        .as_ref()
        .and_then(|dump| dump.crash_time.as_deref());
    let month = time.and_then(|time| time.get(..7)).filter(|month| {
        let digits = |range| {
            month
                .get(range)
                .is_some_and(|t: &str| t.bytes().all(|b| b.is_ascii_digit()))
        };
        digits(0..4) && digits(5..7) && month.get(4..5) == Some("-")
    });
    month.unwrap_or(NO_MONTH).to_owned()
}

fn open(form: ExportForm, folder: &Path) -> Result<Box<dyn Month>, ExportError> {
    Ok(match form {
        ExportForm::Jsonl => Box::new(Lines {
            path: folder.join("crashes.jsonl"),
            waiting: Vec::new(),
        }),
        #[cfg(feature = "parquet")]
        ExportForm::Parquet => Box::new(columns::Columns::new(&folder.join("crashes.parquet"))?),
    })
}

/// A file of lines: open only while it is written to, as there may be hundreds of months.
struct Lines {
    path: PathBuf,
    waiting: Vec<u8>,
}

impl Month for Lines {
    fn add(&mut self, _: &Summary, line: &str) -> Result<(), ExportError> {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        if !self.waiting.is_empty() {
            let mut file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(&self.path)?;
            file.write_all(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ExportError> {
        self.flush()
    }
}

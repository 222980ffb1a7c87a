//! Many dumps: finds them below directories and in archives, analyses them side by side, and hands
//! every result to one sink.
//!
//! Nothing is ever written below a scanned directory, and one bad file never stops a run. Knows no
//! output format and no database: those are the sink's and the catalogue's business.

pub mod archive;
mod crew;
mod discover;
pub mod filter;
mod links;
pub mod list;
mod listing;
pub mod machine_name;
mod order;
mod platform;
mod pool;
mod pulse;
mod roots;
mod tally;
mod work;
mod writeback;

use std::borrow::Cow;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crew::Jobs;
pub use discover::{Discovery, What, discover};
pub use filter::Filter;
pub use list::{Entry, ListedRoots, WorkList};
pub use machine_name::MachineNamer;
pub use order::path_key;
pub use platform::{FileStat, spelt};
pub use pool::{Finished, Progress, run};
pub use pulse::Pulse;
pub use roots::{Roots, inside, same_place};
pub use tally::Tally;
pub use work::{Folders, line as summary_line, rejudge};
pub use writeback::Writeback;

use crate::report::model::Detail;
use crate::report::records::ScanRecord;
use crate::report::summary::Summary;
use crate::source::{self, Folder, Source, SourceError};

/// What a scan may unpack.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Look into archives at all.
    pub enabled: bool,
    /// Most bytes unpacked from one file found, nested archives included.
    pub bytes: u64,
    /// Most members looked at in one file found, nested archives included.
    pub members: u64,
    /// Longest time that unpacking one file found may take, without the analysis of what is in it.
    pub time: Duration,
}

impl Default for UnpackLimits {
    fn default() -> UnpackLimits {
        UnpackLimits {
            enabled: true,
            bytes: 16 << 30,
            members: 10_000,
            time: Duration::from_secs(20 * 60),
        }
    }
}

/// How a file that is still being written is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// A file changed within this time that looks incomplete may still grow.
    pub recent: Duration,
    /// Wait before the first new try; doubled each time.
    pub wait: Duration,
    /// New tries.
    pub tries: u32,
    /// Skip what is still not complete then, as `growing`: another run will look again.
    pub leave: bool,
}

impl Default for Settle {
    fn default() -> Settle {
        Settle {
            recent: Duration::from_secs(10),
            wait: Duration::from_millis(500),
            tries: 3,
            leave: false,
        }
    }
}

/// Opens a path as a source: one at which this was found, or one that its directory just called a regular file;
/// `None` for a link that took that file's place. A test can put something else in its place.
pub type Opener = fn(&Path, Option<&Metadata>) -> Result<Option<Source>, SourceError>;

/// Opens a file on the disk.
///
/// # Errors
/// Those of [`source::open_found`].
pub fn open_file(path: &Path, found: Option<&Metadata>) -> Result<Option<Source>, SourceError> {
    match found {
        Some(found) => source::open_found(path, found).map(Some),
        None => source::open_listed(path),
    }
}

/// How to scan.
pub struct Options {
    /// Where and what to look for.
    pub discovery: Discovery,
    /// Worker threads.
    pub jobs: Jobs,
    /// Hand over results in the order of paths.
    pub sort: bool,
    /// Summaries or whole reports.
    pub detail: Detail,
    /// Read files whose content is not on the disk.
    pub offline_files: bool,
    /// Archives.
    pub unpack: UnpackLimits,
    /// Files that are still being written.
    pub settle: Settle,
    /// A system call that takes longer than this is given up and its worker replaced.
    pub stuck: Duration,
    /// Which machine a dump is counted for.
    pub machines: MachineNamer,
    /// Look at the content even of files whose size and time are known.
    pub verify: bool,
    /// How a path is opened.
    pub open: Opener,
    /// Give each record's facts along, for a store.
    pub keep_facts: bool,
}

impl Options {
    /// The defaults, for the given roots.
    pub fn new(discovery: Discovery) -> Options {
        Options {
            discovery,
            jobs: Jobs::default(),
            sort: false,
            detail: Detail::Summary,
            offline_files: false,
            unpack: UnpackLimits::default(),
            settle: Settle::default(),
            stuck: Duration::from_secs(60),
            machines: MachineNamer::default(),
            verify: false,
            open: open_file,
            keep_facts: false,
        }
    }
}

/// One file to analyse.
#[derive(Clone, Debug)]
pub struct Item {
    /// Position in the order of discovery.
    pub number: u64,
    /// What is opened.
    pub path: PathBuf,
    /// The path below its root.
    pub relative: PathBuf,
    /// Its number on its file system when it was found.
    pub file: Option<u64>,
    /// Its directory called it a regular file whose content is there.
    pub is_listed: bool,
    /// What lies beside it, where its directory was listed.
    pub folder: Option<Arc<Folder>>,
    /// Tries made before this one.
    pub attempt: u32,
}

/// The reason of a file whose content is not on the disk.
const OFFLINE: &str = "offline";

/// Why an entry was not analysed. Neither is an error of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Stable word, as in the scan record.
    pub reason: Cow<'static, str>,
    /// For a person.
    pub message: String,
}

impl Skip {
    /// For a file whose content is not on the disk.
    pub fn offline() -> Skip {
        Skip::new(
            OFFLINE,
            "its content is not on this disk; --offline-files fetches and reads it",
        )
    }

    /// A reason and its explanation.
    pub fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Skip {
        Skip {
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// One dump's result.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// What the record says.
    pub summary: Summary,
    /// The record as one line of JSON, without a line end: the summary, or the whole report.
    pub line: String,
    /// The line is not the summary.
    pub is_full: bool,
    /// The facts for a store: compressed, see [`crate::facts`].
    pub facts: Option<Vec<u8>>,
}

impl Record {
    /// About as many bytes as it takes in memory.
    pub fn weight(&self) -> usize {
        let facts = self.facts.as_ref().map_or(0, Vec::len);
        // The summary's own texts are the line's.
        self.line.len().saturating_mul(3).saturating_add(facts)
    }
}

/// What became of one entry.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It gave records: one, or those of an archive's members.
    Records(Vec<Record>),
    /// It is no dump, or not to be read.
    Skipped(Skip),
    /// A directory that could not be read.
    Unreadable(String),
    /// Try again later.
    Later,
}

/// Which of an entry's records are given: those of a large archive come in parts, so that none is held whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    #[default]
    Whole,
    /// The first of several parts.
    First,
    /// One between.
    Next,
    /// The last one.
    Last,
}

impl Part {
    /// Nothing more comes of this entry.
    pub fn ends(self) -> bool {
        matches!(self, Part::Whole | Part::Last)
    }
}

/// One entry and what became of it.
#[derive(Clone, Debug)]
pub struct Done {
    /// Position in the order of discovery.
    pub number: u64,
    /// Its path.
    pub path: PathBuf,
    /// The path below its root.
    pub relative: PathBuf,
    /// Size, time and identity when it was opened.
    pub stat: Option<FileStat>,
    /// What became of it.
    pub outcome: Outcome,
    /// The store holds it so already.
    pub known: bool,
    /// Which part of it this is.
    pub part: Part,
    /// It is known, and the store's date of it is of another day.
    pub date: bool,
    /// What is judged again is no longer what lies at the path: the crash whose dump lay there before.
    pub earlier: Option<String>,
}

impl Done {
    /// About as many bytes as it takes in memory.
    pub fn weight(&self) -> usize {
        let paths = self.path.as_os_str().len() * 2 + 256;
        match &self.outcome {
            Outcome::Records(records) => records.iter().map(Record::weight).sum::<usize>() + paths,
            Outcome::Skipped(_) | Outcome::Unreadable(_) | Outcome::Later => paths,
        }
    }
}

/// Takes results, one after the other.
pub trait Sink {
    /// Takes what became of one entry.
    ///
    /// # Errors
    /// An error ends the run.
    fn take(&mut self, done: Done) -> std::io::Result<()>;

    /// Called now and then with the state of the run.
    ///
    /// # Errors
    /// An error ends the run.
    fn progress(&mut self, _: &Progress) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps results for later runs.
pub trait Keeper {
    /// Keeps that a run began, as a record that is not complete: what remains of one that is killed.
    ///
    /// # Errors
    /// An error ends the run.
    fn begin(&mut self, scan: &ScanRecord) -> std::io::Result<()>;

    /// Keeps what became of one entry.
    ///
    /// # Errors
    /// An error ends the run.
    fn keep(&mut self, done: &Done) -> std::io::Result<()>;

    /// Dates one entry that is known and as it was.
    ///
    /// # Errors
    /// An error ends the run.
    fn seen(&mut self, _done: &Done) -> std::io::Result<()> {
        Ok(())
    }

    /// True when a dump of the crash that something is to be done about is kept already.
    fn knows(&mut self, _crash: &str) -> bool {
        false
    }

    /// Called now and then: what was kept becomes safe.
    ///
    /// # Errors
    /// An error ends the run.
    fn tick(&mut self) -> std::io::Result<()>;

    /// Makes everything safe.
    ///
    /// # Errors
    /// What was taken last may not be kept.
    fn flush(&mut self) -> std::io::Result<()>;

    /// Keeps the closing record and makes everything safe.
    ///
    /// # Errors
    /// The run's results may not be kept.
    fn close(&mut self, scan: &ScanRecord) -> std::io::Result<()>;
}

/// What a store knows of a file: each worker asks by one of its own.
pub trait Lookup {
    /// What is stored for `path`.
    fn find(&mut self, path: &Path) -> Option<Stored>;

    /// The facts of a stored record.
    fn facts(&mut self, id: i64, position: usize) -> Option<Vec<u8>>;
}

/// A stored outcome.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The file in the store.
    pub id: i64,
    /// When it was stored, the file looked so.
    pub stat: FileStat,
    /// What was stored.
    pub outcome: StoredOutcome,
    /// It was made by this program with this knowledge and these options.
    pub current: bool,
    /// No scan of today met it.
    pub dated_before_today: bool,
}

/// What a store holds of a file.
#[derive(Clone, Debug)]
pub enum StoredOutcome {
    /// Records, in the order of an archive's members.
    Records(Vec<StoredRecord>),
    /// Why it was skipped.
    Skipped(Skip),
}

/// One stored record.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The line of the summary.
    pub line: String,
    /// What is counted of the summary; `None` when another version of this program wrote it.
    pub counted: Option<Summary>,
}

/// Gives each worker its own lookup.
pub trait Catalogue: Send + Sync {
    /// A new lookup; `None` when the store cannot be read.
    fn lookup(&self) -> Option<Box<dyn Lookup>>;
}

/// What a run is made of, shared by its threads.
pub struct Job {
    /// The engine.
    pub engine: crate::triage::Engine,
    /// How to scan.
    pub options: Options,
    /// What is known already.
    pub catalogue: Option<Box<dyn Catalogue>>,
    /// Set to end the run early.
    pub stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Job {
    /// The machine of a dump at `relative` whose own name for its machine is `own`.
    fn machine(&self, relative: &Path, own: Option<&str>) -> Option<String> {
        let named = self.options.machines.name(relative, own);
        named.map(|machine| machine.name)
    }
}

//! What `kbtriage scan` can be told.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::analysis::{AnalysisArgs, one_file};
use crate::cli::select::FilterArgs;
use crate::report::records::Shard;
use crate::scan::Jobs;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScanFormat {
    /// For a person: what needs attention, and counts
    Text,
    /// An array of records
    Json,
    /// One record a line
    Jsonl,
    /// A table for spreadsheets, a row a dump
    Csv,
    /// The same, marked as UTF-8 for Excel
    CsvExcel,
    /// A table for tickets and wikis, a row a dump
    Markdown,
    /// A page for people, in one file
    Html,
}

/// How much of each report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DetailArg {
    /// The answer and what it rests on: 5 to 11 KB a dump
    Summary,
    /// The whole report
    Full,
}

/// Order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortArg {
    /// By path: the same files give the same bytes
    Path,
}

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kbtriage scan /mnt/dumps
  kbtriage scan /mnt/dumps --db dumps.db --output dumps.jsonl --sort path
  kbtriage scan /mnt/dumps --include \"*.dmp\" --include \"*.cab\" --format csv
  kbtriage scan /mnt/dumps --list --output work.list
  kbtriage scan --files-from work.list --shard 3/16 --output part-3.jsonl

Nothing is written to the directories scanned. Exit status: 0 everything was
read; 1 some dump or directory could not be; 2 wrong usage; 130 interrupted.
With --exit-verdict, 10 and 11 as for triage.")]
pub struct ScanArgs {
    /// Directories to scan, or single files
    #[arg(value_name = "DIR", required_unless_present_any = REPLACES_ROOTS, value_hint = clap::ValueHint::AnyPath)]
    pub roots: Vec<OsString>,
    /// Form of the output [default: text on a terminal, otherwise jsonl]
    #[arg(long, value_enum)]
    pub format: Option<ScanFormat>,
    /// Write the records to a file instead of standard output (-); it
    /// appears under its name when it is complete
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How much of each report is written
    #[arg(long, value_enum, default_value_t = DetailArg::Summary)]
    pub detail: DetailArg,
    /// Order of the records [default: as they come]
    #[arg(long, value_enum, value_name = "BY")]
    pub sort: Option<SortArg>,
    /// Every dump in the text for a person, not only a screen of them
    #[arg(long)]
    pub all: bool,
    /// Which dumps are written; all are counted.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Write a record also for each file that is skipped
    #[arg(long)]
    pub all_files: bool,
    /// Exit with 10 when a dump is, or probably is, this defect
    #[arg(long)]
    pub exit_verdict: bool,
    /// Exit with 0 although a dump or directory could not be read: for schedulers
    /// that would run the same again; the closing record says what it was
    #[arg(long)]
    pub unreadable_ok: bool,
    /// No progress on the terminal and no summary on standard error
    #[arg(long, short)]
    pub quiet: bool,

    /// Only files that match; a pattern without / is about the name. Repeatable
    #[arg(long, value_name = "GLOB", help_heading = "What is scanned")]
    pub include: Vec<String>,
    /// Leave out files and directories that match. Repeatable
    #[arg(long, value_name = "GLOB", help_heading = "What is scanned")]
    pub exclude: Vec<String>,
    /// Follow links that lead out of the directories
    #[arg(long, help_heading = "What is scanned")]
    pub follow_links: bool,
    /// Read files whose content is not on the disk, which fetches them
    #[arg(long, help_heading = "What is scanned")]
    pub offline_files: bool,
    /// Do not look into zip, cabinet and gzip files
    #[arg(long, help_heading = "What is scanned")]
    pub no_archives: bool,
    /// Most that is unpacked from one archive, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1..=1_048_576), help_heading = "What is scanned")]
    pub limit_unpacked: u64,

    /// Workers: so many, or auto: more while they wait for a disk or a server and
    /// the rate still rises, at most 128, or as many as auto:N says [default: auto]
    #[arg(long, short, value_name = "N", value_parser = parse_jobs, help_heading = "How it is scanned")]
    pub jobs: Option<Jobs>,
    /// A dump that looks incomplete and changed this recently is waited for,
    /// in seconds; 0 waits for none
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400), help_heading = "How it is scanned")]
    pub settle: u64,
    /// Give up a read that does not come back, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "How it is scanned")]
    pub stuck: u64,

    /// Find the machine in the path below DIR, as the group `machine` or the
    /// first one [default: the first directory below DIR]
    #[arg(long, value_name = "REGEX", help_heading = "Machines")]
    pub machine_from: Option<String>,
    /// Lines of path below DIR, tab, machine
    #[arg(long, value_name = "FILE", value_parser = one_file(), help_heading = "Machines")]
    pub machine_map: Option<PathBuf>,

    /// Write the list of files instead of reading them
    #[arg(long, help_heading = "Several workers")]
    pub list: bool,
    /// Work off a list that --list wrote, or names one a line; - is standard
    /// input
    #[arg(
        long,
        value_name = "LIST",
        conflicts_with = "roots",
        help_heading = "Several workers"
    )]
    pub files_from: Option<PathBuf>,
    /// Only the K-th of N parts of the list (K from 1), or auto for the part
    /// of a Slurm array task or an indexed Kubernetes job
    #[arg(
        long,
        value_name = "K/N",
        requires = "files_from",
        help_heading = "Several workers"
    )]
    pub shard: Option<String>,

    /// The result store.
    #[cfg(feature = "store")]
    #[command(flatten)]
    pub store: StoreOptions,
    /// Options of the analysis.
    #[command(flatten)]
    pub analysis: AnalysisArgs,
}

/// Options that say in another way what is scanned.
#[cfg(feature = "store")]
const REPLACES_ROOTS: [&str; 2] = ["files_from", "refresh"];
/// Options that say in another way what is scanned.
#[cfg(not(feature = "store"))]
const REPLACES_ROOTS: [&str; 1] = ["files_from"];

/// Options about the result store.
#[cfg(feature = "store")]
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Result store")]
pub struct StoreOptions {
    /// Keep facts and summary of each dump, and read only what is new or changed
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// Read every file again
    #[arg(long, requires = "db")]
    pub verify: bool,
    /// Judge what is stored again, without the dumps
    #[arg(long, requires = "db", conflicts_with_all = ["roots", "files_from", "verify"])]
    pub refresh: bool,
    /// Keep running: look again and again, and write what is new
    #[arg(long, requires = "db", conflicts_with_all = ["files_from", "refresh", "verify", "list"])]
    pub watch: bool,
    /// Pause between two looks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub interval: u64,
    /// POST each new dump with something to do about it, signed with the secret
    /// in KBTRIAGE_WEBHOOK_SECRET
    #[cfg(feature = "online")]
    #[arg(long, value_name = "URL", requires = "db")]
    pub webhook: Option<String>,
    /// What the webhook is not told
    #[cfg(feature = "online")]
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        value_delimiter = ',',
        requires = "webhook"
    )]
    pub redact: Vec<Redact>,
}

/// What a webhook may not be told.
#[cfg(all(feature = "store", feature = "online"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Redact {
    /// Names of machines
    Machine,
    /// Paths of dumps
    Path,
}

fn parse_jobs(text: &str) -> Result<Jobs, String> {
    let number = |text: &str| match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("a number from 1 to 1024, auto, or auto:N".to_owned()),
    };
    match text.strip_prefix("auto") {
        Some("") => Ok(Jobs::default()),
        Some(most) => number(most.strip_prefix(':').unwrap_or_default()).map(Jobs::Auto),
        None => number(text).map(Jobs::Fixed),
    }
}

impl ScanArgs {
    /// The part of the list that is this call's.
    ///
    /// # Errors
    /// A line for a person.
    pub fn shard(&self) -> Result<Option<Shard>, String> {
        match self.shard.as_deref() {
            None => Ok(None),
            Some("auto") => auto_shard(|name| std::env::var(name).ok()).map(Some),
            Some(text) => parse_shard(text).map(Some),
        }
    }
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let parts = text
        .split_once('/')
        .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parts {
        Some((index, count)) if index >= 1 && index <= count => Ok(Shard::new(index, count)),
        _ => Err(format!(
            "--shard {text:?}: expected K/N with K from 1 to N, such as 3/16, or auto"
        )),
    }
}

/// The shard of this Slurm array task (`SLURM_ARRAY_TASK_*`, sbatch(1)) or this pod of an indexed
/// Kubernetes job (`JOB_COMPLETION_INDEX`; how many there are the job has to say itself). An array of
/// which only some tasks are run again looks like a smaller one: where `KBTRIAGE_SHARDS` says how many
/// there are, the task's own number counts.
fn auto_shard(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<u32>().ok());
    let shards = number("KBTRIAGE_SHARDS");
    if let Some((task, count)) = number("SLURM_ARRAY_TASK_ID").zip(shards) {
        return match (1..=count).contains(&task) {
            true => Ok(Shard::new(task, count)),
            false => Err(format!(
                "--shard auto: KBTRIAGE_SHARDS is {count}, so the array's tasks must be 1 to {count}, not {task}"
            )),
        };
    }
    if let Some(task) = number("SLURM_ARRAY_TASK_ID") {
        let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
        let step = number("SLURM_ARRAY_TASK_STEP").unwrap_or(1).max(1);
        let count = number("SLURM_ARRAY_TASK_COUNT");
        let index = task
            .checked_sub(first)
            .and_then(|past| past.checked_div(step)?.checked_add(1));
        return match (index, count) {
            (Some(index), Some(count)) if index <= count => Ok(Shard::new(index, count)),
            _ => Err(
                "--shard auto: SLURM_ARRAY_TASK_ID, _MIN and _COUNT do not fit together".to_owned(),
            ),
        };
    }
    if let Some(index) = number("JOB_COMPLETION_INDEX") {
        return match (index.checked_add(1), shards) {
            (Some(index), Some(count)) if index <= count => Ok(Shard::new(index, count)),
            _ => Err(
                "--shard auto: KBTRIAGE_SHARDS must say how many completions the job has"
                    .to_owned(),
            ),
        };
    }
    Err("--shard auto: this is neither a Slurm array task nor an indexed Kubernetes job".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_as_many_as_pay_off() {
        assert_eq!(parse_jobs("8"), Ok(Jobs::Fixed(8)));
        assert_eq!(parse_jobs("auto"), Ok(Jobs::Auto(128)));
        assert_eq!(parse_jobs("auto:64"), Ok(Jobs::Auto(64)));
        for bad in ["0", "auto:", "auto:0", "auto8", "-1", "1025", ""] {
            assert!(parse_jobs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shard_is_told_or_found_in_the_environment() {
        assert_eq!(parse_shard("3/16"), Ok(Shard::new(3, 16)));
        assert!(parse_shard("0/4").is_err());
        assert!(parse_shard("5/4").is_err());
        let slurm = |name: &str| {
            let value = match name {
                "SLURM_ARRAY_TASK_ID" => "14",
                "SLURM_ARRAY_TASK_MIN" => "10",
                "SLURM_ARRAY_TASK_STEP" => "2",
                "SLURM_ARRAY_TASK_COUNT" => "6",
                _ => return None,
            };
            Some(value.to_owned())
        };
        assert_eq!(auto_shard(slurm), Ok(Shard::new(3, 6)));
        // Task 3 of 16 again, alone: sbatch --array=3.
        let again = |name: &str| {
            let value = match name {
                "SLURM_ARRAY_TASK_ID" | "SLURM_ARRAY_TASK_MIN" | "SLURM_ARRAY_TASK_MAX" => "3",
                "SLURM_ARRAY_TASK_COUNT" => "1",
                "KBTRIAGE_SHARDS" => "16",
                _ => return None,
            };
            Some(value.to_owned())
        };
        assert_eq!(auto_shard(again), Ok(Shard::new(3, 16)));
        let pod = |name: &str| {
            let value = match name {
                "JOB_COMPLETION_INDEX" => "0",
                "KBTRIAGE_SHARDS" => "8",
                _ => return None,
            };
            Some(value.to_owned())
        };
        assert_eq!(auto_shard(pod), Ok(Shard::new(1, 8)));
        assert!(auto_shard(|_| None).is_err());
    }
}

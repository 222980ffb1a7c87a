//! One worker's work on one file: is it known, is it a dump, what do the engine or the archive say.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::archive::{self, ArchiveKind, Meter};
use super::platform::{self, FileStat};
use super::pulse::{Pulse, Watched};
use super::{
    Discovery, Done, Item, Job, Lookup, Outcome, Part, Record, Skip, Stored, StoredOutcome,
    StoredRecord,
};
use crate::bytes::{Beginning, PagedReader, ReadAt, contained};
use crate::facts::CrashFacts;
use crate::gather::wer;
use crate::report::json;
use crate::report::model::{Detail, Status};
use crate::report::summary::{MachineName, Summary};
use crate::report::{Input, Report};
use crate::source::{self, Beside, add_beside, look_beside};
use crate::source::{Container, ErrorKind, FileKind, SourceError, SourceInfo, identify};
use crate::triage::{Request, Triaged};

/// Bytes that say what a file is.
const LOOK: usize = 64 * 1024;

/// The coarsest clock of a file system, and some time for the clocks of two computers to differ.
const JUST_NOW: Duration = Duration::from_secs(5);
/// Records of one archive that are gathered before they are given on, and their size in bytes.
const GATHERED: (usize, usize) = (256, 4 << 20);

/// Whether a file was looked at before it is opened.
enum Looked {
    /// Its directory told what it is.
    Not,
    /// This was found.
    Found(Metadata),
    /// Nothing could be found out.
    Failed,
}

/// Whether parts of an entry were given on.
#[derive(Default)]
struct Parts {
    given: bool,
}

/// Takes records of one archive that go ahead of the rest.
type Give<'a> = &'a mut dyn FnMut(Vec<Record>);

/// A worker: everything it needs for one file after the other.
pub struct Worker<'a> {
    job: &'a Job,
    pulse: &'a Pulse,
    lookup: Option<Box<dyn Lookup>>,
    folders: &'a Folders,
}

/// What lies in the folders of dumps that no listing told of, for all workers.
#[derive(Default)]
pub struct Folders(Mutex<HashMap<PathBuf, Arc<OnceLock<Arc<Beside>>>>>);

impl Folders {
    /// Folders remembered. A list goes through them one after the other.
    const MOST: usize = 4096;

    fn beside(&self, path: &Path) -> Arc<Beside> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let once = match all.get(folder) {
            Some(once) => Arc::clone(once),
            None => {
                if all.len() >= Folders::MOST {
                    all.clear();
                }
                let once = Arc::<OnceLock<_>>::default();
                all.insert(folder.to_owned(), Arc::clone(&once));
                once
            }
        };
        drop(all);
        let look = || Arc::new(look_beside(path, crate::knowledge::wer_report::is_part));
        Arc::clone(once.get_or_init(look))
    }
}

impl<'a> Worker<'a> {
    /// A worker of `job` whose waits show on `pulse`.
    pub fn new(job: &'a Job, pulse: &'a Pulse, folders: &'a Folders) -> Worker<'a> {
        Worker {
            job,
            pulse,
            lookup: job.catalogue.as_ref().and_then(|c| c.lookup()),
            folders,
        }
    }

    /// Analyses one file. Whatever goes wrong is part of the result. The records of a large archive go to
    /// `part` while it is read; what is returned is the rest.
    pub fn handle(&mut self, item: Item, part: &mut dyn FnMut(Done)) -> Done {
        let stat = Cell::new(None);
        let mut parts = Parts::default();
        let mut give = |records| {
            part(Done {
                number: item.number,
                path: item.path.clone(),
                relative: item.relative.clone(),
                stat: stat.get(),
                outcome: Outcome::Records(records),
                known: false,
                date: false,
                earlier: None,
                part: match std::mem::replace(&mut parts.given, true) {
                    false => Part::First,
                    true => Part::Next,
                },
            });
        };
        let (outcome, known, date) = self.outcome(&item, &stat, &mut give);
        Done {
            number: item.number,
            path: item.path,
            relative: item.relative,
            stat: stat.get(),
            outcome,
            known,
            part: match parts.given {
                false => Part::Whole,
                true => Part::Last,
            },
            date,
            earlier: None,
        }
    }

    /// What becomes of one file, whether the store holds it just so, and whether that is to be dated. Sets how the
    /// file looked.
    fn outcome(
        &mut self,
        item: &Item,
        stat: &Cell<Option<FileStat>>,
        give: Give<'_>,
    ) -> (Outcome, bool, bool) {
        let mut stored = self
            .lookup
            .as_mut()
            .filter(|_| !self.job.options.verify)
            .and_then(|lookup| lookup.find(&item.path));
        if item.is_listed && stored.is_none() {
            // Its directory just told what it is: it is opened at once, and looked at once, when it is open.
            let outcome = self.read(item, Looked::Not, stat, None, give);
            return (outcome, false, false);
        }
        let Ok(found) = self.pulse.during(|| fs::metadata(&item.path)) else {
            // Opening it gives the reason in the words that every command uses.
            let outcome = self.read(item, Looked::Failed, stat, None, give);
            return (outcome, false, false);
        };
        let now = FileStat::of(&found);
        stat.set(Some(now));
        if let Some(skip) = self.refuses(item, &found) {
            return (Outcome::Skipped(skip), false, false);
        }
        let date = stored.as_ref().is_some_and(|s| s.dated_before_today);
        let same = stored.as_mut().filter(|stored| stored.stat == now);
        match same.and_then(|stored| self.unchanged(item, stored)) {
            Some((outcome, known)) => (outcome, known, known && date),
            None => {
                let looked = Looked::Found(found);
                let outcome = self.read(item, looked, stat, stored.as_ref(), give);
                (outcome, false, false)
            }
        }
    }

    /// Why a file that looks so is not read.
    fn refuses(&self, item: &Item, found: &Metadata) -> Option<Skip> {
        if !self.is_where_it_was_found(item, &FileStat::of(found)) {
            return Some(Skip::new(
                "link",
                "a link took its place after it was found",
            ));
        }
        if platform::is_offline(found) && !self.job.options.offline_files {
            return Some(Skip::new(
                "offline",
                "its content is not on this disk; --offline-files fetches and reads it",
            ));
        }
        None
    }

    /// False when what is opened by the path lies outside what is scanned: a link was put in its way since.
    fn is_where_it_was_found(&self, item: &Item, stat: &FileStat) -> bool {
        let Discovery::Walk {
            roots,
            follow_links: false,
            ..
        } = &self.job.options.discovery
        else {
            return true;
        };
        if item.file.is_none() || item.file == stat.file {
            return true;
        }
        // Another file than was found: it may have been replaced, which is its owner's right.
        match self.pulse.during(|| item.path.canonicalize()) {
            Ok(real) => roots
                .iter()
                .filter_map(|root| root.real.as_deref())
                .any(|root| real.starts_with(root)),
            Err(_) => true,
        }
    }

    /// The stored outcome of a file that did not change, and whether the store holds it just so;
    /// `None` when the file has to be read again. What is answered with is taken out of `stored`.
    fn unchanged(&mut self, item: &Item, stored: &mut Stored) -> Option<(Outcome, bool)> {
        let records = match &mut stored.outcome {
            StoredOutcome::Skipped(skip) if stored.current => {
                return Some((Outcome::Skipped(skip.clone()), true));
            }
            StoredOutcome::Skipped(_) => return None,
            StoredOutcome::Records(records) => records,
        };
        let as_stored = stored.current && self.job.options.detail == Detail::Summary;
        let records = match as_stored {
            true => as_stored_before(records),
            false => self.judged_again(item, stored.id, records),
        };
        Some((Outcome::Records(records?), as_stored))
    }

    /// The records by the facts of stored ones: knowledge or options changed, not the dump.
    fn judged_again(
        &mut self,
        item: &Item,
        id: i64,
        stored: &[StoredRecord],
    ) -> Option<Vec<Record>> {
        let lookup = self.lookup.as_mut()?;
        let judged = stored.iter().enumerate().map(|(position, stored)| {
            let summary: Summary = serde_json::from_str(&stored.line).ok()?;
            if has_passed(&summary) {
                return None;
            }
            let facts = lookup.facts(id, position)?;
            let mut record = rejudge(self.job, &item.relative, &summary, &facts)?;
            record.facts = Some(facts);
            Some(record)
        });
        judged.collect()
    }

    /// The stored record of a dump whose size and fingerprint are still those that were stored:
    /// only its time or place on the disk changed.
    fn same_content(
        &mut self,
        item: &Item,
        reader: &mut PagedReader<'_>,
        info: &SourceInfo,
        stored: &Stored,
    ) -> Option<Record> {
        let StoredOutcome::Records(records) = &stored.outcome else {
            return None;
        };
        let [record] = records.as_slice() else {
            return None;
        };
        let mut summary: Summary = serde_json::from_str(&record.line).ok()?;
        if stored.stat.size != reader.source_len() || summary.source.fingerprint.is_none() {
            return None;
        }
        if source::fingerprint_read(reader).ok() != summary.source.fingerprint {
            return None;
        }
        summary.source.modified = info.modified.and_then(crate::report::rfc3339_from_unix);
        let facts = self.lookup.as_mut()?.facts(stored.id, 0)?;
        let mut record = rejudge(self.job, &item.relative, &summary, &facts)?;
        record.facts = Some(facts);
        Some(record)
    }

    /// Reads a file that was looked at, or was not. Sets how it looked.
    fn read(
        &mut self,
        item: &Item,
        looked: Looked,
        stat: &Cell<Option<FileStat>>,
        stored: Option<&Stored>,
        give: Give<'_>,
    ) -> Outcome {
        let mut given = false;
        let open = self.job.options.open;
        let opened = self.pulse.during(|| match &looked {
            Looked::Found(found) => open(&item.path, Some(found)),
            Looked::Not => open(&item.path, None),
            Looked::Failed => source::open(&item.path).map(Some),
        });
        let source = match opened {
            Ok(Some(source)) => source,
            // A link is there: where it leads is looked at first.
            Ok(None) => {
                let item = Item {
                    is_listed: false,
                    ..item.clone()
                };
                return self.outcome(&item, stat, give).0;
            }
            // Another program may hold it for a moment.
            Err(error)
                if matches!(error.kind, ErrorKind::Io | ErrorKind::Growing)
                    && self.may_retry(item) =>
            {
                return Outcome::Later;
            }
            Err(error) if error.kind == ErrorKind::Growing && self.job.options.settle.leave => {
                return still_growing();
            }
            // A share that goes away in the middle of a look leaves no report on each of its files.
            Err(error) if error.kind == ErrorKind::NotFound && self.was_found(item) => {
                return Outcome::Skipped(Skip::new("vanished", "it was gone when it was opened"));
            }
            Err(error) => {
                let info = SourceInfo::of_path(&item.path);
                return Outcome::Records(vec![self.unreadable(item, &info, &error)]);
            }
        };
        if let (Looked::Not, Some(found)) = (&looked, source.found()) {
            stat.set(Some(FileStat::of(found)));
            if let Some(skip) = self.refuses(item, found) {
                return Outcome::Skipped(skip);
            }
        }
        let recent = source
            .found()
            .is_some_and(|found| is_recent(found, self.job));
        let bytes = Watched {
            inner: source.bytes(),
            pulse: self.pulse,
        };
        let beginning = match Beginning::read(&bytes) {
            Ok(beginning) => beginning,
            Err(error) => {
                let error = SourceError::new(ErrorKind::Io, error.to_string());
                return Outcome::Records(vec![self.unreadable(item, &source.info, &error)]);
            }
        };
        let look = beginning.bytes();
        let look = look.get(..LOOK).unwrap_or(look);
        let (kind, archive) = (identify(look, bytes.len()), ArchiveKind::of(look));
        let outcome = match (kind, archive) {
            (kind, _) if kind.is_dump() || kind == FileKind::CutSignature => {
                let mut reader = PagedReader::begun(&bytes, beginning);
                let same = stored
                    .filter(|_| !self.job.engine.sha256)
                    .and_then(|stored| self.same_content(item, &mut reader, &source.info, stored));
                let beginning = reader.into_beginning();
                let record = match same {
                    Some(record) => record,
                    None => {
                        let mut info = source.info.clone();
                        info.beside = Some(self.beside(item));
                        self.record(item, self.triage(item, &bytes, Some(beginning), &info))
                    }
                };
                if recent && is_incomplete(&record.summary) {
                    if self.may_retry(item) {
                        return Outcome::Later;
                    }
                    if self.job.options.settle.leave {
                        return still_growing();
                    }
                }
                Outcome::Records(vec![record])
            }
            (_, Some(archive)) if self.job.options.unpack.enabled => {
                self.archive(item, archive, &bytes, &source.info, &mut |records| {
                    given = true;
                    give(records);
                })
            }
            (FileKind::Empty | FileKind::Zeros, _) if recent && self.may_retry(item) => {
                return Outcome::Later;
            }
            (kind, archive) => Outcome::Skipped(match archive {
                None if is_report_part(item) => Skip::new(
                    "error-report",
                    "part of an error report: read with the dump beside it",
                ),
                Some(_) => Skip::new("compressed", "an archive: not looked into: --no-archives"),
                None => skip_of(kind),
            }),
        };
        let same = match source.is_quiet() {
            true => Ok(()),
            false => self.pulse.during(|| source.check_unchanged()),
        };
        let same = same.and_then(|()| match read_just_now(&outcome, source.found()) {
            Some(fingerprint) => self.pulse.during(|| source.check_fingerprint(fingerprint)),
            None => Ok(()),
        });
        match same {
            Ok(()) => outcome,
            Err(_) if self.may_retry(item) && !given => Outcome::Later,
            // What is no dump may change as it likes.
            Err(_) if matches!(outcome, Outcome::Skipped(_)) => outcome,
            Err(_) if self.job.options.settle.leave && !given => still_growing(),
            Err(error) => Outcome::Records(vec![self.unreadable(item, &source.info, &error)]),
        }
    }

    /// What lies in the folder of a dump.
    fn beside(&self, item: &Item) -> Arc<Beside> {
        self.pulse.during(|| match &item.folder {
            Some(folder) => folder.beside(),
            None => self.folders.beside(&item.path),
        })
    }

    /// Its directory told of it in this run; who named it himself is told that it is not there.
    fn was_found(&self, item: &Item) -> bool {
        match &self.job.options.discovery {
            Discovery::Walk { roots, .. } => roots.iter().all(|root| root.given != item.path),
            Discovery::List(_) => false,
        }
    }

    fn may_retry(&self, item: &Item) -> bool {
        item.attempt < self.job.options.settle.tries
    }

    /// The record of a dump by what was seen in it and the error report it lies with.
    fn with_report(
        &self,
        item: &Item,
        record: &Record,
        info: SourceInfo,
        mut facts: CrashFacts,
        beside: Beside,
    ) -> Record {
        wer::apply(&mut facts, &beside);
        let source = &record.summary.source;
        let input = Input {
            info: &info,
            fingerprint: source.fingerprint.clone(),
            sha256: source.sha256.clone(),
        };
        let machine = self
            .job
            .machine(&item.relative, facts.system.machine.as_deref());
        let detail = self.job.options.detail;
        let triaged = self
            .job
            .engine
            .report_on(facts, input, detail, machine.as_deref());
        self.record(item, triaged)
    }

    fn triage(
        &self,
        item: &Item,
        bytes: &dyn ReadAt,
        beginning: Option<Beginning>,
        info: &SourceInfo,
    ) -> Triaged {
        let request = Request {
            info,
            detail: self.job.options.detail,
            machine: &|own| self.job.machine(&item.relative, own),
            beginning,
        };
        // One bad dump never takes the others with it.
        contained(|| self.job.engine.triage(bytes, request))
            .unwrap_or_else(|_| self.job.engine.unreadable(info, &defect()))
    }

    /// The dumps of an archive; an archive without any is no input that matters.
    fn archive(
        &self,
        item: &Item,
        kind: ArchiveKind,
        bytes: &dyn ReadAt,
        info: &SourceInfo,
        give: Give<'_>,
    ) -> Outcome {
        let mut records: Vec<Record> = Vec::new();
        // The files of an error report in it, and the last dump with what was seen in it.
        let mut beside = Beside::default();
        let mut dump: Option<(SourceInfo, CrashFacts)> = None;
        let mut size = 0;
        let mut given = false;
        let meter = Meter::new(&self.job.options.unpack);
        let result = archive::open(kind, bytes, &meter, self.pulse, &mut |member| {
            let names = member.names.join("!");
            if member.is_part {
                add_beside(&mut beside, &names, member.content);
                return;
            }
            let mut info = SourceInfo {
                path: format!("{}!{names}", info.path),
                container: Some(Container {
                    path: info.path.clone(),
                    member: names,
                }),
                path_exact: info.path_exact.clone(),
                modified: info.modified,
                ..SourceInfo::default()
            };
            let record = match &member.content {
                Ok(source) => {
                    info.size = source.info.size;
                    let bytes = Watched {
                        inner: source.bytes(),
                        pulse: self.pulse,
                    };
                    let triaged = self.triage(item, &bytes, None, &info);
                    beside.dumps += 1;
                    dump = triaged.facts.clone().map(|facts| (info, facts));
                    self.record(item, triaged)
                }
                Err(error) => self.unreadable(item, &info, error),
            };
            size += record.weight();
            records.push(record);
            if records.len() >= GATHERED.0 || size >= GATHERED.1 {
                (size, given) = (0, true);
                give(std::mem::take(&mut records));
            }
        });
        if let ([record], Some((info, facts)), false) =
            (records.as_mut_slice(), dump, beside.parts.is_empty())
        {
            *record = self.with_report(item, record, info, facts, beside);
        }
        if let Err(error) = result {
            records.push(self.unreadable(item, info, &error));
        }
        if records.is_empty() && !given {
            return Outcome::Skipped(Skip::new("no-dump-inside", "an archive that holds no dump"));
        }
        Outcome::Records(records)
    }

    fn unreadable(&self, item: &Item, info: &SourceInfo, error: &SourceError) -> Record {
        let mut triaged = self.job.engine.unreadable(info, error);
        if error.kind == ErrorKind::Compressed {
            triaged.report.status = Status::Skipped;
        }
        self.record(item, triaged)
    }

    fn record(&self, item: &Item, triaged: Triaged) -> Record {
        record(self.job, item, triaged)
    }
}

/// The record of one report, counted for the machine that the file's place or the dump names.
fn record(job: &Job, item: &Item, mut triaged: Triaged) -> Record {
    let own = triaged
        .report
        .system
        .as_ref()
        .and_then(|system| system.machine.as_deref());
    let machine = job.options.machines.name(&item.relative, own);
    // Facts that a limit cut short are not judged again: the file is read again when limits change.
    let whole = triaged.facts.as_ref().is_some_and(|f| f.limits.is_empty());
    let facts = match job.options.keep_facts && whole {
        true => triaged.facts.take().and_then(crate::facts::pack),
        false => None,
    };
    let full = match job.options.detail {
        Detail::Full => full_line(&triaged.report, machine.as_ref()),
        Detail::Summary => None,
    };
    let summary = Summary::of(triaged.report, machine);
    Record {
        is_full: full.is_some(),
        line: full.unwrap_or_else(|| line(&summary)),
        summary,
        facts,
    }
}

/// A whole report with the machine it is counted for.
fn full_line(report: &Report, machine: Option<&MachineName>) -> Option<String> {
    #[derive(serde::Serialize)]
    struct Full<'a> {
        #[serde(flatten)]
        report: &'a Report,
        machine: Option<&'a MachineName>,
    }
    compact(&Full { report, machine })
}

/// The line of a summary.
pub fn line(summary: &Summary) -> String {
    compact(summary).unwrap_or_default()
}

fn compact<T: serde::Serialize>(value: &T) -> Option<String> {
    let mut out = Vec::with_capacity(8192);
    json::write_compact(&mut out, value).ok()?;
    String::from_utf8(out).ok()
}

/// Judges stored facts again: the record as if the file had been read now.
pub fn rejudge(
    job: &Job,
    relative: &std::path::Path,
    summary: &Summary,
    facts: &[u8],
) -> Option<Record> {
    let facts = crate::facts::unpack(facts)?;
    let machine = job.machine(relative, facts.system.machine.as_deref());
    let source = &summary.source;
    let info = SourceInfo {
        beside: None,
        path: source.path.clone(),
        path_exact: source
            .path_exact
            .as_ref()
            .and_then(|text| BASE64.decode(text).ok()),
        size: source.size,
        modified: source
            .modified
            .as_deref()
            .and_then(crate::report::unix_from_rfc3339),
        container: source.container.as_ref().map(|container| Container {
            path: container.path.clone(),
            member: container.member.clone(),
        }),
    };
    let input = Input {
        info: &info,
        fingerprint: source.fingerprint.clone(),
        sha256: source.sha256.clone(),
    };
    let item = Item {
        number: 0,
        path: std::path::PathBuf::new(),
        relative: relative.to_owned(),
        file: None,
        is_listed: false,
        folder: None,
        attempt: 0,
    };
    let mut triaged = job
        .engine
        .report_on(facts, input, job.options.detail, machine.as_deref());
    // The caller has them packed.
    triaged.facts = None;
    Some(record(job, &item, triaged))
}

/// Stored records as they are, taken out of `stored`; `None`, and nothing taken, when one of them is not to be
/// answered with.
fn as_stored_before(stored: &mut [StoredRecord]) -> Option<Vec<Record>> {
    let usable = |record: &StoredRecord| record.counted.as_ref().is_some_and(|o| !has_passed(o));
    if !stored.iter().all(usable) {
        return None;
    }
    let taken = stored.iter_mut().map(|stored| {
        Some(Record {
            summary: stored.counted.take()?,
            line: std::mem::take(&mut stored.line),
            is_full: false,
            facts: None,
        })
    });
    taken.collect()
}

/// True for a stored failure that may have passed since.
fn has_passed(summary: &Summary) -> bool {
    summary
        .error
        .as_ref()
        .is_some_and(|error| may_pass(error.kind))
}

/// Failures that say nothing about the content: the next run tries again.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Growing
            | ErrorKind::Io
            | ErrorKind::NotFound
            | ErrorKind::Permission
            | ErrorKind::Timeout
    )
}

/// The fingerprint of a dump that changed so short a time ago that another change may bear the same time.
fn read_just_now<'o>(outcome: &'o Outcome, found: Option<&Metadata>) -> Option<&'o str> {
    let Outcome::Records(records) = outcome else {
        return None;
    };
    match (records.as_slice(), found) {
        ([record], Some(found)) if changed_within(found, JUST_NOW) => {
            let source = &record.summary.source;
            // That of a dump in an archive is not the archive's.
            match source.container {
                None => source.fingerprint.as_deref(),
                Some(_) => None,
            }
        }
        _ => None,
    }
}

fn is_recent(found: &fs::Metadata, job: &Job) -> bool {
    changed_within(found, job.options.settle.recent)
}

fn changed_within(found: &fs::Metadata, limit: Duration) -> bool {
    let age = found
        .modified()
        .ok()
        .map(|time| SystemTime::now().duration_since(time));
    match age {
        Some(Ok(age)) => age < limit,
        // A time in the future: the clocks differ a little.
        Some(Err(ahead)) => ahead.duration() < Duration::from_secs(60),
        None => false,
    }
}

/// A dump that ends before its end: it may still be on its way.
fn is_incomplete(summary: &Summary) -> bool {
    let truncated = summary
        .error
        .as_ref()
        .is_some_and(|error| error.kind == ErrorKind::Truncated);
    truncated
        || summary
            .dump
            .as_ref()
            .is_some_and(|dump| !dump.damage.is_empty())
}

/// A file of an error report whose dump lies beside it.
fn is_report_part(item: &Item) -> bool {
    let name = item.path.file_name().and_then(|name| name.to_str());
    name.is_some_and(crate::knowledge::wer_report::is_part)
        && item
            .folder
            .as_ref()
            .is_some_and(|folder| folder.has_dumps())
}

fn still_growing() -> Outcome {
    Outcome::Skipped(Skip::new("growing", "it is still being written"))
}

fn skip_of(kind: FileKind) -> Skip {
    let refusal = kind
        .refusal()
        .unwrap_or_else(|| SourceError::new(ErrorKind::NotADump, "not a dump"));
    if let FileKind::Foreign(foreign) = kind
        && foreign.may_hold_dumps()
        && refusal.kind == ErrorKind::Compressed
    {
        let message = format!("{}: not looked into: {}", foreign.what, foreign.advice);
        return Skip::new("compressed", message);
    }
    let reason = match (kind, refusal.kind) {
        (FileKind::Empty, _) => "empty",
        (FileKind::Zeros, _) => "all-zeros",
        (FileKind::BrokenKernelSignature, _) => "damaged-signature",
        (_, ErrorKind::Compressed) => "compressed",
        _ => "not-a-dump",
    };
    Skip::new(reason, refusal.message)
}

fn defect() -> SourceError {
    SourceError::new(
        source::ErrorKind::Internal,
        "kbtriage failed on this dump: that is a defect of kbtriage, please report it",
    )
}

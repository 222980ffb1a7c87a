//! One worker's work on one file: is it known, is it a dump, what do the engine or the archive say.

mod folders;
mod known;
mod record;
mod settled;
mod unpack;

use std::cell::Cell;
use std::fs::{self, Metadata};
use std::sync::Arc;

pub use folders::Folders;
pub use record::{line, rejudge};

use self::settled::{is_incomplete, is_recent, read_just_now, still_growing};
use super::archive::ArchiveKind;
use super::platform::FileStat;
use super::pulse::{Pulse, Watched};
use super::{Discovery, Done, Item, Job, Lookup, Outcome, Part, Record, Skip, Stored};
use crate::bytes::{Beginning, PagedReader, ReadAt, contained};
use crate::report::model::Status;
use crate::source::{self, Beside, ErrorKind, FileKind, SourceError, SourceInfo, identify};
use crate::triage::{Request, Triaged};

/// Bytes that say what a file is.
const LOOK: usize = 64 * 1024;

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
        if crate::source::platform::is_offline(found) && !self.job.options.offline_files {
            return Some(Skip::offline());
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
                None if self.is_report_part(item) => Skip::new(
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

    /// A file of an error report whose dump lies beside it.
    fn is_report_part(&self, item: &Item) -> bool {
        let name = item.path.file_name().and_then(|name| name.to_str());
        name.is_some_and(crate::knowledge::wer_report::is_part)
            && match &item.folder {
                Some(folder) => folder.has_dumps(),
                None => self.beside(item).dumps > 0,
            }
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

    fn unreadable(&self, item: &Item, info: &SourceInfo, error: &SourceError) -> Record {
        let mut triaged = self.job.engine.unreadable(info, error);
        if error.kind == ErrorKind::Compressed {
            triaged.report.status = Status::Skipped;
        }
        self.record(item, triaged)
    }

    /// The record of one report on a dump of this entry.
    fn record(&self, item: &Item, triaged: Triaged) -> Record {
        record::record(self.job, item, triaged)
    }
}

fn skip_of(kind: FileKind) -> Skip {
    let refusal = kind
        .refusal()
        .unwrap_or_else(|| SourceError::new(ErrorKind::NotADump, "not a dump"));
    if let FileKind::Foreign(foreign) = kind
        && foreign.may_hold_dumps()
        && refusal.kind == ErrorKind::Compressed
    {
        let message = format!(
            "{}: not looked into: {}",
            foreign.what,
            foreign.advice_in_scan()
        );
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

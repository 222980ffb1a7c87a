//! The dumps of one archive, with the files of an error report that lie in it.

use crate::bytes::ReadAt;
use crate::facts::CrashFacts;
use crate::gather::wer;
use crate::report::Input;
use crate::scan::archive::{self, ArchiveKind, Meter};
use crate::scan::pulse::Watched;
use crate::scan::{Item, Outcome, Record, Skip};
use crate::source::{Beside, Container, SourceInfo, add_beside};

use super::{Give, Worker};

/// Records of one archive that are gathered before they are given on, and their size in bytes.
const GATHERED: (usize, usize) = (256, 4 << 20);

impl Worker<'_> {
    /// The dumps of an archive; an archive without any is no input that matters.
    pub(super) fn archive(
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
}

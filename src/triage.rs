//! The corridor: from bytes to a report, in the order of `docs/architecture.md`.
//!
//! [`Engine::triage`] never fails: whatever goes wrong becomes part of the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::bytes::{Beginning, Budget, Failure, Limit, PagedReader, ReadAt, ReadError, Sticky};
use crate::cause::{self, Cause, Known};
use crate::dump::{self, user::UserDumpError};
use crate::evidence::look_alikes::{Named, look_alikes};
use crate::evidence::{self, Context, Observation};
use crate::facts::CrashFacts;
use crate::gather;
use crate::gather::external::{self, ExternalState};
use crate::gather::wer;
use crate::knowledge::Knowledge;
use crate::knowledge::articles::ArticleKind;
use crate::knowledge::builds::BuildTable;
use crate::knowledge::hotfix;
use crate::knowledge::inventory::Inventory;
use crate::report::model::{Detail, Tool, ToolOptions};
use crate::report::notes;
use crate::report::{self, Answer, AnswerOf, Input, Report};
use crate::source::{self, ErrorKind, FileKind, SourceError, SourceInfo};
use crate::symbols::SymbolLibrary;
use crate::verdict::{self, MatchStatus, Step, Verdict};

/// Limits for one dump.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Loop steps.
    pub steps: u64,
    /// Time, where the user set one.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            steps: Budget::DEFAULT_STEPS,
            time: None,
        }
    }
}

/// What every dump of a run shares.
pub struct Engine {
    /// What facts are judged by.
    pub knowledge: Knowledge,
    /// Where images and PDBs are found; `None` to use the dump alone.
    pub symbols: Option<SymbolLibrary>,
    /// State of the machine from files beside its dumps, best first.
    pub registry: Vec<ExternalState>,
    /// The same for the dumps below a folder.
    pub beside: Vec<Beside>,
    /// Versions of machines' files.
    pub inventory: Arc<Inventory>,
    /// Limits for each dump.
    pub limits: Limits,
    /// Compute the SHA-256 of every file.
    pub sha256: bool,
    /// Search all of a memory dump for the registry where no short way leads to it.
    pub deep: bool,
    /// Options that the report names.
    pub options: ToolOptions,
}

impl Default for Engine {
    fn default() -> Engine {
        Engine {
            knowledge: Knowledge::default(),
            symbols: None,
            registry: Vec::new(),
            beside: Vec::new(),
            inventory: Arc::default(),
            limits: Limits::default(),
            sha256: false,
            deep: false,
            options: ToolOptions {
                offline: true,
                symbols: false,
                deep: false,
            },
        }
    }
}

/// What a folder tells of the machine whose dumps lie in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The folder, as the paths of its dumps begin.
    pub folder: PathBuf,
    /// The machine's name.
    pub machine: Option<String>,
    /// State of the machine.
    pub states: Vec<ExternalState>,
}

/// A report and the reasoning behind it.
pub struct Triaged {
    /// The report.
    pub report: Report,
    /// Every observer's question and outcome; empty when the input could not be analysed.
    pub observations: Vec<Observation>,
    /// Every rule of the match and whether it held; empty likewise, and for a summary.
    pub steps: Vec<Step>,
    /// What the report was judged from, for a store; `None` when the input could not be analysed.
    pub facts: Option<CrashFacts>,
}

/// The folder of a dump, where images or symbol files lie in it. One whose name is no text is left alone.
fn image_folder(info: &SourceInfo) -> Option<&Path> {
    let has_images = info.beside.as_ref().is_some_and(|beside| beside.has_images);
    let folder = Path::new(&info.path).parent()?;
    (has_images && info.path_exact.is_none()).then_some(match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    })
}

impl Engine {
    /// The report on the dump in `bytes`.
    pub fn triage(&self, bytes: &dyn ReadAt, info: &SourceInfo) -> Report {
        self.explain(bytes, info, Detail::Full).report
    }

    /// [`Engine::explain_for`] the machine that the dump itself names.
    pub fn explain(&self, bytes: &dyn ReadAt, info: &SourceInfo, detail: Detail) -> Triaged {
        self.explain_for(bytes, info, detail, &|own| own.map(str::to_owned))
    }

    /// The report and the whole reasoning. For [`Detail::Summary`] the report holds what a summary
    /// holds, and the rest of it is not made.
    /// `machine` tells from the dump's own name for its machine which one it is of.
    pub fn explain_for(
        &self,
        bytes: &dyn ReadAt,
        info: &SourceInfo,
        detail: Detail,
        machine: &dyn Fn(Option<&str>) -> Option<String>,
    ) -> Triaged {
        self.explain_begun(bytes, None, info, detail, machine)
    }

    /// [`Engine::explain_for`] a dump whose beginning was read already.
    pub fn explain_begun(
        &self,
        bytes: &dyn ReadAt,
        beginning: Option<Beginning>,
        info: &SourceInfo,
        detail: Detail,
        machine: &dyn Fn(Option<&str>) -> Option<String>,
    ) -> Triaged {
        let budget = Budget::new(self.limits.steps, self.limits.time);
        let bytes = &Sticky::until(bytes, budget.deadline());
        let opened = match beginning {
            Some(beginning) => Ok(PagedReader::begun(bytes, beginning)),
            None => PagedReader::open(bytes),
        };
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return self.unreadable(info, &read_failed(&error, bytes)),
        };
        let fingerprint = source::fingerprint_read(&mut reader).ok();
        let facts = self.facts(&reader, info, &budget).map(|mut facts| {
            crate::facts::texts::cap(&mut facts);
            facts
        });
        let sha256 = self.sha256.then(|| source::sha256(bytes).ok()).flatten();
        // What the system could not give is not what the dump does not hold: nothing is weighed then.
        let facts = match bytes.failure() {
            Some(failure) if failure.late => facts.map(|mut facts| {
                if !facts.limits.contains(&Limit::Time) {
                    facts.limits.insert(0, Limit::Time);
                }
                facts
            }),
            Some(failure) => {
                let input = Input {
                    info,
                    fingerprint: None,
                    sha256: None,
                };
                return self.failed(input, &io_failed(&failure));
            }
            None => facts,
        };
        let input = Input {
            info,
            fingerprint,
            sha256,
        };
        match facts {
            Ok(mut facts) => {
                if let Some(beside) = &info.beside {
                    wer::apply(&mut facts, beside);
                }
                let machine = machine(facts.system.machine.as_deref());
                self.judge_for(facts, input, detail, machine.as_deref())
            }
            Err(error) => self.failed(input, &error),
        }
    }

    /// The report on facts that were gathered before: what a store judges again when the
    /// knowledge changed. `machine` is the one the dump is of, for the inventory.
    pub fn judge_for(
        &self,
        mut facts: CrashFacts,
        input: Input<'_>,
        detail: Detail,
        machine: Option<&str>,
    ) -> Triaged {
        gather::identify_builds(&mut facts, &self.knowledge.builds);
        let inventory = gather::look_up(&mut facts, &self.inventory, machine);
        let judged = judge(&facts, &self.knowledge, detail);
        let mut notes = notes::notes(&facts);
        notes.extend(inventory.map(notes::inventory_unused));
        let silent = self.symbols.as_ref().map(SymbolLibrary::silent_servers);
        let silent = silent.unwrap_or_default();
        notes.extend(
            silent
                .iter()
                .map(|(server, why)| notes::silent_server(server, why)),
        );
        let answers = (&judged.main, judged.others.as_slice());
        Triaged {
            report: report::build(
                self.tool(),
                input,
                &facts,
                answers,
                judged.cause.as_ref(),
                notes,
                detail,
            ),
            steps: judged.steps,
            observations: judged.observations,
            facts: Some(facts),
        }
    }

    /// A report on an input that could not even be opened.
    pub fn unreadable(&self, info: &SourceInfo, error: &SourceError) -> Triaged {
        let input = Input {
            info,
            fingerprint: None,
            sha256: None,
        };
        self.failed(input, error)
    }

    fn failed(&self, input: Input<'_>, error: &SourceError) -> Triaged {
        Triaged {
            report: report::failed(self.tool(), input, error),
            observations: Vec::new(),
            steps: Vec::new(),
            facts: None,
        }
    }

    /// Everything seen in the dump.
    fn facts(
        &self,
        reader: &PagedReader<'_>,
        info: &SourceInfo,
        budget: &Budget,
    ) -> Result<CrashFacts, SourceError> {
        let kind = source::identify(reader.prefix(), reader.len());
        if let Some(refusal) = kind.refusal() {
            return Err(refusal);
        }
        if kind == FileKind::UserMinidump {
            let dump = dump::user::read_with(reader)
                .map_err(|error| SourceError::new(user_error_kind(&error), error.to_string()))?;
            return Ok(gather::gather_user(dump, reader.len()));
        }
        let dump = dump::open(reader, budget)
            .map_err(|error| SourceError::new(dump_error_kind(&error), error.to_string()))?;
        let symbols = self.symbols.as_ref();
        let symbols = symbols.map(|library| library.near(image_folder(info)));
        let mut facts = gather::gather_with(reader, dump, symbols, self.deep, budget);
        let path = Path::new(&info.path);
        let folders = || self.beside.iter().filter(|b| path.starts_with(&b.folder));
        let states: Vec<&ExternalState> = self
            .registry
            .iter()
            .chain(folders().flat_map(|beside| &beside.states))
            .collect();
        external::apply(&mut facts, &states);
        for beside in folders() {
            if facts.system.machine.is_none() {
                facts.system.machine.clone_from(&beside.machine);
            }
        }
        Ok(facts)
    }

    /// The program and its options, as every record names them.
    pub fn tool(&self) -> Tool {
        Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            knowledge: self.knowledge.articles.version.clone(),
            options: self.options,
        }
    }
}

/// The decisions on one crash and how they were come to.
pub struct Judged {
    /// The answer about the article asked for.
    pub main: AnswerOf,
    /// The answers about the other ones.
    pub others: Vec<AnswerOf>,
    /// What the crash is, whichever article was asked for; `None` without a bug check.
    pub cause: Option<Cause>,
    /// Every observer's question and outcome.
    pub observations: Vec<Observation>,
    /// Every rule of the match and whether it held; empty for a summary.
    pub steps: Vec<Step>,
}

/// Judges facts by what is known: the second half of the corridor, which reads nothing else and changes
/// nothing. A summary holds no advice and no look-alikes: they follow from the facts and are not worked
/// out for one.
pub fn judge(facts: &CrashFacts, knowledge: &Knowledge, detail: Detail) -> Judged {
    let builds = &knowledge.builds;
    let observations = evidence::observe(facts, &Context { builds });
    let answer = |kind: &ArticleKind| match kind {
        ArticleKind::Defect => {
            AnswerOf::Defect(Box::new(defect(facts, builds, &observations, detail)))
        }
        ArticleKind::Article(article) => {
            AnswerOf::Article(Box::new(verdict::article_answer(article, facts, builds)))
        }
    };
    let main = answer(&knowledge.articles.main);
    Judged {
        cause: cause(facts, &main, detail),
        main,
        others: knowledge.articles.others.iter().map(answer).collect(),
        steps: match detail {
            Detail::Full => {
                let may_lack_fix =
                    verdict::may_lack_fix(facts, &evidence::servicing(facts, builds));
                verdict::trace(&evidence::evidence(&observations), may_lack_fix)
            }
            Detail::Summary => Vec::new(),
        },
        observations,
    }
}

/// The answer about KB943650.
fn defect(
    facts: &CrashFacts,
    builds: &BuildTable,
    observations: &[Observation],
    detail: Detail,
) -> Answer {
    let full = detail == Detail::Full;
    let evidence = evidence::evidence(observations);
    let servicing = evidence::servicing(facts, builds);
    let decision = verdict::decide(&evidence, verdict::may_lack_fix(facts, &servicing));
    let status = decision.status;
    let verdict = verdict::verdict(status, servicing.applicability);
    Answer {
        look_alikes: match status {
            // Proven: nothing else is asked.
            MatchStatus::Confirmed => Vec::new(),
            _ if full => look_alikes(facts, builds),
            _ => Vec::new(),
        },
        verdict,
        actions: match full {
            true => verdict::actions(facts, &servicing, (&decision, &evidence), verdict),
            false => Vec::new(),
        },
        would_settle: match full {
            true => verdict::would_settle(facts, &servicing, status),
            false => Vec::new(),
        },
        decision,
        evidence,
        servicing,
    }
}

/// Why the first bytes could not be had.
fn read_failed(error: &ReadError, bytes: &Sticky<'_>) -> SourceError {
    match bytes.failure() {
        Some(failure) if failure.late => SourceError::new(
            ErrorKind::Timeout,
            "the time for one dump was up before it could be read: --limit-time allows more",
        ),
        Some(failure) => io_failed(&failure),
        None => SourceError::new(ErrorKind::Io, error.to_string()),
    }
}

/// A dump of which the system could not give a part.
fn io_failed(failure: &Failure) -> SourceError {
    SourceError::new(
        ErrorKind::Io,
        format!(
            "reading it failed at offset {:#x}: {}: nothing was concluded; copy the file again, or \
             rescue what can be read of it first",
            failure.at, failure.message
        ),
    )
}

fn user_error_kind(error: &UserDumpError) -> ErrorKind {
    match error {
        UserDumpError::NotMinidump => ErrorKind::NotADump,
        UserDumpError::Cut { .. } | UserDumpError::Nothing => ErrorKind::Truncated,
        UserDumpError::Read(_) => ErrorKind::Io,
        UserDumpError::Parser(_) => ErrorKind::Internal,
    }
}

fn dump_error_kind(error: &dump::DumpError) -> ErrorKind {
    match error {
        dump::DumpError::NotKernelDump => ErrorKind::NotADump,
        dump::DumpError::HeaderCut { .. } => ErrorKind::Truncated,
    }
}

/// What the crash is, whichever article was asked for.
fn cause(facts: &CrashFacts, main: &AnswerOf, detail: Detail) -> Option<Cause> {
    let (article, named): (_, &[Named]) = match main {
        AnswerOf::Defect(answer) => {
            let likely = answer.verdict != Verdict::DoesNotApply
                && answer.decision.status >= MatchStatus::Possible;
            (likely.then_some(hotfix::KB943650.kb), &answer.look_alikes)
        }
        AnswerOf::Article(_) => (None, &[]),
    };
    let look_alikes: Vec<(&str, &str)> = named
        .iter()
        .map(|other| (other.id.as_str(), other.why.as_str()))
        .collect();
    let known = Known {
        article,
        look_alikes: &look_alikes,
        full: detail == Detail::Full,
    };
    cause::judge(facts, &known)
}

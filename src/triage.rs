//! The corridor: from bytes to a report, in the order of `docs/architecture.md`.
//!
//! [`Engine::triage`] never fails: whatever goes wrong becomes part of the report.

use std::sync::Arc;
use std::time::Duration;

use crate::bytes::{Beginning, Budget, Failure, Limit, PagedReader, ReadAt, ReadError, Sticky};
use crate::cause::{self, Cause, Known};
use crate::evidence::{self, Context, Observation};
use crate::facts::CrashFacts;
use crate::gather::external::ExternalState;
use crate::gather::{self, FolderState, Given};
use crate::knowledge::Knowledge;
use crate::knowledge::articles::ArticleKind;
use crate::knowledge::inventory::Inventory;
use crate::report::model::{Detail, Tool, ToolOptions};
use crate::report::notes;
use crate::report::{self, Input, Report};
use crate::source::{self, ErrorKind, SourceError, SourceInfo};
use crate::symbols::SymbolLibrary;
use crate::verdict::{self, Answer, MatchStatus, RuleStep, Verdict};

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
    /// State of the machines whose dumps lie below a folder.
    pub folders: Vec<FolderState>,
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
            folders: Vec::new(),
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

/// What is asked about one dump.
pub struct Request<'a> {
    /// Which file it is.
    pub info: &'a SourceInfo,
    /// How much of the report is made: for [`Detail::Summary`] what a summary holds, and the rest not.
    pub detail: Detail,
    /// Tells from the dump's own name for its machine which one it is of.
    pub machine: &'a dyn Fn(Option<&str>) -> Option<String>,
    /// How the dump begins, where that was read already.
    pub beginning: Option<Beginning>,
}

impl<'a> Request<'a> {
    /// The whole report on a dump of the machine that it names itself.
    pub fn new(info: &'a SourceInfo) -> Request<'a> {
        Request {
            info,
            detail: Detail::Full,
            machine: &own_name,
            beginning: None,
        }
    }
}

fn own_name(own: Option<&str>) -> Option<String> {
    own.map(str::to_owned)
}

/// A report and what it was made from.
pub struct Triaged {
    /// The report.
    pub report: Report,
    /// What the report was judged from, for [`judge`] and for a store; `None` when the input could not
    /// be analysed.
    pub facts: Option<CrashFacts>,
}

impl Engine {
    /// The report on the dump in `bytes`.
    pub fn triage(&self, bytes: &dyn ReadAt, request: Request<'_>) -> Triaged {
        let Request {
            info,
            detail,
            machine,
            beginning,
        } = request;
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
        let facts = gather::gather_input(&reader, info, self.given(), &budget);
        let sha256 = self.sha256.then(|| source::sha256(bytes).ok()).flatten();
        // What the system could not give is not what the dump does not hold: nothing is weighed then.
        let late = match bytes.failure() {
            Some(failure) if !failure.late => return self.unreadable(info, &io_failed(&failure)),
            failure => failure.is_some(),
        };
        let input = Input {
            info,
            fingerprint,
            sha256,
        };
        match facts {
            Ok(mut facts) => {
                if late && !facts.limits.contains(&Limit::Time) {
                    facts.limits.insert(0, Limit::Time);
                }
                let machine = machine(facts.system.machine.as_deref());
                self.report_on(facts, input, detail, machine.as_deref())
            }
            Err(error) => self.failed(input, &error),
        }
    }

    /// The report on facts that were gathered before: what a store judges again when the
    /// knowledge changed. `machine` is the one the dump is of, for the inventory.
    pub(crate) fn report_on(
        &self,
        mut facts: CrashFacts,
        input: Input<'_>,
        detail: Detail,
        machine: Option<&str>,
    ) -> Triaged {
        gather::identify_builds(&mut facts, &self.knowledge.builds);
        let inventory = gather::look_up(&mut facts, &self.inventory, machine);
        let judged = judge(&facts, &self.knowledge, detail);
        let silent = self.symbols.as_ref().map(SymbolLibrary::silent_servers);
        let notes = notes::notes(&facts, inventory, &silent.unwrap_or_default());
        let answers = (&judged.main, judged.others.as_slice());
        let cause = judged.cause.as_ref();
        Triaged {
            report: report::build(self.tool(), input, &facts, answers, cause, notes, detail),
            facts: Some(facts),
        }
    }

    /// A report on an input that could not even be opened.
    pub(crate) fn unreadable(&self, info: &SourceInfo, error: &SourceError) -> Triaged {
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
            facts: None,
        }
    }

    /// What gathering may use.
    fn given(&self) -> Given<'_> {
        Given {
            symbols: self.symbols.as_ref(),
            registry: &self.registry,
            folders: &self.folders,
            deep: self.deep,
        }
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
    pub main: Answer,
    /// The answers about the other ones.
    pub others: Vec<Answer>,
    /// What the crash is, whichever article was asked for; `None` without a bug check.
    pub cause: Option<Cause>,
    /// Every observer's question and outcome.
    pub observations: Vec<Observation>,
    /// Every rule of the match and whether it held; empty for a summary.
    pub steps: Vec<RuleStep>,
}

/// Judges facts by what is known: the second half of the corridor, which reads nothing else and changes
/// nothing. A summary holds no advice and no look-alikes: they follow from the facts and are not worked
/// out for one.
pub fn judge(facts: &CrashFacts, knowledge: &Knowledge, detail: Detail) -> Judged {
    let builds = &knowledge.builds;
    let observations = evidence::observe(facts, &Context { builds });
    let full = detail == Detail::Full;
    let answer = |kind: &ArticleKind| match kind {
        ArticleKind::Defect => verdict::defect_answer(facts, builds, &observations, full),
        ArticleKind::Article(article) => verdict::article_answer(article, facts, builds),
    };
    let main = answer(&knowledge.articles.main);
    let is_defect = matches!(knowledge.articles.main, ArticleKind::Defect);
    Judged {
        cause: cause(facts, Some(&main).filter(|_| is_defect), full),
        main,
        others: knowledge.articles.others.iter().map(answer).collect(),
        steps: match full {
            true => {
                let servicing = evidence::servicing(facts, builds);
                verdict::trace(&evidence::evidence(&observations), servicing.may_lack_fix)
            }
            false => Vec::new(),
        },
        observations,
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

/// What the crash is, whichever article was asked for. `defect` is the answer about KB943650, where it was.
fn cause(facts: &CrashFacts, defect: Option<&Answer>, full: bool) -> Option<Cause> {
    let article = defect
        .filter(|answer| {
            answer.verdict != Verdict::DoesNotApply
                && answer.decision.status >= MatchStatus::Possible
        })
        .map(|answer| answer.kb.as_ref());
    let named = defect.map_or(&[][..], |answer| &answer.look_alikes);
    let look_alikes: Vec<(&str, &str)> = named
        .iter()
        .map(|other| (other.id.as_str(), other.why.as_str()))
        .collect();
    let known = Known {
        article,
        look_alikes: &look_alikes,
        full,
    };
    cause::judge(facts, &known)
}

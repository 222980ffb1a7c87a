//! The corridor: from bytes to a report, in the order of `docs/architecture.md`.
//!
//! [`Engine::triage`] never fails: whatever goes wrong becomes part of the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::bytes::{Budget, PagedReader, ReadAt, ReadError};
use crate::dump::{self, user::UserDumpError};
use crate::evidence::look_alikes::look_alikes;
use crate::evidence::{self, Context, Observation};
use crate::facts::{CrashFacts, Format};
use crate::gather;
use crate::gather::external::{self, ExternalState};
use crate::knowledge::articles::{ArticleKind, Articles};
use crate::knowledge::builds::BuildTable;
use crate::knowledge::inventory::Inventory;
use crate::report::model::{Detail, Note, Severity, Tool, ToolOptions};
use crate::report::{self, Answer, AnswerOf, Input, Report};
use crate::source::{self, ErrorKind, FileKind, SourceError, SourceInfo};
use crate::symbols::SymbolLibrary;
use crate::verdict::{self, MatchStatus, Step};

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
    /// Known builds, the user's included.
    pub builds: BuildTable,
    /// Where images and PDBs are found; `None` to use the dump alone.
    pub symbols: Option<SymbolLibrary>,
    /// State of the machine from files beside its dumps, best first.
    pub registry: Vec<ExternalState>,
    /// The same for the dumps below a folder.
    pub beside: Vec<Beside>,
    /// Versions of machines' files.
    pub inventory: Arc<Inventory>,
    /// The articles that reports answer about.
    pub articles: Articles,
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
            builds: BuildTable::embedded(),
            symbols: None,
            registry: Vec::new(),
            beside: Vec::new(),
            inventory: Arc::default(),
            articles: Articles::default(),
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
        let mut reader = match PagedReader::open(bytes) {
            Ok(reader) => reader,
            Err(error) => return self.unreadable(info, &read_failed(&error)),
        };
        let input = Input {
            info,
            fingerprint: source::fingerprint_read(bytes, &mut reader).ok(),
            sha256: self.sha256.then(|| source::sha256(bytes).ok()).flatten(),
        };
        match self.facts(&reader, info) {
            Ok(facts) => {
                let machine = machine(facts.system.machine.as_deref());
                self.judge_for(facts, input, detail, machine.as_deref())
            }
            Err(error) => Triaged {
                report: report::failed(self.tool(), input, &error),
                observations: Vec::new(),
                steps: Vec::new(),
                facts: None,
            },
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
        gather::identify_builds(&mut facts, &self.builds);
        let inventory = gather::look_up(&mut facts, &self.inventory, machine);
        let observations = evidence::observe(&facts, &self.context());
        let answer =
            |asked: &ArticleKind| match asked {
                ArticleKind::Defect => {
                    AnswerOf::Defect(Box::new(self.answer(&facts, &observations, detail)))
                }
                ArticleKind::Article(article) => AnswerOf::Article(Box::new(
                    verdict::article_answer(article, &facts, &self.builds),
                )),
            };
        let main = answer(&self.articles.main);
        let others: Vec<AnswerOf> = self.articles.others.iter().map(answer).collect();
        let mut notes = notes(&facts);
        notes.extend(inventory.map(inventory_note));
        notes.extend(self.silent_servers());
        Triaged {
            report: report::build(self.tool(), input, &facts, (&main, &others), notes, detail),
            steps: match detail {
                Detail::Full => self.steps(&facts, &observations),
                Detail::Summary => Vec::new(),
            },
            observations,
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
        Triaged {
            report: report::failed(self.tool(), input, error),
            observations: Vec::new(),
            steps: Vec::new(),
            facts: None,
        }
    }

    /// Symbol servers that gave no answer in this run: a report without names is not a report that has none.
    fn silent_servers(&self) -> Vec<Note> {
        let silent = self.symbols.as_ref().map(SymbolLibrary::silent_servers);
        let note = |(server, why): (String, String)| Note {
            code: "symbols.server-silent".to_owned(),
            severity: Severity::Info,
            field: Some("/modules".to_owned()),
            message: format!("the symbol server {server} gave no answer: {why}"),
        };
        silent.unwrap_or_default().into_iter().map(note).collect()
    }

    /// Everything seen in the dump.
    fn facts(
        &self,
        reader: &PagedReader<'_>,
        info: &SourceInfo,
    ) -> Result<CrashFacts, SourceError> {
        let kind = source::identify(reader.prefix(), reader.len());
        if let Some(refusal) = kind.refusal() {
            return Err(refusal);
        }
        let budget = Budget::new(self.limits.steps, self.limits.time);
        if kind == FileKind::UserMinidump {
            let dump = dump::user::read_with(reader)
                .map_err(|error| SourceError::new(user_error_kind(&error), error.to_string()))?;
            return Ok(gather::gather_user(dump, reader.len()));
        }
        let dump = dump::open(reader, &budget)
            .map_err(|error| SourceError::new(dump_error_kind(&error), error.to_string()))?;
        let mut facts =
            gather::gather_with(reader, dump, self.symbols.as_ref(), self.deep, &budget);
        for state in &self.registry {
            external::apply(&mut facts, state);
        }
        let path = Path::new(&info.path);
        for beside in self.beside.iter().filter(|b| path.starts_with(&b.folder)) {
            for state in &beside.states {
                external::apply(&mut facts, state);
            }
            if facts.system.machine.is_none() {
                facts.system.machine.clone_from(&beside.machine);
            }
        }
        Ok(facts)
    }

    fn context(&self) -> Context<'_> {
        Context {
            builds: &self.builds,
        }
    }

    /// The decisions, from facts and evidence alone. A summary holds no advice and no look-alikes:
    /// they follow from the facts and are not worked out for one.
    fn answer(&self, facts: &CrashFacts, observations: &[Observation], detail: Detail) -> Answer {
        let full = detail == Detail::Full;
        let evidence = evidence::evidence(observations);
        let servicing = evidence::servicing(facts, &self.builds);
        let decision = verdict::decide(&evidence, verdict::may_lack_fix(facts, &servicing));
        let status = decision.status;
        let verdict = verdict::verdict(status, servicing.applicability);
        Answer {
            decision,
            look_alikes: match status {
                // Proven: nothing else is asked.
                MatchStatus::Confirmed => Vec::new(),
                _ if full => look_alikes(facts, &self.builds),
                _ => Vec::new(),
            },
            verdict,
            actions: match full {
                true => verdict::actions(facts, &servicing, status, verdict),
                false => Vec::new(),
            },
            would_settle: match full {
                true => verdict::would_settle(facts, &servicing, status),
                false => Vec::new(),
            },
            evidence,
            servicing,
        }
    }

    /// How the rules came to the status.
    fn steps(&self, facts: &CrashFacts, observations: &[Observation]) -> Vec<Step> {
        let servicing = evidence::servicing(facts, &self.builds);
        let evidence = evidence::evidence(observations);
        verdict::trace(&evidence, verdict::may_lack_fix(facts, &servicing))
    }

    /// The program and its options, as every record names them.
    pub fn tool(&self) -> Tool {
        Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            knowledge: self.articles.version.clone(),
            options: self.options,
        }
    }
}

fn read_failed(error: &ReadError) -> SourceError {
    SourceError::new(ErrorKind::Io, error.to_string())
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

/// Says why the inventory was not used.
fn inventory_note(message: String) -> Note {
    Note {
        code: "modules.inventory".to_owned(),
        severity: Severity::Info,
        field: Some("/modules".to_owned()),
        message,
    }
}

/// What a reader should know about a kernel dump's report.
fn notes(facts: &CrashFacts) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |code: &str, severity, field: &str, message: &str| {
        notes.push(Note {
            code: code.to_owned(),
            severity,
            field: Some(field.to_owned()),
            message: message.to_owned(),
        });
    };
    let dump = &facts.dump;
    if !dump.damage.is_empty() {
        add(
            "dump.damaged",
            Severity::Warning,
            "/dump/damage",
            "part of the dump could not be read; what is missing is listed there",
        );
    }
    match dump.format {
        Format::KernelTriage | Format::UserMinidump => {}
        Format::KernelHeaderOnly => add(
            "dump.header-only",
            Severity::Info,
            "/dump/format",
            "the dump holds a header and no memory",
        ),
        Format::KernelUnknown => add(
            "dump.unknown-type",
            Severity::Warning,
            "/dump/type",
            "the dump type is not known: only the header was read",
        ),
        _ if facts.memory.is_some() => {}
        _ => add(
            "dump.body-not-read",
            Severity::Warning,
            "/dump/format",
            "the memory of this dump cannot be read: modules and stacks are not known",
        ),
    }
    if let Some(message) = itanium(facts) {
        add(
            "dump.itanium",
            Severity::Info,
            "/dump/architecture",
            &message,
        );
    }
    for remark in &facts.system.multicast_forwarding.remarks {
        add(
            "system.registry-file",
            Severity::Info,
            "/system/multicast_forwarding",
            remark,
        );
    }
    if dump.overflowed == Some(true) {
        add(
            "dump.overflowed",
            Severity::Info,
            "/dump/triage/overflowed",
            "Windows had to leave data out of this small dump",
        );
    }
    if facts.system.checked_build == Some(true) {
        add(
            "system.checked-build",
            Severity::Info,
            "/system/build",
            "a checked (debug) build of Windows: timestamps and offsets differ from the release",
        );
    }
    for wrong in facts.modules.iter().flat_map(|module| &module.wrong_files) {
        add(
            "modules.mismatched",
            Severity::Info,
            "/modules",
            &format!(
                "{}: the file found is {}, the dump's is {}; it was not used",
                wrong.file, wrong.found, wrong.wanted
            ),
        );
    }
    notes
}

/// What a reader should know of a report on an Itanium: on every memory dump, and on a small dump where
/// something had to be settled.
fn itanium(facts: &CrashFacts) -> Option<String> {
    if facts.dump.architecture.as_deref() != Some("ia64") {
        return None;
    }
    let settled = match facts.remarks.is_empty() {
        true => String::new(),
        false => format!(
            "; decided by what fits together: {}",
            facts.remarks.join("; ")
        ),
    };
    match facts.dump.format {
        Format::KernelComplete
        | Format::KernelSummary
        | Format::KernelBitmap
        | Format::KernelRanges => Some(format!(
            "Itanium memory: layouts from published headers, never met in a real dump{settled}. Not \
             known on Itanium: pool blocks, the registry, names of processes, what an instruction does; \
             a match is therefore at most probable"
        )),
        _ if settled.is_empty() => None,
        _ => Some(format!(
            "Itanium stack: layouts from published headers, never met in a real dump{settled}"
        )),
    }
}

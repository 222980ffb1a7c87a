//! "Do now" on the screen: the few steps that come first, with the commands to copy. The whole list, in its own
//! words, is in the long report and in the record's `actions`.

use crate::cause::Event;
use crate::facts::Format;
use crate::knowledge::hotfix::KB943650;
use crate::report::escape::visible;
use crate::report::model::{Cause, Hotfix, Report};
use crate::verdict::{Applicability, Verdict, WHOLE_FILE};

use super::fit;
use super::happened::{is_forced, is_running};
use super::palette::Palette;
use super::words;

/// Steps about another cause that the screen has room for.
const FIRST: usize = 2;
/// Lines of advice where the report has much else to say, its heading included.
pub const FEW: usize = 8;
/// Lines of advice where little happened.
pub const MANY: usize = 11;
/// Lines about another problem that are kept free for it.
pub const OTHER: usize = 10;
/// Makes the next dump a kernel memory dump (Microsoft's KB254649, "Overview of memory dump file options": the
/// value 2 of `DebugInfoType`): shorter than the registry command that does the same.
const LARGER_DUMP: &str = "wmic recoveros set DebugInfoType=2";

/// One step: what, and the commands for it, of which those from the second on may be left out.
struct Step {
    text: String,
    commands: Vec<String>,
    /// Says that a command that is left out is wanted too.
    also: &'static str,
}

impl Step {
    fn new(text: impl Into<String>) -> Step {
        Step {
            text: text.into(),
            commands: Vec::new(),
            also: "",
        }
    }

    fn with(mut self, commands: Vec<String>, also: &'static str) -> Step {
        self.commands = commands;
        self.also = also;
        self
    }
}

/// A path as shells want it.
pub fn quoted(path: String) -> String {
    // No option.
    let path = match path.starts_with('-') {
        true => format!(".{}{path}", std::path::MAIN_SEPARATOR),
        false => path,
    };
    match path.contains([' ', '&', '(', ')', '\'', ';', '$', '`']) {
        true => format!("\"{path}\""),
        false => path,
    }
}

/// A command of this program about the report's file, at most `width` columns: a longer path is shown by its ends.
pub fn command(name: &str, report: &Report, width: usize) -> String {
    let path = visible(&report.source.path);
    let lead = format!("kbtriage {name} ");
    let quoted = quoted(path);
    let room = width.saturating_sub(lead.len());
    format!("{lead}{}", fit::middle(&quoted, room))
}

/// The heading and the steps, at most `room` lines.
pub fn lines(report: &Report, hotfix: &Hotfix, palette: Palette, room: usize) -> Vec<String> {
    if hotfix.verdict == Verdict::DoesNotApply {
        return elsewhere(report, hotfix, palette, room);
    }
    let steps = match hotfix.kb == KB943650.kb {
        true => steps(report, hotfix),
        false => hotfix
            .actions
            .iter()
            .map(|action| {
                let command = action.command.iter().map(|text| visible(text)).collect();
                Step::new(visible(&action.text)).with(command, "")
            })
            .collect(),
    };
    numbered(&steps, palette, room)
}

/// The steps of the article for the state that was found.
fn steps(report: &Report, hotfix: &Hotfix) -> Vec<Step> {
    let has = |id: &str| hotfix.actions.iter().any(|action| action.action == id);
    let show = commands(hotfix, "check-forwarding", "show");
    let disable = commands(hotfix, "workaround", "disabled");
    let hang = is_forced(report) || is_running(report);
    let sure = matches!(
        hotfix.verdict,
        Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies
    );
    let mut steps = Vec::new();
    let whole = hotfix.would_settle.iter();
    let whole = whole
        .filter_map(|what| what.strip_prefix(WHOLE_FILE))
        .next();
    if let Some(bytes) = whole {
        steps.push(Step::new(format!("Copy the dump again{}.", visible(bytes))));
    }
    let larger = Step::new(match hang {
        true => "Make the next dump larger, and force it when it hangs (-v says how):",
        false => "Make the next dump larger, so that it can tell:",
    })
    .with(vec![LARGER_DUMP.to_owned()], "");
    if sure {
        if !disable.is_empty() {
            steps.push(
                Step::new("Today (ends multicast routing through this computer):")
                    .with(disable, ""),
            );
        } else if !show.is_empty() {
            steps.push(Step::new("See that multicast forwarding is still off:").with(show, ""));
        }
        let before = match has("check-version") {
            true => "If tcpip.sys is older than 6.0.6001.22222 or a GDR build, install",
            false => "Install",
        };
        steps.push(install(hotfix, before));
        steps.push(Step::new("Check: tcpip.sys is 6.0.6002.18005 or later."));
        if has("collect-kernel-dump") {
            steps.push(larger);
        }
        return steps;
    }
    let show = match show.is_empty() {
        true => commands_of("show"),
        false => show,
    };
    steps.push(Step::new("See whether multicast forwarding is on").with(show, " (ipv6 too)"));
    if hotfix.verdict == Verdict::MayApply {
        if !disable.is_empty() {
            steps.push(
                Step::new("Where it is on, turn it off, which ends multicast routing")
                    .with(disable, " (ipv6 too)"),
            );
        }
        steps.push(install(hotfix, "Where it was on, install"));
    }
    if has("collect-kernel-dump") {
        steps.push(larger);
    }
    steps
}

/// The service pack, which every edition can have.
fn install(hotfix: &Hotfix, lead: &str) -> Step {
    let first = match hotfix.applicability.status {
        Applicability::NeedsServicePack => "; Service Pack 1 first",
        _ => "",
    };
    let kb = KB943650
        .availability
        .alternatives
        .first()
        .map_or("Service Pack 2", |other| other.kb);
    Step::new(format!("{lead} Service Pack 2 ({kb}{first}) and restart."))
}

/// The commands of the actions called `id` that hold `word`.
fn commands(hotfix: &Hotfix, id: &str, word: &str) -> Vec<String> {
    let own = hotfix.actions.iter().filter(|action| action.action == id);
    own.filter_map(|action| action.command.as_deref())
        .filter(|command| command.contains(word))
        .map(visible)
        .collect()
}

/// The article's own commands that hold `word`.
fn commands_of(word: &str) -> Vec<String> {
    let rows = KB943650.workaround.commands.iter();
    rows.filter(|row| row.command.contains(word))
        .map(|row| row.command.to_owned())
        .collect()
}

/// As many steps as fit: where room is short, a step's further commands are said in words.
fn numbered(steps: &[Step], palette: Palette, room: usize) -> Vec<String> {
    if steps.is_empty() {
        return Vec::new();
    }
    let whole: usize = steps.iter().map(|step| 1 + step.commands.len()).sum();
    let short = whole + 1 > room;
    let mut lines = vec![palette.heading("Do now")];
    for (number, step) in (1..).zip(steps) {
        let one = short && !step.also.is_empty() && step.commands.len() > 1;
        let also = if one { step.also } else { "" };
        let shown = if one { 1 } else { step.commands.len() };
        let colon = match (step.commands.is_empty(), step.text.ends_with([':', '.'])) {
            (false, false) => ":",
            _ => "",
        };
        let text = format!("{}{also}{colon}", step.text);
        let each = if step.commands.is_empty() { 2 } else { 1 };
        let wrapped = fit::lines(&text, palette.width.saturating_sub(5), each);
        let mut own: Vec<String> = wrapped
            .iter()
            .enumerate()
            .map(|(index, line)| match index {
                0 => format!("  {number}. {line}"),
                _ => format!("     {line}"),
            })
            .collect();
        let commands = step.commands.iter().take(shown);
        let commands =
            commands.flat_map(|text| fit::command(text, palette.width.saturating_sub(7)));
        own.extend(commands.map(|line| format!("       {line}")));
        if lines.len() + own.len() > room {
            break;
        }
        lines.extend(own);
    }
    lines
}

/// The crash is another problem: where to look instead.
fn elsewhere(report: &Report, hotfix: &Hotfix, palette: Palette, lines: usize) -> Vec<String> {
    let lacks = matches!(
        hotfix.applicability.status,
        Applicability::Applicable
            | Applicability::PartiallyServiced
            | Applicability::NeedsServicePack
    );
    const INDENT: usize = 9;
    let room = palette.width - INDENT;
    let mut last = Vec::new();
    if report.bugcheck.is_some() {
        last.push(command("stack", report, room));
    }
    if lacks {
        let word = match words::fix_state(&hotfix.applicability).starts_with("probably") {
            true => "probably lacks",
            false => "lacks",
        };
        let text = format!(
            "The machine {word} the fix of {} too; that matters only if it forwards multicast.",
            hotfix.kb
        );
        last.extend(fit::lines(&visible(&text), room, 2));
    }
    let mut own = match &report.cause {
        Some(cause) => another(cause, room, lines.saturating_sub(last.len())),
        None => fit::lines(&nothing(report), room, 4),
    };
    own.extend(last);
    own.iter()
        .enumerate()
        .map(|(index, line)| match index {
            0 => format!("{}   {line}", palette.heading("Do now")),
            _ => format!("{}{line}", " ".repeat(INDENT)),
        })
        .collect()
}

/// What to bring where a dump says nothing of a crash of Windows: a program's, or one of which little is left.
fn nothing(report: &Report) -> String {
    const WHERE: &str = r"%SystemRoot%\Minidump and %SystemRoot%\MEMORY.DMP";
    let format = report.dump.as_ref().map(|dump| dump.format.as_str());
    if format == Some(Format::UserMinidump.as_str()) {
        return format!(
            "Send this dump to the maker of the program. If Windows itself stopped, too, bring its dump, \
             which lies in {WHERE}."
        );
    }
    format!(
        "Another problem, and this file does not hold its Stop code. Bring the whole dump, or others of \
         this computer: they lie in {WHERE}."
    )
}

/// Whom the crash is laid to, why, and the first steps, whole, as far as `lines` hold them.
fn another(cause: &Cause, room: usize, lines: usize) -> Vec<String> {
    let headline = match (cause.suspects.is_empty(), cause.event) {
        (true, Event::Crash) => "Another problem; the dump names no suspect.".to_owned(),
        _ => format!("Another problem: {}.", visible(&cause.headline)),
    };
    let mut own = fit::lines(&headline, room, 2);
    let reason = words::sentence(&format!("Why: {}", visible(&cause.reason)));
    own.extend(fit::lines(&reason, room, 2));
    for (index, step) in cause.next.iter().take(FIRST).enumerate() {
        let command = step.command.iter();
        let command: Vec<String> = command
            .flat_map(|text| fit::command(&visible(text), room.saturating_sub(2)))
            .map(|line| format!("  {line}"))
            .collect();
        let left = lines.saturating_sub(own.len() + command.len());
        let text = fit::lines(&visible(&step.text), room, left.clamp(1, 3));
        // A command never stands without what it does.
        if index > 0 && text.len() > left {
            break;
        }
        own.extend(text);
        own.extend(command);
    }
    own
}

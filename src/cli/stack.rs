//! `kbtriage stack`: the registers of the fault and the call stack, as debuggers print them.
//!
//! Shows what the report holds; finds nothing itself. Names come from a dump or a symbol file and
//! are escaped.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::facts::{Boundary, Trust};
use crate::report::RegisterValues;
use crate::report::escape::visible;
use crate::report::model::{DumpKind, Exception, Fault, Frame, Report, Stack};
use crate::report::text::{self, Palette};
use crate::scan::Folders;

use super::analysis::{AnalysisArgs, error_line, one_file};
use super::output::{Color, Format, Records};
use super::triage::usage;

/// Candidates shown without --all-frames.
const CANDIDATES: usize = 8;
/// Lines of one name or remark at most.
const MOST_LINES: usize = 8;
/// Column of what has a line of its own below a frame's numbers.
const SITE: usize = 6;
/// Registers on a line.
const REGISTERS_A_LINE: usize = 3;

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kbtriage stack MEMORY.DMP
  kbtriage stack --all-frames --registers Mini072008-01.dmp

A frame's trust says what it rests on: context (the registers themselves),
unwind-info, frame-data, frame-pointer, trap-frame, or scan: a word on the
stack that looks like a return address, and may be none.

Frames beyond the activity that faulted belong to what it interrupted; they
are shown with --all-frames.

Exit status: 0 the dump was analysed, 1 it could not be, 2 wrong usage.")]
pub struct StackArgs {
    /// A crash dump; - reads it from standard input
    #[arg(value_name = "DUMP", value_parser = one_file(), value_hint = clap::ValueHint::FilePath)]
    pub dump: PathBuf,
    /// Show every frame, also those of interrupted activities
    #[arg(long)]
    pub all_frames: bool,
    /// Show the registers at the fault, as far as they were recovered
    #[arg(long)]
    pub registers: bool,
    /// Form of the output; json and jsonl give the whole report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// When to colour text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Options of the analysis.
    #[command(flatten)]
    pub analysis: AnalysisArgs,
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &StackArgs, out: &mut dyn Write) -> io::Result<u8> {
    let engine = match args.analysis.engine() {
        Ok(engine) => engine,
        Err(message) => return usage(&message),
    };
    let report = args
        .analysis
        .analyse(&engine, &Folders::default(), &args.dump)
        .report;
    let failed = error_line(&report);
    match args.format {
        Format::Text => match &failed {
            Some(line) => writeln!(crate::cli::terminal::stderr(), "{line}")?,
            None => out.write_all(render(&report, args, args.color.palette()).as_bytes())?,
        },
        format => {
            let mut records = Records::new(out, format == Format::Json);
            records.write(&report)?;
            records.finish()?;
        }
    }
    args.analysis.say_silent_servers(&engine)?;
    Ok(u8::from(failed.is_some()))
}

/// The fault and the stacks of a report as text.
fn render(report: &Report, args: &StackArgs, palette: Palette) -> String {
    let mut out = String::new();
    let has_fault = report.fault.as_ref().filter(|f| f.source.is_some());
    match (has_fault, &report.exception) {
        (Some(fault), _) => write_fault(fault, palette, &mut out),
        (None, Some(exception)) => write_exception(exception, report, palette, &mut out),
        (None, None) => {
            let running =
                report.dump.as_ref().and_then(|dump| dump.kind) == Some(DumpKind::Running);
            let none = match running {
                true => "none: Windows was running when this image of its memory was taken",
                false => {
                    "none: this bug check reports no faulting instruction, or what the dump holds of the stack does \
                        not show it"
                }
            };
            let lines = text::lines(none, palette.width.saturating_sub(7), MOST_LINES);
            let _ = writeln!(
                out,
                "{}  {}",
                palette.heading("Fault"),
                lines.join("\n       ")
            );
        }
    }
    if args.registers {
        let map = has_fault
            .and_then(|f| f.registers.as_ref())
            .or_else(|| report.header_context.as_ref()?.registers.as_ref());
        write_registers(map, has_fault.is_some(), palette, &mut out);
    }
    match &report.stack {
        Some(stack) => write_stack(stack, args.all_frames, palette, &mut out),
        None => {
            let _ = writeln!(out, "\n{}  none", palette.heading("Stack"));
        }
    }
    for stack in report.other_processors.iter().flatten() {
        write_stack(stack, args.all_frames, palette, &mut out);
    }
    out
}

/// A program's exception, the thread that raised it and the place.
fn write_exception(exception: &Exception, report: &Report, palette: Palette, out: &mut String) {
    let _ = writeln!(
        out,
        "{}  {} {}",
        palette.heading("Exception"),
        exception.code.0,
        visible(exception.name.as_deref().unwrap_or_default())
    );
    let mut line = |label: &str, value: String| labelled(label, &value, palette, out);
    if let Some(thread) = exception.thread {
        line("thread", format!("{thread} ({thread:#x})"));
    }
    if let Some(address) = &exception.address {
        let place = report
            .header_context
            .as_ref()
            .filter(|context| context.instruction_pointer.as_ref() == Some(address))
            .and_then(|context| context.location.as_ref().map(text::place))
            .or_else(|| exception.module.clone());
        line(
            "at",
            match place {
                Some(place) => format!("{} {place}", address.0),
                None => format!("{} in no module", address.0),
            },
        );
    }
}

fn write_fault(fault: &Fault, palette: Palette, out: &mut String) {
    let place = fault.location.as_ref().map(text::place);
    let address = fault.instruction_pointer.as_ref().map(|ip| ip.0.clone());
    let _ = writeln!(
        out,
        "{}  {}  {}",
        palette.heading("Fault"),
        address.unwrap_or_default(),
        visible(&place.unwrap_or_else(|| "in no module".to_owned()))
    );
    let mut line = |label: &str, value: String| labelled(label, &value, palette, out);
    if let Some(caller) = &fault.caller {
        let place = caller.location.as_ref().map(text::place);
        line(
            "called from",
            match caller.trust == Trust::Scan.as_str() {
                true => format!(
                    "{} (the return address on top of the stack)",
                    place.unwrap_or_default()
                ),
                false => place.unwrap_or_default(),
            },
        );
    }
    if let Some(source) = &fault.source {
        let found = match fault.candidates {
            0 | 1 => source.clone(),
            n => format!("{source}: {n} contexts fit equally well, the innermost is shown"),
        };
        line("found by", found);
    }
    if let Some(instruction) = &fault.instruction {
        let kind = fault.instruction_kind.as_ref();
        line(
            "instruction",
            match kind {
                Some(kind) => format!("{instruction}  ({kind})"),
                None => instruction.clone(),
            },
        );
    }
    if fault.access.is_some() || fault.address.is_some() {
        let access = fault.access.as_deref().unwrap_or("access");
        let address = fault
            .address
            .as_ref()
            .map_or("an unknown address", |a| &a.0);
        line("access", format!("{access} of {address}"));
    }
    if let Some(effective) = &fault.effective_address {
        line(
            "computed",
            match effective.agrees {
                true => format!("{}, as reported", effective.value.0),
                false => format!(
                    "{}: the registers do not lead to the address reported",
                    effective.value.0
                ),
            },
        );
    }
    if let Some(context) = &fault.context {
        line("running", context.clone());
    }
    if let Some(irql) = fault.irql {
        line("irql", irql.to_string());
    }
}

/// A labelled value, on as many lines as it needs.
fn labelled(label: &str, value: &str, palette: Palette, out: &mut String) {
    const INDENT: usize = 15;
    let lines = text::lines(
        &visible(value),
        palette.width.saturating_sub(INDENT),
        MOST_LINES,
    );
    let _ = writeln!(
        out,
        "  {label:12} {}",
        lines.join(&format!("\n{:INDENT$}", ""))
    );
}

fn write_registers(
    registers: Option<&RegisterValues>,
    at_fault: bool,
    palette: Palette,
    out: &mut String,
) {
    let heading = match at_fault {
        true => "Registers at the fault",
        false => "Registers at the bug check",
    };
    let _ = writeln!(out, "\n{}", palette.heading(heading));
    let Some(registers) = registers.filter(|all| !all.0.is_empty()) else {
        let _ = writeln!(out, "  none recovered");
        return;
    };
    let all = registers.0.iter();
    let all: Vec<String> = all
        .map(|(name, value)| format!("{name:>6}={:18}", value.0))
        .collect();
    for line in all.chunks(REGISTERS_A_LINE) {
        let _ = writeln!(out, "  {}", visible(line.join(" ").trim_end()));
    }
}

fn write_stack(stack: &Stack, all: bool, palette: Palette, out: &mut String) {
    let heading = match stack.processor {
        Some(number) => format!("Stack of processor {number}"),
        None => "Stack".to_owned(),
    };
    let _ = writeln!(out, "\n{}", palette.heading(&heading));
    let shown = shown(stack, all);
    let width = pointer_digits(stack);
    let _ = writeln!(
        out,
        "  {:>3} {:width$} {:width$} {:13} call site",
        "#", "stack pointer", "return address", "trust"
    );
    for (n, frame) in stack.frames.iter().enumerate().take(shown) {
        if let Some(boundary) = border(frame) {
            let _ = writeln!(out, "      {}", palette.heading(boundary));
        }
        let back = stack
            .frames
            .get(n + 1)
            .map_or("", |outer| outer.instruction_pointer.0.as_str());
        let sp = frame.stack_pointer.as_ref().map_or("", |sp| sp.0.as_str());
        let numbers = format!(
            "  {:>3} {sp:width$} {back:width$} {:13}",
            frame.index,
            visible(&frame.trust)
        );
        let site = visible(&site(frame));
        // What does not fit the line has one of its own, and is whole.
        let lines = match numbers.len() + 1 + site.chars().count() <= palette.width {
            true => vec![format!("{numbers} {site}")],
            false => {
                let room = palette.width.saturating_sub(SITE);
                let own = text::lines(&site, room, MOST_LINES);
                let own = own.iter().map(|line| format!("{:SITE$}{line}", ""));
                std::iter::once(numbers.trim_end().to_owned())
                    .chain(own)
                    .collect()
            }
        };
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
    }
    let hidden = stack.frames.len().saturating_sub(shown);
    if hidden > 0 {
        let _ = writeln!(out, "      {hidden} more with --all-frames");
    }
    match (&stack.stopped_because, stack.complete) {
        (Some(why), _) => {
            let room = palette.width.saturating_sub(SITE);
            let lines = text::lines(&format!("ended: {}", visible(why)), room, MOST_LINES);
            let _ = writeln!(
                out,
                "{:SITE$}{}",
                "",
                lines.join(&format!("\n{:SITE$}", ""))
            );
        }
        (None, true) => {}
        (None, false) => {
            let _ = writeln!(out, "      incomplete");
        }
    }
}

/// How many frames to show: the faulting activity, its border, and the candidates next to it.
fn shown(stack: &Stack, all: bool) -> usize {
    let total = stack.frames.len();
    let activity = stack
        .faulting_activity
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(total);
    let candidates = stack
        .frames
        .iter()
        .skip(activity)
        .take_while(|frame| frame.trust == Trust::Scan.as_str())
        .take(CANDIDATES)
        .count();
    match all {
        true => total,
        false => activity.saturating_add(candidates.max(1)).min(total),
    }
}

/// Columns an address takes in this stack.
fn pointer_digits(stack: &Stack) -> usize {
    let addresses = stack.frames.iter().map(|f| f.instruction_pointer.0.len());
    addresses.max().unwrap_or(0).max("return address".len())
}

/// The line that separates an activity from the one it interrupted.
fn border(frame: &Frame) -> Option<&'static str> {
    let boundary = frame.boundary.as_deref()?;
    // A trap frame found among candidates may be what a finished interrupt left.
    if frame.trust == Trust::Scan.as_str() {
        return Some("-- interrupted, perhaps: --");
    }
    Some(match Boundary::named(boundary)? {
        Boundary::Interrupt => "-- interrupted: --",
        Boundary::Dpc => "-- ran the deferred procedure call: --",
        Boundary::Exception => "-- raised the exception: --",
        Boundary::User => "-- user mode: --",
    })
}

/// `module!name+offset`, or what of it is known.
fn site(frame: &Frame) -> String {
    let module = frame.module.as_deref();
    match (module, &frame.symbol, &frame.offset) {
        (Some(module), Some(symbol), _) => {
            let stem = module.rsplit_once('.').map_or(module, |(stem, _)| stem);
            let displacement = frame.displacement.as_ref().map(|d| d.0.as_str());
            let doubt = text::doubt(frame.symbol_kind.as_deref());
            match displacement {
                Some("0x0") | None => format!("{stem}!{symbol}{doubt}"),
                Some(displacement) => format!("{stem}!{symbol}+{displacement}{doubt}"),
            }
        }
        (Some(module), None, Some(offset)) => format!("{module}+{}", offset.0),
        _ => frame.instruction_pointer.0.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Hex;

    fn frame(index: u32, trust: &str, boundary: Option<&str>) -> Frame {
        Frame {
            index,
            instruction_pointer: Hex::address(0x8000 + u64::from(index), 8),
            stack_pointer: Some(Hex::address(0x100 * u64::from(index), 8)),
            module: Some("tcpip.sys".to_owned()),
            offset: Some(Hex::plain(0x2b1c4)),
            symbol: None,
            displacement: None,
            symbol_kind: None,
            trust: trust.to_owned(),
            boundary: boundary.map(str::to_owned),
        }
    }

    fn stack(frames: Vec<Frame>, activity: u32) -> Stack {
        Stack {
            processor: Some(0),
            frames,
            faulting_activity: Some(activity),
            complete: true,
            stopped_because: None,
        }
    }

    #[test]
    fn an_interrupted_activity_is_hidden_unless_asked_for() {
        let stack = stack(
            vec![
                frame(0, "context", None),
                frame(1, "unwind-info", Some("dpc")),
                frame(2, "trap-frame", Some("interrupt")),
                frame(3, "unwind-info", None),
            ],
            1,
        );
        assert_eq!(shown(&stack, false), 2, "the border is shown");
        assert_eq!(shown(&stack, true), 4);
    }

    #[test]
    fn a_return_address_is_the_next_frames_instruction_pointer() {
        let mut text = String::new();
        let named = Frame {
            symbol: Some("TtStopTimer".to_owned()),
            displacement: Some(Hex::plain(0x1a)),
            ..frame(0, "context", None)
        };
        let near = Frame {
            symbol: Some("TtFireTimer".to_owned()),
            displacement: Some(Hex::plain(0x2b)),
            symbol_kind: Some("approximate".to_owned()),
            ..frame(2, "scan", None)
        };
        let stack = stack(vec![named, frame(1, "scan", None), near], 3);
        write_stack(&stack, false, Palette::default(), &mut text);
        let line = text.lines().find(|l| l.contains("TtStopTimer")).unwrap();
        assert!(line.contains("0x0000000000008001 context"), "{line}");
        assert!(line.ends_with("tcpip!TtStopTimer+0x1a"), "{line}");
        assert!(text.contains("scan          tcpip.sys+0x2b1c4"), "{text}");
        assert!(
            text.contains("tcpip!TtFireTimer+0x2b (approximate)\n"),
            "{text}"
        );
    }

    #[test]
    fn a_name_that_would_steer_the_terminal_is_escaped() {
        let mut text = String::new();
        let hostile = Frame {
            module: Some("a\u{1b}[2J.sys".to_owned()),
            ..frame(0, "context", None)
        };
        let palette = Palette::default();
        write_stack(&stack(vec![hostile], 1), true, palette, &mut text);
        assert!(!text.contains('\u{1b}'));
    }
}

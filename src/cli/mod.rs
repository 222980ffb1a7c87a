//! What a person types and sees: arguments, output, exit status. Decides nothing about dumps.

mod analysis;
mod collection;
mod explain;
#[cfg(feature = "store")]
mod fleet;
mod interrupt;
pub mod kb;
mod manual;
#[cfg(feature = "store")]
mod merge_lines;
mod output;
mod scan;
pub mod schema;
mod select;
pub mod stack;
#[cfg(feature = "store")]
mod store;
pub mod symbols;
pub mod terminal;
#[cfg(all(feature = "store", feature = "tickets"))]
mod tickets;
mod triage;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Exit status for wrong usage.
const USAGE: u8 = 2;

/// Triage of Windows kernel crash dumps: is this the timer-queue corruption of KB943650, does
/// that hotfix apply to the machine, and what to do now
#[derive(Debug, Parser)]
#[command(
    name = "kbtriage",
    version = env!("KBTRIAGE_VERSION"),
    max_term_width = 80,
    after_help = "\
Examples:
  kbtriage MEMORY.DMP                   the same as: kbtriage triage MEMORY.DMP
  kbtriage triage --format json *.dmp   for a ticket system
  kbtriage explain Mini072008-01.dmp    every check and what came of it
  kbtriage scan /mnt/dumps              a whole share of dumps and archives
  kbtriage kb check tcpip.sys=6.0.6001.18311

Exit status: 0 every input was analysed, whatever the answer; 1 some input
could not be; 2 wrong usage. With --exit-verdict, 10 and 11: see triage --help.

Nothing is sent anywhere and nothing is written next to a dump."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The answer for each dump: verdict, evidence, what to do
    Triage(Later<triage::TriageArgs>),
    /// Every check: what it looked for, what it saw, why it could not look
    Explain(Later<explain::ExplainArgs>),
    /// The fault's registers and the call stack that led there
    Stack(Later<stack::StackArgs>),
    /// Directories and archives full of dumps: a record for each, and what a
    /// machine's dumps say together
    Scan(Later<scan::ScanArgs>),
    /// Machines, buckets and tickets from a result store
    #[cfg(feature = "store")]
    Fleet(Later<fleet::FleetArgs>),
    /// Result stores: what is in one, and shards put together
    #[cfg(feature = "store")]
    Store(Later<store::StoreArgs>),
    /// Facts of an article, and files or versions checked against it
    Kb(Later<kb::KbArgs>),
    /// Symbol files: which are needed, where they are, what they say
    Symbols(Later<symbols::SymbolsArgs>),
    /// Print the JSON Schema of a report or of another record
    Schema {
        /// The record
        #[arg(value_enum, default_value_t = schema::Record::Report)]
        record: schema::Record,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of one command
    Man {
        /// A command, and one of its own
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}

/// Arguments of a command, which are defined when that command is the one that was typed: defining all of
/// them takes longer than a small dump.
#[derive(Debug)]
struct Later<T>(Box<T>);

/// A command with its arguments and its own words: a group of options that many commands share has words too, which
/// would take their place.
fn defined<T: Args>(command: clap::Command) -> clap::Command {
    let (about, long) = (
        command.get_about().cloned(),
        command.get_long_about().cloned(),
    );
    T::augment_args(command)
        .about(Resettable::from(about))
        .long_about(Resettable::from(long))
}

impl<T: Args> Args for Later<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(defined::<T>)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args_for_update)
    }
}

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Later<T>, clap::Error> {
        T::from_arg_matches(matches).map(|args| Later(Box::new(args)))
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Later<T>, clap::Error> {
        T::from_arg_matches_mut(matches).map(|args| Later(Box::new(args)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Commands that have a manual page, as completions offer them.
#[cfg(feature = "store")]
const COMMANDS: &[&str] = &[
    "triage",
    "explain",
    "stack",
    "scan",
    "fleet",
    "store",
    "kb",
    "symbols",
    "schema",
    "completions",
    "man",
];
/// Commands that have a manual page, as completions offer them.
#[cfg(not(feature = "store"))]
const COMMANDS: &[&str] = &[
    "triage",
    "explain",
    "stack",
    "scan",
    "kb",
    "symbols",
    "schema",
    "completions",
    "man",
];

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let first = arguments.get(1).cloned().unwrap_or_default();
    if let Some(joined) = arguments
        .iter()
        .skip(1)
        .find(|argument| joins_an_option(argument))
    {
        let shown = crate::report::escape::visible(&joined.to_string_lossy());
        let argument = joined.clone();
        let why = crate::source::Joined { argument };
        let _ = writeln!(terminal::stderr(), "kbtriage: {shown}: {why}");
        return ExitCode::from(USAGE);
    }
    let arguments = with_default_command(arguments);
    if !is_own(&first)
        && let Some(meant) = manual::meant(&Cli::command(), &first.to_string_lossy())
    {
        let first = crate::report::escape::visible(&first.to_string_lossy());
        let _ = writeln!(
            crate::cli::terminal::stderr(),
            "kbtriage: there is no command and no file {first}: did you mean kbtriage {meant}?"
        );
        return ExitCode::from(USAGE);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(mut error) => {
            // Help and version are answers, not errors; a closed pipe is nobody's fault.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            // An unknown option is never meant as a file's name.
            let as_value = error.get(ContextKind::Suggested).is_some_and(|tips| {
                matches!(tips, ContextValue::StyledStrs(tips)
                    if tips.iter().any(|tip| tip.to_string().contains("as a value")))
            });
            if as_value {
                error.remove(ContextKind::Suggested);
            }
            // It repeats what was typed, or what a script made of a file's name.
            let _ = write!(terminal::stderr(), "{}", error.render());
            return ExitCode::from(USAGE);
        }
    };
    match run(cli.command) {
        Ok(status) => ExitCode::from(status),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                crate::cli::terminal::stderr(),
                "kbtriage: writing the output: {error}"
            );
            ExitCode::FAILURE
        }
    }
}

/// Every command with all of its arguments.
fn whole() -> clap::Command {
    fn now<T: Args>(command: clap::Command) -> clap::Command {
        defined::<T>(command).defer(|defined| defined)
    }
    // In the order that they have: a command that is changed goes to the end.
    COMMANDS.iter().fold(Cli::command(), |program, name| {
        program.mut_subcommand(name, |command| match *name {
            "triage" => now::<triage::TriageArgs>(command),
            "explain" => now::<explain::ExplainArgs>(command),
            "stack" => now::<stack::StackArgs>(command),
            "scan" => now::<scan::ScanArgs>(command),
            #[cfg(feature = "store")]
            "fleet" => now::<fleet::FleetArgs>(command),
            #[cfg(feature = "store")]
            "store" => now::<store::StoreArgs>(command),
            "kb" => now::<kb::KbArgs>(command),
            "symbols" => now::<symbols::SymbolsArgs>(command),
            _ => command,
        })
    })
}

/// `kbtriage FILE` means `kbtriage triage FILE`.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|first| !is_own(first)) {
        arguments.insert(1, "triage".into());
    }
    arguments
}

/// True for an argument on Windows that a backslash before a closing quote has made of several: an option follows the
/// quote, which no path there holds.
fn joins_an_option(argument: &OsStr) -> bool {
    cfg!(windows) && argument.to_string_lossy().contains("\" -")
}

/// True for what the program itself takes as its first argument.
fn is_own(first: &OsStr) -> bool {
    let text = first.to_string_lossy();
    matches!(text.as_ref(), "-h" | "--help" | "-V" | "--version" | "help")
        || Command::has_subcommand(text.as_ref())
}

fn run(command: Command) -> io::Result<u8> {
    let mut out = terminal::stdout();
    let status = match command {
        Command::Triage(args) => triage::run(&args.0, &mut out)?,
        Command::Explain(args) => explain::run(&args.0, &mut out)?,
        Command::Stack(args) => stack::run(&args.0, &mut out)?,
        Command::Scan(mut args) => {
            args.0.output.take_if(|output| output.as_os_str() == "-");
            scan::run(&args.0, &mut out)?
        }
        #[cfg(feature = "store")]
        Command::Fleet(args) => fleet::run(&args.0, &mut out)?,
        #[cfg(feature = "store")]
        Command::Store(args) => store::run(&args.0, &mut out)?,
        Command::Kb(args) => {
            match kb::run(&args.0, &mut out, &mut crate::cli::terminal::stderr()) {
                Ok(status) => status,
                Err(kb::KbError::Output(error)) => return Err(error),
                Err(error) => {
                    writeln!(crate::cli::terminal::stderr(), "kbtriage: {error}")?;
                    USAGE
                }
            }
        }
        Command::Symbols(args) => symbols::run(&args.0, &mut out)?,
        Command::Schema { record } => {
            out.write_all(record.schema().as_bytes())?;
            0
        }
        Command::Completions { shell } => {
            manual::completions(&whole(), shell, &mut out)?;
            0
        }
        Command::Man { command } => manual::page(&whole(), &command, &mut out)?,
    };
    out.flush()?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_definitions_are_consistent() {
        whole().debug_assert();
        // What is defined late is all there is.
        let mut program = Cli::command();
        program.build();
        let mut all = whole();
        all.build();
        for (late, now) in program.get_subcommands().zip(all.get_subcommands()) {
            assert_eq!(late.get_name(), now.get_name());
            assert_eq!(
                late.get_arguments().count(),
                now.get_arguments().count(),
                "{}",
                late.get_name()
            );
        }
    }

    #[test]
    fn every_command_has_a_manual_page_that_completions_offer() {
        let program = Cli::command();
        let names: Vec<&str> = program.get_subcommands().map(|c| c.get_name()).collect();
        assert_eq!(names, COMMANDS);
    }

    #[test]
    fn a_file_alone_means_triage() {
        let with = |arguments: &[&str]| {
            with_default_command(arguments.iter().map(OsString::from).collect())
        };
        assert_eq!(with(&["kbtriage", "a.dmp"])[1], "triage");
        assert_eq!(
            with(&["kbtriage", "--format", "json", "a.dmp"])[1],
            "triage"
        );
        assert_eq!(with(&["kbtriage", "kb", "show"])[1], "kb");
        assert_eq!(with(&["kbtriage", "--version"])[1], "--version");
        assert_eq!(with(&["kbtriage"]).len(), 1);
    }
}

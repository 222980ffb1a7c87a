//! What a person types and sees: arguments, output, exit status. Decides nothing about dumps.

mod analysis;
mod collection;
mod explain;
#[cfg(feature = "store")]
mod fleet;
pub mod kb;
mod manual;
#[cfg(feature = "store")]
mod merge_lines;
mod output;
mod scan;
mod select;
pub mod stack;
#[cfg(feature = "store")]
mod store;
pub mod symbols;
pub mod terminal;
#[cfg(all(feature = "store", feature = "tickets"))]
mod tickets;
mod triage;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::report::Kind;

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
    Triage(triage::TriageArgs),
    Explain(explain::ExplainArgs),
    Stack(stack::StackArgs),
    // The longest list of options by far.
    Scan(Box<scan::ScanArgs>),
    #[cfg(feature = "store")]
    Fleet(fleet::FleetArgs),
    #[cfg(feature = "store")]
    Store(store::StoreArgs),
    Kb(kb::KbArgs),
    Symbols(symbols::SymbolsArgs),
    /// Print the JSON Schema of a report or of another record
    Schema {
        /// The record
        #[arg(value_enum, default_value_t = SchemaOf::Report)]
        record: SchemaOf,
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

/// Records that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// One dump, everything
    Report,
    /// One dump, as scan writes it
    Summary,
    /// What a machine's dumps say together
    Machine,
    /// The closing record of a scan
    Scan,
    /// Crashes that group together, as fleet buckets writes them
    #[cfg(feature = "store")]
    Bucket,
    /// The symbol files a dump needs, as symbols check writes them
    Symbols,
    /// A file or version against the article, as kb check writes it
    FileCheck,
}

impl SchemaOf {
    fn schema(self) -> serde_json::Value {
        use crate::report::{schema_for, schema_of};
        match self {
            SchemaOf::Report => schema_of(Kind::Report),
            SchemaOf::Summary => schema_of(Kind::Summary),
            SchemaOf::Machine => schema_of(Kind::Machine),
            SchemaOf::Scan => schema_of(Kind::Scan),
            #[cfg(feature = "store")]
            SchemaOf::Bucket => schema_for::<crate::fleet::BucketRow>("bucket record"),
            SchemaOf::Symbols => schema_for::<symbols::files::DumpRecord<'_>>("symbols record"),
            SchemaOf::FileCheck => schema_for::<kb::FileCheck>("file-check record"),
        }
    }
}

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    let arguments = with_default_command(std::env::args_os().collect());
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if let Some(meant) = manual::meant(&Cli::command(), &first.to_string_lossy()) {
        let first = crate::report::escape::visible(&first.to_string_lossy());
        let _ = writeln!(
            crate::cli::terminal::stderr(),
            "kbtriage: there is no command and no file {first}: did you mean kbtriage {meant}?"
        );
        return ExitCode::from(USAGE);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; a closed pipe is nobody's fault.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
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

/// `kbtriage FILE` means `kbtriage triage FILE`.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let own = |argument: &OsString| {
        let text = argument.to_string_lossy();
        matches!(text.as_ref(), "-h" | "--help" | "-V" | "--version" | "help")
            || Command::has_subcommand(text.as_ref())
    };
    if arguments.get(1).is_some_and(|first| !own(first)) {
        arguments.insert(1, "triage".into());
    }
    arguments
}

fn run(command: Command) -> io::Result<u8> {
    let mut out = terminal::stdout();
    let status = match command {
        Command::Triage(args) => triage::run(&args, &mut out)?,
        Command::Explain(args) => explain::run(&args, &mut out)?,
        Command::Stack(args) => stack::run(&args, &mut out)?,
        Command::Scan(args) => scan::run(&args, &mut out)?,
        #[cfg(feature = "store")]
        Command::Fleet(args) => fleet::run(&args, &mut out)?,
        #[cfg(feature = "store")]
        Command::Store(args) => store::run(&args, &mut out)?,
        Command::Kb(args) => match kb::run(&args, &mut out, &mut crate::cli::terminal::stderr()) {
            Ok(status) => status,
            Err(kb::KbError::Output(error)) => return Err(error),
            Err(error) => {
                writeln!(crate::cli::terminal::stderr(), "kbtriage: {error}")?;
                USAGE
            }
        },
        Command::Symbols(args) => symbols::run(&args, &mut out)?,
        Command::Schema { record } => {
            let schema = record.schema();
            crate::report::json::write_pretty(&mut out, &schema)?;
            writeln!(out)?;
            0
        }
        Command::Completions { shell } => {
            manual::completions(&Cli::command(), shell, &mut out)?;
            0
        }
        Command::Man { command } => manual::page(&Cli::command(), &command, &mut out)?,
    };
    out.flush()?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_definitions_are_consistent() {
        Cli::command().debug_assert();
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

//! Manual pages and completions, made from the definitions of the arguments.

use std::io::{self, Write};

use clap::{Arg, Command};

use super::USAGE;

/// What the environment changes, as the pages say it.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "_NT_ALT_SYMBOL_PATH, _NT_SYMBOL_PATH",
        "Where symbol files are, behind --symbols. A server named here is asked with --online only.",
    ),
    (
        "_NT_EXECUTABLE_IMAGE_PATH",
        "Where images are, behind --images.",
    ),
    (
        "_NT_SYMBOL_PROXY",
        "The proxy to symbol servers, as HOST:PORT, behind HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.",
    ),
    (
        "KBTRIAGE_CACHE_DIR",
        "Folder for indexes and downloaded files; otherwise the system's folder for caches.",
    ),
    (
        "KBTRIAGE_WEBHOOK_SECRET",
        "The key that scan --webhook signs with.",
    ),
    (
        "KBTRIAGE_SHARDS",
        "How many parts scan --shard auto counts with.",
    ),
    (
        "NO_COLOR, TERM",
        "No colours where NO_COLOR is set or TERM is dumb.",
    ),
];

/// Writes the manual page of the program, or of the command that `names` lead to.
///
/// # Errors
/// Whatever the writer says.
pub fn page(program: &Command, names: &[String], out: &mut dyn Write) -> io::Result<u8> {
    let mut command = program.clone();
    let mut title = program.get_name().to_owned();
    let mut call = title.clone();
    for name in names {
        let Some(found) = command.find_subcommand(name).cloned() else {
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            let known = match known.is_empty() {
                true => String::new(),
                false => format!("; it has {}", known.join(", ")),
            };
            writeln!(
                crate::cli::terminal::stderr(),
                "kbtriage: {call} has no command {name:?}{known}"
            )?;
            return Ok(USAGE);
        };
        command = found;
        title.push('-');
        title.push_str(name);
        call.push(' ');
        call.push_str(name);
    }
    let command = command.display_name(title.clone()).bin_name(call);
    let version = concat!("kbtriage ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command)
        .title(title.to_uppercase())
        .source(version)
        .manual("kbtriage")
        .render(&mut &mut *out)?;
    writeln!(out, ".SH ENVIRONMENT")?;
    for (name, text) in ENVIRONMENT {
        writeln!(out, ".TP\n\\fB{name}\\fR\n{}", text.replace('-', "\\-"))?;
    }
    Ok(0)
}

/// Writes the completion script of a shell: a file alone means `triage`, so that its options and files are
/// completed without the word, and `man` completes commands.
///
/// # Errors
/// Whatever the writer says.
pub fn completions(
    program: &Command,
    shell: clap_complete::Shell,
    out: &mut dyn Write,
) -> io::Result<()> {
    let implied: Vec<Arg> = program
        .find_subcommand("triage")
        .into_iter()
        .flat_map(Command::get_arguments)
        .map(|argument| argument.clone().required(false))
        .collect();
    let names: Vec<&'static str> = super::COMMANDS.to_vec();
    let mut command = program
        .clone()
        .subcommand_required(false)
        .args_conflicts_with_subcommands(false)
        .args(implied)
        .mut_subcommand("man", |man| {
            man.mut_arg("command", |argument| argument.value_parser(names.clone()))
        });
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "kbtriage", &mut script);
    out.write_all(&script)?;
    // The library gives fish no values of arguments that have no option.
    if shell == clap_complete::Shell::Fish {
        let names = names.join(" ");
        let condition = "__fish_kbtriage_using_subcommand man";
        writeln!(
            out,
            "complete -c kbtriage -n \"{condition}\" -f -a \"{names}\""
        )?;
    }
    Ok(())
}

/// The command that a word which is neither a command nor a file was probably meant to be.
pub fn meant(program: &Command, word: &str) -> Option<String> {
    /// Less alike than that are two words, not one misspelt (clap uses the same measure).
    const ALIKE: f64 = 0.7;
    let looks_like_a_file = word.contains(['.', '/', '\\', ':', '*']) || word.starts_with('-');
    let known = word == "help" || program.find_subcommand(word).is_some();
    if known || looks_like_a_file || std::path::Path::new(word).exists() {
        return None;
    }
    program
        .get_subcommands()
        .map(|command| (strsim::jaro(word, command.get_name()), command.get_name()))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

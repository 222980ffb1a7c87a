//! What a person sees at a terminal: colours and widths on a real one (a pseudo-terminal of the `script` command), and
//! completions in the shells themselves. A system without one of these programs names what it skips.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::run::command;
use crate::support::shared::skipped;

const DUMP: &str = "fixtures/dumps/server2008-x64-d1.dmp";

/// True where the programs are there and `script` is that of Linux: those of other systems take other arguments.
fn has(programs: &[&str]) -> bool {
    let there = |name: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|folder| folder.join(name).is_file())
    };
    let absent: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|name| !there(name))
        .collect();
    if !cfg!(target_os = "linux") || !absent.is_empty() {
        skipped(&format!("needs Linux and {}", programs.join(", ")));
        return false;
    }
    true
}

fn program() -> String {
    command().get_program().to_str().unwrap().to_owned()
}

/// What the program writes to a terminal of so many columns.
fn on_terminal(columns: usize, arguments: &str, environment: &[(&str, &str)]) -> String {
    let line = format!(
        "stty cols {columns} rows 50; exec {} {arguments}",
        program()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    script.current_dir(env!("CARGO_MANIFEST_DIR"));
    script
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS");
    for (name, value) in environment {
        script.env(name, value);
    }
    let output = script.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .replace("\r\n", "\n")
}

/// Text without colours.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split('\u{1b}');
    out.push_str(parts.next().unwrap());
    for part in parts {
        let end = part
            .find(|c: char| c.is_ascii_alphabetic())
            .expect("a sequence that ends");
        out.push_str(&part[end + 1..]);
    }
    out
}

fn widest(text: &str) -> usize {
    plain(text)
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap()
}

#[test]
fn colours_are_on_terminals_only_and_carry_no_meaning_alone() {
    if !has(&["script", "stty"]) {
        return;
    }
    for arguments in [
        format!("triage {DUMP}"),
        format!("triage -v {DUMP}"),
        format!("stack {DUMP}"),
        format!("scan --quiet {DUMP}"),
    ] {
        let shown = on_terminal(80, &arguments, &[]);
        assert!(shown.contains("\u{1b}["), "{arguments}: {shown}");
        let pipe = command()
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let pipe = String::from_utf8(pipe.stdout).unwrap();
        assert!(!pipe.contains('\u{1b}'), "{arguments}: {pipe}");
        // The same words with and without.
        if !arguments.starts_with("scan") {
            assert_eq!(plain(&shown), pipe, "{arguments}");
        }
        for without in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let shown = on_terminal(80, &arguments, &[without]);
            assert!(!shown.contains('\u{1b}'), "{arguments}: {without:?}");
        }
    }
}

#[test]
fn text_is_as_wide_as_the_terminal_up_to_120_columns() {
    if !has(&["script", "stty"]) {
        return;
    }
    let corpus = "fixtures/corpus/dumps/x64-multicast-ldr22221-002-mini.dmp --symbols fixtures/corpus/symbols \
                  --images fixtures/corpus/images/x64";
    for arguments in [
        format!("triage -v {DUMP}"),
        format!("triage {DUMP}"),
        format!("triage -v {corpus}"),
        format!("explain {corpus}"),
        format!("stack --all-frames --registers {corpus}"),
    ] {
        for columns in [60, 80, 100, 120, 200] {
            let width = widest(&on_terminal(columns, &arguments, &[]));
            // Narrower than 80 columns nothing fits.
            let most = columns.clamp(80, 120);
            assert!(width <= most, "{arguments}: {width} columns of {most}");
        }
    }
    let wide = |columns| widest(&on_terminal(columns, &format!("triage -v {DUMP}"), &[]));
    assert!(wide(120) > 100 && wide(200) > 100, "the room is used");
}

/// A shell on a terminal, as somebody types into it.
struct Shell {
    child: std::process::Child,
    input: std::process::ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Shell {
    fn start(line: &str, folder: &Path) -> Shell {
        let mut child = Command::new("script")
            .args(["-qec", line, "/dev/null"])
            .current_dir(folder)
            .env("TERM", "xterm")
            // No mark before the first prompt, which would look like it.
            .env("PROMPT_EOL_MARK", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut part) {
                if sender.send(part[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Shell {
            child,
            input,
            output,
            seen: String::new(),
        }
    }

    /// Types, and waits until the screen holds `expected` behind what it held before.
    fn types(&mut self, keys: &str, expected: &str) {
        let before = self.seen.len();
        self.input.write_all(keys.as_bytes()).unwrap();
        self.input.flush().unwrap();
        self.wait(before, &[expected]);
    }

    /// Waits until the screen holds one of these behind `before`.
    fn wait(&mut self, before: usize, expected: &[&str]) {
        let until = Instant::now() + Duration::from_secs(60);
        while !expected
            .iter()
            .any(|text| self.seen[before..].contains(text))
        {
            let left = until.saturating_duration_since(Instant::now());
            let part = self.output.recv_timeout(left);
            let part =
                part.unwrap_or_else(|_| panic!("no {expected:?} in {:?}", &self.seen[before..]));
            self.seen.push_str(&plain_part(&part));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a part of a terminal's output says, without what moves the cursor.
fn plain_part(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                for next in rest.by_ref() {
                    if next.is_ascii_alphabetic() {
                        break;
                    }
                }
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A folder with the program under its name, and its completions for `shell`.
fn completions(shell: &str, file: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join(file);
    let output = command().args(["completions", shell]).output().unwrap();
    std::fs::write(&script, output.stdout).unwrap();
    (folder, script)
}

#[test]
fn zsh_completes_commands_options_values_and_pages() {
    if !has(&["script", "zsh"]) {
        return;
    }
    let (folder, script) = completions("zsh", "_kbtriage");
    let mut shell = Shell::start("zsh -f -i", folder.path());
    // Nothing is typed ahead of the shell: its terminal would answer in its place.
    // The prompt of root, and of others.
    shell.wait(0, &["# ", "% "]);
    let setup = "PS1='READ'Y'> '; zstyle ':completion:*' insert-tab false; autoload -Uz compinit; compinit -u -D; source";
    shell.types(&format!("{setup} {}\n", script.display()), "READY> ");
    for (typed, expected) in [
        ("kbtriage tri", "kbtriage triage"),
        ("kbtriage triage --form", "triage --format"),
        ("kbtriage triage --format ht", "--format html"),
        ("kbtriage man fle", "man fleet"),
        // A file alone means triage.
        ("kbtriage --drive", "kbtriage --drivers"),
    ] {
        shell.types(&format!("{typed}\t"), expected);
        shell.types("\u{15}", "");
    }
}

#[test]
fn fish_completes_commands_options_values_and_pages() {
    if !has(&["fish"]) {
        return;
    }
    let (folder, script) = completions("fish", "kbtriage.fish");
    std::fs::write(folder.path().join("Mini.dmp"), b"").unwrap();
    let complete = |typed: &str| {
        let line = format!("source {}; complete -C '{typed}'", script.display());
        let output = Command::new("fish")
            .args(["--no-config", "-c", &line])
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let first = |line: &str| line.split('\t').next().unwrap().to_owned();
        text.lines().map(first).collect::<Vec<String>>()
    };
    assert_eq!(complete("kbtriage tri"), ["triage"]);
    assert!(complete("kbtriage triage --form").contains(&"--format".to_owned()));
    assert_eq!(complete("kbtriage triage --format ht"), ["html"]);
    assert_eq!(complete("kbtriage man fle"), ["fleet"]);
    assert!(!complete("kbtriage man ").contains(&"Mini.dmp".to_owned()));
    assert!(complete("kbtriage --drive").contains(&"--drivers".to_owned()));
    assert!(complete("kbtriage triage Mi").contains(&"Mini.dmp".to_owned()));
}

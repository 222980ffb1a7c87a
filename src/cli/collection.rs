//! A folder that `docs/collect.cmd` made of one machine: its dumps, the versions of its files, its registry and
//! netsh's words. All of it is used for the dumps below the folder, and for no others.
//!
//! The folder says what it is by a file of a fixed name; names in it never become paths.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use walkdir::WalkDir;

use super::analysis::registry;
use crate::cli::kb;
use crate::gather::FolderState;
use crate::knowledge::inventory::{Inventory, MAX_INVENTORY_FILE};
use crate::report::escape::visible;
use crate::triage::Engine;

/// Says that a folder is one, and of which machine.
const MARKER: &str = "kbtriage-collection.txt";
/// First line of the marker.
const FORM: &str = "kbtriage collection 1";
/// Bytes of the marker that are read.
const MARKER_BYTES: u64 = 4096;
/// Files of versions and of state, in the order in which the script writes them.
const VERSIONS: &str = "versions.csv";
const STATES: [&str; 3] = ["SYSTEM.hiv", "netsh-ipv4.txt", "netsh-ipv6.txt"];
/// Folders below a root that are looked at, and dumps of one folder.
const MOST: usize = 10_000;

/// True when the script made this folder.
pub fn is_collection(folder: &Path) -> bool {
    machine_of(folder).is_some()
}

/// The machine that the marker names, perhaps none; `None` when there is no marker.
fn machine_of(folder: &Path) -> Option<Option<String>> {
    let mut text = Vec::new();
    let file = File::open(folder.join(MARKER)).ok()?;
    file.take(MARKER_BYTES).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = text.trim_start_matches('\u{FEFF}').lines().map(str::trim);
    if lines.next() != Some(FORM) {
        return None;
    }
    let name = lines.find_map(|line| line.strip_prefix("machine="));
    Some(name.filter(|name| !name.is_empty()).map(str::to_owned))
}

/// The roots that are such folders, and such folders right below a root. All are asked side by side: on a share
/// each answer takes its time. What gives none within `limit` is none.
pub fn below<'a>(roots: impl Iterator<Item = &'a Path>, limit: Duration) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in roots {
        if is_collection(root) {
            found.push(root.to_owned());
            continue;
        }
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let folders = entries
            .take(MOST)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path());
        found.extend(collections(folders.collect(), limit));
    }
    found.sort();
    found
}

/// The collections among `folders`: all are asked side by side, and one that gives no answer within `limit` is none.
fn collections(folders: Vec<PathBuf>, limit: Duration) -> Vec<PathBuf> {
    let count = folders.len();
    let (ask, asked) = crossbeam_channel::unbounded::<PathBuf>();
    let (answer, answers) = crossbeam_channel::unbounded();
    for folder in folders {
        let _ = ask.send(folder);
    }
    drop(ask);
    // Not scoped: one that waits for a dead server is left behind.
    for _ in 0..count.div_ceil(8).min(32) {
        let (asked, answer) = (asked.clone(), answer.clone());
        std::thread::spawn(move || {
            for folder in &asked {
                let _ = answer.send(is_collection(&folder).then_some(folder));
            }
        });
    }
    drop(answer);
    let mut found = Vec::new();
    for _ in 0..count {
        match answers.recv_timeout(limit) {
            Ok(folder) => found.extend(folder),
            Err(_) => break,
        }
    }
    found
}

/// The dumps in the folder by path.
pub fn dumps(folder: &Path) -> Vec<PathBuf> {
    let walk = WalkDir::new(folder).max_depth(3).sort_by_file_name();
    let files = walk
        .into_iter()
        .flatten()
        .filter(|e| e.file_type().is_file());
    files
        .map(walkdir::DirEntry::into_path)
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("dmp"))
        })
        .take(MOST)
        .collect()
}

/// Makes the engine use what each folder holds. What cannot be used is said on standard error, and the rest
/// is used.
///
/// # Errors
/// Whatever standard error says.
pub fn add(engine: &mut Engine, folders: &[PathBuf]) -> io::Result<()> {
    if folders.is_empty() {
        return Ok(());
    }
    let mut inventory = Inventory::clone(&engine.inventory);
    for folder in folders {
        let mut state = FolderState {
            folder: folder.clone(),
            machine: machine_of(folder).flatten(),
            states: Vec::new(),
        };
        let mut complaints = Vec::new();
        let versions = folder.join(VERSIONS);
        if versions.is_file() {
            let read = kb::read_text(&versions, MAX_INVENTORY_FILE).and_then(|(text, name)| {
                let read = inventory.read(&text, &name);
                read.map_err(|error| error.to_string())
            });
            complaints.extend(read.err());
        }
        for name in STATES {
            let path = folder.join(name);
            if path.is_file() {
                match registry(&path) {
                    Ok(found) => state.states.push(found),
                    Err(complaint) => complaints.push(complaint),
                }
            }
        }
        for complaint in complaints {
            writeln!(
                crate::cli::terminal::stderr(),
                "kbtriage: not used: {}",
                visible(&complaint)
            )?;
        }
        engine.folders.push(state);
    }
    engine.inventory = std::sync::Arc::new(inventory);
    Ok(())
}

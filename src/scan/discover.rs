//! Finds the files below the roots: looks at names and kinds, opens nothing. Directories are listed side by side
//! and handed on as they come, or in the order of paths.
//!
//! Every entry that is not a directory is given exactly once: as a file, or with the reason why it
//! is skipped. Directories that cannot be read are given too.

use std::collections::{HashMap, VecDeque};
use std::fs::FileType;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::list::{ListedRoots, WorkList};
use super::listing::{Entry, Lister, Listing};
use super::pulse::Pulse;
use super::roots::Roots;
use super::{Skip, links, list};
use crate::source::platform::{exact_folder, is_plain};
use crate::source::{Folder, SourceError};

/// Directories listed ahead of the one whose files are handed on.
const AHEAD: usize = 64;
/// Entries of directories listed ahead, beyond which no further one is asked for.
const ENTRIES_AHEAD: usize = 100_000;

/// Where files come from.
#[derive(Clone, Debug)]
pub enum Discovery {
    /// Directories are walked.
    Walk {
        /// Directories and files.
        roots: Roots,
        /// Which files are wanted.
        filter: Filter,
        /// Follow links to files and directories outside the roots.
        follow_links: bool,
        /// In the order of paths; otherwise as the file system gives them.
        sorted: bool,
    },
    /// A list was made before.
    List(WorkList),
}

/// One entry.
pub struct Found {
    /// Its root's place among the roots; `None` in a plain list.
    pub root: Option<usize>,
    /// What would be opened.
    pub path: PathBuf,
    /// The path below its root.
    pub relative: PathBuf,
    /// Its number on its file system, where the directory told it.
    pub file: Option<u64>,
    /// Its directory called it a regular file whose content is there.
    pub is_listed: bool,
    /// Its directory said that its content is not on the disk, which a look at the file itself may not show:
    /// opening it may be what fetches it.
    pub elsewhere: bool,
    /// What lies beside it, where its directory was listed.
    pub folder: Option<Arc<Folder>>,
    /// What it is.
    pub what: What,
}

impl Found {
    /// The entry, left where it is when its content is not on the disk, unless such files are wanted.
    pub fn unless_elsewhere(mut self, are_wanted: bool) -> Found {
        match &self.what {
            What::File if self.elsewhere && !are_wanted => {
                self.what = What::Skipped(Skip::offline());
            }
            // Of a list that was made without them.
            What::Skipped(skip) if are_wanted && skip.reason == super::OFFLINE => {
                self.what = What::File;
            }
            _ => {}
        }
        self
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file that is wanted.
    File,
    /// Not to be analysed.
    Skipped(Skip),
    /// A directory that could not be read.
    Unreadable(String),
}

/// Gives every entry to `emit` until that breaks off. A directory whose listing waits longer than `limit` is
/// given up.
pub fn discover(
    discovery: &Discovery,
    limit: Duration,
    pulse: &Pulse,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match discovery {
        Discovery::List(work) => {
            let places = ListedRoots::of(work, pulse);
            for entry in &work.entries {
                emit(list::found(&places, entry))?;
            }
        }
        Discovery::Walk {
            roots,
            filter,
            follow_links: false,
            sorted,
        } => {
            let mut walk = SideBySide {
                roots: roots.iter().map(|root| root.given.as_path()).collect(),
                filter,
                lister: Lister::new(limit),
            };
            match sorted {
                true => walk.sorted(emit)?,
                false => walk.unsorted(emit)?,
            }
        }
        Discovery::Walk {
            roots,
            filter,
            follow_links: true,
            ..
        } => links::follow(roots, filter, pulse, emit)?,
    }
    ControlFlow::Continue(())
}

/// A walk that follows no links.
struct SideBySide<'a> {
    roots: Vec<&'a Path>,
    filter: &'a Filter,
    lister: Lister,
}

/// A directory to list.
struct Directory {
    /// Its root's place among the roots.
    root: usize,
    /// By the name under which all entries can be reached.
    path: PathBuf,
    /// Below its root; empty for a root.
    relative: PathBuf,
}

/// One entry of a listing that is wanted.
enum Step {
    Found(Found),
    Enter(Directory),
}

pub(super) type Emit<'a> = &'a mut dyn FnMut(Found) -> ControlFlow<()>;

impl SideBySide<'_> {
    /// In the order in which servers answer; the files of a directory in that of their place on the disk.
    fn unsorted(&mut self, emit: Emit<'_>) -> ControlFlow<()> {
        // The last one found is listed first: what waits does not grow with the width of a tree.
        let mut todo = self.first();
        todo.reverse();
        let mut asked: HashMap<u64, Directory> = HashMap::new();
        loop {
            while self.lister.waiting() < AHEAD
                && let Some(directory) = todo.pop()
            {
                let number = self.ask(&directory);
                asked.insert(number, directory);
            }
            let Some((number, mut listing)) = self.lister.next() else {
                return ControlFlow::Continue(());
            };
            let Some(directory) = asked.remove(&number) else {
                continue;
            };
            listing.entries.sort_by_key(|entry| entry.number);
            for step in self.steps(&directory, listing) {
                match step {
                    Step::Found(found) => emit(found)?,
                    Step::Enter(directory) => todo.push(directory),
                }
            }
        }
    }

    /// In the order of paths, whatever the order of answers.
    fn sorted(&mut self, emit: Emit<'_>) -> ControlFlow<()> {
        let mut asked: HashMap<PathBuf, u64> = HashMap::new();
        let mut ready: HashMap<u64, Listing> = HashMap::new();
        let mut entries = 0;
        // For each directory on the way to where we are: what is left of it, and which directories of that are not
        // asked for yet.
        let first: VecDeque<Step> = self.first().into_iter().map(Step::Enter).collect();
        let mut stack = vec![first];
        while let Some(steps) = stack.last_mut() {
            let directory = match steps.pop_front() {
                None => {
                    stack.pop();
                    continue;
                }
                Some(Step::Found(found)) => {
                    emit(found)?;
                    continue;
                }
                Some(Step::Enter(directory)) => directory,
            };
            let number = match asked.remove(&directory.path) {
                Some(number) => number,
                None => self.ask(&directory),
            };
            for steps in stack.iter().rev() {
                for step in steps {
                    if self.lister.waiting() + ready.len() >= AHEAD || entries >= ENTRIES_AHEAD {
                        break;
                    }
                    if let Step::Enter(next) = step
                        && !asked.contains_key(&next.path)
                    {
                        let number = self.ask(next);
                        asked.insert(next.path.clone(), number);
                    }
                }
            }
            let mut listing = loop {
                if let Some(listing) = ready.remove(&number) {
                    break listing;
                }
                match self.lister.next() {
                    Some((number, listing)) => {
                        entries += listing.entries.len();
                        ready.insert(number, listing);
                    }
                    None => break Listing::default(),
                }
            };
            entries = entries.saturating_sub(listing.entries.len());
            listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
            stack.push(self.steps(&directory, listing).into());
        }
        ControlFlow::Continue(())
    }

    fn first(&self) -> Vec<Directory> {
        let roots = self.roots.iter().enumerate();
        roots
            .map(|(root, path)| Directory {
                root,
                path: exact_folder(path),
                relative: PathBuf::new(),
            })
            .collect()
    }

    fn ask(&mut self, directory: &Directory) -> u64 {
        let is_root = directory.relative.as_os_str().is_empty();
        self.lister.ask(directory.path.clone(), is_root)
    }

    /// What a listing tells, in its order: first why it is not whole.
    fn steps(&self, directory: &Directory, listing: Listing) -> Vec<Step> {
        let mut steps = Vec::with_capacity(listing.entries.len());
        if let Some(error) = listing.error {
            steps.push(Step::Found(self.failed(directory, &error)));
        }
        if let Some(entry) = listing.itself {
            let root = self.root(directory);
            let found = found(root.to_owned(), name_of(root), &entry, None);
            steps.push(Step::Found(found));
        }
        for entry in listing.entries {
            let relative = directory.relative.join(&entry.name);
            if self.filter.excludes(&relative) {
                continue;
            }
            let path = directory.path.join(&entry.name);
            if entry.kind.as_ref().is_ok_and(FileType::is_dir) {
                steps.push(Step::Enter(Directory {
                    root: directory.root,
                    path,
                    relative,
                }));
            } else if entry.kind.is_err() || self.filter.wants_file(&relative) {
                let folder = Some(Arc::clone(&listing.folder));
                let path = shown(self.root(directory), &path, &relative);
                steps.push(Step::Found(found(path, relative, &entry, folder)));
            }
        }
        for step in &mut steps {
            if let Step::Found(found) = step {
                found.root = Some(directory.root);
            }
        }
        steps
    }

    fn failed(&self, directory: &Directory, error: &io::Error) -> Found {
        let root = self.root(directory);
        let what = unreadable(&directory.path, Some(error));
        let relative = &directory.relative;
        match relative.as_os_str().is_empty() {
            true => plain(root.to_owned(), name_of(root), what),
            false => plain(
                shown(root, &directory.path, relative),
                relative.clone(),
                what,
            ),
        }
    }

    /// The root of a directory, as it was given.
    fn root<'d>(&'d self, directory: &'d Directory) -> &'d Path {
        self.roots
            .get(directory.root)
            .copied()
            .unwrap_or(&directory.path)
    }
}

/// An entry of a directory that was listed.
fn found(path: PathBuf, relative: PathBuf, entry: &Entry, folder: Option<Arc<Folder>>) -> Found {
    let what = match &entry.kind {
        Ok(kind) => what(*kind),
        Err(message) => What::Unreadable(message.clone()),
    };
    Found {
        file: entry.number,
        is_listed: what == What::File && !entry.elsewhere,
        elsewhere: entry.elsewhere,
        folder,
        ..plain(path, relative, what)
    }
}

/// An entry of which nothing more is known.
pub(super) fn plain(path: PathBuf, relative: PathBuf, what: What) -> Found {
    Found {
        root: None,
        path,
        relative,
        file: None,
        is_listed: false,
        elsewhere: false,
        folder: None,
        what,
    }
}

pub(super) fn what(kind: FileType) -> What {
    if kind.is_file() {
        What::File
    } else if kind.is_symlink() {
        What::Skipped(Skip::new("link", "a link; --follow-links follows it"))
    } else {
        What::Skipped(Skip::new("special-file", special(kind)))
    }
}

/// A directory that could not be listed, or a link to nowhere.
pub(super) fn unreadable(path: &Path, error: Option<&io::Error>) -> What {
    let dangling = |io: &io::Error| {
        io.kind() == io::ErrorKind::NotFound
            && path
                .symlink_metadata()
                .is_ok_and(|found| found.file_type().is_symlink())
    };
    match error {
        Some(io) if dangling(io) => {
            What::Skipped(Skip::new("link", "a link to what does not exist"))
        }
        Some(io) => What::Unreadable(SourceError::from_io(io, path, "listing it").message),
        None => What::Unreadable("it cannot be read".to_owned()),
    }
}

/// What to open and to show: below the root as it was given where that leads there.
pub(super) fn shown(root: &Path, found: &Path, relative: &Path) -> PathBuf {
    match is_plain(relative) {
        true => root.join(relative),
        false => found.to_owned(),
    }
}

pub(super) fn name_of(path: &Path) -> PathBuf {
    path.file_name().map(PathBuf::from).unwrap_or_default()
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "not a regular file"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_disk_is_read_only_where_that_is_wanted() {
        let entry = |what, elsewhere| Found {
            elsewhere,
            ..plain("a.dmp".into(), "a.dmp".into(), what)
        };
        let offline = What::Skipped(Skip::offline());
        for (what, elsewhere, are_wanted, expected) in [
            (What::File, true, false, offline.clone()),
            (What::File, true, true, What::File),
            (What::File, false, false, What::File),
            // From a list.
            (offline.clone(), false, false, offline.clone()),
            (offline, false, true, What::File),
        ] {
            let found = entry(what, elsewhere).unless_elsewhere(are_wanted);
            assert_eq!(found.what, expected);
        }
        let link = What::Skipped(Skip::new("link", "a link"));
        let found = entry(link.clone(), true).unless_elsewhere(true);
        assert_eq!(found.what, link);
    }
}

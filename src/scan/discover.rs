//! Finds the files below the roots: looks at names and kinds, opens nothing.
//!
//! Every entry that is not a directory is given exactly once: as a file, or with the reason why it
//! is skipped. Directories that cannot be read are given too.

use std::collections::BTreeSet;
use std::fs::FileType;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::filter::Filter;
use super::list::WorkList;
use super::pulse::Pulse;
use super::roots::Roots;
use super::{Skip, list};
use crate::source::platform::{exact_folder, is_plain};

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
    /// What would be opened.
    pub path: PathBuf,
    /// The path below its root.
    pub relative: PathBuf,
    /// Its number on its file system, where the directory told it.
    pub file: Option<u64>,
    /// What it is.
    pub what: What,
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

/// Gives every entry to `emit` until that breaks off.
pub fn discover(
    discovery: &Discovery,
    pulse: &Pulse,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match discovery {
        Discovery::List(work) => {
            for entry in &work.entries {
                emit(list::found(work, entry))?;
            }
        }
        Discovery::Walk {
            roots,
            filter,
            follow_links,
            sorted,
        } => {
            let mut links = Links {
                roots,
                seen: BTreeSet::new(),
            };
            for root in roots.iter() {
                let walk = Walk {
                    root: &root.given,
                    exact: exact_folder(&root.given),
                    filter,
                    follow_links: *follow_links,
                    sorted: *sorted || *follow_links,
                };
                walk.run(&mut links, pulse, emit)?;
            }
        }
    }
    ControlFlow::Continue(())
}

struct Walk<'a> {
    root: &'a Path,
    /// The root by the name under which all entries can be reached.
    exact: PathBuf,
    filter: &'a Filter,
    follow_links: bool,
    sorted: bool,
}

/// Links that were followed.
struct Links<'a> {
    roots: &'a Roots,
    seen: BTreeSet<PathBuf>,
}

impl Links<'_> {
    /// Why the link at `path` is not followed; `None` when it is, and its target was not met before.
    fn refuse(&mut self, path: &Path) -> Option<Skip> {
        let real = path.canonicalize().ok()?;
        if self.roots.overlaps(&real) {
            return Some(Skip::new("link", "a link to what is scanned anyway"));
        }
        let again = self.seen.iter().any(|seen| real.starts_with(seen));
        if again {
            return Some(Skip::new("link", "a second link to the same place"));
        }
        self.seen.insert(real);
        None
    }
}

impl Walk<'_> {
    fn run(
        &self,
        links: &mut Links<'_>,
        pulse: &Pulse,
        emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut walk = WalkDir::new(&self.exact).follow_links(self.follow_links);
        if self.sorted {
            walk = walk.sort_by_file_name();
        }
        let mut entries = walk.into_iter();
        while let Some(entry) = pulse.during(|| entries.next()) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    if let Some(found) = self.failed(&error) {
                        emit(found)?;
                    }
                    continue;
                }
            };
            let relative = self.relative(entry.path());
            let is_root = entry.depth() == 0;
            if !is_root && self.filter.excludes(&relative) {
                if entry.file_type().is_dir() {
                    entries.skip_current_dir();
                }
                continue;
            }
            if self.follow_links
                && !is_root
                && entry.path_is_symlink()
                && let Some(skip) = links.refuse(entry.path())
            {
                if entry.file_type().is_dir() {
                    entries.skip_current_dir();
                }
                emit(self.found(&entry, relative, What::Skipped(skip)))?;
                continue;
            }
            if entry.file_type().is_dir() {
                continue;
            }
            if !is_root && !self.filter.wants_file(&relative) {
                continue;
            }
            let what = match entry.file_type() {
                kind if kind.is_file() => What::File,
                kind if kind.is_symlink() => {
                    What::Skipped(Skip::new("link", "a link; --follow-links follows it"))
                }
                kind => What::Skipped(Skip::new("special-file", special(kind))),
            };
            emit(self.found(&entry, relative, what))?;
        }
        ControlFlow::Continue(())
    }

    fn found(&self, entry: &DirEntry, relative: PathBuf, what: What) -> Found {
        Found {
            path: self.path(entry.path(), &relative),
            relative,
            file: super::platform::entry_number(entry),
            what,
        }
    }

    /// What to open, below the root as it was given where that leads there.
    fn path(&self, found: &Path, relative: &Path) -> PathBuf {
        if found == self.exact {
            self.root.to_owned()
        } else if is_plain(relative) {
            self.root.join(relative)
        } else {
            found.to_owned()
        }
    }

    /// The path below the root; that of a root which is a file is its name.
    fn relative(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.exact) {
            Ok(below) if !below.as_os_str().is_empty() => below.to_owned(),
            _ => path.file_name().map(PathBuf::from).unwrap_or_default(),
        }
    }

    fn failed(&self, error: &walkdir::Error) -> Option<Found> {
        let path = error.path().unwrap_or(&self.exact);
        let relative = self.relative(path);
        let path = self.path(path, &relative);
        if self.filter.excludes(&relative) && error.depth() > 0 {
            return None;
        }
        let what = if error.loop_ancestor().is_some() {
            What::Skipped(Skip::new("loop", "a link to a directory that holds it"))
        } else {
            let dangling = path
                .symlink_metadata()
                .is_ok_and(|found| found.file_type().is_symlink());
            match error.io_error() {
                Some(io) if dangling && io.kind() == std::io::ErrorKind::NotFound => {
                    What::Skipped(Skip::new("link", "a link to what does not exist"))
                }
                Some(io) => What::Unreadable(io.to_string()),
                None => What::Unreadable("it cannot be read".to_owned()),
            }
        };
        Some(Found {
            path,
            relative,
            file: None,
            what,
        })
    }
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

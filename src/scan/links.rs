//! A walk that follows links, one root after the other in the order of paths: the first link that leads somewhere
//! counts, and none that leads round or into a root.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::Skip;
use super::discover::{Emit, Found, What, name_of, plain, shown, unreadable, what};
use super::filter::Filter;
use super::pulse::Pulse;
use super::roots::Roots;
use crate::source::platform::{exact_folder, is_listed_offline};

/// Gives every entry below the roots to `emit` until that breaks off.
pub(super) fn follow(
    roots: &Roots,
    filter: &Filter,
    pulse: &Pulse,
    emit: Emit<'_>,
) -> ControlFlow<()> {
    let mut links = Links {
        roots,
        seen: BTreeSet::new(),
    };
    for (place, root) in roots.iter().enumerate() {
        let walk = Walk {
            root: &root.given,
            exact: exact_folder(&root.given),
            filter,
        };
        walk.run(&mut links, pulse, &mut |found| {
            emit(Found {
                root: Some(place),
                ..found
            })
        })?;
    }
    ControlFlow::Continue(())
}

/// A walk that follows links: in the order of paths, as the first one that leads somewhere counts.
struct Walk<'a> {
    root: &'a Path,
    /// The root by the name under which all entries can be reached.
    exact: PathBuf,
    filter: &'a Filter,
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
        let walk = WalkDir::new(&self.exact).follow_links(true);
        let mut entries = walk.sort_by_file_name().into_iter();
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
            if !is_root
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
            emit(self.found(&entry, relative, what(entry.file_type())))?;
        }
        ControlFlow::Continue(())
    }

    fn found(&self, entry: &DirEntry, relative: PathBuf, what: What) -> Found {
        let is_listed = what == What::File && !entry.path_is_symlink();
        let elsewhere = is_listed && is_listed_offline(|| entry.metadata().ok());
        Found {
            is_listed: is_listed && !elsewhere,
            elsewhere,
            ..plain(self.path(entry.path(), &relative), relative, what)
        }
    }

    fn path(&self, found: &Path, relative: &Path) -> PathBuf {
        match found == self.exact {
            true => self.root.to_owned(),
            false => shown(self.root, found, relative),
        }
    }

    /// The path below the root; that of a root which is a file is its name.
    fn relative(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.exact) {
            Ok(below) if !below.as_os_str().is_empty() => below.to_owned(),
            _ => name_of(path),
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
            unreadable(&path, error.io_error())
        };
        Some(plain(path, relative, what))
    }
}

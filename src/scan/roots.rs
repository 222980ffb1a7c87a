//! The directories and files a scan was asked for, and whether something lies inside one of them.

use std::path::{Path, PathBuf};

/// Roots in the order of paths. One that lies inside another is left out: its files belong to the
/// other.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    kept: Vec<Root>,
    /// Roots that were left out.
    pub dropped: Vec<PathBuf>,
}

/// One root.
#[derive(Clone, Debug)]
pub struct Root {
    /// As given.
    pub given: PathBuf,
    /// Absolute and without links, where the system could tell.
    pub real: Option<PathBuf>,
}

impl Roots {
    /// The roots among `given`.
    pub fn new(mut given: Vec<PathBuf>) -> Roots {
        given.sort();
        given.dedup();
        let all: Vec<Root> = given
            .into_iter()
            .map(|given| Root {
                real: given.canonicalize().ok(),
                given,
            })
            .collect();
        let mut roots = Roots::default();
        for (index, root) in all.iter().enumerate() {
            let covered = all.iter().enumerate().any(|(other, candidate)| {
                let (Some(real), Some(by)) = (&root.real, &candidate.real) else {
                    return false;
                };
                // Of two names for one directory the first is kept.
                other != index && real.starts_with(by) && (real != by || other < index)
            });
            if covered {
                roots.dropped.push(root.given.clone());
            } else {
                roots.kept.push(root.clone());
            }
        }
        roots
    }

    /// The roots that are kept.
    pub fn iter(&self) -> impl Iterator<Item = &Root> {
        self.kept.iter()
    }

    /// True when `real`, an absolute path without links, lies inside a root or holds one.
    pub fn overlaps(&self, real: &Path) -> bool {
        self.kept
            .iter()
            .filter_map(|root| root.real.as_deref())
            .any(|root| real.starts_with(root) || root.starts_with(real))
    }
}

/// True when writing to `path` would write inside a root, whatever links lead there.
pub fn inside(roots: &Roots, path: &Path) -> bool {
    let mut existing = path;
    let mut real = existing.canonicalize().ok();
    // The file itself need not exist yet, nor its directory.
    while real.is_none() {
        existing = match existing.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        real = existing.canonicalize().ok();
        if existing == Path::new(".") {
            break;
        }
    }
    let Some(real) = real else {
        return false;
    };
    roots
        .iter()
        .filter_map(|root| root.real.as_deref())
        .any(|root| real.starts_with(root))
}

//! The directories and files a scan was asked for, and whether something lies inside one of them.

use std::path::{Path, PathBuf};

use same_file::Handle;

use super::platform::spelt;
use crate::source::platform::folded;

/// Links that Linux follows to one file (path_resolution(7)).
const MOST_LINKS: usize = 40;

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
    /// As given, in one spelling: what lies below it is named by it in reports and stores.
    pub given: PathBuf,
    /// Absolute and without links, where the system could tell.
    pub real: Option<PathBuf>,
}

impl Roots {
    /// The roots among `given`.
    pub fn new(given: Vec<PathBuf>) -> Roots {
        let mut given: Vec<PathBuf> = given.iter().map(|given| spelt(given)).collect();
        given.sort();
        given.dedup();
        let all: Vec<Root> = given
            .into_iter()
            .map(|given| Root {
                real: real(&given),
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

/// Where a root really lies. A system may know no real path of one that it can open: Wine of one with more than 260
/// characters.
fn real(given: &Path) -> Option<PathBuf> {
    given
        .canonicalize()
        .ok()
        .or_else(|| real_place(given).filter(|_| given.exists()))
}

/// True when writing to `path` would write inside a root, whatever links, mounts or shares lead there.
pub fn inside(roots: &Roots, path: &Path) -> bool {
    let Some(real) = real_place(path) else {
        return false;
    };
    // A folder that this computer shares has a network name, too: one and the same is told by its number.
    let above: Vec<Handle> = real.ancestors().skip(1).filter_map(folder).collect();
    let is_above = |root: &Path| folder(root).is_some_and(|root| above.contains(&root));
    let mounts = Mounts::read();
    let place = mounts.place(&real);
    roots
        .iter()
        .filter_map(|root| root.real.as_deref())
        .any(|root| {
            real.starts_with(root)
                || is_above(root)
                || place.as_ref().is_some_and(|(device, below)| {
                    mounts
                        .place(root)
                        .is_some_and(|(other, top)| other == *device && below.starts_with(top))
                })
        })
}

/// What tells the folder at `path` from every other; `None` where there is none, or the system does not tell.
fn folder(path: &Path) -> Option<Handle> {
    // Only these: opening a pipe would wait.
    path.is_dir()
        .then(|| Handle::from_path(path).ok())
        .flatten()
}

/// True when both lead to one file, whether it is there or not.
pub fn same_place(a: &Path, b: &Path) -> bool {
    if a.is_file() && b.is_file() && same_file::is_same_file(a, b).unwrap_or(false) {
        return true;
    }
    let place = |path: &Path| {
        let place = real_place(path)?;
        // Of a name that is not there nobody knows how it would be spelt.
        Some(folded(&place))
    };
    place(a).is_some_and(|a| place(b) == Some(a))
}

/// Where `path` or the first folder above it that exists really lies, with what does not exist behind it.
fn real_place(path: &Path) -> Option<PathBuf> {
    // A link whose target is not there yet, behind as many others as the system follows: what is written goes there.
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = match path.parent() {
            Some(parent) => parent.join(target),
            None => target,
        };
    }
    let path = path.as_path();
    let mut existing = path;
    loop {
        if let Ok(real) = existing.canonicalize() {
            let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
            return Some(real.join(rest));
        }
        existing = match existing.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => {
                let here = Path::new(".").canonicalize().ok()?;
                return Some(here.join(path));
            }
        };
    }
}

/// What is mounted where: one folder may have several names. Known on Linux only.
#[derive(Default)]
struct Mounts(Vec<Mount>);

struct Mount {
    /// Major and minor number.
    device: String,
    /// The folder of the file system that is shown.
    root: PathBuf,
    /// Where it is shown.
    point: PathBuf,
}

impl Mounts {
    /// Those of this process (proc(5), `/proc/pid/mountinfo`).
    fn read() -> Mounts {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Mounts::parse(&text)
    }

    fn parse(text: &str) -> Mounts {
        let mount = |line: &str| {
            let mut fields = line.split(' ').skip(2);
            let device = fields.next()?.to_owned();
            let root = PathBuf::from(unescaped(fields.next()?));
            let point = PathBuf::from(unescaped(fields.next()?));
            Some(Mount {
                device,
                root,
                point,
            })
        };
        Mounts(text.lines().filter_map(mount).collect())
    }

    /// The device that `real` lies on, and its path there.
    fn place(&self, real: &Path) -> Option<(&str, PathBuf)> {
        let mount = self
            .0
            .iter()
            // Of several at one place the last is the one that is seen, and the one that this finds.
            .filter(|mount| real.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.as_os_str().len())?;
        let below = real.strip_prefix(&mount.point).ok()?;
        Some((&mount.device, mount.root.join(below)))
    }
}

/// A field of the table: blanks and the like are `\\` and three octal digits there.
fn unescaped(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let code = after.get(1..4).and_then(|c| u8::from_str_radix(c, 8).ok());
        match code {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(4..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_mounted_at_a_second_place_is_the_same_folder() {
        let mounts = Mounts::parse(
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             40 22 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
             41 22 8:2 /dumps/host\\0401 /mnt/other rw - ext4 /dev/sda2 rw\n",
        );
        let (device, path) = mounts.place(Path::new("/mnt/other/out.jsonl")).unwrap();
        assert_eq!(
            (device, path.as_path()),
            ("8:2", Path::new("/dumps/host 1/out.jsonl"))
        );
        let (device, root) = mounts.place(Path::new("/srv/dumps")).unwrap();
        assert_eq!((device, root.as_path()), ("8:2", Path::new("/dumps")));
        assert!(path.starts_with(root));
        assert_eq!(mounts.place(Path::new("/home/x")).unwrap().0, "8:1");
    }
}

//! One search: the elements of the symbol path in order, servers included when they may be asked,
//! and the downstream stores filled on the way back.

use std::path::PathBuf;

use super::cache::Cache;
use super::path::{Element, ElementKind, Origin, Place, SymbolPath};
use super::server::{Answer, Servers, without_credentials};
use super::store::{self, FoundFile, Trail, Verdict, Verify, Wanted};

/// Which servers may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// None.
    #[default]
    Offline,
    /// Those named on the command line.
    Named,
    /// All in the path.
    All,
}

impl Network {
    /// The rule of consent: `--offline` wins over everything; `--online` allows every server; a
    /// server in `--symbols` is consent for that command, except in a scan.
    pub fn from_flags(offline: bool, online: bool, scan: bool) -> Network {
        match (offline, online, scan) {
            (true, ..) => Network::Offline,
            (false, true, _) => Network::All,
            (false, false, true) => Network::Offline,
            (false, false, false) => Network::Named,
        }
    }

    fn allows(self, origin: Origin) -> bool {
        match self {
            Network::Offline => false,
            Network::Named => origin == Origin::CommandLine,
            Network::All => true,
        }
    }
}

/// Searches paths for files.
#[derive(Debug)]
pub(super) struct Finder {
    pub network: Network,
    pub servers: Servers,
    pub cache: Option<Cache>,
}

impl Finder {
    /// Looks for a file along a path.
    pub fn find(
        &self,
        path: &SymbolPath,
        wanted: &Wanted,
        verify: Verify<'_>,
        trail: &mut Trail,
    ) -> Option<FoundFile> {
        path.elements
            .iter()
            .find_map(|element| self.element(element, wanted, verify, trail))
    }

    fn element(
        &self,
        element: &Element,
        wanted: &Wanted,
        verify: Verify<'_>,
        trail: &mut Trail,
    ) -> Option<FoundFile> {
        let mut above: Vec<PathBuf> = element
            .copy_to
            .iter()
            .filter_map(|p| self.folder(p))
            .collect();
        match &element.kind {
            ElementKind::Directory(folder) => {
                let wanted = without_short_cut(wanted, !above.is_empty());
                let found = store::in_directory(folder, &wanted, verify, trail)?;
                Some(self.copied(found, &above, &wanted, trail))
            }
            ElementKind::Chain(places) => {
                for place in places {
                    let wanted = without_short_cut(wanted, !above.is_empty());
                    let found = match (self.folder(place), place) {
                        (Some(root), _) => {
                            let found = store::in_store(&root, &wanted, verify, trail);
                            if found.is_none() {
                                above.push(root);
                                continue;
                            }
                            found
                        }
                        (None, Place::Server { url, origin }) => {
                            self.download(url, *origin, &wanted, verify, trail)
                        }
                        (None, _) => None,
                    };
                    if let Some(found) = found {
                        return Some(self.copied(found, &above, &wanted, trail));
                    }
                }
                None
            }
        }
    }

    fn folder(&self, place: &Place) -> Option<PathBuf> {
        match place {
            Place::Folder(folder) => Some(folder.clone()),
            Place::DefaultFolder => self.cache.as_ref().map(Cache::downstream),
            Place::Server { .. } => None,
        }
    }

    /// Copies a file into the stores that were asked before the place that had it.
    fn copied(
        &self,
        mut found: FoundFile,
        above: &[PathBuf],
        wanted: &Wanted,
        trail: &mut Trail,
    ) -> FoundFile {
        for root in above {
            let Some(bytes) = &found.bytes else { break };
            match store::fill(root, &wanted.name, &wanted.key, bytes) {
                Ok(path) => found.path = path,
                Err(error) => trail.note(format!("{}: not filled: {error}", store::shown(root))),
            }
        }
        found
    }

    /// Asks a server for the file, its compressed form and its pointer, as `symsrv` does.
    fn download(
        &self,
        url: &str,
        origin: Origin,
        wanted: &Wanted,
        verify: Verify<'_>,
        trail: &mut Trail,
    ) -> Option<FoundFile> {
        let place = without_credentials(url);
        if !self.network.allows(origin) {
            trail.note(format!("{place} (not asked: no consent to go online)"));
            return None;
        }
        let folder = format!("{}/{}", escaped(wanted.name.as_str()), wanted.key);
        for name in [wanted.name.clone(), wanted.name.compressed()] {
            let path = format!("{folder}/{}", escaped(name.as_str()));
            let full = format!("{url}/{path}");
            if self
                .cache
                .as_ref()
                .is_some_and(|cache| cache.is_missing(&full))
            {
                trail.note(format!("{place}/{path} (not there within the last day)"));
                continue;
            }
            match self.servers.get(url, &path, wanted.limit) {
                Answer::Body(bytes) => match usable(bytes, wanted, verify) {
                    Ok(bytes) => {
                        let path = PathBuf::from(format!("{place}/{path}"));
                        return Some(FoundFile {
                            path,
                            bytes: Some(bytes),
                        });
                    }
                    Err(Verdict::Mismatch { found }) => {
                        trail.note(format!("{place}/{path}: is {found}"));
                        let at = PathBuf::from(format!("{place}/{path}"));
                        trail.mismatched.get_or_insert((at, found));
                    }
                    Err(Verdict::Unusable { reason }) => {
                        trail.note(format!("{place}/{path}: {reason}"))
                    }
                    Err(Verdict::Match) => {}
                },
                Answer::NotFound => {
                    trail.note(format!("{place}/{path}"));
                    if let Some(cache) = &self.cache {
                        cache.remember_missing(&full);
                    }
                }
                Answer::Failed(reason) => {
                    trail.note(format!("{place}/{path}: {reason}"));
                    return None;
                }
                Answer::GivenUp => {
                    trail.note(format!("{place}: failed too often, not asked again"));
                    return None;
                }
            }
        }
        None
    }
}

fn usable(bytes: Vec<u8>, wanted: &Wanted, verify: Verify<'_>) -> Result<Vec<u8>, Verdict> {
    let bytes =
        store::unpacked(bytes, wanted.limit).map_err(|reason| Verdict::Unusable { reason })?;
    match verify(&bytes) {
        Verdict::Match => Ok(bytes),
        other => Err(other),
    }
}

/// A file that has to be copied must be read.
fn without_short_cut(wanted: &Wanted, read: bool) -> Wanted {
    let mut wanted = wanted.clone();
    if read {
        wanted.known_len = None;
    }
    wanted
}

/// Percent-encodes the few characters a checked name may hold that mean something in an address.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            ' ' => out.push_str("%20"),
            '#' => out.push_str("%23"),
            '{' => out.push_str("%7B"),
            '}' => out.push_str("%7D"),
            '+' => out.push_str("%2B"),
            _ => out.push(c),
        }
    }
    out
}

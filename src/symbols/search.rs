//! One search: the elements of the symbol path in order, servers included when they may be asked,
//! and the downstream stores filled on the way back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use tempfile::TempDir;

use super::cache::Cache;
use super::path::{Element, ElementKind, Origin, StoreLocation, SymbolPath};
use super::roots::{RootState, StoreRoots};
use super::server::{Response, Servers, without_credentials};
use super::store::{self, FoundFile, Trail, Verdict, Verify, Wanted};

/// Which servers may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// None.
    #[default]
    Offline,
    /// Servers that were named on the command line.
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

/// The marker of a two-tier store.
const TWO_TIERS: &str = "index2.txt";
/// Most of it that is read: nobody asks what it says.
const MAX_MARKER: u64 = 1 << 16;

/// Searches paths for files.
#[derive(Debug)]
pub(super) struct Finder {
    pub network: Network,
    pub servers: Servers,
    pub cache: Option<Cache>,
    /// Files that a thread is looking for online: another one waits and finds them in a store.
    busy: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    /// Servers by address: two tiers or one.
    tiers: Mutex<BTreeMap<String, bool>>,
    /// The folders of the paths: a look at one that gives no answer takes long.
    pub roots: StoreRoots,
    /// A store for what no downstream store took, gone with the process.
    spare: OnceLock<Option<TempDir>>,
}

impl Finder {
    /// A finder that has looked for nothing.
    pub fn new(
        network: Network,
        servers: Servers,
        cache: Option<Cache>,
        roots: StoreRoots,
    ) -> Finder {
        Finder {
            network,
            servers,
            cache,
            busy: Mutex::default(),
            tiers: Mutex::default(),
            roots,
            spare: OnceLock::new(),
        }
    }

    /// Servers, and folders on servers, that gave no answer so far, each with the first reason.
    pub fn silent_servers(&self) -> Vec<(String, String)> {
        let mut silent = self.servers.silent();
        silent.extend(self.roots.silent());
        silent
    }

    /// Looks for a file along a path.
    pub fn find(
        &self,
        path: &SymbolPath,
        wanted: &Wanted,
        verify: Verify<'_>,
        trail: &mut Trail,
    ) -> Option<FoundFile> {
        if self.network == Network::Offline || !path.names_a_server() {
            return self.walk(path, wanted, verify, trail);
        }
        let name = format!("{}/{}", wanted.name, wanted.key).to_ascii_lowercase();
        let turn = match self.busy.lock() {
            Ok(mut busy) => Arc::clone(busy.entry(name.clone()).or_default()),
            Err(_) => Arc::default(),
        };
        let found = {
            let _mine = turn.lock();
            self.walk(path, wanted, verify, trail)
        };
        if let Ok(mut busy) = self.busy.lock()
            // Ours and the map's: nobody waits.
            && Arc::strong_count(&turn) == 2
        {
            busy.remove(&name);
        }
        found
    }

    fn walk(
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
                let found = self
                    .is_there(folder, trail)
                    .then(|| store::in_directory(folder, &wanted, verify, trail))??;
                Some(self.copied(found, &above, &wanted, trail))
            }
            ElementKind::Chain(places) => {
                for place in places {
                    let wanted = without_short_cut(wanted, !above.is_empty());
                    let found = match (self.folder(place), place) {
                        (Some(root), _) => {
                            let found = self
                                .is_there(&root, trail)
                                .then(|| store::in_store(&root, &wanted, verify, trail))
                                .flatten();
                            if found.is_none() {
                                above.push(root);
                                continue;
                            }
                            found
                        }
                        (None, StoreLocation::Server { url, origin }) => {
                            let found = self.download(url, *origin, &wanted, verify, trail);
                            let found =
                                found.map(|found| self.copied(found, &above, &wanted, trail));
                            if let Some(found) = found {
                                return Some(self.kept(found, &wanted));
                            }
                            None
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

    /// False, and noted, for a folder that is not there or gives no answer.
    fn is_there(&self, root: &Path, trail: &mut Trail) -> bool {
        match self.roots.state(root) {
            RootState::Unknown | RootState::Filled => true,
            RootState::Absent(why) | RootState::Silent(why) => {
                trail.note(format!("{}: {why}", store::shown(root)));
                false
            }
        }
    }

    fn folder(&self, place: &StoreLocation) -> Option<PathBuf> {
        match place {
            StoreLocation::Folder(folder) => Some(folder.clone()),
            StoreLocation::DefaultFolder => self.cache.as_ref().map(Cache::downstream),
            StoreLocation::Server { .. } => None,
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
            // Noted when it was looked at.
            if let RootState::Silent(_) = self.roots.known(root) {
                continue;
            }
            match store::fill(root, &wanted.name, &wanted.key, bytes) {
                Ok(path) => {
                    self.roots.filled(root);
                    found.path = path;
                }
                Err(error) => trail.note(format!("{}: not filled: {error}", store::shown(root))),
            }
        }
        found
    }

    /// Keeps a download that no downstream store took, so that no dump asks for it again.
    fn kept(&self, mut found: FoundFile, wanted: &Wanted) -> FoundFile {
        if let Some(bytes) = &found.bytes
            && !found.path.is_file()
            && let Some(root) = self.spare.get_or_init(|| tempfile::tempdir().ok())
            && let Ok(path) = store::fill(root.path(), &wanted.name, &wanted.key, bytes)
        {
            found.path = path;
        }
        found
    }

    /// Asks a server for the file and for its compressed form, in one tier and, when the server
    /// is a two-tier store, in two. A pointer (`file.ptr`) is not asked for: it would let the
    /// server name a file of this computer or of a share.
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
        if let Some(Some(spare)) = self.spare.get()
            && let Some(found) =
                store::in_store(spare.path(), wanted, verify, &mut Trail::default())
        {
            return Some(found);
        }
        let folder = format!("{}/{}", escaped(wanted.name.as_str()), wanted.key);
        let tried = trail.tried.len();
        match self.download_from(url, &folder, wanted, verify, trail) {
            Asked::Found(found) => Some(found),
            Asked::Absent if self.has_two_tiers(url) => {
                let two = store::first_two(wanted.name.as_str())?;
                let folder = format!("{}/{folder}", escaped(&two));
                // What a two-tier store does not have in one tier says nothing.
                trail.tried.truncate(tried);
                match self.download_from(url, &folder, wanted, verify, trail) {
                    Asked::Found(found) => Some(found),
                    Asked::Absent | Asked::Useless => None,
                }
            }
            Asked::Absent | Asked::Useless => None,
        }
    }

    /// True when the server says that it is a two-tier store; asked once, and once a day if not.
    fn has_two_tiers(&self, url: &str) -> bool {
        if let Ok(tiers) = self.tiers.lock()
            && let Some(known) = tiers.get(url)
        {
            return *known;
        }
        let full = format!("{url}/{TWO_TIERS}");
        let cache = self.cache.as_ref();
        let two = !cache.is_some_and(|cache| cache.is_missing(&full))
            && match self.servers.get(url, TWO_TIERS, MAX_MARKER) {
                Response::Body(_) => true,
                Response::NotFound => {
                    if let Some(cache) = cache {
                        cache.remember_missing(&full);
                    }
                    false
                }
                Response::Failed(_) | Response::Unreachable(_) | Response::GivenUp => false,
            };
        if let Ok(mut tiers) = self.tiers.lock() {
            tiers.insert(url.to_owned(), two);
        }
        two
    }

    fn download_from(
        &self,
        url: &str,
        folder: &str,
        wanted: &Wanted,
        verify: Verify<'_>,
        trail: &mut Trail,
    ) -> Asked {
        let place = without_credentials(url);
        let mut absent = true;
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
                Response::Body(bytes) => match usable(bytes, wanted, verify) {
                    Ok(bytes) => {
                        let path = PathBuf::from(format!("{place}/{path}"));
                        return Asked::Found(FoundFile {
                            path,
                            bytes: Some(bytes),
                        });
                    }
                    Err(Verdict::Mismatch { found }) => {
                        trail.note(format!("{place}/{path}: is {found}"));
                        let at = PathBuf::from(format!("{place}/{path}"));
                        trail.mismatched.get_or_insert((at, found));
                        absent = false;
                    }
                    Err(Verdict::Unusable { reason }) => {
                        trail.note(format!("{place}/{path}: {reason}"));
                        absent = false;
                    }
                    Err(Verdict::Match) => {}
                },
                Response::NotFound => {
                    trail.note(format!("{place}/{path}"));
                    if let Some(cache) = &self.cache {
                        cache.remember_missing(&full);
                    }
                }
                Response::Failed(reason) | Response::Unreachable(reason) => {
                    trail.note(format!("{place}/{path}: {reason}"));
                    return Asked::Useless;
                }
                Response::GivenUp => {
                    trail.note(format!("{place}: failed too often, not asked again"));
                    return Asked::Useless;
                }
            }
        }
        match absent {
            true => Asked::Absent,
            false => Asked::Useless,
        }
    }
}

/// What came of asking a server for one file.
enum Asked {
    Found(FoundFile),
    /// It has none of that name and key.
    Absent,
    /// It failed, or what it has cannot be used.
    Useless,
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

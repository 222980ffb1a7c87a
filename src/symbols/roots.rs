//! The folders of a symbol path as one run knows them: which are not there, which gave no answer.
//!
//! A folder of a server that is switched off lets every look at it wait, half a minute on Windows: it is looked at
//! once. One that is not there is not looked for again either, unless this program makes it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What is known of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RootState {
    /// Nothing, or it was there: it is looked at with each file, for servers are switched off at any time.
    #[default]
    Unknown,
    /// This program put a file there.
    Filled,
    /// It is no folder: why.
    Absent(String),
    /// No answer came: why.
    Silent(String),
}

/// What says whether something is a folder.
type Look = dyn Fn(&Path) -> io::Result<bool> + Send + Sync;

/// The folders that a run's paths name. Of others, as that of a dump, nothing is remembered.
pub struct StoreRoots {
    known: Mutex<BTreeMap<PathBuf, RootState>>,
    look: Box<Look>,
}

impl std::fmt::Debug for StoreRoots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreRoots").finish_non_exhaustive()
    }
}

impl StoreRoots {
    /// Looks at nothing yet.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> StoreRoots {
        StoreRoots::with(
            folders,
            Box::new(|root| root.metadata().map(|m| m.is_dir())),
        )
    }

    fn with(folders: impl IntoIterator<Item = PathBuf>, look: Box<Look>) -> StoreRoots {
        let known = folders.into_iter().map(|root| (root, RootState::Unknown));
        StoreRoots {
            known: Mutex::new(known.collect()),
            look,
        }
    }

    /// What is known of a folder, which is looked at unless that is known to be in vain.
    pub fn state(&self, root: &Path) -> RootState {
        let known = self.known(root);
        if let RootState::Absent(_) | RootState::Silent(_) = known {
            return known;
        }
        // No lock while it is looked at: that may take as long as it likes.
        let now = match (self.look)(root) {
            Ok(true) => return known,
            Ok(false) => RootState::Absent("there is no such folder".to_owned()),
            Err(error) if is_absent(&error) => {
                RootState::Absent("there is no such folder".to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                RootState::Absent(error.to_string())
            }
            Err(error) => RootState::Silent(error.to_string()),
        };
        if let Ok(mut known) = self.known.lock()
            && let Some(state) = known.get_mut(root)
            // Another thread may have made it meanwhile.
            && (*state == RootState::Unknown || matches!(now, RootState::Silent(_)))
        {
            *state = now.clone();
        }
        now
    }

    /// What is known of a folder, without a look.
    pub fn known(&self, root: &Path) -> RootState {
        let known = self.known.lock();
        known.map_or(RootState::Unknown, |known| {
            known.get(root).cloned().unwrap_or_default()
        })
    }

    /// Notes that a file was put there.
    pub fn filled(&self, root: &Path) {
        if let Ok(mut known) = self.known.lock()
            && let Some(state) = known.get_mut(root)
        {
            *state = RootState::Filled;
        }
    }

    /// Folders that gave no answer so far, each with the reason.
    pub fn silent(&self) -> Vec<(String, String)> {
        let known = self.known.lock();
        let all = known.iter().flat_map(|known| known.iter());
        all.filter_map(|(root, state)| match state {
            RootState::Silent(why) => Some((root.display().to_string(), why.clone())),
            _ => None,
        })
        .collect()
    }
}

/// True for the error of a path that is not there, where its server, if it has one, has answered that.
#[cfg(not(windows))]
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// True for the error of a path that is not there. For a server that gives no answer, and a share that it does not
/// have, the kind is the same: the numbers (winerror.h) tell.
#[cfg(windows)]
fn is_absent(error: &io::Error) -> bool {
    const ERROR_FILE_NOT_FOUND: i32 = 2;
    const ERROR_PATH_NOT_FOUND: i32 = 3;
    const ERROR_INVALID_DRIVE: i32 = 15;
    const ERROR_NOT_READY: i32 = 21;
    const ERROR_INVALID_NAME: i32 = 123;
    const ERROR_BAD_PATHNAME: i32 = 161;
    const ERROR_DIRECTORY: i32 = 267;
    match error.raw_os_error() {
        None => error.kind() == io::ErrorKind::NotFound,
        Some(code) => matches!(
            code,
            ERROR_FILE_NOT_FOUND
                | ERROR_PATH_NOT_FOUND
                | ERROR_INVALID_DRIVE
                | ERROR_NOT_READY
                | ERROR_INVALID_NAME
                | ERROR_BAD_PATHNAME
                | ERROR_DIRECTORY
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::symbols::cache::Cache;
    use crate::symbols::identity::FileName;
    use crate::symbols::path::{Origin, SymbolPath};
    use crate::symbols::search::{Finder, Network};
    use crate::symbols::server::{ServerLimits, Servers};
    use crate::symbols::store::{Trail, Verdict, Wanted};

    /// Folders that are looked at by `look`, and how often that was.
    fn counted(
        folders: &[&str],
        look: impl Fn(&Path) -> io::Result<bool> + Send + Sync + 'static,
    ) -> (StoreRoots, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let own = Arc::clone(&count);
        let look = move |root: &Path| {
            own.fetch_add(1, Ordering::Relaxed);
            look(root)
        };
        (
            StoreRoots::with(folders.iter().map(PathBuf::from), Box::new(look)),
            count,
        )
    }

    fn silence() -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, "the network path was not found")
    }

    #[test]
    fn a_folder_that_gives_no_answer_or_is_not_there_is_looked_at_once_for_all_modules() {
        let (roots, count) = counted(&["/off", "/gone", "/store"], |root| match root.to_str() {
            Some("/off") => Err(silence()),
            Some("/gone") => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(false),
        });
        let servers = Servers::new(ServerLimits::default(), None);
        let finder = Finder::new(Network::Offline, servers, None::<Cache>, roots);
        let path = SymbolPath::parse("/off;srv*/off;/gone;srv*/store", Origin::CommandLine);
        for number in 0..10 {
            let wanted = Wanted {
                name: FileName::new(&format!("{number}.pdb")).unwrap(),
                key: "1".to_owned(),
                image_extension: "sys".to_owned(),
                limit: 1,
                known_len: None,
            };
            let mut trail = Trail::default();
            let found = finder.find(&path, &wanted, &|_| Verdict::Match, &mut trail);
            assert!(found.is_none());
            assert_eq!(
                trail.tried,
                [
                    "/off: the network path was not found",
                    "/gone: there is no such folder",
                    "/store: there is no such folder"
                ]
            );
        }
        assert_eq!(count.load(Ordering::Relaxed), 3);
        let silent = ("/off".to_owned(), silence().to_string());
        assert_eq!(finder.silent_servers(), [silent]);
    }

    #[test]
    fn a_store_that_was_made_is_looked_at_and_one_of_a_dump_always_is() {
        let (roots, count) = counted(&["/store"], |_| Err(io::ErrorKind::NotFound.into()));
        let absent = RootState::Absent("there is no such folder".to_owned());
        for _ in 0..3 {
            assert_eq!(roots.state(Path::new("/store")), absent);
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        roots.filled(Path::new("/store"));
        // A thread that looked before it was made does not make it absent again.
        roots.state(Path::new("/store"));
        assert_eq!(roots.known(Path::new("/store")), RootState::Filled);
        roots.state(Path::new("/dumps"));
        roots.state(Path::new("/dumps"));
        assert_eq!(count.load(Ordering::Relaxed), 4);
        assert_eq!(roots.silent(), []);
    }

    #[cfg(windows)]
    #[test]
    fn a_server_that_gives_no_answer_is_no_folder_that_is_not_there() {
        let absent = |code| is_absent(&io::Error::from_raw_os_error(code));
        assert!(absent(2) && absent(3));
        // ERROR_BAD_NETPATH, ERROR_BAD_NET_NAME, ERROR_SEM_TIMEOUT, ERROR_NETWORK_UNREACHABLE
        for code in [53, 67, 121, 1231] {
            assert!(!absent(code), "{code}");
        }
    }

    #[test]
    fn a_folder_that_was_there_is_left_alone_once_it_gives_no_answer() {
        let on = Arc::new(AtomicUsize::new(2));
        let left = Arc::clone(&on);
        let (roots, count) = counted(&["/store"], move |_| match left.load(Ordering::Relaxed) {
            0 => Err(silence()),
            more => {
                left.store(more - 1, Ordering::Relaxed);
                Ok(true)
            }
        });
        roots.filled(Path::new("/store"));
        for _ in 0..9 {
            roots.state(Path::new("/store"));
        }
        assert_eq!(count.load(Ordering::Relaxed), 3);
        assert_eq!(roots.silent().len(), 1);
        // Nor is it looked at to be filled.
        let silent = RootState::Silent(silence().to_string());
        assert_eq!(roots.known(Path::new("/store")), silent);
    }
}

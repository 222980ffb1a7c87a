//! What lies in the folders of dumps that no listing told of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::source::{Beside, look_beside};

/// What lies in the folders of dumps that no listing told of, for all workers.
#[derive(Default)]
pub struct Folders(Mutex<HashMap<PathBuf, Arc<OnceLock<Arc<Beside>>>>>);

impl Folders {
    /// Folders remembered. A list goes through them one after the other.
    const MOST: usize = 4096;

    /// What lies in the folder of the dump at `path`; looked for once.
    pub fn beside(&self, path: &Path) -> Arc<Beside> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let once = match all.get(folder) {
            Some(once) => Arc::clone(once),
            None => {
                if all.len() >= Folders::MOST {
                    all.clear();
                }
                let once = Arc::<OnceLock<_>>::default();
                all.insert(folder.to_owned(), Arc::clone(&once));
                once
            }
        };
        drop(all);
        let look = || Arc::new(look_beside(path, crate::knowledge::wer_report::is_part));
        Arc::clone(once.get_or_init(look))
    }
}

//! How looking for a module's files ended: found, missing and where it was looked for, or only one of another identity,
//! which is never used.

use std::path::PathBuf;
use std::sync::Arc;

use super::identity::PdbIdentity;
use super::module::ModuleSymbols;
use crate::facts::SymbolState;
use crate::image::Image;

/// Outcome of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The file with that identity.
    Found(T),
    /// Nothing of that identity anywhere.
    Missing {
        /// Places tried, with what was wrong there.
        tried: Vec<String>,
    },
    /// Only a file of another identity was found. It is never used.
    Mismatched {
        /// Identity looked for, as a store key.
        wanted: String,
        /// Identity of the file, as a store key.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// Nobody asked for it.
    NotNeeded,
}

impl<T> Lookup<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Lookup::Found(found) => Some(found),
            _ => None,
        }
    }

    /// How it ended, without what was found.
    pub fn state(&self) -> SymbolState {
        match self {
            Lookup::Found(_) => SymbolState::Loaded,
            Lookup::Missing { .. } => SymbolState::Missing,
            Lookup::Mismatched { .. } => SymbolState::Mismatched,
            Lookup::NotNeeded => SymbolState::NotNeeded,
        }
    }

    /// The same outcome with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Lookup::Found(found) => Lookup::Found(change(found)),
            Lookup::Missing { tried } => Lookup::Missing { tried },
            Lookup::Mismatched {
                wanted,
                found,
                path,
            } => Lookup::Mismatched {
                wanted,
                found,
                path,
            },
            Lookup::NotNeeded => Lookup::NotNeeded,
        }
    }
}

/// What was found for one module.
#[derive(Debug)]
pub struct Resolved {
    /// The image.
    pub image: Lookup<Arc<Image>>,
    /// File the image was read from.
    pub image_path: Option<PathBuf>,
    /// The PDB the image asks for; `None` when no image and no record says which.
    pub pdb: Option<PdbIdentity>,
    /// The PDB, with all that is known of the module.
    pub symbols: Lookup<Arc<ModuleSymbols>>,
    /// File the PDB was read from.
    pub pdb_path: Option<PathBuf>,
    /// Names without a PDB: the image's exports. Set when only the image was found.
    pub exports: Option<Arc<ModuleSymbols>>,
}

impl Resolved {
    /// The best source of names there is.
    pub fn names(&self) -> Option<&Arc<ModuleSymbols>> {
        self.symbols.found().or(self.exports.as_ref())
    }

    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        let image = self.image.found().map_or(0, |image| image.held_bytes());
        let index = self
            .symbols
            .found()
            .map_or(0, |symbols| symbols.held_bytes());
        image.saturating_add(index)
    }
}

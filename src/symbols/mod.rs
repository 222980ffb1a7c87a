//! Symbols: from a driver's identity to its image, its version and its function names.
//!
//! Symbol path, stores, servers, the PDB index and its cache on disk. Offline first: nothing here
//! opens a connection without the consent that the options carry. Knows no dump.

mod frames;
mod identity;
mod index;
mod module;
mod names;
mod pdb_file;

pub use identity::{BadName, FileName, ModuleIdentity, PdbIdentity};
pub use index::{FORMAT_VERSION, FrameKind, FrameRecord, IndexError, PdbIndex, PdbSection, Symbol};
pub use module::{ModuleSymbols, SymbolHit, SymbolKind};
pub use names::{Glob, readable};
pub use pdb_file::{MAX_FILE as MAX_PDB_FILE, PdbError, PdbInfo, identify, index as index_pdb};

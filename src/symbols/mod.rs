//! Symbols: from a driver's identity to its image, its version and its function names.
//!
//! Symbol path, stores, servers, the PDB index and its cache on disk. Offline first: nothing here
//! opens a connection without the consent that the options carry. Knows no dump.

mod cache;
mod compressed;
mod files;
mod frames;
mod identity;
mod index;
mod inventory;
mod library;
mod lookup;
mod module;
mod names;
mod path;
mod pdb_file;
mod roots;
mod search;
mod server;
mod store;

pub use cache::{Cache, CacheInfo};
pub use compressed::{is_cabinet, unpack};
pub use identity::{FileName, ModuleIdentity, PdbIdentity};
pub use index::{FrameKind, FrameRecord, PdbIndex, Symbol};
pub use inventory::{Need, import, manifest, needs};
pub use library::{Near, SymbolLibrary, SymbolOptions};
pub use lookup::{Lookup, Resolved};
pub use module::{ModuleSymbols, SymbolHit, SymbolKind};
pub use names::{Glob, readable};
pub use path::{DEFAULT_SERVER, Origin, SymbolPath};
pub use pdb_file::{PdbError, identify, index as index_pdb};
pub use search::Network;
pub use server::{OnProgress, Progress, ServerLimits};

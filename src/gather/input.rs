//! The facts of one input, by what its content is: from its own bytes, and from what the run was given or
//! found beside it (machine state, the files of an error report).

use std::path::{Path, PathBuf};

use crate::bytes::{Budget, PagedReader};
use crate::dump::{self, DumpError, user::UserDumpError};
use crate::facts::{CrashFacts, texts};
use crate::source::{self, ErrorKind, FileKind, SourceError, SourceInfo};
use crate::symbols::SymbolLibrary;

use super::external::{self, ExternalState};
use super::{gather, gather_user, wer};

/// What a run may use besides a dump's own bytes.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Where images and PDBs are found; `None` to use the dump alone.
    pub symbols: Option<&'a SymbolLibrary>,
    /// State of the machine from files, best first.
    pub registry: &'a [ExternalState],
    /// State of the machines whose dumps lie below a folder.
    pub folders: &'a [FolderState],
    /// Search all of a memory dump for the registry where no short way leads to it.
    pub deep: bool,
}

/// What a folder tells of the machine whose dumps lie in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderState {
    /// The folder, as the paths of its dumps begin.
    pub folder: PathBuf,
    /// The machine's name.
    pub machine: Option<String>,
    /// State of the machine.
    pub states: Vec<ExternalState>,
}

/// Everything seen in the dump that `reader` reads, and what lies with it.
///
/// # Errors
/// What it is instead of a dump, or why nothing can be said about it.
pub fn gather_input(
    reader: &PagedReader<'_>,
    info: &SourceInfo,
    given: Given<'_>,
    budget: &Budget,
) -> Result<CrashFacts, SourceError> {
    let kind = source::identify(reader.prefix(), reader.len());
    if let Some(refusal) = kind.refusal() {
        return Err(refusal);
    }
    let mut facts = match kind {
        FileKind::UserMinidump => {
            let dump = dump::user::read_with(reader).map_err(|error| no_user_dump(&error))?;
            gather_user(dump, reader.len())
        }
        _ => kernel_dump(reader, info, given, budget)?,
    };
    texts::cap(&mut facts);
    if let Some(beside) = &info.beside {
        wer::apply(&mut facts, beside);
    }
    Ok(facts)
}

fn kernel_dump(
    reader: &PagedReader<'_>,
    info: &SourceInfo,
    given: Given<'_>,
    budget: &Budget,
) -> Result<CrashFacts, SourceError> {
    let dump = dump::open(reader, budget).map_err(|error| no_kernel_dump(&error))?;
    let symbols = given.symbols;
    let symbols = symbols.map(|library| library.near(image_folder(info)));
    let mut facts = gather(reader, dump, symbols, given.deep, budget);
    let path = Path::new(&info.path);
    let folders = || given.folders.iter().filter(|f| path.starts_with(&f.folder));
    let states: Vec<&ExternalState> = given
        .registry
        .iter()
        .chain(folders().flat_map(|folder| &folder.states))
        .collect();
    external::apply(&mut facts, &states);
    for folder in folders() {
        if facts.system.machine.is_none() {
            facts.system.machine.clone_from(&folder.machine);
        }
    }
    Ok(facts)
}

/// The folder of a dump, where images or symbol files lie in it. One whose name is no text is left alone.
fn image_folder(info: &SourceInfo) -> Option<&Path> {
    let has_images = info.beside.as_ref().is_some_and(|beside| beside.has_images);
    let folder = Path::new(&info.path).parent()?;
    (has_images && info.path_exact.is_none()).then_some(match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    })
}

fn no_user_dump(error: &UserDumpError) -> SourceError {
    let kind = match error {
        UserDumpError::NotMinidump => ErrorKind::NotADump,
        UserDumpError::Cut { .. } | UserDumpError::Nothing => ErrorKind::Truncated,
        UserDumpError::Read(_) => ErrorKind::Io,
        UserDumpError::Parser(_) => ErrorKind::Internal,
    };
    SourceError::new(kind, error.to_string())
}

fn no_kernel_dump(error: &DumpError) -> SourceError {
    let kind = match error {
        DumpError::NotKernelDump => ErrorKind::NotADump,
        DumpError::HeaderCut { .. } => ErrorKind::Truncated,
    };
    SourceError::new(kind, error.to_string())
}

//! The code of one dump: images and PDBs where a symbol path holds them, the dump's own memory
//! where it does not. The one place that joins the symbol library to the walk.
//!
//! Files are looked for when a question needs them: a module nobody asks about costs nothing.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Naming;
use crate::bytes::ModuleId;
use crate::facts::NameFact;
use crate::facts::{
    Module, Modules, PdbIdentity, SymbolState, VersionClaim, VersionSource, WrongFile,
};
use crate::image::{CodeView, Guid};
use crate::machine::Machine;
use crate::memory::Memory;
use crate::symbols::{FrameKind, FrameRecord, Lookup, ModuleIdentity, Near, Resolved, SymbolKind};
use crate::unwind::{
    CodeInfo, ExceptionDirectory, FrameData, FrameProgram, MemoryCode, ModuleSpan, Name,
};

/// Images, PDBs and memory of one dump.
pub(crate) struct Session<'a> {
    pub(super) modules: &'a Modules,
    /// The dump's own memory.
    pub(super) space: &'a dyn Memory,
    memory: MemoryCode<'a>,
    library: Option<Near<'a>>,
    pub(super) machine: Machine,
    loaded: RefCell<BTreeMap<u16, Option<Arc<Resolved>>>>,
}

/// What was learnt about one module.
pub(crate) struct ModuleFindings {
    pub id: ModuleId,
    pub version: Option<VersionClaim>,
    pub pdb: Option<PdbIdentity>,
    pub symbols: SymbolState,
    pub wrong_files: Vec<WrongFile>,
}

impl<'a> Session<'a> {
    /// The code of a dump with these modules and this memory.
    pub fn new(
        modules: &'a Modules,
        memory: &'a dyn Memory,
        library: Option<Near<'a>>,
        machine: Machine,
    ) -> Session<'a> {
        Session {
            modules,
            space: memory,
            memory: MemoryCode::new(modules, memory),
            library,
            machine,
            loaded: RefCell::default(),
        }
    }

    /// What the symbol path holds of a module; looked for once.
    pub(super) fn resolve(&self, id: ModuleId) -> Option<Arc<Resolved>> {
        let library = self.library?;
        if let Some(known) = self.loaded.borrow().get(&id.0) {
            return known.clone();
        }
        let resolved = self
            .modules
            .get(id)
            .and_then(|module| Some((identity(module)?, codeview(module))))
            .map(|(identity, record)| library.resolve(&identity, self.machine, record.as_ref()));
        self.loaded.borrow_mut().insert(id.0, resolved.clone());
        resolved
    }

    /// Looks for modules although no frame asked for them.
    pub fn want<'f>(&self, files: impl IntoIterator<Item = &'f str>) {
        if self.library.is_none() {
            return;
        }
        for file in files {
            if let Some((id, _)) = self.modules.find(file) {
                let _ = self.resolve(id);
            }
        }
    }

    /// The address of a name in the kernel, which is the first module.
    pub fn kernel_address(&self, name: &str) -> Option<u64> {
        let base = self.modules.get(ModuleId(0))?.base;
        let rva = self.resolve(ModuleId(0))?.names()?.address_of(name)?;
        base.checked_add(u64::from(rva))
    }

    /// What was learnt about every module that was looked for.
    pub fn module_findings(&self) -> Vec<ModuleFindings> {
        self.loaded
            .borrow()
            .iter()
            .filter_map(|(id, resolved)| {
                let resolved = resolved.as_ref()?;
                Some(ModuleFindings {
                    id: ModuleId(*id),
                    version: version(resolved),
                    pdb: resolved.pdb.as_ref().map(|pdb| PdbIdentity {
                        name: pdb.name.as_str().to_owned(),
                        guid_age: pdb.key(),
                    }),
                    symbols: state(resolved),
                    wrong_files: wrong_files(self.modules.get(ModuleId(*id))?, resolved),
                })
            })
            .collect()
    }
}

fn identity(module: &Module) -> Option<ModuleIdentity> {
    let name = module.name()?;
    ModuleIdentity::new(name, module.time_date_stamp, module.size).ok()
}

/// The record that a memory dump's own image names, so that a PDB is found without the image file.
pub(crate) fn codeview(module: &Module) -> Option<CodeView> {
    let pdb = module.pdb.as_ref()?;
    let (guid, age) = pdb.guid_age.split_at_checked(32)?;
    let digits = u128::from_str_radix(guid, 16).ok()?.to_be_bytes();
    let view = |at: usize, n: usize| digits.get(at..at + n);
    let guid = Guid::from_fields(
        u32::from_be_bytes(view(0, 4)?.try_into().ok()?),
        u16::from_be_bytes(view(4, 2)?.try_into().ok()?),
        u16::from_be_bytes(view(6, 2)?.try_into().ok()?),
        view(8, 8)?.try_into().ok()?,
    );
    Some(CodeView::Pdb70 {
        guid,
        age: u32::from_str_radix(age, 16).ok()?,
        name: pdb.name.clone(),
    })
}

/// Records what was learnt. A version or PDB identity the dump's own memory holds stays where no
/// file says more.
pub(super) fn apply(findings: Vec<ModuleFindings>, modules: &mut Modules) {
    for found in findings {
        modules.update(found.id, |module| {
            module.version = found.version.or(module.version.take());
            module.pdb = found.pdb.or(module.pdb.take());
            module.symbols = found.symbols;
            module.wrong_files = found.wrong_files;
        });
    }
}

fn version(resolved: &Resolved) -> Option<VersionClaim> {
    let info = resolved.image.found()?.version()?;
    let file = info.file?;
    Some(VersionClaim {
        version: file,
        branch_tag: info.build_lab().map(str::to_owned),
        source: VersionSource::Image,
    })
}

fn state(resolved: &Resolved) -> SymbolState {
    match (&resolved.symbols, &resolved.image) {
        (Lookup::Found(_), _) => SymbolState::Loaded,
        (Lookup::Mismatched { .. }, _) | (_, Lookup::Mismatched { .. }) => SymbolState::Mismatched,
        _ => SymbolState::Missing,
    }
}

/// The image and the PDB of that name that have another identity.
fn wrong_files(module: &Module, resolved: &Resolved) -> Vec<WrongFile> {
    fn wrong<T>(file: Option<&str>, lookup: &Lookup<T>) -> Option<WrongFile> {
        match lookup {
            Lookup::Mismatched { wanted, found, .. } => Some(WrongFile {
                file: file?.to_owned(),
                wanted: wanted.clone(),
                found: found.clone(),
            }),
            _ => None,
        }
    }
    let pdb = resolved.pdb.as_ref().map(|pdb| pdb.name.as_str());
    wrong(module.name(), &resolved.image)
        .into_iter()
        .chain(wrong(pdb, &resolved.symbols))
        .collect()
}

impl CodeInfo for Session<'_> {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        self.memory.module_at(address)
    }

    fn bounds(&self) -> (u64, u64) {
        self.memory.bounds()
    }

    fn is_executable(&self, module: ModuleSpan, rva: u32) -> Option<bool> {
        if let Some(known) = self.memory.is_executable(module, rva) {
            return Some(known);
        }
        let resolved = self.resolve(module.id)?;
        Some(resolved.image.found()?.is_executable(rva))
    }

    fn read_image(&self, module: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        if self.memory.read_image(module, rva, buf) {
            return true;
        }
        self.resolve(module.id)
            .and_then(|resolved| Some(resolved.image.found()?.read(rva, buf)))
            .unwrap_or(false)
    }

    fn exception_directory(&self, module: ModuleSpan) -> Option<ExceptionDirectory> {
        if let Some(known) = self.memory.exception_directory(module) {
            return Some(known);
        }
        let resolved = self.resolve(module.id)?;
        let (rva, size) = resolved.image.found()?.exception_directory()?;
        Some(ExceptionDirectory { rva, size })
    }

    fn frame_data(&self, address: u64) -> Option<FrameData<'_>> {
        let module = self.module_at(address)?;
        let rva = module.rva(address)?;
        let resolved = self.resolve(module.id)?;
        let record = resolved.symbols.found()?.frame_data_at(rva)?;
        frame_data(&record)
    }

    fn name_at(&self, address: u64) -> Option<Name<'_>> {
        let module = self.module_at(address)?;
        let rva = module.rva(address)?;
        let hit = self.resolve(module.id)?.names()?.name_at(rva)?;
        // A name that may reach past its function is good enough for a person, not for rules.
        if hit.kind == SymbolKind::Approximate {
            return None;
        }
        Some(Name {
            symbol: Cow::Owned(hit.name),
            displacement: u64::from(hit.displacement),
        })
    }

    fn module_name(&self, module: ModuleSpan) -> Option<Cow<'_, str>> {
        self.memory.module_name(module)
    }
}

/// The walk's view of a PDB's frame record; a task state segment is none.
fn frame_data(record: &FrameRecord<'_>) -> Option<FrameData<'static>> {
    let program = match record.kind {
        FrameKind::FrameData => FrameProgram::Program(Cow::Owned(record.program?.to_owned())),
        FrameKind::Fpo => FrameProgram::Fpo {
            uses_base_pointer: record.uses_base_pointer,
        },
        FrameKind::Standard => FrameProgram::Standard,
        FrameKind::Trap => FrameProgram::Trap,
        FrameKind::Tss => return None,
    };
    Some(FrameData {
        start: record.start,
        code_size: record.size,
        locals: record.locals,
        parameters: record.params,
        saved_registers: u32::from(record.saved_registers),
        prolog: u32::from(record.prolog),
        program,
    })
}

impl Naming for Session<'_> {
    fn full_name(&self, address: u64, is_return: bool) -> Option<NameFact> {
        let module = self.module_at(address)?;
        let rva = module.rva(address)?;
        let resolved = self.resolve(module.id)?;
        // A call may be a function's last instruction: its own address lies inside for sure.
        let back = u32::from(is_return);
        let hit = resolved.names()?.name_at(rva.checked_sub(back)?)?;
        Some(NameFact {
            displacement: u64::from(hit.displacement) + u64::from(back),
            kind: hit.kind,
            aliases: hit.aliases,
            line: hit.file.zip(hit.line),
            symbol: hit.name,
        })
    }
}

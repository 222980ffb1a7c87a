//! The modules of a dump as identities, and which of them a report has a use for.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bytes::{Budget, ModuleId, PagedReader, Sticky, contained};
use crate::dump;
use crate::facts::CrashFacts;
use crate::facts::Modules;
use crate::gather;
use crate::image::CodeView;
use crate::knowledge::defect::is_stack_module;
use crate::machine::Machine;
use crate::source::{self, FileKind};
use crate::symbols::{ModuleIdentity, SymbolLibrary};

/// A dump whose modules can be looked up.
pub struct DumpModules {
    /// The machine.
    pub machine: Machine,
    /// Its modules, in the dump's order.
    pub modules: Modules,
    wanted: BTreeSet<u16>,
}

impl DumpModules {
    /// Reads the module list of the dump at `path`.
    ///
    /// # Errors
    /// A line for a person.
    pub fn read(path: &Path) -> Result<DumpModules, String> {
        let source = source::open(path).map_err(|error| error.to_string())?;
        // A module that could not be read is not one that the dump lacks.
        let bytes = Sticky::new(source.bytes());
        let facts = contained(|| facts_of(&bytes)).map_err(|error| error.to_string())?;
        if let Some(failure) = bytes.failure() {
            let (at, message) = (failure.at, failure.message);
            return Err(format!("reading it failed at offset {at:#x}: {message}"));
        }
        let facts = facts?;
        let machine = match facts.dump.architecture {
            Some(machine) if machine != Machine::Arm => machine,
            _ => return Err("the machine it was written on is not known".to_owned()),
        };
        if facts.modules.is_empty() {
            return Err("no module list could be read from it".to_owned());
        }
        Ok(DumpModules {
            machine,
            wanted: seen(&facts),
            modules: facts.modules,
        })
    }

    /// The modules whose files a report uses: always the network stack and the kernel, and those
    /// that hold an address of the fault or the stack; `all` of them on request. Modules whose
    /// name is no file name are left out. With each goes its record of a PDB, if the dump holds one.
    pub fn wanted(&self, all: bool) -> Vec<(ModuleIdentity, Option<CodeView>)> {
        let mut found = Vec::new();
        for (module, id) in self.modules.iter().zip(0..=u16::MAX) {
            let Some(name) = module.name() else { continue };
            let Ok(identity) = ModuleIdentity::new(name, module.time_date_stamp, module.size)
            else {
                continue;
            };
            let always = SymbolLibrary::always_wanted(&identity.name) || is_stack_module(name);
            if all || self.wanted.contains(&id) || always {
                found.push((identity, gather::codeview(module)));
            }
        }
        found
    }

    /// The identity of one module.
    pub fn identity(&self, id: ModuleId) -> Option<ModuleIdentity> {
        let module = self.modules.get(id)?;
        ModuleIdentity::new(module.name()?, module.time_date_stamp, module.size).ok()
    }

    /// The PDB a module asks for, where the dump itself says so.
    pub fn record(&self, id: ModuleId) -> Option<CodeView> {
        gather::codeview(self.modules.get(id)?)
    }

    /// The module people call `name`: with or without extension, and `nt` for the kernel.
    pub fn find(&self, name: &str) -> Option<ModuleId> {
        let wanted = name.to_ascii_lowercase();
        let fits = |own: &str| {
            let own = own.to_ascii_lowercase();
            let stem = own.rsplit_once('.').map_or(own.as_str(), |(stem, _)| stem);
            let kernel = matches!(stem, "ntoskrnl" | "ntkrnlpa" | "ntkrnlmp" | "ntkrpamp");
            own == wanted || stem == wanted || (wanted == "nt" && kernel)
        };
        self.modules
            .iter()
            .zip(0..=u16::MAX)
            .find(|(module, _)| module.name().is_some_and(fits))
            .map(|(_, id)| ModuleId(id))
    }
}

fn facts_of(bytes: &dyn crate::bytes::ReadAt) -> Result<CrashFacts, String> {
    let reader = PagedReader::open(bytes).map_err(|error| error.to_string())?;
    let kind = source::identify(reader.prefix(), reader.len());
    if let Some(refusal) = kind.refusal() {
        return Err(refusal.to_string());
    }
    if kind == FileKind::UserMinidump {
        let dump = dump::user::read(bytes).map_err(|error| error.to_string())?;
        return Ok(gather::gather_user(dump, reader.len()));
    }
    let budget = Budget::default();
    let dump = dump::open(&reader, &budget).map_err(|error| error.to_string())?;
    Ok(gather::gather(&reader, dump, None, false, &budget))
}

/// Modules that hold an address the crash is about.
fn seen(facts: &CrashFacts) -> BTreeSet<u16> {
    let stack = facts.stack.iter().flat_map(|stack| &stack.frames);
    let parameters = facts
        .bugcheck
        .iter()
        .flat_map(|bugcheck| bugcheck.parameters);
    stack
        .map(|frame| frame.ip)
        .chain(facts.fault.ip)
        .chain(facts.header_context.as_ref().and_then(|context| context.ip))
        .chain(parameters)
        .filter_map(|address| facts.modules.locate(address))
        .map(|(id, _)| id.0)
        .collect()
}

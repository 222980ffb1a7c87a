//! What stopping a timer leaves in the timer's links, read from the build's own code: whether a null link in
//! a forwarding entry can come from a removal. Why that matters: `docs/kb943650.md`.

use crate::bytes::Budget;
use crate::code::{self, CodeSource, LeftBehind};
use crate::facts::{InstructionKind, SymbolKind};
use crate::knowledge::defect::STOP_FUNCTION;
use crate::knowledge::hotfix::KB943650;
use crate::unwind::{CodeInfo, ModuleSpan};

use crate::gather::code::{ModuleCode, called};
use crate::gather::fault::Found;
use crate::gather::session::Session;

/// What stopping a timer leaves in its links, and where that was read.
pub(in crate::gather) struct Removal {
    pub left: LeftBehind,
    /// The routine, for people.
    pub routine: String,
}

impl Removal {
    /// A null link is its work, or could be.
    pub fn leaves_null(&self) -> bool {
        self.left == LeftBehind::Null
    }

    /// What it leaves, for people.
    pub fn habit(&self) -> String {
        let left = match self.left {
            LeftBehind::Null => "sets a stopped timer's links to null",
            LeftBehind::Itself => "makes a stopped timer's links point at the timer itself",
            LeftBehind::Unchanged => "leaves a stopped timer's links as they are",
        };
        format!("{} {left}", self.routine)
    }
}

/// What the network stack's routine that stops a timer leaves in the timer's links: read from the routine
/// by its name, else from the faulting function where that takes an entry off a list.
pub(in crate::gather) fn removal(
    session: &Session<'_>,
    found: &Found,
    budget: &Budget,
) -> Option<Removal> {
    named(session, budget).or_else(|| faulting(session, found, budget))
}

fn named(session: &Session<'_>, budget: &Budget) -> Option<Removal> {
    let (id, module) = session.modules.find(KB943650.decides)?;
    let span = ModuleSpan {
        id,
        base: module.base,
        size: u64::from(module.size),
    };
    let code = ModuleCode::new(session, span)?;
    let left = code::left_behind(&code, code.address_of(STOP_FUNCTION)?, budget)?;
    Some(Removal {
        left,
        routine: STOP_FUNCTION.to_owned(),
    })
}

fn faulting(session: &Session<'_>, found: &Found, budget: &Budget) -> Option<Removal> {
    if found.fault.instruction_kind != Some(InstructionKind::ListUnlink) {
        return None;
    }
    let span = session.module_at(found.fault.ip?)?;
    let entry = function_of_fault(session, found)?;
    let code = ModuleCode::unnamed(session, span);
    let left = code::left_behind(&code, span.rva(entry)?, budget)?;
    Some(Removal {
        left,
        routine: "the faulting routine".to_owned(),
    })
}

/// Where the function that faulted starts: by its certain name, else by the call that led there.
pub(super) fn function_of_fault(session: &Session<'_>, found: &Found) -> Option<u64> {
    let ip = found.fault.ip?;
    if let Some(name) = found
        .fault
        .name
        .as_ref()
        .filter(|name| name.kind == SymbolKind::Exact)
    {
        return ip.checked_sub(name.displacement);
    }
    let mut frames = found.stack.as_ref()?.frames.iter();
    frames.find(|frame| frame.ip == ip)?;
    called(session, frames.next()?.ip).filter(|entry| *entry <= ip)
}

//! What the instructions of the network stack say: which lock the forwarding code holds, and which
//! unnamed functions on the stack are mere wrappers of timer code.

mod kin;
mod layout;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::clues;
use super::fault::{Found, Naming};
use super::session::Session;
use crate::bytes::{Budget, Gva};
use crate::code::{self, CodeSource};
use crate::facts::{CodeFacts, CodeOrigin, LockCheckFacts, NameFact, StackFacts, SymbolKind};
use crate::image::Image;
use crate::knowledge::defect::{self, FamilyId};
use crate::knowledge::hotfix::KB943650;
use crate::symbols::{ModuleSymbols, Resolved, SymbolHit};
use crate::unwind::{CodeInfo, ModuleSpan};

/// `call rel32`.
const CALL: u8 = 0xE8;
/// Its length in bytes.
const CALL_LENGTH: u32 = 5;
/// Frames of one stack whose names are settled.
const MOST_FRAMES: usize = 64;
/// Unnamed functions looked at.
const MOST_WRAPPERS: usize = 32;

/// Looks for the files of the hotfix's package although no frame asked for them: their versions decide.
pub(super) fn want_package(session: &Session<'_>) {
    session.want(KB943650.roles.iter().map(|row| row.file));
}

/// Looks at the code that questions about the fault's stack and the other ones need.
pub(super) fn add(
    session: &Session<'_>,
    found: &mut Found,
    others: &mut [StackFacts],
    build: Option<u32>,
    budget: &Budget,
) {
    found.clues.changed = clues::changed_code(session, found, build);
    if build.is_some_and(|build| !defect::BUILDS.contains(&build)) {
        return;
    }
    for stack in found.stack.iter_mut().chain(others.iter_mut()) {
        settle_names(session, stack, budget);
    }
    if let (Some(ip), Some(name)) = (found.fault.ip, &mut found.fault.name) {
        settle(session, ip, name, budget);
    }
    let (timer_links, set_layout) = layout::layout(session, found, budget);
    found.code = CodeFacts {
        lock_check: lock_check(session, budget),
        timer_wrappers: found
            .stack
            .iter()
            .chain(others.iter())
            .flat_map(|stack| wrappers(session, stack, budget))
            .collect(),
        list_work: found
            .stack
            .iter()
            .chain(others.iter())
            .flat_map(|stack| layout::list_work(session, stack, budget))
            .collect(),
        walking: found
            .stack
            .iter()
            .chain(others.iter())
            .filter_map(|stack| layout::walking(session, stack, budget))
            .collect(),
        forwarding: kin::forwarding(session, found.stack.iter().chain(others.iter()), budget),
        timer_links,
        set_layout,
    };
}

fn lock_check(session: &Session<'_>, budget: &Budget) -> Option<LockCheckFacts> {
    let (id, module) = session.modules.find(KB943650.decides)?;
    let code = ModuleCode::new(
        session,
        ModuleSpan {
            id,
            base: module.base,
            size: u64::from(module.size),
        },
    )?;
    let check = code::check(&code, budget);
    Some(LockCheckFacts {
        finding: check.finding,
        reason: check.reason,
        source: code.source(),
    })
}

/// Frames of a stack whose unnamed function is a wrapper of timer code. Where the function starts
/// is read from the call in the frame outside it.
fn wrappers(session: &Session<'_>, stack: &StackFacts, budget: &Budget) -> Vec<u64> {
    let pairs = stack.frames.iter().zip(stack.frames.iter().skip(1));
    pairs
        .filter(|(frame, _)| frame.name.as_ref().is_none_or(says_nothing))
        .filter_map(|(frame, outer)| {
            let span = session.module_at(frame.ip)?;
            let entry = called(session, outer.ip)?;
            let code = ModuleCode::new(session, span)?;
            let stem = session.module_name(span)?;
            // A fault in a tail call is in another function than the one that was called.
            let start = span.rva(entry).filter(|_| entry <= frame.ip)?;
            let timer = |names: &[String]| {
                defect::family_of_all(&stem, names.iter().map(String::as_str))
                    == Some(FamilyId::Timer)
            };
            code::only_calls(&code, start, budget, &timer)?.then_some(frame.ip)
        })
        .take(MOST_WRAPPERS)
        .collect()
}

/// True for a name that may be a neighbour's, and for one of several names of folded functions.
fn says_nothing(name: &NameFact) -> bool {
    !name.is_certain() || !name.aliases.is_empty()
}

/// Makes approximate names of the network stack's frames exact where control really gets from the
/// name to the frame: on x86 nothing else says where a function ends.
fn settle_names(session: &Session<'_>, stack: &mut StackFacts, budget: &Budget) {
    for frame in stack.frames.iter_mut().take(MOST_FRAMES) {
        let ip = frame.ip;
        if let Some(name) = &mut frame.name {
            settle(session, ip, name, budget);
        }
    }
}

/// Makes one approximate name exact where control really gets from it to `ip`.
fn settle(session: &Session<'_>, ip: u64, name: &mut NameFact, budget: &Budget) {
    if name.kind != SymbolKind::Approximate {
        return;
    }
    let belongs = || {
        let span = session.module_at(ip)?;
        let own = session.module_name(span)?;
        if !defect::is_stack_module(&own) {
            return None;
        }
        let at = span.rva(ip)?;
        let entry = at.checked_sub(u32::try_from(name.displacement).ok()?)?;
        let code = ModuleCode::new(session, span)?;
        Some(code::reaches(&code, entry, at, budget))
    };
    if belongs() == Some(true) {
        name.kind = SymbolKind::Exact;
    }
}

/// The address that the call before a return address leads to.
pub(super) fn called(session: &Session<'_>, back: u64) -> Option<u64> {
    let span = session.module_at(back)?;
    let at = span.rva(back)?.checked_sub(CALL_LENGTH)?;
    let mut bytes = [0; CALL_LENGTH as usize];
    if !session.read_image(span, at, &mut bytes) {
        return None;
    }
    let [CALL, a, b, c, d] = bytes else {
        return None;
    };
    let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
    Some(session.machine.truncate(back.wrapping_add_signed(distance)))
}

/// The code of one module of a dump: its image where the symbol path holds it, else memory.
pub(super) struct ModuleCode<'a> {
    session: &'a Session<'a>,
    span: ModuleSpan,
    resolved: Option<Arc<Resolved>>,
    imports: OnceCell<BTreeMap<u32, String>>,
}

impl<'a> ModuleCode<'a> {
    /// `None` where no symbols name anything in the module.
    pub fn new(session: &'a Session<'a>, span: ModuleSpan) -> Option<ModuleCode<'a>> {
        let code = ModuleCode::unnamed(session, span);
        code.symbols().is_some().then_some(code)
    }

    /// The code of a module, whether or not symbols name anything in it.
    pub fn unnamed(session: &'a Session<'a>, span: ModuleSpan) -> ModuleCode<'a> {
        ModuleCode {
            session,
            span,
            resolved: session.resolve(span.id),
            imports: OnceCell::new(),
        }
    }

    fn image(&self) -> Option<&Arc<Image>> {
        self.resolved.as_ref()?.image.found()
    }

    fn symbols(&self) -> Option<&Arc<ModuleSymbols>> {
        self.resolved.as_ref()?.symbols.found()
    }

    /// The name for an address, by RVA.
    pub fn hit(&self, rva: u32) -> Option<SymbolHit> {
        self.symbols()?.name_at(rva)
    }

    fn source(&self) -> CodeOrigin {
        match self.image() {
            Some(_) => CodeOrigin::Image,
            None => CodeOrigin::Memory,
        }
    }

    /// A slot of an image in memory holds the function's address: its name is its own module's.
    fn bound(&self, slot: u32) -> Option<String> {
        let width = self.session.machine.pointer_width();
        let at = self.span.base.checked_add(u64::from(slot))?;
        let to = self.session.space.read_pointer(Gva(at), width).ok()?;
        self.session
            .full_name(to, false)
            .filter(|name| name.displacement == 0)
            .map(|name| name.symbol)
    }
}

impl CodeSource for ModuleCode<'_> {
    fn bits(&self) -> Option<u32> {
        code::bits_of(self.session.machine)
    }

    fn base(&self) -> u64 {
        match self.image() {
            Some(image) => image.image_base(),
            None => self.span.base,
        }
    }

    fn read(&self, rva: u32, buf: &mut [u8]) -> usize {
        if let Some(image) = self.image() {
            return image.read_up_to(rva, buf);
        }
        (1..=buf.len())
            .rev()
            .find(|n| {
                let part = buf.get_mut(..*n);
                part.is_some_and(|part| self.session.read_image(self.span, rva, part))
            })
            .unwrap_or(0)
    }

    fn names_at(&self, rva: u32) -> Vec<String> {
        self.symbols()
            .map(|symbols| code::names_of(symbols, rva))
            .unwrap_or_default()
    }

    fn address_of(&self, name: &str) -> Option<u32> {
        self.symbols()?.address_of(name)
    }

    fn import_at(&self, rva: u32) -> Option<String> {
        let Some(image) = self.image() else {
            return self.bound(rva);
        };
        let imports = self.imports.get_or_init(|| {
            let slots = image.imports().into_iter();
            slots.map(|import| (import.slot, import.name)).collect()
        });
        imports.get(&rva).cloned()
    }

    fn code_ranges(&self) -> Vec<(u32, u32)> {
        self.image()
            .map(|image| code::code_ranges_of(image))
            .unwrap_or_default()
    }
}

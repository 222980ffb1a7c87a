//! Where a function's caller's registers are at one instruction: descriptors run up to it.
//!
//! Facts: Intel, "Itanium Software Conventions and Runtime Architecture Guide", chapter 11. What a
//! prologue's descriptors say holds from the slot on that saves the register; a prologue without
//! length has saved everything before its function's first instruction.

use super::descriptors::{Damage, Descriptors, Item, Record, Region, Resource, Spill};
use super::spills::{above_sp, below_psp, masked_slot, spill_area};

/// Registers kept track of.
const TRACKED: usize = 42;
/// Nested prologues and labels that are remembered.
const MOST_STATES: usize = 512;
/// Registers that one region saves, several times at most.
const MOST_SAVES: usize = 256;

/// Where a register of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedIn {
    /// In a general register of this frame.
    Gr(u8),
    /// In a floating-point register.
    Fr(u8),
    /// In a branch register.
    Br(u8),
    /// That many bytes above the caller's stack pointer.
    Psp(i64),
    /// That many bytes above the function's own stack pointer.
    Sp(i64),
    /// Depends on a predicate.
    Unsure,
}

/// How the caller's stack pointer is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerStack {
    /// It is the stack pointer.
    Same,
    /// That many bytes above the stack pointer.
    Above(u64),
    /// Where the state says [`Resource::Psp`] is.
    Saved,
}

/// The state at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How the caller's stack pointer is had.
    pub stack: CallerStack,
    /// An epilogue has restored the stack pointer: it is the caller's again.
    pub restored: bool,
    places: [Option<SavedIn>; TRACKED],
}

/// An instruction, counted in slots from the function's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Slots whose instructions have run.
    pub slots: u64,
    /// The last of them is a call: the place is that of the call, not of what follows.
    pub call: bool,
}

impl Executed {
    /// The slot whose region counts.
    fn place(self) -> u64 {
        self.slots.saturating_sub(u64::from(self.call))
    }
}

/// What the descriptors say at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The state.
    pub rules: Rules,
    /// Owner and kind of a frame that is not an ordinary one.
    pub abi: Option<(u8, u8)>,
}

/// The index of a register that is kept track of.
fn index(what: Resource) -> Option<usize> {
    Some(match what {
        Resource::Rp => 0,
        Resource::Pfs => 1,
        Resource::Psp => 2,
        Resource::Preds => 3,
        Resource::Lc => 4,
        Resource::Unat => 5,
        Resource::Fpsr => 6,
        Resource::Bsp => 7,
        Resource::Bspstore => 8,
        Resource::Rnat => 9,
        Resource::Priunat => 10,
        Resource::Gr(n @ 4..=7) => 11 + usize::from(n - 4),
        // Branch register 0 is the return address.
        Resource::Br(0) => 0,
        Resource::Br(n @ 1..=5) => 15 + usize::from(n - 1),
        Resource::Fr(n @ 2..=5) => 20 + usize::from(n - 2),
        Resource::Fr(n @ 16..=31) => 24 + usize::from(n - 16),
        Resource::Gr(_) | Resource::Br(_) | Resource::Fr(_) => return None,
    })
}

impl Rules {
    /// Nothing has been changed.
    pub(super) const START: Rules = Rules {
        stack: CallerStack::Same,
        restored: false,
        places: [None; TRACKED],
    };

    /// Where a register of the caller is; `None`: untouched, it is still in its own place.
    pub fn place(&self, what: Resource) -> Option<SavedIn> {
        self.places.get(index(what)?).copied().flatten()
    }

    fn set(&mut self, what: Resource, place: Option<SavedIn>) {
        if let Some(slot) = index(what).and_then(|index| self.places.get_mut(index)) {
            *slot = place;
        }
    }
}

/// Runs `bytes` up to an instruction.
///
/// # Errors
/// [`Damage`] met on the way; what lies behind the instruction is not looked at.
pub fn rules(bytes: &[u8], at: Executed) -> Result<Found, Damage> {
    let mut run = Run {
        at,
        start: 0,
        region: None,
        work: Work::default(),
        current: Rules::START,
        outer: None,
        states: Vec::new(),
        labels: Vec::new(),
        abi: None,
    };
    for item in Descriptors::new(bytes) {
        match item? {
            Item::Region(region) => {
                run.close()?;
                if run.start > at.place() {
                    break;
                }
                run.open(region)?;
            }
            Item::Record(record) => run.record(record)?,
        }
    }
    run.close()?;
    Ok(Found {
        rules: run.current,
        abi: run.abi,
    })
}

/// What the records of one region have said so far.
#[derive(Default)]
pub(super) struct Work<'a> {
    pub(super) saves: Vec<Save>,
    whens: Vec<(Resource, u64)>,
    fixed: Option<(u64, u64)>,
    variable: Option<u64>,
    pub(super) spill_base: Option<u64>,
    pub(super) spill_mask: Option<&'a [u8]>,
    epilogue: Option<(u64, u64)>,
    pushed: bool,
}

/// One register that the region saves.
pub(super) struct Save {
    pub(super) what: Resource,
    pub(super) place: Option<SavedIn>,
    /// The slot, when the record itself says it.
    when: Option<u64>,
    /// Takes its slot from the spill mask.
    pub(super) masked: bool,
}

/// The states before the prologues that are open, innermost first: a list within `Run::states`.
type Outer = Option<usize>;

struct Run<'a> {
    at: Executed,
    /// First slot of the region.
    start: u64,
    region: Option<Region>,
    work: Work<'a>,
    current: Rules,
    outer: Outer,
    states: Vec<(Rules, Outer)>,
    labels: Vec<(u64, Rules, Outer)>,
    abi: Option<(u8, u8)>,
}

impl<'a> Run<'a> {
    fn open(&mut self, region: Region) -> Result<(), Damage> {
        self.region = Some(region);
        self.work = Work::default();
        if region.prologue && region.length > 0 {
            self.push()?;
        }
        let (mask, mut register) = region.saved;
        let kinds = [
            (8, Resource::Rp),
            (4, Resource::Pfs),
            (2, Resource::Psp),
            (1, Resource::Preds),
        ];
        for (_, what) in kinds.into_iter().filter(|(bit, _)| mask & bit != 0) {
            self.push()?;
            self.save(what, SavedIn::Gr(register));
            register = register.checked_add(1).ok_or(Damage::Number)?;
        }
        Ok(())
    }

    /// A prologue begins: what held before it is remembered, once. Padding reads as prologues
    /// without length and without records and is none.
    fn push(&mut self) -> Result<(), Damage> {
        if std::mem::replace(&mut self.work.pushed, true) {
            return Ok(());
        }
        if self.states.len() >= MOST_STATES {
            return Err(Damage::Endless);
        }
        self.states.push((self.current, self.outer));
        self.outer = Some(self.states.len() - 1);
        Ok(())
    }

    fn save(&mut self, what: Resource, place: SavedIn) {
        self.work.saves.push(Save {
            what,
            place: Some(place),
            when: None,
            masked: false,
        });
    }

    fn record(&mut self, record: Record<'a>) -> Result<(), Damage> {
        let prologue = self.region.is_some_and(|region| region.prologue);
        if prologue {
            self.push()?;
        }
        if self.work.saves.len().max(self.work.whens.len()) > MOST_SAVES {
            return Err(Damage::Endless);
        }
        match record {
            Record::Mem { gr, br, fr } => self.spilled(gr, br, fr),
            Record::BrGr { mask, first } => {
                self.in_registers(mask, first, |n| Resource::Br(n + 1))?
            }
            Record::GrGr { mask, first } => {
                self.in_registers(mask, first, |n| Resource::Gr(n + 4))?
            }
            Record::InGr(what, register) => self.save(what, SavedIn::Gr(register)),
            Record::RpBr(register) => self.work.saves.push(Save {
                what: Resource::Rp,
                place: Some(SavedIn::Br(register)),
                when: Some(0),
                masked: false,
            }),
            Record::SpillMask(mask) => self.work.spill_mask = Some(mask),
            Record::MemStackFixed { t, size } => self.work.fixed = Some((t, size)),
            Record::MemStackVariable { t } => self.work.variable = Some(t),
            Record::SpillBase(offset) => self.work.spill_base = Some(offset),
            Record::When(what, t) => self.work.whens.push((what, t)),
            Record::WhenPriunatInMemory(t) => self.work.whens.push((Resource::Priunat, t)),
            Record::Psprel(what, offset) => self.save(what, SavedIn::Psp(below_psp(offset)?)),
            Record::Sprel(what, offset) => self.save(what, SavedIn::Sp(above_sp(offset)?)),
            Record::Abi { abi, context } => self.abi = Some((abi, context)),
            Record::Moved { qp, t, what, to } => self.moved(qp, t, what, to)?,
            Record::LabelState(label) => self.label(label)?,
            Record::CopyState(label) => {
                let known = self
                    .labels
                    .iter()
                    .rev()
                    .find(|(number, ..)| *number == label);
                let (_, state, outer) = known.ok_or(Damage::Unbalanced)?;
                (self.current, self.outer) = (*state, *outer);
            }
            Record::Epilogue { t, ecount } => self.work.epilogue = Some((t, ecount)),
        }
        Ok(())
    }

    fn label(&mut self, label: u64) -> Result<(), Damage> {
        let state = (label, self.current, self.outer);
        if let Some(known) = self.labels.iter_mut().find(|(number, ..)| *number == label) {
            *known = state;
        } else if self.labels.len() < MOST_STATES {
            self.labels.push(state);
        } else {
            return Err(Damage::Endless);
        }
        Ok(())
    }

    /// Registers in the spill area: their places are known at the region's end, with its base.
    fn spilled(&mut self, gr: u8, br: u8, fr: u32) {
        let grs = (4..8).filter(|n| gr >> (n - 4) & 1 != 0).map(Resource::Gr);
        let brs = (1..6).filter(|n| br >> (n - 1) & 1 != 0).map(Resource::Br);
        let low = (2..6).filter(|n| fr >> (n - 2) & 1 != 0);
        let high = (16..32).filter(|n| fr >> (n - 12) & 1 != 0);
        let frs = low.chain(high).map(Resource::Fr);
        self.work
            .saves
            .extend(grs.chain(brs).chain(frs).map(|what| Save {
                what,
                place: None,
                when: None,
                masked: true,
            }));
    }

    fn in_registers(
        &mut self,
        mask: u8,
        first: u8,
        name: fn(u8) -> Resource,
    ) -> Result<(), Damage> {
        let mut register = first;
        for n in (0..5).filter(|n| mask >> n & 1 != 0) {
            self.work.saves.push(Save {
                what: name(n),
                place: Some(SavedIn::Gr(register)),
                when: None,
                masked: true,
            });
            register = register.checked_add(1).ok_or(Damage::Number)?;
        }
        Ok(())
    }

    fn moved(&mut self, qp: u8, t: u64, what: Resource, to: Spill) -> Result<(), Damage> {
        let place = match to {
            _ if qp != 0 => Some(SavedIn::Unsure),
            Spill::Psprel(offset) => Some(SavedIn::Psp(below_psp(offset)?)),
            Spill::Sprel(offset) => Some(SavedIn::Sp(above_sp(offset)?)),
            Spill::Gr(register) => Some(SavedIn::Gr(register)),
            Spill::Fr(register) => Some(SavedIn::Fr(register)),
            Spill::Br(register) => Some(SavedIn::Br(register)),
            Spill::Restore => None,
        };
        let slot = self.start.checked_add(t).ok_or(Damage::Number)?;
        if self.at.slots > slot {
            self.current.set(what, place);
            if what == Resource::Psp && self.current.stack == CallerStack::Same {
                self.current.stack = CallerStack::Saved;
            }
        }
        Ok(())
    }

    /// The region ends: what it did by the instruction looked for takes effect.
    fn close(&mut self) -> Result<(), Damage> {
        let Some(region) = self.region.take() else {
            return Ok(());
        };
        let end = self
            .start
            .checked_add(region.length)
            .ok_or(Damage::Number)?;
        let behind = end <= self.at.place();
        match region.prologue {
            true => self.close_prologue(region.length, behind)?,
            false => self.close_body(end, behind)?,
        }
        self.start = end;
        Ok(())
    }

    fn close_prologue(&mut self, length: u64, behind: bool) -> Result<(), Damage> {
        let work = std::mem::take(&mut self.work);
        let done = |t: u64| behind || self.at.slots > self.start.saturating_add(t);
        let last = length.saturating_sub(1);
        let spill_area = spill_area(&work)?;
        for (number, save) in work.saves.iter().enumerate() {
            let stated = work.whens.iter().rev().find(|(what, _)| *what == save.what);
            let when = save
                .when
                .or(stated.map(|(_, t)| *t))
                .or_else(|| masked_slot(&work, number))
                .unwrap_or(last);
            // A return address in another branch register was put there by the call.
            let at_once = matches!(save.place, Some(SavedIn::Br(_)));
            if at_once || done(when) {
                let place = save.place.or_else(|| {
                    spill_area
                        .iter()
                        .find(|(n, _)| *n == number)
                        .map(|(_, p)| *p)
                });
                self.current.set(save.what, place);
            }
        }
        if let Some((_, size)) = work.fixed.filter(|(t, _)| done(*t)) {
            self.current.stack = CallerStack::Above(size);
        }
        if work.variable.is_some_and(done) {
            self.current.stack = CallerStack::Saved;
        }
        self.current.restored = false;
        Ok(())
    }

    fn close_body(&mut self, end: u64, behind: bool) -> Result<(), Damage> {
        let Some((t, ecount)) = self.work.epilogue else {
            return Ok(());
        };
        if behind {
            for _ in 0..=ecount {
                let outer = self.outer.and_then(|n| self.states.get(n));
                let (state, next) = outer.ok_or(Damage::Unbalanced)?;
                (self.current, self.outer) = (*state, *next);
            }
            return Ok(());
        }
        let slot = t.checked_add(1).and_then(|t| end.checked_sub(t));
        if self.at.slots > slot.ok_or(Damage::Unbalanced)? {
            self.current.restored = true;
        }
        Ok(())
    }
}

//! In-stack queued spin locks, and the lock of the multicast forwarding set.
//!
//! KLOCK_QUEUE_HANDLE is documented and its layout the same on every build; a spin lock that such a
//! handle holds keeps the address of the last handle of the queue. The set's layout is known from the
//! public symbols of the fixed x64 build of Windows 10 only, and from the image's own code where that says it; bytes are a set only where
//! each field makes sense and the table it names is tagged as one or holds lists. Source: `docs/kb943650.md`.

use crate::bytes::{Budget, Gva, View};
use crate::facts::{SetLayoutFacts, TableMark};
use crate::knowledge::defect::{FORWARDING_TAG, TIMER_TAG};
use crate::machine::Machine;
use crate::memory::Memory;

use crate::kernel::pool::{PoolBlock, Tag};

/// Bits of KSPIN_LOCK_QUEUE.Lock that are no address: waiting (0) and owner (1).
const FLAGS: u64 = 3;
/// The queue's bit that says a processor waits for the lock.
const WAITING: u64 = 1;
/// Handles of one queue that are followed: one a processor.
const MOST_QUEUED: usize = 256;
/// Words of one stack whose target is looked at.
const MOST_TARGETS: usize = 512;

/// "IP Multicast Forwarding Entry pool" (pooltag.txt).
pub const FORWARDING: Tag = Tag::named(FORWARDING_TAG);
/// "IP Timer Tables" (pooltag.txt).
pub const TIMERS: Tag = Tag::named(TIMER_TAG);

/// A KLOCK_QUEUE_HANDLE whose lock agrees that it is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueHandle {
    /// Address of the handle.
    pub address: u64,
    /// Address of the spin lock.
    pub lock: u64,
    /// It waits; false when it owns the lock.
    pub waiting: bool,
}

/// The handle at `at`, when it is queued: from it on, links lead to the handle that the lock names as its
/// last, which has no successor, and every successor waits. A handle that was released keeps its bytes,
/// but its successor waits no more; the head of a list is no handle, because a list has no end.
pub fn handle_at(
    memory: &dyn Memory,
    at: u64,
    machine: Machine,
    budget: &Budget,
) -> Option<QueueHandle> {
    let width = machine.pointer_width();
    let pointer = |at: u64| memory.read_pointer(Gva(at), width).ok();
    let lock_of = |entry: u64| pointer(entry.checked_add(width as u64)?);
    let raw = lock_of(at)?;
    let lock = raw & !FLAGS;
    if !is_kernel(lock, machine) || !lock.is_multiple_of(width as u64) {
        return None;
    }
    let last = pointer(lock)?;
    let mut entry = at;
    for _ in 0..MOST_QUEUED {
        let next = pointer(entry)?;
        if entry == last {
            return (next == 0).then_some(QueueHandle {
                address: at,
                lock,
                waiting: raw & WAITING != 0,
            });
        }
        budget.spend(1).ok()?;
        entry = Some(next).filter(|next| is_kernel(*next, machine))?;
        let queued = lock_of(entry)?;
        if queued & !FLAGS != lock || queued & WAITING == 0 {
            return None;
        }
    }
    None
}

/// The live handles on a stack from `low` to before `high`, lowest first.
pub fn handles_on(
    memory: &dyn Memory,
    (low, high): (u64, u64),
    machine: Machine,
    budget: &Budget,
) -> Vec<QueueHandle> {
    let width = machine.pointer_width() as u64;
    let words = words_on(memory, (low, high), machine);
    let mut targets = 0;
    let mut found = Vec::new();
    for pair in words.windows(2) {
        let [(at, next), (_, lock)] = pair else {
            continue;
        };
        let target = lock & !FLAGS;
        // A lock lies in pool or in an image, never on the stack that waits for it.
        let plausible = is_kernel(target, machine)
            && target.is_multiple_of(width)
            && !(low..high).contains(&target)
            && (*next == 0 || (is_kernel(*next, machine) && next.is_multiple_of(width)));
        if !plausible {
            continue;
        }
        targets += 1;
        if targets > MOST_TARGETS || budget.spend(1).is_err() {
            break;
        }
        found.extend(handle_at(memory, *at, machine, budget));
    }
    found
}

/// The words of a stack that are there without a gap, each with its address.
pub fn words_on(memory: &dyn Memory, (low, high): (u64, u64), machine: Machine) -> Vec<(u64, u64)> {
    const PAGE: u64 = 0x1000;
    let width = machine.pointer_width();
    let mut at = low & !(width as u64 - 1);
    let mut words = Vec::new();
    while at < high {
        let end = (at & !(PAGE - 1)).saturating_add(PAGE).min(high);
        let len = usize::try_from(end - at).unwrap_or(0);
        let mut bytes = vec![0; len.min(PAGE as usize)];
        if memory.read(Gva(at), &mut bytes).is_err() {
            break;
        }
        let view = View(&bytes);
        let read = (0..bytes.len() / width).filter_map(|i| {
            let value = view.pointer(i * width, width)?;
            Some((at + (i * width) as u64, value))
        });
        words.extend(read);
        at = end;
    }
    words
}

/// True for an address of kernel space.
pub fn is_kernel(address: u64, machine: Machine) -> bool {
    match machine {
        Machine::X86 => (0x8000_0000..0x1_0000_0000).contains(&address),
        _ => address >= 0xFFFF_8000_0000_0000,
    }
}

/// Where in a set its parts lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLayout {
    /// Count of entries, where it is known.
    count: Option<u64>,
    spin_lock: u64,
    table: u64,
}

/// In the fixed x64 build of Windows 10.
const WINDOWS_10: SetLayout = SetLayout {
    count: Some(0),
    spin_lock: 0x10,
    table: 0x20,
};

impl SetLayout {
    /// As the image's own code uses the set; where it does not say, the one that public symbols show, on the machine
    /// whose they are.
    pub fn of(by_code: Option<&SetLayoutFacts>, machine: Machine) -> Option<SetLayout> {
        let told = by_code.and_then(|code| code.lock.zip(code.table));
        match told {
            Some((spin_lock, table)) if spin_lock != table => {
                let own = SetLayout {
                    count: None,
                    spin_lock,
                    table,
                };
                let known = SetLayout {
                    count: None,
                    ..WINDOWS_10
                };
                let same = machine == Machine::X64 && own == known;
                Some(if same { WINDOWS_10 } else { own })
            }
            _ => (machine == Machine::X64).then_some(WINDOWS_10),
        }
    }

    /// It was read from the image's code.
    pub fn is_by_code(&self) -> bool {
        *self != WINDOWS_10
    }

    /// The count of readers lies behind the spin lock.
    fn readers(&self, width: u64) -> u64 {
        self.spin_lock.saturating_add(width)
    }

    /// Bytes up to the last part.
    fn size(&self, width: u64) -> u64 {
        let end = |at: u64| at.saturating_add(width);
        end(self.readers(width)).max(end(self.table))
    }
}

/// Entries beyond which a count is none.
const MOST_MFES: u32 = 1 << 20;
/// Readers beyond which a count is none: each is a processor inside the lock.
const MOST_READERS: u32 = 64;
/// Empty lists of a page that make it an array of lists.
const EMPTY_LISTS: usize = 8;

/// The multicast forwarding set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardingSet {
    /// Address.
    pub address: u64,
    /// Entries, where the layout says where their count is.
    pub entries: Option<u32>,
    /// Address of its spin lock.
    pub spin_lock: u64,
    /// What the spin lock holds: 0, 1, or the address of the last handle of its queue.
    pub held_by: u64,
    /// Address of its count of readers.
    pub readers_at: u64,
    /// Readers inside the lock.
    pub readers: u32,
    /// Address of its timer table.
    pub table: u64,
    /// What the table was recognised by: `tag` or `lists`.
    pub table_has: TableMark,
}

/// The set that begins a pool block of forwarding memory, if the block is one by that layout. `block_of` gives the
/// pool block around an address.
pub fn set_in(
    memory: &dyn Memory,
    block: &PoolBlock,
    (machine, layout): (Machine, &SetLayout),
    block_of: &dyn Fn(u64) -> Option<PoolBlock>,
    budget: &Budget,
) -> Option<ForwardingSet> {
    let at = block.body;
    let width = machine.pointer_width();
    let room = block.size.checked_sub(at.checked_sub(block.header)?)?;
    if block.tag != FORWARDING || !block.allocated || room < layout.size(width as u64) {
        return None;
    }
    let pointer = |place: u64| memory.read_pointer(Gva(at.checked_add(place)?), width).ok();
    let number = |place: u64| memory.read_u32(Gva(at.checked_add(place)?)).ok();
    let entries = match layout.count {
        Some(place) => Some(number(place)?),
        None => None,
    };
    let held_by = pointer(layout.spin_lock)?;
    let readers_at = layout.readers(width as u64);
    let readers = number(readers_at)?;
    let table = pointer(layout.table)?;
    let spin_lock = at.checked_add(layout.spin_lock)?;
    let many = entries.is_some_and(|entries| entries > MOST_MFES);
    if many || readers > MOST_READERS || !is_kernel(table, machine) {
        return None;
    }
    let queued = || {
        handle_at(memory, held_by, machine, budget).is_some_and(|handle| handle.lock == spin_lock)
    };
    let sane = held_by <= 1 || (is_kernel(held_by, machine) && queued());
    if !sane {
        return None;
    }
    let table_has = match block_of(table) {
        Some(owner) => {
            let own = owner.tag == TIMERS && owner.allocated && owner.body == table;
            own.then_some(TableMark::Tag)
        }
        None => holds_lists(memory, table, machine, block_of, budget).then_some(TableMark::Lists),
    }?;
    Some(ForwardingSet {
        address: at,
        entries,
        spin_lock,
        held_by,
        readers_at: at.checked_add(readers_at)?,
        readers,
        table,
        table_has,
    })
}

/// True for a page of list heads, as it is seen nowhere else: many lists are empty.
pub fn holds_empty_lists(memory: &dyn Memory, page: u64, machine: Machine) -> bool {
    const PAGE: u64 = 0x1000;
    let words = words_on(memory, (page, page.saturating_add(PAGE)), machine);
    words.iter().filter(|(at, value)| at == value).count() >= EMPTY_LISTS
}

/// A large allocation, whose tag only the kernel's symbols lead to, is the table when its first page holds
/// the heads of lists: some empty, or one that leads to a forwarding entry.
pub fn holds_lists(
    memory: &dyn Memory,
    table: u64,
    machine: Machine,
    block_of: &dyn Fn(u64) -> Option<PoolBlock>,
    budget: &Budget,
) -> bool {
    const PAGE: u64 = 0x1000;
    if !table.is_multiple_of(PAGE) {
        return false;
    }
    let words = words_on(memory, (table, table.saturating_add(PAGE)), machine);
    let outside = |(at, value): &&(u64, u64)| {
        is_kernel(*value, machine) && value & !(PAGE - 1) != at & !(PAGE - 1)
    };
    let entry = |(_, value): &(u64, u64)| {
        block_of(*value).is_some_and(|block| block.tag == FORWARDING && block.allocated)
    };
    holds_empty_lists(memory, table, machine)
        || words
            .iter()
            .filter(outside)
            .take_while(|_| budget.spend(1).is_ok())
            .any(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What code tells decides; one part alone tells nothing; x86 has no layout that is public.
    #[test]
    fn the_layout_is_the_codes_own_and_else_that_of_public_symbols() {
        let told = |lock, table| SetLayoutFacts { lock, table };
        let of = |facts: &SetLayoutFacts, machine| SetLayout::of(Some(facts), machine);
        let own = of(&told(Some(0x20), Some(0x38)), Machine::X86).unwrap();
        assert_eq!((own.spin_lock, own.table, own.count), (0x20, 0x38, None));
        assert!(own.is_by_code());
        assert_eq!(own.size(4), 0x3C);
        assert_eq!(of(&told(Some(0x20), Some(0x38)), Machine::X64), Some(own));
        for silent in [
            told(None, None),
            told(Some(0x20), None),
            told(None, Some(0x38)),
            told(Some(0x20), Some(0x20)),
        ] {
            assert_eq!(of(&silent, Machine::X86), None, "{silent:?}");
            let public = of(&silent, Machine::X64).unwrap();
            // The fixed x64 build of Windows 10: count at 0, lock at 10h, table at 20h.
            assert_eq!(
                (public.spin_lock, public.table, public.count),
                (0x10, 0x20, Some(0))
            );
            assert!(!public.is_by_code());
        }
        // Code that says what public symbols say knows the count, too; on x86 the numbers mean nothing of it.
        let same = told(Some(0x10), Some(0x20));
        assert_eq!(of(&same, Machine::X64).unwrap().count, Some(0));
        assert_eq!(of(&same, Machine::X86).unwrap().count, None);
    }
}

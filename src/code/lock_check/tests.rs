//! Forwarding functions as an assembler writes them; clang turned them into the bytes here. Each begins
//!
//! ```text
//! mov rsi,rcx; lea rcx,[rsi+10h]; call RtlAcquireReadLockAtDpcLevel; mov rcx,rsi; call find; mov rdi,rax
//! ```
//!
//! and hands set and entry to a restart that takes the links at `entry+40h` off their list and puts them on
//! another. The slots of imports follow the code.

use super::*;

/// Where the code begins.
const START: u32 = 0x1000;
/// What the slots after the code import, in their order.
const SLOTS: [&str; 5] = [
    "RtlAcquireReadLockAtDpcLevel",
    "KeAcquireSpinLockAtDpcLevel",
    "KeReleaseSpinLockFromDpcLevel",
    "KeAcquireInStackQueuedSpinLockAtDpcLevel",
    "KeReleaseInStackQueuedSpinLockFromDpcLevel",
];

/// Code with the names of its functions, by offset.
struct Built {
    bytes: &'static [u8],
    names: Vec<(u32, &'static str)>,
}

impl CodeSource for Built {
    fn bits(&self) -> Option<u32> {
        Some(64)
    }

    fn base(&self) -> u64 {
        0x1_4000_0000
    }

    fn read(&self, rva: u32, buf: &mut [u8]) -> usize {
        let at = rva.checked_sub(START).map(|at| at as usize);
        let rest = at.and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        n
    }

    fn names_at(&self, rva: u32) -> Vec<String> {
        let own = self.names.iter().filter(|(at, _)| START + at == rva);
        own.map(|(_, name)| (*name).to_owned()).collect()
    }

    fn address_of(&self, name: &str) -> Option<u32> {
        let own = self.names.iter().find(|(_, own)| *own == name);
        own.map(|(at, _)| START + at)
    }

    fn import_at(&self, rva: u32) -> Option<String> {
        let first = START + self.bytes.len() as u32;
        let slot = rva.checked_sub(first)? / 8;
        SLOTS.get(slot as usize).map(|name| (*name).to_owned())
    }
}

/// A function with the offsets of what it calls.
struct Function {
    bytes: &'static [u8],
    find: u32,
    restart: u32,
    helper: Option<u32>,
}

/// The finding when the restart is called so; `None`: it has no name.
fn finding(function: &Function, restart: Option<&'static str>) -> LockFact {
    let mut names = vec![
        (0, FORWARDING_FUNCTION),
        (function.find, "IppFindMfeUnderLock"),
    ];
    names.extend(restart.map(|name| (function.restart, name)));
    names.extend(function.helper.map(|at| (at, "IppPromoteEntrySet")));
    let code = Built {
        bytes: function.bytes,
        names,
    };
    let check = check(&code, &Budget::default());
    println!("{:?}: {}", check.finding, check.reason);
    check.finding
}

/// The restart right under the read lock.
const PLAIN: Function = Function {
    bytes: b"\x53\x56\x57\x48\x83\xEC\x40\x48\x89\xCE\x48\x8D\x4E\x10\xFF\x15\x5C\x00\x00\x00\x48\x89\xF1\xE8\
      \x1F\x00\x00\x00\x48\x89\xC7\x48\x85\xC0\x74\x0F\x48\x89\xF1\x48\x89\xFA\xE8\x11\x00\x00\x00\xF0\
      \xFF\x4E\x18\x48\x83\xC4\x40\x5F\x5E\x5B\xC3\x48\x8B\x41\x08\xC3\x4C\x8B\x41\x20\x48\x8B\x42\x40\
      \x4C\x8B\x4A\x48\x49\x89\x01\x4C\x89\x48\x08\x49\x8B\x40\x08\x4C\x8D\x4A\x40\x4C\x89\x42\x40\x48\
      \x89\x42\x48\x4C\x89\x08\x4D\x89\x48\x08\xC3\x0F\x1F\x44\x00\x00",
    find: 0x3b,
    restart: 0x40,
    helper: None,
};
/// An entry's own lock, taken under the set's read lock: lea rcx,[entry+70h]; call KeAcquireSpinLockAtDpcLevel.
const OWN: Function = Function {
    bytes: b"\x53\x56\x57\x48\x83\xEC\x40\x48\x89\xCE\x48\x8D\x4E\x10\xFF\x15\x6C\x00\x00\x00\x48\x89\xF1\xE8\
      \x33\x00\x00\x00\x48\x89\xC7\x48\x85\xC0\x74\x23\x48\x8D\x4F\x70\xFF\x15\x5A\x00\x00\x00\x48\x89\
      \xF1\x48\x89\xFA\xE8\x1B\x00\x00\x00\x48\x8D\x4F\x70\xFF\x15\x4D\x00\x00\x00\xF0\xFF\x4E\x18\x48\
      \x83\xC4\x40\x5F\x5E\x5B\xC3\x48\x8B\x41\x08\xC3\x4C\x8B\x41\x20\x48\x8B\x42\x40\x4C\x8B\x4A\x48\
      \x49\x89\x01\x4C\x89\x48\x08\x49\x8B\x40\x08\x4C\x8D\x4A\x40\x4C\x89\x42\x40\x48\x89\x42\x48\x4C\
      \x89\x08\x4D\x89\x48\x08\xC3\x90",
    find: 0x4f,
    restart: 0x54,
    helper: None,
};
/// Another lock of the set, taken under its read lock: lea rcx,[set+30h]; call KeAcquireSpinLockAtDpcLevel.
const SET: Function = Function {
    bytes: b"\x53\x56\x57\x48\x83\xEC\x40\x48\x89\xCE\x48\x8D\x4E\x10\xFF\x15\x6C\x00\x00\x00\x48\x89\xF1\xE8\
      \x33\x00\x00\x00\x48\x89\xC7\x48\x85\xC0\x74\x23\x48\x8D\x4E\x30\xFF\x15\x5A\x00\x00\x00\x48\x89\
      \xF1\x48\x89\xFA\xE8\x1B\x00\x00\x00\x48\x8D\x4E\x30\xFF\x15\x4D\x00\x00\x00\xF0\xFF\x4E\x18\x48\
      \x83\xC4\x40\x5F\x5E\x5B\xC3\x48\x8B\x41\x08\xC3\x4C\x8B\x41\x20\x48\x8B\x42\x40\x4C\x8B\x4A\x48\
      \x49\x89\x01\x4C\x89\x48\x08\x49\x8B\x40\x08\x4C\x8D\x4A\x40\x4C\x89\x42\x40\x48\x89\x42\x48\x4C\
      \x89\x08\x4D\x89\x48\x08\xC3\x90",
    find: 0x4f,
    restart: 0x54,
    helper: None,
};
/// Call helper: lock dec [set+18h]; lea rcx,[set+10h]; call KeAcquireInStackQueuedSpinLockAtDpcLevel.
const HELPER: Function = Function {
    bytes: b"\x53\x56\x57\x48\x83\xEC\x40\x48\x89\xCE\x48\x8D\x4E\x10\xFF\x15\x8C\x00\x00\x00\x48\x89\xF1\xE8\
      \x4D\x00\x00\x00\x48\x89\xC7\x48\x85\xC0\x74\x23\x48\x89\xF1\x48\x8D\x54\x24\x20\xE8\x1E\x00\x00\
      \x00\x48\x89\xF1\x48\x89\xFA\xE8\x32\x00\x00\x00\x48\x8D\x4C\x24\x20\xFF\x15\x79\x00\x00\x00\x48\
      \x83\xC4\x40\x5F\x5E\x5B\xC3\x48\x83\xEC\x28\x48\x89\xC8\xF0\xFF\x48\x18\x48\x8D\x48\x10\xFF\x15\
      \x54\x00\x00\x00\x48\x83\xC4\x28\xC3\x48\x8B\x41\x08\xC3\x4C\x8B\x41\x20\x48\x8B\x42\x40\x4C\x8B\
      \x4A\x48\x49\x89\x01\x4C\x89\x48\x08\x49\x8B\x40\x08\x4C\x8D\x4A\x40\x4C\x89\x42\x40\x48\x89\x42\
      \x48\x4C\x89\x08\x4D\x89\x48\x08\xC3\x0F\x1F\x80\x00\x00\x00\x00",
    find: 0x69,
    restart: 0x6e,
    helper: Some(0x4f),
};
/// Call helper with the set: mov rax,[set+60h]; jmp rax.
const OPAQUE: Function = Function {
    bytes: b"\x53\x56\x57\x48\x83\xEC\x40\x48\x89\xCE\x48\x8D\x4E\x10\xFF\x15\x6C\x00\x00\x00\x48\x89\xF1\xE8\
      \x2D\x00\x00\x00\x48\x89\xC7\x48\x85\xC0\x74\x17\x48\x89\xF1\xE8\x17\x00\x00\x00\x48\x89\xF1\x48\
      \x89\xFA\xE8\x17\x00\x00\x00\xF0\xFF\x4E\x18\x48\x83\xC4\x40\x5F\x5E\x5B\xC3\x48\x8B\x41\x60\xFF\
      \xE0\x48\x8B\x41\x08\xC3\x4C\x8B\x41\x20\x48\x8B\x42\x40\x4C\x8B\x4A\x48\x49\x89\x01\x4C\x89\x48\
      \x08\x49\x8B\x40\x08\x4C\x8D\x4A\x40\x4C\x89\x42\x40\x48\x89\x42\x48\x4C\x89\x08\x4D\x89\x48\x08\
      \xC3\x0F\x1F\x80\x00\x00\x00\x00",
    find: 0x49,
    restart: 0x4e,
    helper: Some(0x43),
};
/// The read lock dropped, then the entry's own queued lock taken.
const OTHER: Function = Function {
    bytes: b"\x53\x56\x57\x48\x83\xEC\x40\x48\x89\xCE\x48\x8D\x4E\x10\xFF\x15\x74\x00\x00\x00\x48\x89\xF1\xE8\
      \x39\x00\x00\x00\x48\x89\xC7\x48\x85\xC0\x74\x29\xF0\xFF\x4E\x18\x48\x8D\x4F\x70\x48\x8D\x54\x24\
      \x20\xFF\x15\x69\x00\x00\x00\x48\x89\xF1\x48\x89\xFA\xE8\x18\x00\x00\x00\x48\x8D\x4C\x24\x20\xFF\
      \x15\x5B\x00\x00\x00\x48\x83\xC4\x40\x5F\x5E\x5B\xC3\x48\x8B\x41\x08\xC3\x4C\x8B\x41\x20\x48\x8B\
      \x42\x40\x4C\x8B\x4A\x48\x49\x89\x01\x4C\x89\x48\x08\x49\x8B\x40\x08\x4C\x8D\x4A\x40\x4C\x89\x42\
      \x40\x48\x89\x42\x48\x4C\x89\x08\x4D\x89\x48\x08\xC3\x0F\x1F\x00",
    find: 0x55,
    restart: 0x5a,
    helper: None,
};

/// Names the restart may have: its public one, ones no table knows, none.
const NAMES: [Option<&str>; 4] = [
    Some("IppRestartMfeTimer"),
    Some("IppRefreshMulticastEntry"),
    Some("MfepTouch"),
    None,
];

#[test]
fn the_sets_read_lock_is_the_defect_whatever_the_restart_is_called() {
    for name in NAMES {
        assert_eq!(finding(&PLAIN, name), LockFact::ReadLock, "{name:?}");
    }
}

#[test]
fn an_entrys_own_lock_under_the_sets_read_lock_is_no_fix() {
    for name in NAMES {
        assert_eq!(finding(&OWN, name), LockFact::ReadLock, "{name:?}");
    }
}

#[test]
fn a_helper_that_takes_the_write_lock_is_followed_whatever_its_name() {
    for name in NAMES {
        assert_eq!(finding(&HELPER, name), LockFact::WriteLock, "{name:?}");
    }
}

#[test]
fn another_lock_of_the_set_is_neither_shape() {
    for name in NAMES {
        assert_eq!(finding(&SET, name), LockFact::Unknown, "{name:?}");
    }
}

#[test]
fn an_entrys_own_lock_alone_is_neither_shape() {
    for name in NAMES {
        assert_eq!(finding(&OTHER, name), LockFact::Unknown, "{name:?}");
    }
}

#[test]
fn a_helper_that_cannot_be_followed_and_gets_the_set_leaves_it_open() {
    for name in NAMES {
        assert_eq!(finding(&OPAQUE, name), LockFact::Unknown, "{name:?}");
    }
}

//! A register file in which each register is either recovered or not.

use super::Machine;

/// A register's number within its machine's table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(pub u8);

/// Registers a machine's table can hold.
const CAPACITY: usize = 64;

/// The registers of one context. A register that was not recovered has no value, never zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Registers {
    machine: Machine,
    values: [u64; CAPACITY],
    known: u64,
}

impl Registers {
    /// A register file in which nothing is known yet.
    pub fn new(machine: Machine) -> Registers {
        Registers {
            machine,
            values: [0; CAPACITY],
            known: 0,
        }
    }

    /// The architecture.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The value of `reg`, if it was recovered.
    pub fn get(&self, reg: Reg) -> Option<u64> {
        let bit = 1u64.checked_shl(u32::from(reg.0))?;
        (self.known & bit != 0)
            .then(|| self.values.get(usize::from(reg.0)).copied())
            .flatten()
    }

    /// Records a recovered value, cut to the machine's pointer width.
    pub fn set(&mut self, reg: Reg, value: u64) {
        let value = self.machine.truncate(value);
        if let (Some(slot), Some(bit)) = (
            self.values.get_mut(usize::from(reg.0)),
            1u64.checked_shl(u32::from(reg.0)),
        ) {
            *slot = value;
            self.known |= bit;
        }
    }

    /// Records `value` when there is one and forgets the register otherwise.
    pub fn assign(&mut self, reg: Reg, value: Option<u64>) {
        match value {
            Some(value) => self.set(reg, value),
            None => self.forget(reg),
        }
    }

    /// Marks `reg` as not recovered.
    pub fn forget(&mut self, reg: Reg) {
        if let Some(bit) = 1u64.checked_shl(u32::from(reg.0)) {
            self.known &= !bit;
            if let Some(slot) = self.values.get_mut(usize::from(reg.0)) {
                *slot = 0;
            }
        }
    }

    /// The instruction pointer.
    pub fn ip(&self) -> Option<u64> {
        self.get(self.machine.instruction_pointer())
    }

    /// The stack pointer.
    pub fn sp(&self) -> Option<u64> {
        self.get(self.machine.stack_pointer())
    }

    /// Sets the instruction pointer.
    pub fn set_ip(&mut self, value: u64) {
        self.set(self.machine.instruction_pointer(), value);
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, value: u64) {
        self.set(self.machine.stack_pointer(), value);
    }

    /// The recovered registers with their names, in the order of the machine's table.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.machine
            .register_names()
            .iter()
            .zip(0u8..)
            .filter_map(|(name, number)| Some((*name, self.get(Reg(number))?)))
    }
}

impl std::fmt::Debug for Registers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.entry(&name, &format_args!("{value:#x}"));
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{x64, x86};

    #[test]
    fn a_register_that_was_not_recovered_has_no_value() {
        let mut registers = Registers::new(Machine::X64);
        registers.set(x64::registers::RCX, 0);
        assert_eq!(registers.get(x64::registers::RCX), Some(0));
        assert_eq!(registers.get(x64::registers::RAX), None);
        registers.forget(x64::registers::RCX);
        assert_eq!(registers.get(x64::registers::RCX), None);
    }

    #[test]
    fn a_sign_extended_address_is_cut_on_a_32_bit_machine() {
        let mut registers = Registers::new(Machine::X86);
        registers.set(x86::registers::EIP, 0xFFFF_FFFF_8181_2345);
        assert_eq!(registers.ip(), Some(0x8181_2345));
    }
}

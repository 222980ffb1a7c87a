//! Whether a bundle holds a call: enough to tell a return address, and no decoder of instructions.
//!
//! Facts: Intel, "Itanium Architecture Software Developer's Manual", volume 3: templates, and the
//! major opcodes of branches.

/// First bit of each slot's instruction, and bits of an instruction.
const SLOTS: [u32; 3] = [5, 46, 87];
const WIDTH: u32 = 41;
/// Major opcodes, bits 37 to 40: indirect call, call, long call.
const INDIRECT_CALL: u128 = 1;
const CALL: u128 = 5;
const LONG_CALL: u128 = 0xD;

/// True when one of the bundle's instructions is a call.
pub fn holds_call(bundle: u128) -> bool {
    // The lowest bit of a template says only whether a stop follows.
    let branches: &[usize] = match bundle & 0x1E {
        0x10 | 0x18 | 0x1C => &[2],
        0x12 => &[1, 2],
        0x16 => &[0, 1, 2],
        // The long call takes slots 1 and 2.
        0x04 => return opcode(bundle, 2) == Some(LONG_CALL),
        _ => &[],
    };
    branches
        .iter()
        .any(|slot| matches!(opcode(bundle, *slot), Some(CALL | INDIRECT_CALL)))
}

fn opcode(bundle: u128, slot: usize) -> Option<u128> {
    let start = SLOTS.get(slot)?;
    Some(bundle >> (start + WIDTH - 4) & 0xF)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bundle of a template whose slot `slot` has a major opcode.
    fn bundle(template: u128, slot: u32, opcode: u128) -> u128 {
        template | opcode << (5 + slot * 41 + 37)
    }

    #[test]
    fn a_call_is_one_in_a_slot_for_branches_only() {
        assert!(holds_call(bundle(0x11, 2, 5)));
        assert!(holds_call(bundle(0x1C, 2, 1)));
        assert!(holds_call(bundle(0x17, 0, 5)));
        assert!(holds_call(bundle(0x05, 2, 0xD)));
        // The same bits in an integer slot, a conditional branch, a template that is reserved.
        assert!(!holds_call(bundle(0x11, 1, 5)));
        assert!(!holds_call(bundle(0x11, 2, 4)));
        assert!(!holds_call(bundle(0x1E, 2, 5)));
        assert!(!holds_call(0));
    }
}

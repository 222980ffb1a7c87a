//! Epilogues: unwind operations describe the prologue only, so a position inside an epilogue is
//! unwound by doing what is left of it.
//!
//! Microsoft's rule: an optional `add rsp, n` or `lea rsp, [frame + n]`, any number of 8-byte
//! pops, then a return or a jump out of the function. Anything else is not an epilogue.

use crate::machine::Reg;

/// Bytes looked at: the longest epilogue has 7 + 15 pops of 2 + a 7-byte jump.
pub const WINDOW: usize = 48;

/// One instruction of an epilogue that still has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `add rsp, n`.
    Add(i64),
    /// `lea rsp, [frame + n]`.
    FromFrame(i64),
    /// `pop register`.
    Pop(Reg),
}

/// The rest of an epilogue, in the order the processor would do it.
#[derive(Clone, Debug, Default)]
pub struct Epilogue {
    actions: [Option<Action>; 18],
    len: usize,
}

impl Epilogue {
    /// What is left to do.
    pub fn actions(&self) -> impl Iterator<Item = Action> + '_ {
        self.actions.iter().copied().map_while(|action| action)
    }

    fn push(&mut self, action: Action) -> Option<()> {
        *self.actions.get_mut(self.len)? = Some(action);
        self.len += 1;
        Some(())
    }
}

/// Recognises the rest of an epilogue in `code`, which starts at `rva`.
///
/// `in_function` tells whether a jump's target belongs to the same function: such a jump does not
/// end a function. `None` when the code is something else or is cut short.
pub fn recognise(
    code: &[u8],
    rva: u32,
    frame_register: Option<Reg>,
    in_function: impl Fn(u32) -> bool,
) -> Option<Epilogue> {
    let mut rest = Epilogue::default();
    let mut at = 0;
    if let Some((action, length)) = stack_adjustment(code, frame_register) {
        rest.push(action)?;
        at += length;
    }
    while let Some((register, length)) = pop(code.get(at..)?) {
        rest.push(Action::Pop(register))?;
        at += length;
    }
    leaves(code.get(at..)?, rva.wrapping_add(at as u32), in_function).then_some(rest)
}

/// `add rsp, n` or `lea rsp, [frame + n]` and its length.
fn stack_adjustment(code: &[u8], frame_register: Option<Reg>) -> Option<(Action, usize)> {
    match code {
        [0x48, 0x83, 0xC4, n, ..] => Some((Action::Add(i64::from(*n as i8)), 4)),
        [0x48, 0x81, 0xC4, a, b, c, d, ..] => {
            let n = i32::from_le_bytes([*a, *b, *c, *d]);
            Some((Action::Add(i64::from(n)), 7))
        }
        [rex @ (0x48 | 0x49), 0x8D, modrm, rest @ ..] => {
            let frame = frame_register?;
            // reg = rsp, no SIB (a base of r12 needs one and is never a frame register).
            let base = (rex & 1) << 3 | modrm & 7;
            if modrm >> 3 & 7 != 4 || base != frame.0 {
                return None;
            }
            match (modrm >> 6, rest) {
                (1, [n, ..]) => Some((Action::FromFrame(i64::from(*n as i8)), 4)),
                (2, [a, b, c, d, ..]) => {
                    let n = i32::from_le_bytes([*a, *b, *c, *d]);
                    Some((Action::FromFrame(i64::from(n)), 7))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// A pop of a general register and its length.
fn pop(code: &[u8]) -> Option<(Reg, usize)> {
    match code {
        [op @ 0x58..=0x5F, ..] => Some((Reg(op & 7), 1)),
        [rex @ 0x40..=0x4F, op @ 0x58..=0x5F, ..] => Some((Reg((rex & 1) << 3 | op & 7), 2)),
        _ => None,
    }
}

/// True when `code` at `rva` leaves the function: a return, or a jump that goes elsewhere.
fn leaves(code: &[u8], rva: u32, in_function: impl Fn(u32) -> bool) -> bool {
    match code {
        [0xC3, ..] | [0xC2, _, _, ..] | [0xF3, 0xC3, ..] => true,
        [0xEB, n, ..] => {
            let target = rva.wrapping_add(2).wrapping_add_signed(i32::from(*n as i8));
            !in_function(target)
        }
        [0xE9, a, b, c, d, ..] => {
            let distance = i32::from_le_bytes([*a, *b, *c, *d]);
            !in_function(rva.wrapping_add(5).wrapping_add_signed(distance))
        }
        // An indirect jump counts when it is through memory relative to rip, or carries REX.W:
        // compilers mark jumps out of the function so, and leave switch jumps without it.
        [0xFF, 0x25, ..] => true,
        [0x48..=0x4F, 0xFF, modrm, ..] => modrm >> 3 & 7 == 4,
        _ => false,
    }
}

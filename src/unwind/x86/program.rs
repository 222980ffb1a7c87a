//! The postfix programs of `FrameData` records, such as
//! `$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + =`.
//!
//! Assignments to registers give the caller's; `^` reads memory, `@` aligns down. Programs come
//! from files: tokens, depth and names are bounded.

use crate::unwind::FrameData;

/// Tokens of a program: the longest real ones have about sixty.
const MOST_TOKENS: usize = 256;
/// Operands waiting.
const DEEPEST: usize = 32;
/// Temporaries `$T0`..`$T31`.
const TEMPORARIES: usize = 32;
/// Registers a program may name, in the order of [`Evaluated`].
const REGISTERS: [&str; 6] = ["$eip", "$esp", "$ebp", "$ebx", "$esi", "$edi"];

/// The same registers where a program names them by CodeView number (`CV_REG_EBX` and so on of
/// Microsoft's published `cvconst.h`), which its compiler does for `esi` and `edi`.
const NUMBERED: [&str; 6] = ["$33", "$21", "$22", "$20", "$23", "$24"];

/// Why a program gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// The text is no program.
    #[error("the frame program cannot be read")]
    Malformed,
    /// A value it uses is not known.
    #[error("the frame program uses a value that is not known")]
    Unknown,
    /// Memory it reads is not there.
    #[error("the frame program reads {0:#x}, which is not in the dump")]
    Absent(u32),
    /// It sets no return address or no stack pointer.
    #[error("the frame program gives no caller")]
    NoCaller,
}

/// What a program starts from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The callee's `eip, esp, ebp, ebx, esi, edi`, as far as known.
    pub registers: [Option<u32>; 6],
    /// The record.
    pub frame: &'a FrameData<'a>,
    /// Bytes of parameters of the frame inward, which are still on this frame's stack.
    pub callee_parameters: u32,
    /// Where the return address was found, the value of `.raSearch`.
    pub return_slot: u32,
}

/// The caller's registers; those a program does not assign are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// `eip, esp, ebp, ebx, esi, edi`.
    pub registers: [Option<u32>; 6],
}

/// An operand: a value, or a name that may be assigned to.
#[derive(Clone, Copy, Debug)]
enum Operand {
    Value(u32),
    Register(usize),
    Temporary(usize),
    /// A register no walk follows: assigning it is harmless, its value is not known.
    Other,
}

struct Machine<'a> {
    inputs: Inputs<'a>,
    assigned: Evaluated,
    temporaries: [Option<u32>; TEMPORARIES],
    stack: Vec<Operand>,
}

/// Runs `program`; `read` gives a word of memory.
///
/// # Errors
/// [`ProgramError`]; nothing a program says makes this run longer than its own text.
pub fn evaluate(
    program: &str,
    inputs: Inputs<'_>,
    read: impl Fn(u32) -> Option<u32>,
) -> Result<Evaluated, ProgramError> {
    let mut machine = Machine {
        inputs,
        assigned: Evaluated::default(),
        temporaries: [None; TEMPORARIES],
        stack: Vec::with_capacity(8),
    };
    let mut tokens = program.split_ascii_whitespace();
    for token in tokens.by_ref().take(MOST_TOKENS) {
        machine.run(token, &read)?;
    }
    let [eip, esp, ..] = machine.assigned.registers;
    match tokens.next().is_none() && eip.is_some() && esp.is_some() {
        true => Ok(machine.assigned),
        false => Err(ProgramError::NoCaller),
    }
}

impl Machine<'_> {
    fn run(&mut self, token: &str, read: &impl Fn(u32) -> Option<u32>) -> Result<(), ProgramError> {
        let result = match token {
            "=" => return self.assign(),
            "^" => {
                let at = self.pop()?;
                read(at).ok_or(ProgramError::Absent(at))?
            }
            "+" | "-" | "*" | "/" | "%" | "@" => {
                let (b, a) = (self.pop()?, self.pop()?);
                match token {
                    "+" => a.wrapping_add(b),
                    "-" => a.wrapping_sub(b),
                    "*" => a.wrapping_mul(b),
                    "/" => a.checked_div(b).ok_or(ProgramError::Malformed)?,
                    "%" => a.checked_rem(b).ok_or(ProgramError::Malformed)?,
                    _ => a - a.checked_rem(b).ok_or(ProgramError::Malformed)?,
                }
            }
            name => {
                let operand = self.operand(name)?;
                return self.push(operand);
            }
        };
        self.push(Operand::Value(result))
    }

    fn operand(&self, name: &str) -> Result<Operand, ProgramError> {
        let index = |names: &[&str]| names.iter().position(|own| *own == name);
        if let Some(index) = index(&REGISTERS).or_else(|| index(&NUMBERED)) {
            return Ok(Operand::Register(index));
        }
        if let Some(number) = name.strip_prefix("$T") {
            return match number.parse() {
                Ok(index) if index < TEMPORARIES => Ok(Operand::Temporary(index)),
                _ => Err(ProgramError::Malformed),
            };
        }
        if name.len() > 1 && name.starts_with('$') {
            return Ok(Operand::Other);
        }
        let frame = self.inputs.frame;
        let value = match name {
            ".raSearch" | ".raSearchStart" => self.inputs.return_slot,
            ".cbLocals" => frame.locals,
            ".cbParams" => frame.parameters,
            ".cbSavedRegs" => frame.saved_registers,
            ".cbCalleeParams" => self.inputs.callee_parameters,
            number => number
                .parse::<i64>()
                .ok()
                .and_then(|n| u32::try_from(n & 0xFFFF_FFFF).ok())
                .ok_or(ProgramError::Malformed)?,
        };
        Ok(Operand::Value(value))
    }

    fn push(&mut self, operand: Operand) -> Result<(), ProgramError> {
        if self.stack.len() >= DEEPEST {
            return Err(ProgramError::Malformed);
        }
        self.stack.push(operand);
        Ok(())
    }

    fn pop(&mut self) -> Result<u32, ProgramError> {
        let value = match self.stack.pop().ok_or(ProgramError::Malformed)? {
            Operand::Value(value) => Some(value),
            // The caller's value once assigned, the callee's before.
            Operand::Register(index) => {
                let of = |set: &[Option<u32>; 6]| set.get(index).copied().flatten();
                of(&self.assigned.registers).or_else(|| of(&self.inputs.registers))
            }
            Operand::Temporary(index) => self.temporaries.get(index).copied().flatten(),
            Operand::Other => None,
        };
        value.ok_or(ProgramError::Unknown)
    }

    fn assign(&mut self) -> Result<(), ProgramError> {
        let value = self.pop()?;
        let slot = match self.stack.pop().ok_or(ProgramError::Malformed)? {
            Operand::Register(index) => self.assigned.registers.get_mut(index),
            Operand::Temporary(index) => self.temporaries.get_mut(index),
            Operand::Other => return Ok(()),
            Operand::Value(_) => None,
        };
        *slot.ok_or(ProgramError::Malformed)? = Some(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::FrameProgram;

    const FRAME: FrameData<'static> = FrameData {
        start: 0x1000,
        code_size: 0x100,
        locals: 8,
        parameters: 12,
        saved_registers: 4,
        prolog: 3,
        program: FrameProgram::Standard,
    };

    fn run(program: &str) -> Result<Evaluated, ProgramError> {
        let inputs = Inputs {
            registers: [Some(1), Some(0x100), Some(0x200), Some(7), None, None],
            frame: &FRAME,
            callee_parameters: 0,
            return_slot: 0x10C,
        };
        evaluate(program, inputs, |at| (at < 0x1000).then_some(at + 0x8000))
    }

    #[test]
    fn the_usual_program_of_a_frame_without_a_frame_pointer_gives_the_caller() {
        let caller = run("$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + = $ebx $T0 4 - ^ =").unwrap();
        assert_eq!(
            caller.registers,
            [Some(0x810C), Some(0x110), None, Some(0x8108), None, None]
        );
    }

    #[test]
    fn the_usual_program_of_a_frame_with_a_frame_pointer_gives_the_caller() {
        let caller = run("$T0 $ebp = $eip $T0 4 + ^ = $ebp $T0 ^ = $esp $T0 8 + =").unwrap();
        assert_eq!(
            caller.registers,
            [Some(0x8204), Some(0x208), Some(0x8200), None, None, None]
        );
    }

    #[test]
    fn registers_named_by_number_are_assigned_and_others_ignored() {
        let caller =
            run("$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + =  $23 $T0 4 - ^ = $17 9 =").unwrap();
        assert_eq!(caller.registers[4], Some(0x8108));
        assert_eq!(caller.registers[5], None);
    }

    #[test]
    fn an_aligned_frame_is_aligned_downward() {
        let caller = run("$T1 $ebp 13 + 16 @ = $eip $T1 ^ = $esp $T1 4 + =").unwrap();
        assert_eq!(caller.registers[1], Some(0x204));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let deep = "1 ".repeat(DEEPEST + 1);
        let long = "$T0 1 = ".repeat(MOST_TOKENS);
        for (text, error) in [
            ("=", ProgramError::Malformed),
            ("1 2 =", ProgramError::Malformed),
            ("$T0 $T99 =", ProgramError::Malformed),
            ("$eip 1 0 / =", ProgramError::Malformed),
            ("$eip $esi =", ProgramError::Unknown),
            ("$eip $T3 =", ProgramError::Unknown),
            ("$eip 65536 ^ =", ProgramError::Absent(65536)),
            ("$eip 1 =", ProgramError::NoCaller),
            ("$eip rubbish =", ProgramError::Malformed),
            (deep.as_str(), ProgramError::Malformed),
            (long.as_str(), ProgramError::NoCaller),
            ("", ProgramError::NoCaller),
        ] {
            assert_eq!(run(text), Err(error), "{text}");
        }
    }
}

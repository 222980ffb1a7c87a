//! What the operands of an instruction are, by the values of a place.

use iced_x86::{Instruction, OpKind, Register};

use super::{Value, Values};
use crate::code::flow::number;

impl Values {
    /// The address of a memory operand; `None` where it is of another segment or not followed.
    pub fn place(&self, instruction: &Instruction) -> Option<Value> {
        use Register as R;
        if matches!(instruction.memory_segment(), R::FS | R::GS) {
            return None;
        }
        let index = instruction.memory_index();
        let plain = self.plain_place(instruction)?;
        match index {
            R::None => Some(plain),
            _ if plain.origin.is_none() || !index.is_gpr() => None,
            _ => plain.and(&self.get(number(index)?), instruction.memory_index_scale()),
        }
    }

    /// The address of a memory operand without its index register.
    fn plain_place(&self, instruction: &Instruction) -> Option<Value> {
        use Register as R;
        match instruction.memory_base() {
            R::RIP => Some(Value::constant(
                instruction.ip_rel_memory_address().cast_signed(),
            )),
            R::None => Some(Value::constant(
                instruction.memory_displacement64().cast_signed(),
            )),
            base if base.is_gpr() => {
                let distance = match self.bits {
                    64 => instruction.memory_displacement64().cast_signed(),
                    _ => i64::from(instruction.memory_displacement32().cast_signed()),
                };
                Some(self.get(number(base)?).plus(distance))
            }
            _ => None,
        }
    }

    /// The pointer-wide value of an operand.
    pub fn operand(&self, instruction: &Instruction, n: u32) -> Option<Value> {
        match instruction.op_kind(n) {
            OpKind::Register => {
                let register = instruction.op_register(n);
                let whole = i64::try_from(register.size()).ok()? == self.width;
                whole.then(|| Some(self.get(number(register)?))).flatten()
            }
            OpKind::Memory => {
                let whole = i64::try_from(instruction.memory_size().size()).ok()? == self.width;
                whole
                    .then(|| self.load(&self.place(instruction)?))
                    .flatten()
            }
            _ => Some(Value::constant(self.immediate(instruction, n)?)),
        }
    }

    pub fn immediate(&self, instruction: &Instruction, n: u32) -> Option<i64> {
        let raw = instruction.try_immediate(n).ok()?;
        match self.bits {
            64 => Some(raw.cast_signed()),
            // Short ones come extended to 64 bits.
            _ => Some(i64::from(
                u32::try_from(raw & 0xFFFF_FFFF).ok()?.cast_signed(),
            )),
        }
    }

    /// The signed 32-bit constant that a register operand holds.
    pub fn count(&self, instruction: &Instruction, n: u32) -> Option<i64> {
        let register = instruction.op_register(n);
        let value = self.get(number(register)?);
        let low = u32::try_from(value.plus & 0xFFFF_FFFF).ok()?;
        value.origin.is_none().then(|| i64::from(low.cast_signed()))
    }
}

//! The exception directory: which function an address belongs to.
//!
//! x64 splits functions: a part may lie far from its function under an entry of its own whose
//! unwind information is chained to the primary entry (x64 exception-handling documentation,
//! "Chained unwind info structures"). Chains come from the file, so hops are limited. IA-64 rows
//! have the x64 shape without chains; ARM64 rows are 8 bytes with packed or external lengths.

use super::Image;
use crate::bytes::View;
use crate::machine::Machine;

/// Entries a chain may have; real chains have one or two links.
const MAX_HOPS: usize = 32;
/// Parts that are looked at to see whether a chained part follows its function directly.
const MAX_NEIGHBOURS: usize = 64;
/// `UNW_FLAG_CHAININFO`.
const FLAG_CHAINED: u8 = 4;

/// A contiguous part of a function, as one row of the exception directory gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRange {
    /// RVA of the first byte of the part.
    pub begin: u32,
    /// RVA past the last byte.
    pub end: u32,
    /// RVA at which the function itself begins.
    pub primary_begin: u32,
    /// True for a part that lies apart from its function's start.
    pub cold: bool,
}

/// `RUNTIME_FUNCTION`: one row of `.pdata`. All three are RVAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeFunction {
    /// First byte of the range.
    pub begin: u32,
    /// First byte past the range.
    pub end: u32,
    /// `UNWIND_INFO`; with the low bit set, another row.
    pub unwind_data: u32,
}

impl Image {
    /// Number of rows of the exception directory, by its declared size.
    pub fn function_count(&self) -> u32 {
        self.headers.exceptions.size / self.row_size()
    }

    /// A row of the exception directory in the file's order; `None` past the end or where absent.
    pub fn function(&self, index: u32) -> Option<RuntimeFunction> {
        if index >= self.function_count() {
            return None;
        }
        let at = index.checked_mul(self.row_size())?;
        self.function_row(self.headers.exceptions.rva.checked_add(at)?)
    }

    /// The row whose range holds `rva`.
    pub fn function_at(&self, rva: u32) -> Option<RuntimeFunction> {
        self.function(self.function_index(rva)?)
    }

    /// True when a row begins after `begin` and at or below `rva`.
    pub fn row_between(&self, begin: u32, rva: u32) -> bool {
        let last = self.rows_at_or_below(rva).and_then(|n| n.checked_sub(1));
        last.and_then(|index| self.function(index))
            .is_some_and(|row| row.begin > begin)
    }

    /// The part of a function that holds `rva`, and the function it belongs to. `None` for a leaf
    /// function without a row, for a machine without an exception directory, and where bytes of
    /// the chain are absent or make no sense.
    pub fn primary_function(&self, rva: u32) -> Option<FunctionRange> {
        let index = self.function_index(rva)?;
        let row = self.function(index)?;
        let primary = self.primary_of(row)?;
        let cold = primary.begin != row.begin && !self.follows(index, row.begin, primary.begin);
        Some(FunctionRange {
            begin: row.begin,
            end: row.end,
            primary_begin: primary.begin,
            cold,
        })
    }

    /// Follows a row's chain to the row of the whole function: the row itself when not chained.
    fn primary_of(&self, row: RuntimeFunction) -> Option<RuntimeFunction> {
        let mut current = row;
        if self.machine() != Some(Machine::X64) {
            return Some(row);
        }
        for _ in 0..MAX_HOPS {
            match self.chained_to(current)? {
                Some(next) => current = next,
                None => return Some(current),
            }
        }
        None
    }

    /// The row that `row` is chained to: `Some(None)` when it is a primary one.
    fn chained_to(&self, row: RuntimeFunction) -> Option<Option<RuntimeFunction>> {
        if row.unwind_data & 1 != 0 {
            return self.function_row(row.unwind_data & !1).map(Some);
        }
        let header = self.read_array::<4>(row.unwind_data)?;
        let [version_and_flags, _, codes, _] = header;
        if !matches!(version_and_flags & 7, 1..=2) {
            return None;
        }
        if (version_and_flags >> 3) & FLAG_CHAINED == 0 {
            return Some(None);
        }
        let codes = (u32::from(codes) + 1) & !1;
        let at = row.unwind_data.checked_add(4 + codes * 2)?;
        self.function_row(at).map(Some)
    }

    /// True when the parts before row `index` lead without a gap to the function's start.
    fn follows(&self, index: u32, begin: u32, primary_begin: u32) -> bool {
        let mut begin = begin;
        for step in 1..=MAX_NEIGHBOURS as u32 {
            let Some(row) = index.checked_sub(step).and_then(|i| self.function(i)) else {
                return false;
            };
            if row.end != begin || self.primary_of(row).map(|p| p.begin) != Some(primary_begin) {
                return false;
            }
            if row.begin == primary_begin {
                return true;
            }
            begin = row.begin;
        }
        false
    }

    /// Number of rows that begin at or below `rva`; `None` when a row needed is absent.
    fn rows_at_or_below(&self, rva: u32) -> Option<u32> {
        let (mut low, mut high) = (0, self.function_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.function(middle)?.begin <= rva {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Some(low)
    }

    /// Index of the row whose range holds `rva`.
    fn function_index(&self, rva: u32) -> Option<u32> {
        let index = self.rows_at_or_below(rva)?.checked_sub(1)?;
        self.function(index).filter(|row| rva < row.end)?;
        Some(index)
    }

    fn row_size(&self) -> u32 {
        match self.machine() {
            Some(Machine::Arm64 | Machine::Arm) => 8,
            _ => 12,
        }
    }

    /// Reads one row. Rows that end before they begin are refused.
    fn function_row(&self, rva: u32) -> Option<RuntimeFunction> {
        let row = match self.machine()? {
            Machine::X64 | Machine::Ia64 => {
                let bytes = self.read_array::<12>(rva)?;
                let view = View(&bytes);
                RuntimeFunction {
                    begin: view.u32(0)?,
                    end: view.u32(4)?,
                    unwind_data: view.u32(8)?,
                }
            }
            Machine::Arm64 => self.arm64_row(rva)?,
            Machine::X86 | Machine::Arm => return None,
        };
        (row.begin < row.end).then_some(row)
    }

    /// An ARM64 row: the length is packed into the second word or stands in the `.xdata` header
    /// (ARM64 exception-handling documentation).
    fn arm64_row(&self, rva: u32) -> Option<RuntimeFunction> {
        let bytes = self.read_array::<8>(rva)?;
        let (begin, word) = (View(&bytes).u32(0)?, View(&bytes).u32(4)?);
        let instructions = match word & 3 {
            0 => self.u32_at(word)? & 0x3_FFFF,
            1 | 2 => (word >> 2) & 0x7FF,
            _ => return None,
        };
        Some(RuntimeFunction {
            begin,
            end: begin.checked_add(instructions * 4)?,
            unwind_data: word,
        })
    }
}

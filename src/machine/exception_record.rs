//! EXCEPTION_RECORD, in both widths: the public `winnt.h`; when one is believed: `docs/dump-format.md`.

use crate::bytes::View;

/// Parameters a record can hold.
const MAX_PARAMETERS: u32 = 15;

/// What raised an exception and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionRecord {
    /// NTSTATUS.
    pub code: u32,
    /// Flags; 0 continuable, 1 not.
    pub flags: u32,
    /// Address of the next record, 0 for none.
    pub next: u64,
    /// The instruction.
    pub address: u64,
    /// Number of parameters, at most 15.
    pub parameters: u32,
    /// The first two parameters, for an access violation: kind of access, address.
    pub information: [u64; 2],
}

impl ExceptionRecord {
    /// Size in bytes for a pointer width of 4 or 8.
    pub fn size(width: usize) -> usize {
        match width {
            4 => 0x50,
            _ => 0x98,
        }
    }

    /// Offset of the address field.
    pub fn address_offset(width: usize) -> u64 {
        match width {
            4 => 0xC,
            _ => 0x10,
        }
    }

    /// Reads the record at the start of `view`; `None` when it is cut short or its parameter count
    /// is impossible.
    pub fn read(view: View<'_>, width: usize) -> Option<ExceptionRecord> {
        view.bytes(0, ExceptionRecord::size(width))?;
        let (count, first) = match width {
            4 => (0x10, 0x14),
            _ => (0x18, 0x20),
        };
        let parameters = view.u32(count)?;
        (parameters <= MAX_PARAMETERS).then_some(ExceptionRecord {
            code: view.u32(0)?,
            flags: view.u32(4)?,
            next: view.pointer(8, width)?,
            address: view.pointer(8 + width, width)?,
            parameters,
            information: [
                view.pointer(first, width)?,
                view.pointer(first + width, width)?,
            ],
        })
    }

    /// True when a stack word pattern can be a record that describes an exception at `address`: an
    /// error or warning status, known flags, no chain.
    pub fn plausible(&self, address: u64) -> bool {
        self.address == address && self.code >> 30 >= 2 && self.flags <= 1 && self.next == 0
    }
}

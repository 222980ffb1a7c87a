//! Descriptors put together from the published formats: what assembles them shares nothing with
//! what reads them.

/// Bytes of descriptors.
#[derive(Clone, Default)]
pub struct Descriptors(pub Vec<u8>);

fn leb(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7F {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

impl Descriptors {
    fn with(mut self, bytes: &[u8], numbers: &[u64]) -> Descriptors {
        self.0.extend_from_slice(bytes);
        for number in numbers {
            leb(*number, &mut self.0);
        }
        self
    }

    /// R1 or R3.
    fn header(self, kind: u8, slots: u64) -> Descriptors {
        match slots {
            0..32 => self.with(&[kind << 5 | slots as u8], &[]),
            _ => self.with(&[0b0110_0000 | kind], &[slots]),
        }
    }

    pub fn prologue(self, slots: u64) -> Descriptors {
        self.header(0, slots)
    }

    pub fn body(self, slots: u64) -> Descriptors {
        self.header(1, slots)
    }

    /// R2: rp, ar.pfs and the predicates in registers from `first` on.
    pub fn prologue_saving(self, mask: u8, first: u8, slots: u64) -> Descriptors {
        let bytes = [0b0100_0000 | mask >> 1, (mask & 1) << 7 | first];
        self.with(&bytes, &[slots])
    }

    /// P3.
    fn in_gr(self, kind: u8, register: u8) -> Descriptors {
        self.with(&[0b1011_0000 | kind >> 1, (kind & 1) << 7 | register], &[])
    }

    pub fn rp_gr(self, slot: u64, register: u8) -> Descriptors {
        self.with(&[0xE4], &[slot]).in_gr(1, register)
    }

    pub fn pfs_gr(self, slot: u64, register: u8) -> Descriptors {
        self.with(&[0xE6], &[slot]).in_gr(2, register)
    }

    pub fn psp_gr(self, slot: u64, register: u8) -> Descriptors {
        self.with(&[0xE1], &[slot]).in_gr(0, register)
    }

    pub fn rp_br(self, register: u8) -> Descriptors {
        self.in_gr(6, register)
    }

    /// P7: saved on the memory stack, `below` bytes below the caller's stack pointer plus 16.
    pub fn rp_psprel(self, slot: u64, below: u64) -> Descriptors {
        self.with(&[0xE4], &[slot]).with(&[0xE5], &[below / 4])
    }

    /// P7 and P8: saved `above` bytes above the stack pointer.
    pub fn rp_sprel(self, slot: u64, above: u64) -> Descriptors {
        self.with(&[0xE4], &[slot]).with(&[0xF0, 1], &[above / 4])
    }

    pub fn frame(self, slot: u64, bytes: u64) -> Descriptors {
        self.with(&[0xE0], &[slot, bytes / 16])
    }

    /// P10, Windows NT.
    pub fn trap(self, kind: u8) -> Descriptors {
        self.with(&[0xFF, 2, kind], &[])
    }

    pub fn label(self, number: u8) -> Descriptors {
        self.with(&[0b1000_0000 | number], &[])
    }

    pub fn copy(self, number: u8) -> Descriptors {
        self.with(&[0b1010_0000 | number], &[])
    }

    pub fn epilogue(self, slots_from_end: u64, prologues: u8) -> Descriptors {
        self.with(&[0b1100_0000 | (prologues - 1)], &[slots_from_end])
    }

    /// X2 or X4: r4 to r7 moved to a general register in slot `t`.
    pub fn moved(self, predicate: u8, register: u8, to: u8, t: u64) -> Descriptors {
        match predicate {
            0 => self.with(&[0xFA, register, to], &[t]),
            n => self.with(&[0xFC, n, register, to], &[t]),
        }
    }

    /// X4: the return address, under a predicate.
    pub fn rp_moved_if(self, predicate: u8, to: u8, t: u64) -> Descriptors {
        self.with(&[0xFC, predicate, 0b0110_0011, to], &[t])
    }

    /// The record as an image has it: version 3, no handler, padded to words.
    pub fn record(mut self) -> Vec<u8> {
        while !self.0.len().is_multiple_of(8) {
            self.0.push(0);
        }
        let words = (self.0.len() / 8) as u32;
        let mut record = vec![3, 0, 0, 0];
        record.extend(words.to_le_bytes());
        record.extend(self.0);
        record
    }
}

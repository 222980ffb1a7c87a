//! Unwind descriptors: the bytes that say, region by region, what a function did with its caller's
//! registers. Decodes every format; judges nothing.
//!
//! Facts: Intel, "Itanium Software Conventions and Runtime Architecture Guide", appendix B.

/// A register that descriptors speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A general register; r4 to r7 are preserved.
    Gr(u8),
    /// A floating-point register; f2 to f5 and f16 to f31 are preserved.
    Fr(u8),
    /// A branch register; b1 to b5 are preserved.
    Br(u8),
    /// The predicates.
    Preds,
    /// The stack pointer of the caller.
    Psp,
    /// NaT bits of registers the prologue spills.
    Priunat,
    /// The return address.
    Rp,
    /// ar.bsp.
    Bsp,
    /// ar.bspstore.
    Bspstore,
    /// ar.rnat.
    Rnat,
    /// ar.unat.
    Unat,
    /// ar.fpsr.
    Fpsr,
    /// ar.pfs.
    Pfs,
    /// ar.lc.
    Lc,
}

/// Where an X descriptor says that a register went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spill {
    /// To the memory stack; the offset is that of [`Record::Psprel`].
    Psprel(u64),
    /// To the memory stack; the offset is that of [`Record::Sprel`].
    Sprel(u64),
    /// To a general register.
    Gr(u8),
    /// To a floating-point register.
    Fr(u8),
    /// To a branch register.
    Br(u8),
    /// Back to where it belongs.
    Restore,
}

/// One descriptor. Times are slots from the start of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// P1, P5, P6: registers saved in the spill area. Bit n of `gr` is r(4+n), of `br` b(1+n), of
    /// `fr` f(2+n) for n below 4 and f(12+n) above.
    Mem {
        /// Mask of general registers.
        gr: u8,
        /// Mask of branch registers.
        br: u8,
        /// Mask of floating-point registers.
        fr: u32,
    },
    /// P2: branch registers saved in general registers, the first in `first`. Bits as in `Mem`.
    BrGr {
        /// Which.
        mask: u8,
        /// Where the first of them went.
        first: u8,
    },
    /// P9: r4 to r7 saved in general registers.
    GrGr {
        /// Which.
        mask: u8,
        /// Where the first of them went.
        first: u8,
    },
    /// P3: saved in a general register.
    InGr(Resource, u8),
    /// P3: the return address lies in a branch register.
    RpBr(u8),
    /// P4: for each slot of the region two bits, highest first: 1 the next floating-point, 2 the
    /// next general, 3 the next branch register is saved by it.
    SpillMask(&'a [u8]),
    /// P7: the stack pointer is lowered by `size` bytes in slot `t`.
    MemStackFixed {
        /// Slot.
        t: u64,
        /// Bytes.
        size: u64,
    },
    /// P7: from slot `t` on the caller's stack pointer is where it is said to be saved.
    MemStackVariable {
        /// Slot.
        t: u64,
    },
    /// P7: the upper end of the spill area, an offset as in `Psprel`.
    SpillBase(u64),
    /// P7, P8: the slot that saves a register.
    When(Resource, u64),
    /// P8: the slot that saves the NaT bits, in memory and not in a register.
    WhenPriunatInMemory(u64),
    /// P7, P8: saved at psp + 16 - 4 * offset.
    Psprel(Resource, u64),
    /// P7, P8: saved at sp + 4 * offset.
    Sprel(Resource, u64),
    /// P10: not an ordinary frame.
    Abi {
        /// Whose rules: 2 is Windows NT.
        abi: u8,
        /// What kind of frame.
        context: u8,
    },
    /// X1 to X4: a register goes somewhere in slot `t`, under predicate `qp` unless that is 0.
    Moved {
        /// The predicate.
        qp: u8,
        /// The slot.
        t: u64,
        /// What.
        what: Resource,
        /// Where.
        to: Spill,
    },
    /// B1, B4: the state at the start of the region gets a number.
    LabelState(u64),
    /// B1, B4: the state of that number is taken back.
    CopyState(u64),
    /// B2, B3: an epilogue that restores the stack pointer `t` slots before the region's end, and
    /// undoes `ecount` + 1 prologues.
    Epilogue {
        /// Slots from the end.
        t: u64,
        /// Prologues but one.
        ecount: u64,
    },
}

/// A region's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// R1, R2, R3.
    pub format: u8,
    /// A prologue, else a body.
    pub prologue: bool,
    /// Length in slots of instructions, three a bundle.
    pub length: u64,
    /// R2: mask (8 rp, 4 pfs, 2 psp, 1 predicates) and the general register of the first of them.
    pub saved: (u8, u8),
}

/// What the bytes say next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A region begins.
    Region(Region),
    /// Something within it.
    Record(Record<'a>),
}

/// Why descriptors cannot be read or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They end within one.
    #[error("unwind descriptors are cut short")]
    Short,
    /// A byte that no format has, or one that does not belong where it is.
    #[error("unwind descriptors hold the unknown byte {0:#04x}")]
    Unknown(u8),
    /// A number beyond any use.
    #[error("unwind descriptors hold an impossible number")]
    Number,
    /// Regions, epilogues or labels that do not go together.
    #[error("unwind descriptors contradict themselves")]
    Unbalanced,
    /// More than is ever needed.
    #[error("unwind descriptors do not end")]
    Endless,
}

/// The registers of P3, P7 and P8 in the order of their numbers there.
const IN_GR: [Resource; 6] = [
    Resource::Psp,
    Resource::Rp,
    Resource::Pfs,
    Resource::Preds,
    Resource::Unat,
    Resource::Lc,
];
const LATER_IN_GR: [Resource; 5] = [
    Resource::Rnat,
    Resource::Bsp,
    Resource::Bspstore,
    Resource::Fpsr,
    Resource::Priunat,
];
const WHEN_PSPREL: [Resource; 6] = [
    Resource::Rp,
    Resource::Pfs,
    Resource::Preds,
    Resource::Lc,
    Resource::Unat,
    Resource::Fpsr,
];
const RSE: [Resource; 3] = [Resource::Bsp, Resource::Bspstore, Resource::Rnat];
const SPECIAL: [Resource; 11] = [
    Resource::Preds,
    Resource::Psp,
    Resource::Priunat,
    Resource::Rp,
    Resource::Bsp,
    Resource::Bspstore,
    Resource::Rnat,
    Resource::Unat,
    Resource::Fpsr,
    Resource::Pfs,
    Resource::Lc,
];

/// Iterator over the descriptors of one function. Ends after the first damage.
#[derive(Clone, Debug)]
pub struct Descriptors<'a> {
    bytes: &'a [u8],
    at: usize,
    region: Option<Region>,
    broken: bool,
}

impl<'a> Descriptors<'a> {
    /// The descriptors in `bytes`; zeros at the end read as prologues without length.
    pub fn new(bytes: &'a [u8]) -> Descriptors<'a> {
        Descriptors {
            bytes,
            at: 0,
            region: None,
            broken: false,
        }
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let byte = self.bytes.get(self.at).copied().ok_or(Damage::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let end = self.at.checked_add(n).ok_or(Damage::Short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Damage::Short)?;
        self.at = end;
        Ok(bytes)
    }

    fn uleb(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if part << shift >> shift != part {
                return Err(Damage::Number);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::Number)
    }

    fn item(&mut self) -> Result<Item<'a>, Damage> {
        let first = self.byte()?;
        if first < 0x80 {
            let region = self.region(first)?;
            self.region = Some(region);
            return Ok(Item::Region(region));
        }
        let region = self.region.ok_or(Damage::Unknown(first))?;
        let record = match (first, region.prologue) {
            (0xF9..=0xFC, _) => self.moved(first),
            (_, true) => self.prologue(first, region.length),
            (_, false) => self.body(first),
        };
        Ok(Item::Record(record?))
    }

    fn region(&mut self, first: u8) -> Result<Region, Damage> {
        let plain = |format, prologue, length| Region {
            format,
            prologue,
            length,
            saved: (0, 0),
        };
        Ok(match first {
            0x00..0x40 => plain(1, first & 0x20 == 0, u64::from(first & 0x1F)),
            0x40..0x48 => {
                let second = self.byte()?;
                Region {
                    saved: ((first & 7) << 1 | second >> 7, second & 0x7F),
                    ..plain(2, true, self.uleb()?)
                }
            }
            0x60 | 0x61 => plain(3, first & 1 == 0, self.uleb()?),
            _ => return Err(Damage::Unknown(first)),
        })
    }

    fn prologue(&mut self, first: u8, length: u64) -> Result<Record<'a>, Damage> {
        let mem = |gr, br, fr| Record::Mem { gr, br, fr };
        Ok(match first {
            0x80..0xA0 => mem(0, first & 0x1F, 0),
            0xA0..0xB0 => {
                let second = self.byte()?;
                Record::BrGr {
                    mask: (first & 0xF) << 1 | second >> 7,
                    first: second & 0x7F,
                }
            }
            0xB0..0xB8 => {
                let second = self.byte()?;
                let (kind, register) = ((first & 7) << 1 | second >> 7, second & 0x7F);
                let number = usize::from(kind);
                match kind {
                    6 => Record::RpBr(register),
                    _ => IN_GR
                        .get(number)
                        .or(number.checked_sub(7).and_then(|n| LATER_IN_GR.get(n)))
                        .map(|what| Record::InGr(*what, register))
                        .ok_or(Damage::Unknown(first))?,
                }
            }
            0xB8 => {
                let bytes = usize::try_from(length.div_ceil(4)).map_err(|_| Damage::Short)?;
                Record::SpillMask(self.take(bytes)?)
            }
            0xB9 => {
                let (high, middle, low) = (self.byte()?, self.byte()?, self.byte()?);
                let bits = u32::from_be_bytes([0, high & 0xF, middle, low]);
                mem(high >> 4, 0, bits)
            }
            0xC0..0xD0 => mem(0, 0, u32::from(first & 0xF)),
            0xD0..0xE0 => mem(first & 0xF, 0, 0),
            0xE0..0xF0 => self.timed(first & 0xF)?,
            0xF0 => self.timed_more()?,
            0xF1 => Record::GrGr {
                mask: self.byte()? & 0xF,
                first: self.byte()? & 0x7F,
            },
            0xFF => Record::Abi {
                abi: self.byte()?,
                context: self.byte()?,
            },
            _ => return Err(Damage::Unknown(first)),
        })
    }

    /// P7.
    fn timed(&mut self, kind: u8) -> Result<Record<'a>, Damage> {
        let value = self.uleb()?;
        Ok(match kind {
            0 => Record::MemStackFixed {
                t: value,
                size: self.uleb()?.checked_mul(16).ok_or(Damage::Number)?,
            },
            1 => Record::MemStackVariable { t: value },
            2 => Record::SpillBase(value),
            3 => Record::Sprel(Resource::Psp, value),
            _ => {
                let number = usize::from(kind / 2).wrapping_sub(2);
                let what = WHEN_PSPREL.get(number).ok_or(Damage::Unknown(kind))?;
                match kind % 2 {
                    0 => Record::When(*what, value),
                    _ => Record::Psprel(*what, value),
                }
            }
        })
    }

    /// P8.
    fn timed_more(&mut self) -> Result<Record<'a>, Damage> {
        let kind = self.byte()?;
        let value = self.uleb()?;
        let number = usize::from(kind);
        Ok(match kind {
            1..=6 => {
                let what = WHEN_PSPREL.get(number.wrapping_sub(1));
                Record::Sprel(*what.ok_or(Damage::Unknown(kind))?, value)
            }
            7..=15 => {
                let what = *RSE.get((number - 7) / 3).ok_or(Damage::Unknown(kind))?;
                match (number - 7) % 3 {
                    0 => Record::When(what, value),
                    1 => Record::Psprel(what, value),
                    _ => Record::Sprel(what, value),
                }
            }
            16 => Record::When(Resource::Priunat, value),
            17 => Record::Psprel(Resource::Priunat, value),
            18 => Record::Sprel(Resource::Priunat, value),
            19 => Record::WhenPriunatInMemory(value),
            _ => return Err(Damage::Unknown(kind)),
        })
    }

    /// X1 to X4.
    fn moved(&mut self, first: u8) -> Result<Record<'a>, Damage> {
        let mut qp = 0;
        let mut relative_to_sp = false;
        if first >= 0xFB {
            let byte = self.byte()?;
            (relative_to_sp, qp) = (byte & 0x80 != 0, byte & 0x3F);
        }
        let byte = self.byte()?;
        let what = resource(byte)?;
        let to_register = first == 0xFA || first == 0xFC;
        if !to_register {
            if first == 0xF9 {
                relative_to_sp = byte & 0x80 != 0;
            }
            let (t, offset) = (self.uleb()?, self.uleb()?);
            let to = match relative_to_sp {
                true => Spill::Sprel(offset),
                false => Spill::Psprel(offset),
            };
            return Ok(Record::Moved { qp, t, what, to });
        }
        let target = self.byte()?;
        let register = target & 0x7F;
        let to = match (byte >> 7, target >> 7) {
            (0, 0) if register == 0 => Spill::Restore,
            (0, 0) => Spill::Gr(register),
            (0, 1) => Spill::Fr(register),
            (1, 0) => Spill::Br(register),
            _ => return Err(Damage::Unknown(target)),
        };
        let t = self.uleb()?;
        Ok(Record::Moved { qp, t, what, to })
    }

    fn body(&mut self, first: u8) -> Result<Record<'a>, Damage> {
        Ok(match first {
            0x80..0xA0 => Record::LabelState(u64::from(first & 0x1F)),
            0xA0..0xC0 => Record::CopyState(u64::from(first & 0x1F)),
            0xC0..0xE0 => Record::Epilogue {
                t: self.uleb()?,
                ecount: u64::from(first & 0x1F),
            },
            0xE0 => Record::Epilogue {
                t: self.uleb()?,
                ecount: self.uleb()?,
            },
            0xF0 => Record::LabelState(self.uleb()?),
            0xF8 => Record::CopyState(self.uleb()?),
            _ => return Err(Damage::Unknown(first)),
        })
    }
}

/// The register of an X descriptor: kind in bits 5 and 6, number below.
fn resource(byte: u8) -> Result<Resource, Damage> {
    let number = byte & 0x1F;
    match byte >> 5 & 3 {
        0 => Ok(Resource::Gr(number)),
        1 => Ok(Resource::Fr(number)),
        2 => Ok(Resource::Br(number)),
        _ => SPECIAL
            .get(usize::from(number))
            .copied()
            .ok_or(Damage::Unknown(byte)),
    }
}

impl<'a> Iterator for Descriptors<'a> {
    type Item = Result<Item<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.at >= self.bytes.len() {
            return None;
        }
        let item = self.item();
        self.broken = item.is_err();
        Some(item)
    }
}

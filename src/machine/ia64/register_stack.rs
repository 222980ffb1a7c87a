//! The register stack in memory (backing store): where a stacked register of a frame lies.
//!
//! The store grows upward. Every word at an address whose bits 3 to 8 are all ones holds the NaT
//! bits of the 63 registers below it. Facts: Intel, "Itanium Architecture Software Developer's
//! Manual", volume 2, register stack engine.

/// Registers between two words of NaT bits.
const REGISTERS: i64 = 63;

/// Position of a word within its group of 64, 63 being the word of NaT bits.
fn position(address: u64) -> i64 {
    (address >> 3 & 63).cast_signed()
}

/// Address of the `n`-th register after, or before, the one stored at `address`.
pub fn skip(address: u64, n: i64) -> u64 {
    let mut distance = position(address).wrapping_add(n);
    if n < 0 {
        distance = distance.wrapping_sub(REGISTERS - 1);
    }
    let words = n.wrapping_add(distance / REGISTERS);
    address.wrapping_add_signed(words.wrapping_mul(8))
}

/// Where the NaT bit of the register at `address` lies: address of the word, number of the bit.
pub fn nat_bit(address: u64) -> (u64, u32) {
    (address | 0x1F8, (address >> 3 & 63) as u32)
}

/// True for the address of a word of NaT bits, at which no register lies.
pub fn holds_nats(address: u64) -> bool {
    position(address) == REGISTERS
}

/// The current frame marker, as CFM, IFS and PFS hold it in their low 38 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMarker(pub u64);

/// Bits of a frame marker.
const MARKER: u64 = (1 << 38) - 1;
/// The most stacked registers a frame has.
const MOST: u64 = 96;

impl FrameMarker {
    /// The marker in a word of PFS or IFS. `None` when no processor would make such a frame.
    pub fn of(word: u64) -> Option<FrameMarker> {
        let marker = FrameMarker(word & MARKER);
        let fits = marker.size() <= MOST
            && marker.locals() <= marker.size()
            && marker.rotating() <= marker.size();
        fits.then_some(marker)
    }

    /// Size of the frame in registers.
    pub fn size(self) -> u64 {
        self.0 & 0x7F
    }

    /// Registers of it that its callees do not see.
    pub fn locals(self) -> u64 {
        self.0 >> 7 & 0x7F
    }

    /// Registers that rotate, from r32 on.
    fn rotating(self) -> u64 {
        (self.0 >> 14 & 0xF) * 8
    }

    /// How far general registers are rotated.
    fn rotation(self) -> u64 {
        self.0 >> 18 & 0x7F
    }

    /// Address of stacked register `number` (32 to 127) of a frame whose r32 lies at `bsp`; `None`
    /// when the frame has no such register.
    pub fn register(self, bsp: u64, number: u8) -> Option<u64> {
        let index = u64::from(number.checked_sub(32)?);
        if index >= self.size() {
            return None;
        }
        let index = match self.rotating() {
            rotating if index < rotating => (index + self.rotation()) % rotating,
            _ => index,
        };
        Some(skip(bsp, index.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps over words one by one.
    fn stepped(mut address: u64, n: i64) -> u64 {
        for _ in 0..n.abs() {
            loop {
                address = address.wrapping_add_signed(8 * n.signum());
                if address & 0x1F8 != 0x1F8 {
                    break;
                }
            }
        }
        address
    }

    #[test]
    fn the_formulas_agree_with_counting_word_by_word() {
        let mut cases = 0;
        for slot in 0..63u64 {
            let from = 0xE000_0165_993B_4000 + slot * 8;
            for n in -200..=200 {
                let to = stepped(from, n);
                assert_eq!(skip(from, n), to, "slot {slot}, {n}");
                assert!(!holds_nats(to));
                cases += 1;
            }
        }
        assert_eq!(cases, 63 * 401);
    }

    #[test]
    fn a_register_lies_where_its_frames_rotation_puts_it() {
        // sof 20, sol 16, 8 rotating registers turned by 3.
        let marker = FrameMarker::of(20 | 16 << 7 | 1 << 14 | 3 << 18).unwrap();
        assert_eq!(marker.register(0x1000, 32), Some(0x1018));
        assert_eq!(marker.register(0x1000, 37), Some(0x1000));
        assert_eq!(marker.register(0x1000, 40), Some(0x1040));
        assert_eq!(marker.register(0x1000, 52), None);
        assert_eq!(marker.register(0x1000, 31), None);
    }

    #[test]
    fn a_marker_that_no_alloc_makes_is_refused() {
        assert_eq!(FrameMarker::of(97), None);
        assert_eq!(FrameMarker::of(4 | 5 << 7), None);
        assert_eq!(FrameMarker::of(4 | 1 << 14), None);
        assert!(FrameMarker::of(0x8000_0000_0000_0000).is_some());
    }
}

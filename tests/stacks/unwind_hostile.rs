//! Thousands of hostile crashes: random ones, and real unwind data with bits changed.

/// A generator with a fixed seed (xorshift64*): the same crashes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .collect();
        bytes.truncate(len);
        bytes
    }
}

#[test]
fn random_crashes_end_with_consistent_answers() {
    let mut random = Random(0x9436_5000_0000_0001);
    let mut deep = 0;
    for _ in 0..2000 {
        let len = 80 + (random.next() % 4096) as usize;
        let mut bytes = random.bytes(len);
        // Half of each crash is small numbers, as unwind data and stacks of real machines are.
        for byte in bytes.iter_mut().skip(80) {
            if *byte & 1 == 0 {
                *byte >>= 5;
            }
        }
        deep += usize::from(crate::support::world::check(&bytes) > 3);
    }
    println!("{deep} walks of more than three frames");
    assert!(deep > 100, "{deep}");
}

#[test]
fn crashes_built_around_valid_unwind_data_end_with_consistent_answers() {
    let mut random = Random(0x9436_5000_0000_0002);
    let mut deep = 0;
    for _ in 0..2000 {
        let mut bytes = random.bytes(80 + 0x1000);
        bytes[0] &= !1; // x64
        bytes[3] &= !1; // with a function table
        // The table at 0x40 of the image, forty functions of 0x20 bytes with records at 0x400.
        bytes[8..16].copy_from_slice(&[0x40, 0, 0, 0, 0xE0, 1, 0, 0]);
        let image = 80;
        for n in 0..40u32 {
            let record = (0x400 + n * 12) | u32::from(random.next().is_multiple_of(16));
            let begin = 0x1000 + n * 0x30;
            let entry = [begin, begin + 0x30, record];
            for (field, value) in entry.iter().enumerate() {
                let at = image + 0x40 + n as usize * 12 + field * 4;
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            let at = image + 0x400 + n as usize * 12;
            bytes[at] = 1
                + (random.next() % 2) as u8
                + if random.next().is_multiple_of(4) {
                    0x20
                } else {
                    0
                };
            bytes[at + 1] %= 16;
            bytes[at + 2] %= 5;
            for slot in 0..4 {
                bytes[at + 4 + slot * 2] %= 16;
                bytes[at + 5 + slot * 2] = (random.next() % 11) as u8 | bytes[at + 5] & 0xF0;
            }
        }
        deep += usize::from(crate::support::world::check(&bytes) > 3);
    }
    println!("{deep} walks of more than three frames");
    assert!(deep > 100, "{deep}");
}

//! A growing buffer with absolute positions, and the calendar arithmetic the headers need.

/// Bytes under construction. Writing past the end grows the buffer with zeros.
#[derive(Clone, Default)]
pub struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// `size` bytes of the repeating text the kernel paints a header with.
    pub fn painted(size: usize) -> Image {
        Image {
            bytes: b"PAGE".iter().copied().cycle().take(size).collect(),
        }
    }

    /// `size` zero bytes.
    pub fn zeroed(size: usize) -> Image {
        Image {
            bytes: vec![0; size],
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn put(&mut self, at: usize, data: &[u8]) {
        let end = at + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(data);
    }

    pub fn u8(&mut self, at: usize, value: u8) {
        self.put(at, &[value]);
    }

    pub fn u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    pub fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    pub fn u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// A pointer of `width` bytes; what does not fit four bytes is cut.
    pub fn ptr(&mut self, at: usize, value: u64, width: usize) {
        match width {
            4 => self.u32(at, value as u32),
            _ => self.u64(at, value),
        }
    }

    pub fn zero(&mut self, at: usize, len: usize) {
        self.put(at, &vec![0; len]);
    }

    /// Grows to a multiple of `unit` and returns the new length.
    pub fn align(&mut self, unit: usize) -> usize {
        let len = self.bytes.len().next_multiple_of(unit);
        self.bytes.resize(len, 0);
        len
    }

    /// Appends at the next multiple of `unit` and returns where.
    pub fn append(&mut self, unit: usize, data: &[u8]) -> usize {
        let at = self.align(unit);
        self.put(at, data);
        at
    }
}

/// UTF-16LE without a terminator.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Seconds since 1970 of a UTC date and time (days by the civil calendar rule of Richards).
pub const fn utc(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> u64 {
    let y = year + 4800 - (14 - month) / 12;
    let m = month + 12 * ((14 - month) / 12) - 3;
    let julian = day + (153 * m + 2) / 5 + 365 * y + y / 4 - y / 100 + y / 400 - 32045;
    ((julian - 2_440_588) * 86_400 + hour * 3600 + minute * 60 + second) as u64
}

/// A FILETIME of seconds since 1970.
pub const fn filetime(unix: u64) -> u64 {
    (unix + 11_644_473_600) * 10_000_000
}

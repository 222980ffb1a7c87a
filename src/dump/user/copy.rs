//! Writes the small copy of a minidump: appended records, a list of streams in front.

/// Size of MINIDUMP_HEADER.
pub(super) const HEADER: usize = 32;
/// Size of MINIDUMP_DIRECTORY.
pub(super) const DIRECTORY_ENTRY: usize = 12;
/// Size of MINIDUMP_MEMORY_DESCRIPTOR.
pub(super) const MEMORY_DESCRIPTOR: usize = 16;
/// MemoryListStream.
pub(super) const MEMORY_LIST: u32 = 5;
/// Streams there is room for.
const MOST_STREAMS: usize = 8;

/// Where a stream or record stands (MINIDUMP_LOCATION_DESCRIPTOR).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Location {
    /// Bytes.
    pub size: u32,
    /// Offset from the start of the dump.
    pub rva: u32,
}

/// A minidump that is being written.
#[derive(Clone, Debug)]
pub(super) struct SmallDump {
    bytes: Vec<u8>,
    streams: Vec<(u32, Location)>,
}

impl SmallDump {
    /// An empty one with the header of the dump it is made from.
    pub fn new(header: &[u8; HEADER]) -> SmallDump {
        let mut bytes = header.to_vec();
        bytes.resize(HEADER + MOST_STREAMS * DIRECTORY_ENTRY, 0);
        SmallDump {
            bytes,
            streams: Vec::new(),
        }
    }

    /// Appends bytes at a 4-byte boundary and says where they are.
    pub fn append(&mut self, bytes: &[u8]) -> Location {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        // The copy stays below 16 MiB, so neither number is cut.
        let location = Location {
            size: u32::try_from(bytes.len()).unwrap_or(0),
            rva: u32::try_from(self.bytes.len()).unwrap_or(0),
        };
        self.bytes.extend_from_slice(bytes);
        location
    }

    /// Appends a stream.
    pub fn add_stream(&mut self, kind: u32, bytes: &[u8]) {
        let location = self.append(bytes);
        self.streams.push((kind, location));
    }

    /// Appends a MINIDUMP_STRING and says where it is.
    pub fn append_string(&mut self, text: &str) -> u32 {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = u32::try_from(units.len())
            .unwrap_or(0)
            .to_le_bytes()
            .to_vec();
        bytes.extend_from_slice(&units);
        bytes.extend_from_slice(&[0, 0]);
        self.append(&bytes).rva
    }

    /// Appends a stream that is a 32-bit count and records of `size` bytes.
    pub fn add_list(&mut self, kind: u32, size: usize, records: &[u8]) {
        let count = u32::try_from(records.len() / size).unwrap_or(0);
        let mut list = count.to_le_bytes().to_vec();
        list.extend_from_slice(records);
        self.add_stream(kind, &list);
    }

    /// The minidump, with `memory` as its memory list: addresses and bytes.
    pub fn minidump(&self, memory: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut copy = self.clone();
        let mut list = Vec::new();
        for (address, bytes) in memory.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let location = copy.append(bytes);
            list.extend_from_slice(&address.to_le_bytes());
            list.extend_from_slice(&location.size.to_le_bytes());
            list.extend_from_slice(&location.rva.to_le_bytes());
        }
        copy.add_list(MEMORY_LIST, MEMORY_DESCRIPTOR, &list);
        let SmallDump { mut bytes, streams } = copy;
        put(&mut bytes, 8, u32::try_from(streams.len()).unwrap_or(0));
        put(&mut bytes, 12, HEADER as u32);
        for (index, (kind, location)) in streams.iter().take(MOST_STREAMS).enumerate() {
            let at = HEADER + index * DIRECTORY_ENTRY;
            put(&mut bytes, at, *kind);
            put(&mut bytes, at + 4, location.size);
            put(&mut bytes, at + 8, location.rva);
        }
        bytes
    }
}

/// Replaces the four bytes at `at`, if they are there.
pub(super) fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

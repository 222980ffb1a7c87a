//! Makes a small, well-formed copy of a minidump: the streams that are used, every count and location
//! checked, one thread, no memory yet.
//!
//! Why not hand over the file: the parser keeps a copy of each string and record a module points to, so
//! a small file whose modules share one long name costs gigabytes; it drops all modules for one bad
//! name; and it walks every thread. Layouts: the published MINIDUMP_* structures, little-endian.

use crate::bytes::{PagedReader, View};
use crate::dump::Damages;

use super::UserDumpError;

const SIGNATURE: &[u8] = b"MDMP";
/// Low half of the header's version.
const VERSION: u16 = 0xA793;
const HEADER: usize = 32;
const DIRECTORY_ENTRY: usize = 12;
const MODULE: usize = 108;
const THREAD: usize = 48;
const UNLOADED_MODULE: usize = 24;
const EXCEPTION_STREAM: usize = 168;
const SYSTEM_INFO: usize = 56;
const MEMORY_DESCRIPTOR: usize = 16;

/// Stream numbers (MINIDUMP_STREAM_TYPE).
const THREAD_LIST: u32 = 3;
const MODULE_LIST: u32 = 4;
const MEMORY_LIST: u32 = 5;
const EXCEPTION: u32 = 6;
const SYSTEM: u32 = 7;
const MEMORY64_LIST: u32 = 9;
const UNLOADED_LIST: u32 = 14;
const MISC_INFO: u32 = 15;
/// The streams that are used.
const USED: [u32; 8] = [
    THREAD_LIST,
    MODULE_LIST,
    MEMORY_LIST,
    EXCEPTION,
    SYSTEM,
    MEMORY64_LIST,
    UNLOADED_LIST,
    MISC_INFO,
];

/// Directory entries looked at; Windows writes about 20.
const MOST_STREAMS: u32 = 1024;
/// Modules kept; a large process has about 1,000.
const MOST_MODULES: u32 = 16 * 1024;
/// Unloaded modules kept; Windows keeps 64.
const MOST_UNLOADED: u32 = 1024;
/// Threads looked at to find the one that crashed.
const MOST_THREADS: u32 = 64 * 1024;
/// Memory ranges looked at to find the one that holds the stack.
const MOST_RANGES: u64 = 1024 * 1024;
/// Longest name, in bytes: what a UNICODE_STRING can hold.
const LONGEST_NAME: u32 = 0xFFFE;
/// Longest CodeView record; the path in it is rarely above 260 bytes.
const LONGEST_CODEVIEW: u32 = 4096;
/// Longest thread context: x64 with extended state has about 3 KiB.
const LONGEST_CONTEXT: u32 = 64 * 1024;
/// Longest MINIDUMP_MISC_INFO of any version.
const LONGEST_MISC: u32 = 4096;
/// Bytes that names and CodeView records may take together.
const TEXT: usize = 4 * 1024 * 1024;

/// Where a stream or record stands in the file.
#[derive(Clone, Copy, Debug, Default)]
struct Location {
    size: u32,
    rva: u32,
}

/// The small copy, and where memory can be had from the file.
#[derive(Debug)]
pub(super) struct Extract {
    bytes: Vec<u8>,
    streams: Vec<(u32, Location)>,
    header: [u8; HEADER],
    /// Threads the dump lists.
    pub(super) threads: Option<u32>,
    /// Names and records left; when they are used up modules lose them.
    text_left: usize,
    stack: Option<(u64, Location)>,
    memory: Location,
    memory64: Location,
}

/// Reads what is needed of a minidump.
///
/// # Errors
/// [`UserDumpError`] without signature or list of streams, or when the system fails.
pub(super) fn read(
    reader: &PagedReader<'_>,
    damage: &mut Damages,
) -> Result<Extract, UserDumpError> {
    let cut = || UserDumpError::Cut {
        present: reader.len(),
    };
    let mut header = [0; HEADER];
    if !reader.prefix().starts_with(SIGNATURE) {
        return Err(UserDumpError::NotMinidump);
    }
    if reader.len() < HEADER as u64 {
        return Err(cut());
    }
    reader.read_exact_at(0, &mut header)?;
    let view = View(&header);
    if view.u16(4) != Some(VERSION) {
        return Err(UserDumpError::NotMinidump);
    }
    let (count, at) = (view.u32(8).unwrap_or(0), view.u32(12).unwrap_or(0));
    let count = bounded(count, MOST_STREAMS, "streams", damage);
    let fitting = fitting(reader, at, DIRECTORY_ENTRY, count);
    if fitting == 0 {
        return Err(cut());
    }
    if fitting < count {
        damage.note("the list of streams is cut short", Some(at.into()));
    }
    let directory = reader.read_vec(at.into(), u64::from(fitting) * DIRECTORY_ENTRY as u64)?;
    let streams = used_streams(&directory, damage);

    let mut extract = Extract {
        bytes: vec![0; HEADER + USED.len() * DIRECTORY_ENTRY],
        streams: Vec::new(),
        header,
        threads: None,
        text_left: TEXT,
        stack: None,
        memory: stream(&streams, MEMORY_LIST),
        memory64: stream(&streams, MEMORY64_LIST),
    };
    extract.system(reader, stream(&streams, SYSTEM), damage);
    extract.misc(reader, stream(&streams, MISC_INFO), damage);
    let crashed = extract.exception(reader, stream(&streams, EXCEPTION), damage);
    extract.thread(reader, stream(&streams, THREAD_LIST), crashed, damage);
    extract.modules(reader, stream(&streams, MODULE_LIST), damage);
    extract.unloaded(reader, stream(&streams, UNLOADED_LIST), damage);
    Ok(extract)
}

/// The directory entries of the streams that are used, the first of each kind.
fn used_streams(directory: &[u8], damage: &mut Damages) -> Vec<(u32, Location)> {
    let mut streams: Vec<(u32, Location)> = Vec::new();
    for entry in directory.as_chunks::<DIRECTORY_ENTRY>().0 {
        let view = View(entry);
        let kind = view.u32(0).unwrap_or(0);
        if !USED.contains(&kind) {
            continue;
        }
        if streams.iter().any(|(known, _)| *known == kind) {
            damage.note(
                format!("stream {kind} is listed twice: the first is used"),
                None,
            );
        } else if let Some(location) = location(&view, 4) {
            streams.push((kind, location));
        }
    }
    streams
}

fn stream(streams: &[(u32, Location)], kind: u32) -> Location {
    streams
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(Location::default(), |(_, location)| *location)
}

/// A MINIDUMP_LOCATION_DESCRIPTOR.
fn location(view: &View<'_>, at: usize) -> Option<Location> {
    Some(Location {
        size: view.u32(at)?,
        rva: view.u32(at.checked_add(4)?)?,
    })
}

/// How many of `count` records of `size` bytes from `at` lie in the file.
fn fitting(reader: &PagedReader<'_>, at: u32, size: usize, count: u32) -> u32 {
    let room = reader.len().saturating_sub(at.into()) / size as u64;
    u32::try_from(room).unwrap_or(u32::MAX).min(count)
}

fn bounded(count: u32, most: u32, what: &str, damage: &mut Damages) -> u32 {
    if count > most {
        damage.note(
            format!("{count} {what} are declared: {most} are looked at"),
            None,
        );
    }
    count.min(most)
}

impl Extract {
    /// Appends bytes at a 4-byte boundary and says where they are.
    fn append(&mut self, bytes: &[u8]) -> Location {
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

    fn add_stream(&mut self, kind: u32, bytes: &[u8]) {
        let location = self.append(bytes);
        self.streams.push((kind, location));
    }

    fn put(&mut self, at: usize, value: u32) {
        put(&mut self.bytes, at, value);
    }

    /// Copies the record at `location`, at most `most` bytes of it.
    fn record(&self, reader: &PagedReader<'_>, location: Location, most: u32) -> Option<Vec<u8>> {
        let len = location.size.min(most);
        if len == 0 {
            return None;
        }
        reader.read_vec(location.rva.into(), len.into()).ok()
    }

    /// Copies a MINIDUMP_STRING and says where the copy is. `None` when it lies outside the file, is
    /// longer than a name can be, or the room for text is used up.
    fn string(&mut self, reader: &PagedReader<'_>, rva: u32) -> Option<u32> {
        let mut len = [0; 4];
        reader.read_exact_at(rva.into(), &mut len).ok()?;
        let len = u32::from_le_bytes(len);
        if rva == 0 || len > LONGEST_NAME || !len.is_multiple_of(2) {
            return None;
        }
        self.text_left = self.text_left.checked_sub(len as usize)?;
        let at = u64::from(rva).checked_add(4)?;
        let bytes = reader.read_vec(at, len.into()).ok()?;
        // The parser rejects unpaired surrogates; a name that has one is still a name.
        let text = View(&bytes).utf16(0, bytes.len() / 2)?;
        Some(self.append_string(&text))
    }

    fn append_string(&mut self, text: &str) -> u32 {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = u32::try_from(units.len())
            .unwrap_or(0)
            .to_le_bytes()
            .to_vec();
        bytes.extend_from_slice(&units);
        bytes.extend_from_slice(&[0, 0]);
        self.append(&bytes).rva
    }

    fn system(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        let record = self.record(reader, at, SYSTEM_INFO as u32);
        let Some(mut record) = record.filter(|record| record.len() == SYSTEM_INFO) else {
            damage.note("the system information is missing", offset(at));
            return;
        };
        let csd = View(&record).u32(24).unwrap_or(0);
        let copied = self.string(reader, csd);
        if copied.is_none() {
            damage.note(
                "the service pack's name cannot be read",
                Some(u64::from(csd)),
            );
        }
        // Past the end: the parser then has no text, which is not the same as an empty one.
        put(&mut record, 24, copied.unwrap_or(u32::MAX));
        self.add_stream(SYSTEM, &record);
    }

    fn misc(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        if at.size == 0 {
            return;
        }
        match self.record(reader, at, LONGEST_MISC) {
            Some(record) => self.add_stream(MISC_INFO, &record),
            None => damage.note("the process information is cut off", offset(at)),
        }
    }

    /// Copies the exception and its context; returns the id of the thread that crashed.
    fn exception(
        &mut self,
        reader: &PagedReader<'_>,
        at: Location,
        damage: &mut Damages,
    ) -> Option<u32> {
        if at.size == 0 {
            return None;
        }
        let record = self.record(reader, at, EXCEPTION_STREAM as u32);
        let Some(mut record) = record.filter(|record| record.len() == EXCEPTION_STREAM) else {
            damage.note("the exception is cut off", offset(at));
            return None;
        };
        let view = View(&record);
        let thread = view.u32(0);
        let context = location(&view, 160).unwrap_or_default();
        let copied = match self.record(reader, context, LONGEST_CONTEXT) {
            Some(bytes) => self.append(&bytes),
            None => {
                damage.note("the exception's registers cannot be read", offset(context));
                Location::default()
            }
        };
        put(&mut record, 160, copied.size);
        put(&mut record, 164, copied.rva);
        self.add_stream(EXCEPTION, &record);
        thread
    }

    /// Copies the thread that crashed, without its memory.
    fn thread(
        &mut self,
        reader: &PagedReader<'_>,
        at: Location,
        crashed: Option<u32>,
        damage: &mut Damages,
    ) {
        let mut list = vec![0; 4];
        if let Some((count, records)) = self.list(reader, at, THREAD, MOST_THREADS, damage) {
            self.threads = Some(count);
            let found = records
                .as_chunks::<THREAD>()
                .0
                .iter()
                .find(|record| View(*record).u32(0) == crashed);
            if let (Some(record), Some(_)) = (found, crashed) {
                let view = View(record);
                let start = view.u64(24).unwrap_or(0);
                self.stack = location(&view, 32).map(|location| (start, location));
                let context = location(&view, 40).unwrap_or_default();
                let copied = self
                    .record(reader, context, LONGEST_CONTEXT)
                    .map_or(Location::default(), |bytes| self.append(&bytes));
                let mut record = *record;
                put(&mut record, 32, 0);
                put(&mut record, 36, 0);
                put(&mut record, 40, copied.size);
                put(&mut record, 44, copied.rva);
                put(&mut list, 0, 1);
                list.extend_from_slice(&record);
            } else if crashed.is_some() {
                damage.note("the thread that crashed is not listed", offset(at));
            }
        }
        self.add_stream(THREAD_LIST, &list);
    }

    fn modules(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        let Some((_, mut records)) = self.list(reader, at, MODULE, MOST_MODULES, damage) else {
            damage.note("the module list is missing", offset(at));
            return;
        };
        let nameless = self.append_string("");
        let mut unnamed = 0u32;
        for record in records.as_chunks_mut::<MODULE>().0 {
            let view = View(record);
            let name = view.u32(20).and_then(|rva| self.string(reader, rva));
            let codeview = location(&view, 76).and_then(|at| self.codeview(reader, at));
            unnamed += u32::from(name.is_none());
            put(record, 20, name.unwrap_or(nameless));
            let codeview = codeview.unwrap_or_default();
            put(record, 76, codeview.size);
            put(record, 80, codeview.rva);
            // The older debug record says nothing about the symbol file's identity.
            put(record, 84, 0);
            put(record, 88, 0);
        }
        if unnamed > 0 {
            damage.note(
                format!("the names of {unnamed} modules cannot be read"),
                offset(at),
            );
        }
        self.add_list(MODULE_LIST, MODULE, &records);
    }

    /// Copies a CodeView record that is at least as long as its kind requires.
    fn codeview(&mut self, reader: &PagedReader<'_>, at: Location) -> Option<Location> {
        if at.size > LONGEST_CODEVIEW {
            return None;
        }
        let bytes = self.record(reader, at, LONGEST_CODEVIEW)?;
        let fixed = match bytes.get(..4)? {
            b"RSDS" => 24,
            b"NB10" => 16,
            // Others, such as a build id, carry nothing that is used.
            _ => return None,
        };
        if bytes.len() < fixed {
            return None;
        }
        self.text_left = self.text_left.checked_sub(bytes.len())?;
        Some(self.append(&bytes))
    }

    fn unloaded(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        let Some(header) = self.record(reader, at, 12) else {
            return;
        };
        let view = View(&header);
        let (Some(skip), Some(size), Some(count)) = (view.u32(0), view.u32(4), view.u32(8)) else {
            return;
        };
        let list = at.rva.checked_add(skip);
        let Some(list) = list.filter(|_| skip >= 12 && size as usize == UNLOADED_MODULE) else {
            damage.note("the list of unloaded modules is damaged", offset(at));
            return;
        };
        let count = bounded(count, MOST_UNLOADED, "unloaded modules", damage);
        let fitting = fitting(reader, list, UNLOADED_MODULE, count);
        if fitting < count {
            damage.note("the list of unloaded modules is cut short", offset(at));
        }
        let Ok(records) = reader.read_vec(list.into(), u64::from(fitting) * UNLOADED_MODULE as u64)
        else {
            return;
        };
        let nameless = self.append_string("");
        // One record without a size makes the parser drop the whole list.
        let mut kept = Vec::new();
        for record in records.as_chunks::<UNLOADED_MODULE>().0 {
            let view = View(record);
            let (base, size) = (view.u64(0).unwrap_or(0), view.u32(8).unwrap_or(0));
            if size == 0 || base.checked_add(size.into()).is_none() {
                continue;
            }
            let mut record = *record;
            let name = View(&record)
                .u32(20)
                .and_then(|rva| self.string(reader, rva));
            put(&mut record, 20, name.unwrap_or(nameless));
            kept.extend_from_slice(&record);
        }
        let number = u32::try_from(kept.len() / UNLOADED_MODULE).unwrap_or(0);
        let mut list = Vec::new();
        for value in [12, UNLOADED_MODULE as u32, number] {
            list.extend_from_slice(&value.to_le_bytes());
        }
        list.extend_from_slice(&kept);
        self.add_stream(UNLOADED_LIST, &list);
    }

    /// The records of a list that begins with a 32-bit count, as far as they lie in the file, and the
    /// count declared. Some writers put four bytes between count and records.
    fn list(
        &self,
        reader: &PagedReader<'_>,
        at: Location,
        size: usize,
        most: u32,
        damage: &mut Damages,
    ) -> Option<(u32, Vec<u8>)> {
        let declared = View(&self.record(reader, at, 4)?).u32(0)?;
        let padded = u64::from(declared) * size as u64 + 8 == u64::from(at.size);
        let first = at.rva.checked_add(if padded { 8 } else { 4 })?;
        let count = bounded(declared, most, "records of a list", damage);
        let fitting = fitting(reader, first, size, count);
        if fitting < count {
            damage.note(
                format!("a list of {count} records is cut short after {fitting}"),
                offset(at),
            );
        }
        let records = reader
            .read_vec(first.into(), u64::from(fitting) * size as u64)
            .ok()?;
        Some((declared, records))
    }

    fn add_list(&mut self, kind: u32, size: usize, records: &[u8]) {
        let count = u32::try_from(records.len() / size).unwrap_or(0);
        let mut list = count.to_le_bytes().to_vec();
        list.extend_from_slice(records);
        self.add_stream(kind, &list);
    }

    /// The `len` bytes of memory at `address`, or as many as the dump has from there on in one range;
    /// and whether that range goes on.
    pub(super) fn memory(
        &self,
        reader: &PagedReader<'_>,
        address: u64,
        len: u64,
        damage: &mut Damages,
    ) -> (Vec<u8>, bool) {
        let Some((at, left)) = self.find(reader, address, damage) else {
            return (Vec::new(), false);
        };
        let left = left.min(reader.len().saturating_sub(at));
        let bytes = reader.read_vec(at, len.min(left)).unwrap_or_default();
        (bytes, left > len)
    }

    /// File offset of the byte at `address` and how many bytes follow it in its range.
    fn find(
        &self,
        reader: &PagedReader<'_>,
        address: u64,
        damage: &mut Damages,
    ) -> Option<(u64, u64)> {
        let within = |start: u64, size: u64, at: u64| {
            let offset = address.checked_sub(start).filter(|o| *o < size)?;
            Some((at.checked_add(offset)?, size - offset))
        };
        if let Some((start, location)) = self.stack
            && let Some(found) = within(start, location.size.into(), location.rva.into())
        {
            return Some(found);
        }
        let most = u32::try_from(MOST_RANGES).unwrap_or(u32::MAX);
        if let Some((_, ranges)) = self.list(reader, self.memory, MEMORY_DESCRIPTOR, most, damage) {
            for range in ranges.as_chunks::<MEMORY_DESCRIPTOR>().0 {
                let view = View(range);
                let at = location(&view, 8)?;
                if let Some(found) = within(view.u64(0)?, at.size.into(), at.rva.into()) {
                    return Some(found);
                }
            }
        }
        let header = self.record(reader, self.memory64, 16)?;
        let (count, mut at) = (View(&header).u64(0)?, View(&header).u64(8)?);
        let first = u64::from(self.memory64.rva).checked_add(16)?;
        let room = reader.len().saturating_sub(first) / MEMORY_DESCRIPTOR as u64;
        let count = count.min(room).min(MOST_RANGES);
        let ranges = reader
            .read_vec(first, count.checked_mul(MEMORY_DESCRIPTOR as u64)?)
            .ok()?;
        for range in ranges.as_chunks::<MEMORY_DESCRIPTOR>().0 {
            let (start, size) = (View(range).u64(0)?, View(range).u64(8)?);
            if let Some(found) = within(start, size, at) {
                return Some(found);
            }
            at = at.checked_add(size)?;
        }
        None
    }

    /// The copy as a minidump, with `memory` as its memory list: addresses and bytes.
    pub(super) fn minidump(&self, memory: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut copy = Extract {
            bytes: self.bytes.clone(),
            streams: self.streams.clone(),
            header: self.header,
            threads: None,
            text_left: 0,
            stack: None,
            memory: Location::default(),
            memory64: Location::default(),
        };
        let mut list = Vec::new();
        for (address, bytes) in memory.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let location = copy.append(bytes);
            list.extend_from_slice(&address.to_le_bytes());
            list.extend_from_slice(&location.size.to_le_bytes());
            list.extend_from_slice(&location.rva.to_le_bytes());
        }
        copy.add_list(MEMORY_LIST, MEMORY_DESCRIPTOR, &list);
        let streams = std::mem::take(&mut copy.streams);
        if let Some(header) = copy.bytes.get_mut(..HEADER) {
            header.copy_from_slice(&self.header);
        }
        copy.put(8, u32::try_from(streams.len()).unwrap_or(0));
        copy.put(12, HEADER as u32);
        for (index, (kind, location)) in streams.iter().enumerate() {
            let at = HEADER + index * DIRECTORY_ENTRY;
            copy.put(at, *kind);
            copy.put(at + 4, location.size);
            copy.put(at + 8, location.rva);
        }
        copy.bytes
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn offset(at: Location) -> Option<u64> {
    (at.size > 0).then_some(at.rva.into())
}

//! Makes a small, well-formed copy of a minidump: the streams that are used, every count and location
//! checked, one thread, no memory yet.
//!
//! Why not hand over the file: the parser keeps a copy of each string and record a module points to, so
//! a small file whose modules share one long name costs gigabytes; it drops all modules for one bad
//! name; and it walks every thread. Layouts: the published MINIDUMP_* structures, little-endian.

use crate::bytes::{PagedReader, View};
use crate::dump::Damages;

use super::UserDumpError;
use super::copy::{DIRECTORY_ENTRY, HEADER, Location, MEMORY_LIST, SmallDump, put};
use super::file::{Ranges, bounded, fitting, offset, read_list, read_location, read_record};

const SIGNATURE: &[u8] = b"MDMP";
/// Low half of the header's version.
const VERSION: u16 = 0xA793;
const MODULE: usize = 108;
const THREAD: usize = 48;
const UNLOADED_MODULE: usize = 24;
const EXCEPTION_STREAM: usize = 168;
const SYSTEM_INFO: usize = 56;

/// Stream numbers (MINIDUMP_STREAM_TYPE).
const THREAD_LIST: u32 = 3;
const MODULE_LIST: u32 = 4;
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
/// Longest name, in bytes: what a UNICODE_STRING can hold.
const LONGEST_NAME: u32 = 0xFFFE;
/// Longest CodeView record; the path in it is rarely above 260 bytes.
const LONGEST_CODEVIEW: u32 = 4096;
/// Longest thread context: x64 with extended state has about 3 KiB.
const LONGEST_CONTEXT: u32 = 64 * 1024;
/// Longest MINIDUMP_MISC_INFO of any version.
const LONGEST_MISC: u32 = 4096;
/// Bytes that names and CodeView records may take together.
const TEXT: usize = 2 * 1024 * 1024;

/// The small copy, and where memory can be had from the file.
#[derive(Debug)]
pub(super) struct Extract {
    /// The copy.
    pub(super) copy: SmallDump,
    /// Where memory can be had from the file.
    pub(super) ranges: Ranges,
    /// Threads the dump lists.
    pub(super) threads: Option<u32>,
    /// Records in the copy's module list.
    pub(super) modules: usize,
    /// Names and records left; when they are used up modules lose them.
    text_left: usize,
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
        copy: SmallDump::new(&header),
        ranges: Ranges {
            stack: None,
            list: stream(&streams, MEMORY_LIST),
            list64: stream(&streams, MEMORY64_LIST),
        },
        threads: None,
        modules: 0,
        text_left: TEXT,
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
        } else if let Some(location) = read_location(&view, 4) {
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

impl Extract {
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
        Some(self.copy.append_string(&text))
    }

    fn system(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        let record = read_record(reader, at, SYSTEM_INFO as u32);
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
        self.copy.add_stream(SYSTEM, &record);
    }

    fn misc(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        if at.size == 0 {
            return;
        }
        match read_record(reader, at, LONGEST_MISC) {
            Some(record) => self.copy.add_stream(MISC_INFO, &record),
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
        let record = read_record(reader, at, EXCEPTION_STREAM as u32);
        let Some(mut record) = record.filter(|record| record.len() == EXCEPTION_STREAM) else {
            damage.note("the exception is cut off", offset(at));
            return None;
        };
        let view = View(&record);
        let thread = view.u32(0);
        let context = read_location(&view, 160).unwrap_or_default();
        let copied = match read_record(reader, context, LONGEST_CONTEXT) {
            Some(bytes) => self.copy.append(&bytes),
            None => {
                damage.note("the exception's registers cannot be read", offset(context));
                Location::default()
            }
        };
        put(&mut record, 160, copied.size);
        put(&mut record, 164, copied.rva);
        self.copy.add_stream(EXCEPTION, &record);
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
        if let Some((count, records)) = read_list(reader, at, THREAD, MOST_THREADS, damage) {
            self.threads = Some(count);
            let found = records
                .as_chunks::<THREAD>()
                .0
                .iter()
                .find(|record| View(*record).u32(0) == crashed);
            if let (Some(record), Some(_)) = (found, crashed) {
                let view = View(record);
                let start = view.u64(24).unwrap_or(0);
                self.ranges.stack = read_location(&view, 32).map(|location| (start, location));
                let context = read_location(&view, 40).unwrap_or_default();
                let copied = read_record(reader, context, LONGEST_CONTEXT)
                    .map_or(Location::default(), |bytes| self.copy.append(&bytes));
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
        self.copy.add_stream(THREAD_LIST, &list);
    }

    fn modules(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        let Some((_, mut records)) = read_list(reader, at, MODULE, MOST_MODULES, damage) else {
            damage.note("the module list is missing", offset(at));
            return;
        };
        let nameless = self.copy.append_string("");
        let (mut unnamed, mut unidentified) = (0u32, 0u32);
        for record in records.as_chunks_mut::<MODULE>().0 {
            let view = View(record);
            let name = view.u32(20).and_then(|rva| self.string(reader, rva));
            let codeview = self.codeview(reader, read_location(&view, 76).unwrap_or_default());
            unnamed += u32::from(name.is_none());
            unidentified += u32::from(codeview.is_none());
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
                format!("module names that cannot be read: {unnamed}"),
                offset(at),
            );
        }
        if unidentified > 0 {
            damage.note(
                format!("modules whose symbol file's identity cannot be read: {unidentified}"),
                offset(at),
            );
        }
        self.modules = records.len() / MODULE;
        self.copy.add_list(MODULE_LIST, MODULE, &records);
    }

    /// Copies a CodeView record that is at least as long as its kind requires. An empty place for a
    /// module without one that is used; `None` when it cannot be read.
    fn codeview(&mut self, reader: &PagedReader<'_>, at: Location) -> Option<Location> {
        if at.size == 0 {
            return Some(Location::default());
        }
        let bytes = read_record(reader, at, LONGEST_CODEVIEW)?;
        let fixed = match bytes.get(..4) {
            Some(b"RSDS") => 24,
            Some(b"NB10") => 16,
            // Others, such as a build id, carry nothing that is used.
            _ => return Some(Location::default()),
        };
        if bytes.len() < fixed || at.size > LONGEST_CODEVIEW {
            return None;
        }
        self.text_left = self.text_left.checked_sub(bytes.len())?;
        Some(self.copy.append(&bytes))
    }

    fn unloaded(&mut self, reader: &PagedReader<'_>, at: Location, damage: &mut Damages) {
        if at.size == 0 {
            return;
        }
        let header = read_record(reader, at, 12).unwrap_or_default();
        let view = View(&header);
        let (Some(skip), Some(size), Some(count)) = (view.u32(0), view.u32(4), view.u32(8)) else {
            damage.note("the list of unloaded modules is cut off", offset(at));
            return;
        };
        let list = at.rva.checked_add(skip);
        let Some(list) = list.filter(|_| skip >= 12 && size as usize == UNLOADED_MODULE) else {
            damage.note("the list of unloaded modules is damaged", offset(at));
            return;
        };
        let count = bounded(count, MOST_UNLOADED, "unloaded modules", damage);
        let in_stream = at.size.saturating_sub(skip) / UNLOADED_MODULE as u32;
        let fitting = fitting(reader, list, UNLOADED_MODULE, count.min(in_stream));
        if fitting < count {
            damage.note("the list of unloaded modules is cut short", offset(at));
        }
        let Ok(records) = reader.read_vec(list.into(), u64::from(fitting) * UNLOADED_MODULE as u64)
        else {
            return;
        };
        let nameless = self.copy.append_string("");
        // One record without a size makes the parser drop the whole list.
        let mut kept = Vec::new();
        let (mut sizeless, mut unnamed) = (0u32, 0u32);
        for record in records.as_chunks::<UNLOADED_MODULE>().0 {
            let view = View(record);
            let (base, size) = (view.u64(0).unwrap_or(0), view.u32(8).unwrap_or(0));
            if size == 0 || base.checked_add(size.into()).is_none() {
                sizeless += 1;
                continue;
            }
            let mut record = *record;
            let name = View(&record)
                .u32(20)
                .and_then(|rva| self.string(reader, rva));
            unnamed += u32::from(name.is_none());
            put(&mut record, 20, name.unwrap_or(nameless));
            kept.extend_from_slice(&record);
        }
        if sizeless > 0 || unnamed > 0 {
            damage.note(
                format!(
                    "unloaded modules: {sizeless} of impossible size are left out, \
                     the names of {unnamed} cannot be read"
                ),
                offset(at),
            );
        }
        let number = u32::try_from(kept.len() / UNLOADED_MODULE).unwrap_or(0);
        let mut list = Vec::new();
        for value in [12, UNLOADED_MODULE as u32, number] {
            list.extend_from_slice(&value.to_le_bytes());
        }
        list.extend_from_slice(&kept);
        self.copy.add_stream(UNLOADED_LIST, &list);
    }
}

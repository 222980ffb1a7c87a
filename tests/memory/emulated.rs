//! Translation held against page tables that an emulated processor really walked: the complete dumps of
//! the fixture lab. The tables are read here once more, from the processor manuals alone.

use std::io::Read;
use std::path::PathBuf;

use kbtriage::bytes::{Budget, Gva, PagedReader, ReadAt};
use kbtriage::memory::translate::Via;
use kbtriage::memory::{Absent, Memory, Paged, Physical};

use crate::{body, opened};

fn dump(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/corpus/dumps")
        .join(name);
    let packed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let mut raw = [0; 8];
    raw[..size].copy_from_slice(&bytes[at..at + size]);
    u64::from_le_bytes(raw)
}

/// Physical memory of a complete dump by its header's runs.
struct Ram<'a> {
    bytes: &'a [u8],
    wide: bool,
}

impl Ram<'_> {
    fn file_offset(&self, pa: u64) -> Option<usize> {
        let (header, block, width) = if self.wide {
            (0x2000, 0x88, 8)
        } else {
            (0x1000, 0x64, 4)
        };
        let mut at = header;
        for run in 0..number(self.bytes, block, 4) as usize {
            let entry = block + 2 * width + run * 2 * width;
            let first = number(self.bytes, entry, width);
            let count = number(self.bytes, entry + width, width);
            if (first..first + count).contains(&(pa >> 12)) {
                return Some(at + ((pa >> 12) - first) as usize * 0x1000 + (pa & 0xFFF) as usize);
            }
            at += count as usize * 0x1000;
        }
        None
    }

    fn page(&self, pa: u64) -> Option<&[u8]> {
        let at = self.file_offset(pa & !0xFFF)?;
        self.bytes.get(at..at + 0x1000)
    }

    /// Every page that the tables map: virtual and physical address.
    fn mapped(&self) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let cr3 = number(self.bytes, 0x10, if self.wide { 8 } else { 4 });
        let pae = !self.wide && self.bytes[0x5C] == 1;
        // Lowest address bit and number of entries of each table, outermost first.
        let (levels, size): (&[(u32, u64)], u64) = match (self.wide, pae) {
            (true, _) => (&[(39, 512), (30, 512), (21, 512), (12, 512)], 8),
            (false, true) => (&[(30, 4), (21, 512), (12, 512)], 8),
            (false, false) => (&[(22, 1024), (12, 1024)], 4),
        };
        let root = cr3 & if pae { !0x1F } else { !0xFFF };
        self.table(root, 0, levels, size, &mut found);
        found
    }

    fn table(
        &self,
        table: u64,
        base: u64,
        levels: &[(u32, u64)],
        size: u64,
        out: &mut Vec<(u64, u64)>,
    ) {
        let ((shift, entries), below) = (levels[0], &levels[1..]);
        for i in 0..entries {
            let Some(at) = self.file_offset(table + i * size) else {
                continue;
            };
            let entry = number(self.bytes, at, size as usize);
            if entry & 1 == 0 {
                continue;
            }
            let to = entry
                & if size == 8 {
                    0x000F_FFFF_FFFF_F000
                } else {
                    0xFFFF_F000
                };
            let mut va = base | i << shift;
            if shift == 39 && va >> 47 & 1 == 1 {
                va |= 0xFFFF << 48;
            }
            assert!(
                below.is_empty() || entry & 0x80 == 0,
                "the lab maps small pages only"
            );
            match below.is_empty() {
                true => out.push((va, to)),
                false => self.table(to, va, below, size, out),
            }
        }
    }
}

fn with<T>(bytes: &dyn ReadAt, test: impl FnOnce(&Paged<'_>) -> T) -> T {
    let reader = PagedReader::open(bytes).unwrap();
    let dump = opened(&reader);
    let budget = Budget::default();
    let physical = Physical::new(&reader, body(&dump), &budget);
    test(&Paged::of_crash(&physical, &dump.header).unwrap())
}

#[test]
fn every_page_the_emulator_mapped_is_translated_as_its_processor_did() {
    for (arch, run, wide) in [
        ("x64", "ldr22221-002", true),
        ("x86", "gdr18000-003", false),
        ("x86pae", "gdr18311-001", false),
    ] {
        let name = |kind: &str| format!("{arch}-multicast-{run}-{kind}.dmp.gz");
        let complete = dump(&name("complete"));
        let ram = Ram {
            bytes: &complete,
            wide,
        };
        let mapped = ram.mapped();
        assert!(mapped.len() > 200, "{arch}: {}", mapped.len());
        let mut compared = 0;
        for kind in &["complete", "bitmap5", "bitmap6", "kernel"] {
            let other = dump(&name(kind));
            with(&other, |space| {
                for (va, pa) in &mapped {
                    let found = space.translate(Gva(*va)).unwrap();
                    assert_eq!(found.address.0, *pa, "{arch} {kind} {va:#x}");
                    assert_eq!(found.via, Via::Valid);
                    let mut bytes = [0; 0x1000];
                    match (space.read(Gva(*va), &mut bytes), ram.page(*pa)) {
                        (Ok(()), Some(page)) => {
                            assert_eq!(bytes.as_slice(), page, "{arch} {kind} {va:#x}");
                            compared += 1;
                        }
                        // The device page lies in no dump, user pages in no kernel dump.
                        (Err(Absent::NotInDump), page) => {
                            assert!(page.is_none() || *kind != "complete", "{arch} {va:#x}");
                        }
                        (got, _) => panic!("{arch} {kind} {va:#x}: {got:?}"),
                    }
                }
            });
        }
        assert!(compared > 2 * mapped.len(), "{arch}: {compared}");
    }
}

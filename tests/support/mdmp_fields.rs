//! Where a user-mode minidump keeps its structure: header, list of streams, lists, the strings and
//! records they point to. Follows the offsets in the file itself; for the mutator in `mutate`.

use super::mutate::Field;

/// Words looked at in one stream, enough for dozens of modules.
const MOST_WORDS: usize = 512;

/// Fields with structural meaning, in the order they are found.
pub fn fields(dump: &[u8]) -> Vec<Field> {
    let number = |at: usize| -> usize {
        dump.get(at..at.saturating_add(4))
            .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    };
    let mut list: Vec<usize> = vec![4, 8, 12, 20];
    let directory = number(12);
    for stream in 0..number(8).min(32) {
        let entry = directory.saturating_add(12 * stream);
        list.extend([entry, entry + 4, entry + 8]);
        let (kind, size, at) = (number(entry), number(entry + 4), number(entry + 8));
        list.extend(
            (0..size / 4)
                .take(MOST_WORDS)
                .map(|word| at.saturating_add(4 * word)),
        );
        match kind {
            // Lengths of names, and the CodeView records: signature and age.
            4 => list.extend((0..number(at).min(16)).flat_map(|index| {
                let module = at.saturating_add(4 + 108 * index);
                let (name, codeview) = (number(module + 20), number(module + 80));
                [name, codeview, codeview.saturating_add(20)]
            })),
            // Flags, stack and instruction pointer of an x64 or x86 context.
            6 => {
                let context = number(at.saturating_add(164));
                list.extend([0, 0x30, 0x98, 0xB8, 0xC4, 0xF8].map(|o| context.saturating_add(o)));
            }
            7 => list.push(number(at.saturating_add(24))),
            _ => {}
        }
    }
    list.retain(|at| at.checked_add(4).is_some_and(|end| end <= dump.len()));
    list.into_iter().map(|at| Field { at, width: 4 }).collect()
}

//! Damage to dumps: bits, counts, offsets and sizes set to what hurts. It knows where a dump keeps
//! its structure (format page §2, §3, §7) and follows the offsets in the file itself, so that one
//! changed field meets others that still make sense.

use super::prng::Prng;

/// A number in the file: where and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub at: usize,
    pub width: usize,
}

/// Fields with structural meaning, in file order of the parts.
pub fn fields(dump: &[u8]) -> Vec<Field> {
    let wide = dump.get(4..8) == Some(b"DU64");
    let mut list = Vec::new();
    let narrow_fields = |list: &mut Vec<Field>, from: usize, to: usize, width: usize| {
        list.extend((from..to).step_by(width).map(|at| Field { at, width }));
    };
    let t = if wide { 0x2000 } else { 0x1000 };
    if wide {
        narrow_fields(&mut list, 0x08, 0x10, 4);
        narrow_fields(&mut list, 0x10, 0x30, 8);
        narrow_fields(&mut list, 0x30, 0x3C, 4);
        narrow_fields(&mut list, 0x40, 0x60, 8);
        list.push(Field { at: 0x80, width: 8 });
        list.push(Field { at: 0x88, width: 4 });
        narrow_fields(&mut list, 0x90, 0xB8, 8);
        list.push(Field {
            at: 0x378,
            width: 4,
        });
        list.push(Field {
            at: 0x3E0,
            width: 8,
        });
        list.push(Field {
            at: 0x440,
            width: 8,
        });
        list.push(Field {
            at: 0xF98,
            width: 4,
        });
        narrow_fields(&mut list, 0xFA0, 0xFB0, 8);
        list.push(Field {
            at: 0x1030,
            width: 8,
        });
        narrow_fields(&mut list, 0x1038, 0x1058, 4);
        narrow_fields(&mut list, t, t + 0x48, 4);
        list.push(Field {
            at: t + 0x48,
            width: 8,
        });
        narrow_fields(&mut list, t + 0x50, t + 0x80, 4);
    } else {
        narrow_fields(&mut list, 0x08, 0x3C, 4);
        list.push(Field { at: 0x5C, width: 1 });
        narrow_fields(&mut list, 0x60, 0x7C, 4);
        narrow_fields(&mut list, 0x3D8, 0x3E8, 4);
        narrow_fields(&mut list, 0xF88, 0xFD0, 4);
        narrow_fields(&mut list, t, t + 0x68, 4);
    }
    pointed_at(dump, t, wide, &mut list);
    list.retain(|field| field.at + field.width <= dump.len());
    list
}

/// What the triage part points at: lists, strings, tables, structures, tagged data.
fn pointed_at(dump: &[u8], t: usize, wide: bool, list: &mut Vec<Field>) {
    let number = |at: usize| -> usize {
        dump.get(at..at + 4)
            .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    };
    let width = if wide { 8 } else { 4 };
    let word = |at: usize| Field { at, width: 4 };
    let pointer = |at: usize| Field { at, width };
    let unloaded = number(t + 0x18);
    list.push(pointer(unloaded));
    list.extend((0..4).map(|n| Field {
        at: unloaded + width + n * 8,
        width: 2,
    }));
    let (stride, base, size) = if wide {
        (0x90, 0x38, 0x48)
    } else {
        (0x4C, 0x1C, 0x24)
    };
    let drivers = number(t + 0x30);
    for index in 0..number(t + 0x34).min(24) {
        let entry = drivers + index * stride;
        list.extend([word(entry), pointer(entry + base), word(entry + size)]);
        list.push(word(number(entry)));
    }
    let (debugger_data, blocks) = if wide { (0x70, 0x78) } else { (0x58, 0x60) };
    let table = number(t + blocks);
    for index in 0..number(t + blocks + 4).min(12) {
        let entry = table + index * 16;
        list.extend([
            Field {
                at: entry,
                width: 8,
            },
            word(entry + 8),
            word(entry + 12),
        ]);
    }
    let kdbg = number(t + debugger_data);
    list.push(word(kdbg + 0x14));
    list.extend(
        [0x18, 0x48, 0x50, 0x88, 0x208, 0x218, 0x268].map(|at| Field {
            at: kdbg + at,
            width: 8,
        }),
    );
    list.extend((0x298..0x2C2).step_by(2).map(|at| Field {
        at: kdbg + at,
        width: 2,
    }));
    for (structure, length) in [(0x1C, 0x48), (0x20, 0x40), (0x24, 0x80)] {
        let start = number(t + structure);
        list.extend((0..length).step_by(width).map(|at| pointer(start + at)));
    }
    let tagged = number(t + 0x04);
    list.extend([8, 12, 16, 36, 40, 44].map(|at| word(tagged + at)));
}

/// Numbers that break careless arithmetic, for a file of `len` bytes.
fn extreme(prng: &mut Prng, len: usize, there: u64) -> u64 {
    let len = len as u64;
    match prng.below(16) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::from(u32::MAX),
        4 => 0x8000_0000,
        5 => 0x7FFF_FFFF,
        6 => 0x4547_4150_4547_4150,
        7 => len,
        8 => len.wrapping_sub(1 + prng.below(8) as u64),
        9 => len + 1,
        10 => there.wrapping_add(1),
        11 => there.wrapping_sub(1),
        12 => there.wrapping_mul(2),
        13 => 0xFFFF_FFFF_FFFF_F000 + prng.below(0x1000) as u64,
        14 => prng.next(),
        _ => prng.below(len as usize + 1) as u64,
    }
}

fn read(dump: &[u8], field: Field) -> u64 {
    let mut bytes = [0; 8];
    bytes[..field.width].copy_from_slice(&dump[field.at..field.at + field.width]);
    u64::from_le_bytes(bytes)
}

fn set(dump: &mut [u8], field: Field, value: u64) {
    dump[field.at..field.at + field.width].copy_from_slice(&value.to_le_bytes()[..field.width]);
}

/// Changes `dump` in one to four places. `fields` may be those of the undamaged file.
pub fn mutate(dump: &mut Vec<u8>, fields: &[Field], prng: &mut Prng) {
    for _ in 0..=prng.below(4) {
        match prng.below(12) {
            0..=6 => {
                let field = prng.pick(fields);
                if field.at + field.width <= dump.len() {
                    let value = extreme(prng, dump.len(), read(dump, field));
                    set(dump, field, value);
                }
            }
            7 => {
                // One field takes the value of another: offsets that overlap, lists that alias.
                let (from, to) = (prng.pick(fields), prng.pick(fields));
                if from.at + from.width <= dump.len() && to.at + to.width <= dump.len() {
                    let value = read(dump, from);
                    set(dump, to, value);
                }
            }
            8 | 9 => {
                let at = prng.below(dump.len());
                if let Some(byte) = dump.get_mut(at) {
                    *byte ^= 1 << prng.below(8);
                }
            }
            10 => {
                let at = prng.below(dump.len());
                let filler = prng.pick(&[0u8, 0xFF, 0x50]);
                let end = (at + prng.below(64)).min(dump.len());
                dump[at..end].fill(filler);
            }
            _ => {
                let keep = prng.below(dump.len() + 1);
                dump.truncate(keep);
            }
        }
    }
}

/// Lengths to cut a file of `len` bytes to: dense at the start, around `edges`, spread over the rest.
pub fn cuts(len: usize, edges: &[usize], spread: usize) -> Vec<usize> {
    let mut list: Vec<usize> = (0..=16).chain([31, 32, 33, 0x3C, 0x60, 0xFFF]).collect();
    for edge in [0x1000, 0x1068, 0x2000, 0x2080, len].iter().chain(edges) {
        list.extend([edge.saturating_sub(1), *edge, edge + 1]);
    }
    list.extend((1..=spread).map(|n| len * n / (spread + 1)));
    list.retain(|cut| *cut <= len);
    list.sort_unstable();
    list.dedup();
    list
}

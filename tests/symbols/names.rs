//! Names, parts and frame records of the shared store's PDBs, all of them, against `llvm-pdbutil`
//! and against an exception-directory reader written here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kbtriage::image::{CodeView, Image};
use kbtriage::machine::Machine;
use kbtriage::symbols::{
    FrameKind, ModuleIdentity, ModuleSymbols, PdbIdentity, SymbolKind, identify, index_pdb,
    readable,
};

fn store() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: ../shared is absent");
    None
}

/// Output of `llvm-pdbutil dump OPTION FILE`, or `None` after saying that the test is skipped.
fn pdbutil(option: &str, file: &Path) -> Option<String> {
    match Command::new("llvm-pdbutil")
        .args(["dump", option])
        .arg(file)
        .output()
    {
        Ok(out) if out.status.success() => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        _ => {
            println!("SKIPPED: llvm-pdbutil is absent");
            None
        }
    }
}

/// An image of the store with its PDB.
struct Pair {
    image: PathBuf,
    pdb: PathBuf,
    symbols: ModuleSymbols,
    bytes: Vec<u8>,
}

/// All image and PDB pairs, put together by the keys in the images.
fn pairs(store: &Path) -> Vec<Pair> {
    let mut found = Vec::new();
    for name in std::fs::read_dir(store).unwrap().flatten() {
        let text = name.file_name().to_string_lossy().into_owned();
        if !name.path().is_dir() || text.ends_with(".pdb") {
            continue;
        }
        for key in std::fs::read_dir(name.path()).unwrap().flatten() {
            let file = key.path().join(&text);
            let bytes = std::fs::read(&file).unwrap();
            let image = Image::from_file(bytes.clone()).unwrap();
            let Some(record @ CodeView::Pdb70 { .. }) = image.codeview() else {
                panic!("{} has an RSDS record", file.display());
            };
            let wanted = PdbIdentity::from_codeview(&record).unwrap().unwrap();
            let pdb = store
                .join(wanted.name.as_str())
                .join(wanted.key())
                .join(wanted.name.as_str());
            let content = std::fs::read(&pdb).unwrap();
            assert!(
                identify(&content).unwrap().matches(&wanted),
                "{}",
                pdb.display()
            );
            let index = index_pdb(content.clone()).unwrap();
            let machine = image.machine().unwrap();
            assert_eq!(index.machine(), Some(machine));
            let id = ModuleIdentity::new(&text, image.time_date_stamp(), image.size_of_image());
            let symbols = ModuleSymbols::new(
                id.unwrap(),
                machine,
                Some((wanted, index)),
                Some(Arc::new(image)),
            );
            found.push(Pair {
                image: file,
                pdb,
                symbols,
                bytes,
            });
        }
    }
    found.sort_by(|a, b| a.image.cmp(&b.image));
    assert!(found.len() >= 10);
    found
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
}

/// Section addresses by number, read from the file by hand.
fn sections(bytes: &[u8]) -> Vec<(u32, u32, u32, u32)> {
    let pe = u32_at(bytes, 0x3c) as usize;
    let table = pe + 24 + u16_at(bytes, pe + 20);
    (0..u16_at(bytes, pe + 6))
        .map(|i| table + i * 40)
        .map(|row| {
            (
                u32_at(bytes, row + 12),
                u32_at(bytes, row + 8),
                u32_at(bytes, row + 20),
                u32_at(bytes, row + 36),
            )
        })
        .collect()
}

/// The publics `llvm-pdbutil` lists: RVA, name, function.
fn publics(listing: &str, bytes: &[u8]) -> Vec<(u32, String, bool)> {
    let sections = sections(bytes);
    let mut found = Vec::new();
    let mut name = None;
    for line in listing.lines() {
        if let Some((_, rest)) = line.split_once("| S_PUB32 [size = ") {
            let (_, quoted) = rest.split_once('`').unwrap();
            name = Some(quoted.strip_suffix('`').unwrap().to_owned());
        } else if let Some((_, rest)) = line.split_once("flags = ") {
            let (flags, address) = rest.split_once(", addr = ").unwrap();
            let (section, offset) = address.trim().split_once(':').unwrap();
            let (section, offset): (usize, u32) =
                (section.parse().unwrap(), offset.parse().unwrap());
            // Publics of absolute values name a section that does not exist.
            if let Some((rva, ..)) = section.checked_sub(1).and_then(|s| sections.get(s)) {
                found.push((
                    rva + offset,
                    name.take().unwrap(),
                    flags.contains("function"),
                ));
            }
        }
    }
    found
}

/// Names by address: publics and, from `dump -symbols`, procedures.
fn names(pair: &Pair) -> Option<BTreeMap<u32, BTreeSet<String>>> {
    let mut names: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (rva, name, _) in publics(&pdbutil("-publics", &pair.pdb)?, &pair.bytes) {
        names.entry(rva).or_default().insert(name);
    }
    let sections = sections(&pair.bytes);
    let listing = pdbutil("-symbols", &pair.pdb)?;
    let mut name = None;
    for line in listing.lines() {
        if line.contains("PROC32 [size = ") {
            name = line.split('`').nth(1);
        } else if let Some((_, rest)) = line.split_once(", addr = ")
            && let Some(name) = name.take()
        {
            let address = rest.split(',').next().unwrap();
            let (section, offset) = address.split_once(':').unwrap();
            let section: usize = section.parse().unwrap();
            let rva = sections[section - 1].0 + offset.parse::<u32>().unwrap();
            names.entry(rva).or_default().insert(name.to_owned());
        }
    }
    Some(names)
}

/// The documented x86 decorations, removed by splitting rather than by the product's rules.
fn plain(name: &str, x86: bool) -> String {
    if !x86 || name.starts_with('?') || name.starts_with("__real@") {
        return name.to_owned();
    }
    let parts: Vec<&str> = name.split('@').collect();
    match parts.as_slice() {
        ["", middle, bytes] if bytes.parse::<u32>().is_ok() => (*middle).to_owned(),
        [first, bytes] if bytes.parse::<u32>().is_ok() && first.starts_with('_') => {
            first[1..].to_owned()
        }
        [only] if only.len() > 1 && only.starts_with('_') => only[1..].to_owned(),
        _ => name.to_owned(),
    }
}

fn squeezed(text: &str) -> String {
    text.replace(' ', "")
        .replace("extern\"C\"", "")
        .replace("::", "")
}

/// What LLVM's own demangler makes of C++ names, without blanks and with its word for destructor
/// spelt out.
fn undname<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let names: Vec<&str> = names.filter(|n| n.starts_with('?')).collect();
    let mut input = tempfile::tempfile().unwrap();
    input
        .write_all((names.join("\n") + "\n").as_bytes())
        .unwrap();
    input.rewind().unwrap();
    let out = Command::new("llvm-undname").stdin(input).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let entry = |block: &&str| {
        let (name, full) = block.trim().split_once('\n')?;
        Some((
            name.to_owned(),
            squeezed(full).replace("dtor'", "destructor'"),
        ))
    };
    blocks.iter().filter_map(entry).collect()
}

#[test]
fn every_public_is_found_at_its_address_under_its_name() {
    let Some(store) = store() else { return };
    let mut checked = 0;
    for pair in pairs(&store) {
        let Some(listing) = pdbutil("-publics", &pair.pdb) else {
            return;
        };
        let x86 = pair.symbols.index().unwrap().machine() == Some(Machine::X86);
        let publics = publics(&listing, &pair.bytes);
        let demangled = undname(publics.iter().map(|p| p.1.as_str()));
        for (rva, name, _) in publics {
            let hit = pair
                .symbols
                .name_at(rva)
                .unwrap_or_else(|| panic!("{name} at {rva:#x}"));
            assert_eq!(
                (hit.displacement, hit.kind),
                (0, SymbolKind::Exact),
                "{name}"
            );
            let all: BTreeSet<&str> = std::iter::once(&hit.name)
                .chain(&hit.aliases)
                .map(String::as_str)
                .collect();
            if name.starts_with('?') {
                // Left as it is, or a part of what LLVM's demangler makes of it.
                let full = demangled.get(&name).map_or("", String::as_str);
                assert!(
                    all.iter()
                        .any(|n| *n == name || full.contains(&squeezed(n))),
                    "{name}: {all:?}, {full}"
                );
            } else {
                assert!(all.contains(plain(&name, x86).as_str()), "{name}: {all:?}");
            }
            checked += 1;
        }
    }
    println!("{checked} publics");
    assert!(checked > 20_000);
}

/// Rows of `.pdata` with their owner, read from the file by hand: begin, end, owner, chained.
fn owners(bytes: &[u8]) -> Vec<(u32, u32, u32, bool)> {
    let sections = sections(bytes);
    let offset = |rva: u32| {
        let (at, _, raw, _) = sections.iter().rfind(|s| s.0 <= rva).unwrap();
        (rva - at + raw) as usize
    };
    let pe = u32_at(bytes, 0x3c) as usize;
    let directory = pe + 24 + 112 + 3 * 8;
    let first = offset(u32_at(bytes, directory));
    let mut found = Vec::new();
    for row in (first..first + u32_at(bytes, directory + 4) as usize).step_by(12) {
        let (begin, end) = (u32_at(bytes, row), u32_at(bytes, row + 4));
        let (mut owner, mut info) = (begin, offset(u32_at(bytes, row + 8)));
        let mut chained = false;
        while bytes[info] >> 3 & 4 != 0 {
            let codes = usize::from(bytes[info + 2]);
            let link = info + 4 + 2 * (codes + codes % 2);
            owner = u32_at(bytes, link);
            info = offset(u32_at(bytes, link + 8));
            chained = true;
        }
        found.push((begin, end, owner, chained));
    }
    found
}

#[test]
fn every_chained_range_of_tcpip_carries_the_name_of_the_function_that_owns_it() {
    let Some(store) = store() else { return };
    for pair in pairs(&store)
        .iter()
        .filter(|p| p.image.ends_with("tcpip.sys"))
    {
        let Some(names) = names(pair) else { return };
        let Some(listing) = pdbutil("-publics", &pair.pdb) else {
            return;
        };
        let public_rvas: BTreeSet<u32> = publics(&listing, &pair.bytes)
            .iter()
            .filter(|p| p.2)
            .map(|p| p.0)
            .collect();
        let (mut chained, mut nearest_wrong, mut unnamed) = (0, 0, 0);
        for (begin, end, owner, is_chained) in owners(&pair.bytes) {
            if !is_chained {
                continue;
            }
            chained += 1;
            let nearest = names.range(..=begin).next_back().map(|(rva, _)| *rva);
            let nearest_public = public_rvas.range(..=begin).next_back().copied();
            nearest_wrong += usize::from(nearest_public != Some(owner));
            let Some(expected) = names.get(&owner) else {
                unnamed += 1;
                assert_eq!(pair.symbols.name_at(begin), None, "{begin:#x}");
                continue;
            };
            for rva in [begin, begin + (end - begin) / 2, end - 1] {
                let hit = pair.symbols.name_at(rva).unwrap();
                let own: BTreeSet<String> = std::iter::once(hit.name.clone())
                    .chain(hit.aliases.clone())
                    .collect();
                // C++ names are compared by themselves, above.
                let expected: BTreeSet<String> = expected
                    .iter()
                    .map(|name| readable(name, Machine::X64).into_owned())
                    .collect();
                assert_eq!(own, expected, "{rva:#x} of {owner:#x}: {hit:?}");
                if nearest != Some(owner) {
                    assert_eq!(hit.kind, SymbolKind::Cold, "{rva:#x}: {hit:?}");
                }
            }
        }
        println!(
            "{chained} chained, {nearest_wrong} misnamed by the nearest public, {unnamed} unnamed"
        );
        assert_eq!(chained, 1110);
        assert!(nearest_wrong > 900);
    }
}

#[test]
fn no_name_reaches_past_the_end_of_its_function_on_x64() {
    let Some(store) = store() else { return };
    for pair in pairs(&store)
        .iter()
        .filter(|p| p.image.ends_with("tcpip.sys"))
    {
        let rows = owners(&pair.bytes);
        let starts: BTreeMap<u32, u32> = rows.iter().map(|r| (r.0, r.2)).collect();
        for (begin, end, owner, _) in &rows {
            // The byte behind a part is another part's, a leaf function's, or padding.
            let Some(hit) = pair.symbols.name_at(*end) else {
                continue;
            };
            let from = end - hit.displacement;
            let same_function = starts.get(end) == Some(owner);
            assert!(
                same_function || !(*begin..*end).contains(&from),
                "{end:#x}: {hit:?}"
            );
        }
    }
}

#[test]
fn without_the_image_the_pdb_alone_names_the_parts_it_records() {
    let Some(store) = store() else { return };
    for pair in pairs(&store)
        .iter()
        .filter(|p| p.image.ends_with("tcpip.sys"))
    {
        let index = index_pdb(std::fs::read(&pair.pdb).unwrap()).unwrap();
        let pdb = pair.symbols.pdb.clone().unwrap();
        let alone = ModuleSymbols::new(
            pair.symbols.module.clone(),
            Machine::X64,
            Some((pdb, index)),
            None,
        );
        let (mut agreed, mut silent) = (0, 0);
        for (begin, end, _, is_chained) in owners(&pair.bytes) {
            let rva = begin + (end - begin) / 2;
            let with = pair.symbols.name_at(rva).map(|h| h.name);
            match alone.name_at(rva) {
                Some(hit) if hit.kind != SymbolKind::Approximate => {
                    assert_eq!(Some(hit.name), with, "{rva:#x} chained {is_chained}");
                    agreed += 1;
                }
                _ => silent += 1,
            }
        }
        println!("{agreed} as with the image, {silent} approximate or without a name");
        assert!(agreed > 5_000);
    }
}

#[test]
fn the_expiry_loop_moved_away_from_its_function_keeps_the_functions_name() {
    let Some(store) = store() else { return };
    let pairs = pairs(&store);
    let near = |p: &&Pair| p.image.to_string_lossy().contains("9503E2DE2eb000");
    let pair = pairs.iter().find(near).unwrap();
    // docs: kb943650, "Cold parts carry the wrong name".
    let hit = pair.symbols.name_at(0xb1b36).unwrap();
    assert_eq!(
        (hit.name.as_str(), hit.kind),
        ("IppMfeSetTimeOut", SymbolKind::Cold)
    );
}

/// The lines `llvm-pdbutil dump -l` lists: RVA, and each file and line that begins there.
fn lines(listing: &str, bytes: &[u8]) -> BTreeMap<u32, BTreeSet<(String, u32)>> {
    let sections = sections(bytes);
    let mut found: BTreeMap<u32, BTreeSet<(String, u32)>> = BTreeMap::new();
    let (mut file, mut base) = (String::new(), None);
    for line in listing.lines() {
        if line.contains("line/addr entries = ") {
            let section: usize = line.trim()[..4].parse().unwrap();
            base = section.checked_sub(1).map(|section| sections[section].0);
        } else if !line.starts_with(' ') {
            if let Some((name, _)) = line.rsplit_once(" (") {
                file = name.to_owned();
            }
        } else if let Some(base) = base {
            let tokens: Vec<&str> = line.split_whitespace().filter(|t| *t != "!").collect();
            for pair in tokens.chunks_exact(2) {
                let offset = u32::from_str_radix(pair[1], 16).unwrap();
                // The compiler's own code has a mark for a line: NSI, ASI.
                if let Ok(number) = pair[0].parse::<u32>() {
                    let here = found.entry(base + offset).or_default();
                    here.insert((file.clone(), number));
                }
            }
        }
    }
    found
}

#[test]
fn every_line_of_private_symbols_is_found_at_its_address() {
    let Some(store) = store() else { return };
    let mut checked = 0;
    for pair in pairs(&store) {
        let Some(listing) = pdbutil("-l", &pair.pdb) else {
            return;
        };
        for (rva, expected) in lines(&listing, &pair.bytes) {
            let hit = pair
                .symbols
                .name_at(rva)
                .unwrap_or_else(|| panic!("{}: {rva:#x} has a line", pair.pdb.display()));
            let own = (hit.file.clone().unwrap(), hit.line.unwrap());
            assert!(
                expected.contains(&own),
                "{} {rva:#x}: {hit:?}, {expected:?}",
                pair.pdb.display()
            );
            checked += 1;
        }
    }
    println!("{checked} addresses with a line");
    assert!(checked > 2_000);
}

#[test]
fn frame_records_are_those_llvm_pdbutil_lists() {
    let Some(store) = store() else { return };
    let (mut old, mut new) = (0, 0);
    for pair in pairs(&store) {
        let index = pair.symbols.index().unwrap();
        let Some(listing) = pdbutil("-fpo", &pair.pdb) else {
            return;
        };
        let mut expected = Vec::new();
        for line in listing.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let Ok(start) = u32::from_str_radix(cells[0], 16) else {
                continue;
            };
            let number = |i: usize| cells[i].parse::<u32>().unwrap();
            match cells.as_slice() {
                [_, _, _, _, _, _, _, _, kind] => {
                    // LLVM takes the two flags from bits 9 and 10 and four bits of the prologue
                    // size; winnt.h has them at 11 and 12 and eight bits.
                    let row = format!(
                        "{start:x} {} {} {} {} {} {kind}",
                        number(1),
                        number(2),
                        number(3),
                        number(4),
                        number(5)
                    );
                    expected.push(row);
                    old += 1;
                }
                [_, _, _, _, _, _, _, seh, _, start_flag, program] => {
                    let row = format!(
                        "{start:x} {} {} {} {} {} {} {seh} {start_flag} {program}",
                        number(1),
                        number(2),
                        number(3),
                        number(4),
                        number(5),
                        number(6)
                    );
                    expected.push(row);
                    new += 1;
                }
                _ => panic!("unknown row: {line}"),
            }
        }
        let mut own: Vec<String> = (0..index.frame_count())
            .map(|i| index.frame(i).unwrap())
            .map(|f| match f.kind {
                FrameKind::FrameData => format!(
                    "{:x} {} {} {} {} {} {} {} {} {}",
                    f.start,
                    f.size,
                    f.locals,
                    f.params,
                    f.max_stack.unwrap(),
                    f.prolog,
                    f.saved_registers,
                    f.has_seh,
                    f.function_start,
                    f.program.unwrap().trim()
                ),
                _ => format!(
                    "{:x} {} {} {} {} {} {}",
                    f.start,
                    f.size,
                    f.locals / 4,
                    f.params / 4,
                    f.prolog & 0xF,
                    f.saved_registers / 4,
                    match f.kind {
                        FrameKind::Fpo => "FPO",
                        FrameKind::Trap => "Trap",
                        FrameKind::Tss => "TSS",
                        _ => "Non-FPO",
                    }
                ),
            })
            .collect();
        own.sort();
        expected.sort();
        assert_eq!(own, expected, "{}", pair.pdb.display());
    }
    println!("{old} FPO_DATA, {new} FRAMEDATA");
    assert!(old > 50 && new > 100);
}

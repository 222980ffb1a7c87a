//! Images of the shared symbol store against goblin's own directory parsers and against a small
//! exception-directory reader written here, which shares nothing with the product.

use std::path::{Path, PathBuf};

use kbtriage::image::{CodeView, Image, ImageError};

/// The shared store, or `None` after saying that the test is skipped.
fn store() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: ../shared is absent");
    None
}

/// Every image file of the store with the key of its folder.
fn images(store: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for name in std::fs::read_dir(store).unwrap().flatten() {
        if !name.path().is_dir() || name.file_name().to_string_lossy().ends_with(".pdb") {
            continue;
        }
        for key in std::fs::read_dir(name.path()).unwrap().flatten() {
            let file = key.path().join(name.file_name());
            found.push((key.file_name().to_string_lossy().into_owned(), file));
        }
    }
    found.sort();
    assert!(found.len() >= 12, "the store holds its images");
    found
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
}

/// An image as the loader lays it out, built from the file by hand.
fn mapped(bytes: &[u8]) -> Vec<u8> {
    let pe = u32_at(bytes, 0x3c) as usize;
    let (count, optional) = (u16_at(bytes, pe + 6), u16_at(bytes, pe + 20));
    let mut memory = vec![0; u32_at(bytes, pe + 24 + 56) as usize];
    let headers = u32_at(bytes, pe + 24 + 60) as usize;
    memory[..headers].copy_from_slice(&bytes[..headers]);
    for i in 0..count {
        let row = pe + 24 + optional + i * 40;
        let (size, rva) = (
            u32_at(bytes, row + 8) as usize,
            u32_at(bytes, row + 12) as usize,
        );
        let (raw, at) = (
            u32_at(bytes, row + 16) as usize,
            u32_at(bytes, row + 20) as usize,
        );
        let n = size.min(raw);
        memory[rva..rva + n].copy_from_slice(&bytes[at..at + n]);
    }
    memory
}

#[test]
fn the_identity_is_the_key_of_the_folder_that_holds_the_image() {
    let Some(store) = store() else { return };
    for (key, file) in images(&store) {
        let image = Image::from_file(std::fs::read(&file).unwrap()).unwrap();
        let own = format!("{:08X}{:x}", image.time_date_stamp(), image.size_of_image());
        assert_eq!(own, key, "{}", file.display());
    }
}

#[test]
fn codeview_version_and_exports_agree_with_goblin() {
    let Some(store) = store() else { return };
    let mut versions = 0;
    for (_, file) in images(&store) {
        let bytes = std::fs::read(&file).unwrap();
        let mut options = goblin::pe::options::ParseOptions::default();
        options.parse_attribute_certificates = false;
        let oracle = goblin::pe::PE::parse_with_opts(&bytes, &options).unwrap();
        let image = Image::from_file(bytes.clone()).unwrap();

        let expected = oracle
            .debug_data
            .unwrap()
            .codeview_pdb70_debug_info
            .unwrap();
        let Some(CodeView::Pdb70 { guid, age, name }) = image.codeview() else {
            panic!("{} has an RSDS record", file.display());
        };
        assert_eq!((guid.0, age), (expected.signature, expected.age));
        assert_eq!(
            name.as_bytes(),
            expected.filename.strip_suffix(b"\0").unwrap()
        );

        let expected: Vec<_> = oracle
            .exports
            .iter()
            .filter(|e| e.reexport.is_none() && e.name.is_some())
            .map(|e| (e.rva as u32, e.name.unwrap().to_owned()))
            .collect();
        let mut own: Vec<_> = image
            .exports()
            .into_iter()
            .map(|e| (e.rva, e.name))
            .collect();
        own.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(own, expected, "{}", file.display());

        let expected = oracle.resource_data.and_then(|r| r.version_info);
        let own = image.version();
        assert_eq!(own.is_some(), expected.is_some(), "{}", file.display());
        let (Some(own), Some(expected)) = (own, expected) else {
            continue;
        };
        let fixed = expected.fixed_info.unwrap();
        assert_eq!(
            own.file.unwrap().to_string(),
            format!(
                "{}.{}.{}.{}",
                fixed.file_version_ms >> 16,
                fixed.file_version_ms & 0xFFFF,
                fixed.file_version_ls >> 16,
                fixed.file_version_ls & 0xFFFF
            )
        );
        let strings = expected.string_info;
        assert_eq!(
            own.file_version_text().map(str::to_owned),
            strings.file_version()
        );
        assert_eq!(
            own.original_filename().map(str::to_owned),
            strings.original_filename()
        );
        versions += 1;
    }
    assert!(versions >= 2, "the tcpip images carry versions");
}

/// `.pdata` read by hand from a mapped image: rows, and per row the primary row's begin.
fn owners(memory: &[u8]) -> Vec<(u32, u32, u32, bool)> {
    let pe = u32_at(memory, 0x3c) as usize;
    let directory = pe + 24 + 112 + 3 * 8;
    let (rva, size) = (
        u32_at(memory, directory) as usize,
        u32_at(memory, directory + 4) as usize,
    );
    let mut found = Vec::new();
    for row in (rva..rva + size).step_by(12) {
        let (begin, end) = (u32_at(memory, row), u32_at(memory, row + 4));
        let (mut owner, mut info) = (begin, u32_at(memory, row + 8) as usize);
        let mut chained = false;
        while memory[info] >> 3 & 4 != 0 {
            let codes = usize::from(memory[info + 2]);
            let link = info + 4 + 2 * (codes + codes % 2);
            owner = u32_at(memory, link);
            info = u32_at(memory, link + 8) as usize;
            chained = true;
        }
        found.push((begin, end, owner, chained));
    }
    found
}

#[test]
fn every_pdata_range_of_tcpip_leads_to_the_function_that_owns_it() {
    let Some(store) = store() else { return };
    for (key, file) in images(&store) {
        if !file.ends_with("tcpip.sys") {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        let rows = owners(&mapped(&bytes));
        let image = Image::from_file(bytes).unwrap();
        assert_eq!(image.function_count() as usize, rows.len());
        let mut chained = 0;
        for (begin, end, owner, is_chained) in &rows {
            for rva in [*begin, begin + (end - begin) / 2, end - 1] {
                let range = image.primary_function(rva).unwrap();
                assert_eq!((range.begin, range.end), (*begin, *end), "{key} {rva:#x}");
                assert_eq!(range.primary_begin, *owner, "{key} {rva:#x}");
                assert!(*is_chained || !range.cold, "{key} {rva:#x}");
            }
            chained += usize::from(*is_chained);
        }
        assert_eq!(chained, 1110, "chained rows of {key}");
    }
}

#[test]
fn a_mapped_image_reads_as_its_file_and_an_absent_page_stays_absent() {
    let Some(store) = store() else { return };
    for (_, file) in images(&store) {
        let bytes = std::fs::read(&file).unwrap();
        let memory = mapped(&bytes);
        let image = Image::from_file(bytes).unwrap();
        let whole = Image::from_mapped(vec![(0, memory.clone())]).unwrap();
        assert_eq!(whole.codeview(), image.codeview());
        assert_eq!(whole.version(), image.version());
        assert_eq!(whole.exports(), image.exports());

        let pages: Vec<(u32, Vec<u8>)> = memory
            .chunks(0x1000)
            .enumerate()
            .filter(|(i, _)| *i != 1)
            .map(|(i, page)| (i as u32 * 0x1000, page.to_vec()))
            .rev()
            .collect();
        let holed = Image::from_mapped(pages).unwrap();
        let mut buf = [0; 8];
        assert!(!holed.read(0x1ffc, &mut buf));
        assert_eq!(holed.read_up_to(0x0ffc, &mut buf), 4);
        assert!(holed.read(0x2000, &mut buf));
        assert_eq!(buf, memory[0x2000..0x2008]);
    }
}

#[test]
fn a_zero_filled_page_behind_good_headers_yields_no_identity_record() {
    let Some(store) = store() else { return };
    let (_, file) = images(&store).into_iter().next().unwrap();
    let bytes = std::fs::read(file).unwrap();
    let image = Image::from_mapped(vec![(0, mapped(&bytes)[..0x1000].to_vec())]).unwrap();
    assert_eq!(image.codeview(), None);
    assert_eq!(image.version(), None);
    assert!(image.exports().is_empty());
    assert_eq!(image.primary_function(0x1000), None);
}

#[test]
fn bytes_that_are_no_image_are_refused_with_their_reason() {
    let refused = |bytes: &[u8]| Image::from_file(bytes.to_vec()).unwrap_err();
    assert_eq!(refused(b""), ImageError::NotAnImage);
    assert_eq!(refused(b"MZ"), ImageError::HeadersCutOff);
    let mut stub = vec![0; 0x40];
    stub[..2].copy_from_slice(b"MZ");
    stub[0x3c..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refused(&stub), ImageError::HeadersCutOff);
    stub[0x3c..].copy_from_slice(&0u32.to_le_bytes());
    assert_eq!(refused(&stub), ImageError::NotAnImage);
}

#[test]
fn single_corrupted_bytes_in_the_first_pages_never_panic_or_hang() {
    let Some(store) = store() else { return };
    let file = store.join("MyDriver1.sys/6683FCA97000/MyDriver1.sys");
    let bytes = std::fs::read(file).unwrap();
    for at in 0..bytes.len() {
        for value in [0x00, 0x7F, 0xFF] {
            let mut mutant = bytes.clone();
            mutant[at] = value;
            let Ok(image) = Image::from_file(mutant) else {
                continue;
            };
            image.codeview();
            image.version();
            assert!(image.exports().len() <= 0x1_0000);
            for index in 0..image.function_count().min(64) {
                let Some(row) = image.function(index) else {
                    break;
                };
                image.primary_function(row.begin);
            }
        }
    }
}

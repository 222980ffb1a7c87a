//! Every question that can be asked of a PE image, as a file and as scattered pieces of memory.
#![no_main]

use kbtriage::image::Image;
use libfuzzer_sys::fuzz_target;

fn ask(image: &Image) {
    if let Some(record) = image.codeview() {
        std::hint::black_box(kbtriage::symbols::PdbIdentity::from_codeview(&record).ok());
    }
    if let Some(version) = image.version() {
        std::hint::black_box((version.build_lab(), version.original_filename()));
    }
    assert!(image.exports().len() <= 0x1_0000);
    std::hint::black_box(image.export_name());
    for index in 0..image.function_count().min(256) {
        let Some(row) = image.function(index) else {
            break;
        };
        if let Some(part) = image.primary_function(row.begin) {
            assert!(part.begin <= row.begin && row.begin < part.end);
        }
    }
    let mut bytes = [0; 32];
    for rva in [0, image.entry_point(), image.size_of_image(), u32::MAX] {
        let n = image.read_up_to(rva, &mut bytes);
        assert_eq!(image.read(rva, &mut bytes), n == bytes.len());
        std::hint::black_box((image.primary_function(rva), image.is_executable(rva)));
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(image) = Image::from_file(data.to_vec()) {
        ask(&image);
    }
    // Pages of memory with every third one absent.
    let pieces = data
        .chunks(0x400)
        .zip(0u32..)
        .filter(|(_, page)| page % 3 != 2)
        .map(|(bytes, page)| (page * 0x400, bytes.to_vec()))
        .collect();
    if let Ok(image) = Image::from_mapped(pieces) {
        ask(&image);
    }
});

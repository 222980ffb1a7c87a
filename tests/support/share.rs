//! Makes shares of dumps for the tests, from the committed fixtures, and runs the program on them.
#![allow(dead_code)] // each integration test takes the part it needs

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A committed dump.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/dumps")
        .join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A dump of an unfixed machine that failed in tcpip.sys.
pub fn matching() -> Vec<u8> {
    fixture("server2008-x64-d1.dmp")
}

/// A dump that differs from every other number's: another crash time (SystemTime of the 64-bit
/// header at 0xFA8, as the format page has it).
pub fn numbered(number: u64) -> Vec<u8> {
    let mut dump = matching();
    let time = u64::from_le_bytes(dump[0xFA8..0xFB0].try_into().unwrap());
    dump[0xFA8..0xFB0].copy_from_slice(&(time + number * 36_000_000_000).to_le_bytes());
    dump
}

/// A dump with another code: at 0x38 of the 64-bit header, and in the kernel's own variable, of which a small dump
/// holds a copy with the parameters behind it.
pub fn with_code(mut dump: Vec<u8>, code: u32) -> Vec<u8> {
    let variable = [&dump[0x38..0x3C], &[0; 4], &dump[0x40..0x60]].concat();
    let mut places = dump.windows(variable.len());
    let at = places.rposition(|bytes| bytes == variable.as_slice());
    let at = at.expect("the kernel's variable");
    for at in [0x38, at] {
        dump[at..at + 4].copy_from_slice(&code.to_le_bytes());
    }
    dump
}

/// 2008-07-14, 12:00 UTC: when the files of the hotfix were linked.
pub const LINKED_WITH_HOTFIX: u32 = 0x487B_3FC0;

/// `server2008-x64-d1.dmp`, its tcpip.sys (of Service Pack 1 itself) linked at another time.
pub fn with_tcpip_stamp(stamp: u32) -> Vec<u8> {
    let mut bytes = fixture("server2008-x64-d1.dmp");
    let own = 0x4791_9384u32.to_le_bytes();
    let places: Vec<usize> = (0..bytes.len() - 4)
        .filter(|at| bytes[*at..*at + 4] == own)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 4].copy_from_slice(&stamp.to_le_bytes());
    }
    bytes
}

/// Writes a file whose time is long ago, with the directories above it.
pub fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    age(path);
}

/// Sets a file's time to a day long ago: nothing is growing there.
pub fn age(path: &Path) {
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_300_000_000);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
}

/// A zip archive, deflated.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A cabinet, MSZIP.
pub fn cabinet(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    let folder = builder.add_folder(cab::CompressionType::MsZip);
    for (name, _) in members {
        folder.add_file(*name);
    }
    let mut cabinet = builder.build(std::io::Cursor::new(Vec::new())).unwrap();
    let mut contents = members.iter();
    while let Some(mut file) = cabinet.next_file().unwrap() {
        file.write_all(contents.next().unwrap().1).unwrap();
    }
    cabinet.finish().unwrap().into_inner()
}

/// A gzip file.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

/// The program.
pub fn program() -> Command {
    let mut command = Command::new(super::run::program());
    command.env("NO_COLOR", "1");
    command
}

/// Runs the program with `arguments`.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    program().args(arguments).output().unwrap()
}

/// The records that a run wrote.
pub fn records(output: &[u8]) -> Vec<Value> {
    std::str::from_utf8(output)
        .expect("output is UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record a line"))
        .collect()
}

/// Those of one type.
pub fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|r| r["type"] == kind).collect()
}

/// Every path below `root` with its size and time: what must not change.
pub fn snapshot(root: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut all: Vec<_> = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let path = entry.path().to_owned();
            (path, found.len(), found.modified().unwrap())
        })
        .collect();
    all.sort();
    all
}

/// A tar archive (ustar).
pub fn tarball(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A bzip2 file.
pub fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(content).unwrap();
    bzip2.finish().unwrap()
}

/// A Zstandard file.
pub fn zstd(content: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(content, level)
}

/// An xz file whose one block is not compressed (xz file format 1.2.1; LZMA2 chunks of type 1 are copies).
pub fn xz(content: &[u8]) -> Vec<u8> {
    fn crc(bytes: &[u8]) -> [u8; 4] {
        crc32fast::hash(bytes).to_le_bytes()
    }
    fn number(mut value: u64, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    // Check: CRC32.
    let flags = [0, 1];
    let mut out = b"\xFD7zXZ\0".to_vec();
    out.extend(flags);
    out.extend(crc(&flags));
    // Block header: 12 bytes, one filter, LZMA2 with a dictionary of 1 MiB.
    let mut block = vec![2, 0, 0x21, 1, 16, 0, 0, 0];
    block.extend(crc(&block.clone()));
    let mut data = Vec::new();
    for (index, chunk) in content.chunks(0x1_0000).enumerate() {
        data.push(if index == 0 { 1 } else { 2 });
        data.extend(((chunk.len() - 1) as u16).to_be_bytes());
        data.extend(chunk);
    }
    data.push(0);
    let unpadded = block.len() + data.len() + 4;
    block.extend(&data);
    block.resize(block.len().next_multiple_of(4), 0);
    block.extend(crc(content));
    out.extend(&block);
    let mut index = vec![0];
    number(1, &mut index);
    number(unpadded as u64, &mut index);
    number(content.len() as u64, &mut index);
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc(&index.clone()));
    out.extend(&index);
    let mut footer = ((index.len() / 4 - 1) as u32).to_le_bytes().to_vec();
    footer.extend(flags);
    out.extend(crc(&footer));
    out.extend(&footer);
    out.extend(b"YZ");
    out
}

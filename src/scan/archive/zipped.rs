//! Members of a zip archive: its directory by the `rawzip` library, which reads it piece by piece and
//! believes no size; members by the library of their method.

use std::collections::BTreeMap;
use std::io::Read;

use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};

use super::reader::Stream;
use super::{Unpack, broken, capped, encrypted, streams, unknown_method};
use crate::bytes::ReadAt;
use crate::source::SourceError;

/// Bytes at the end in which the end record is looked for: its own 22 and the longest comment, twice.
const TAIL: u64 = 2 * (22 + 65_535);

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    let cut = |unpack: &Unpack<'_>| unpack.reason(broken("the zip archive is cut or damaged"));
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::with_max_search_space(TAIL)
        .locate_in_reader(Stream::new(bytes, unpack.meter), &mut buffer, bytes.len())
        .map_err(|_| cut(unpack))?;
    let stated = archive.entries_hint();
    let mut seen = 0u64;
    // Where the members looked at so far lie: start and end.
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(|_| cut(unpack))? {
        seen += 1;
        unpack.meter.member()?;
        if entry.is_dir() {
            continue;
        }
        let name = capped(&String::from_utf8_lossy(entry.file_path().as_ref()));
        let (place, method) = (entry.wayfinder(), entry.compression_method());
        if entry.flags().is_encrypted() || method == CompressionMethod::AES {
            unpack.unreadable(name, outer, encrypted());
            continue;
        }
        let start = entry.local_header_offset();
        let member = match archive.get_entry(place) {
            Ok(member) => member,
            Err(_) => {
                let error = cut(unpack);
                unpack.unreadable(name, outer, error);
                continue;
            }
        };
        let (_, end) = member.compressed_data_range();
        if overlaps(&taken, start, end) {
            unpack.unreadable(
                name,
                outer,
                broken("it lies in the bytes of another member"),
            );
            continue;
        }
        taken.insert(start, end);
        let packed = member.reader();
        let unpacked: Box<dyn Read + '_> = match method {
            CompressionMethod::STORE => Box::new(packed),
            CompressionMethod::DEFLATE => Box::new(flate2::read::DeflateDecoder::new(packed)),
            CompressionMethod::DEFLATE64 => Box::new(deflate64::Deflate64Decoder::new(packed)),
            CompressionMethod::BZIP2 => Box::new(bzip2::read::BzDecoder::new(packed)),
            CompressionMethod::XZ => Box::new(streams::xz(packed)),
            CompressionMethod::ZSTD | CompressionMethod::ZSTD_DEPRECATED => {
                Box::new(streams::zstd(packed))
            }
            _ => {
                unpack.unreadable(name, outer, unknown_method());
                continue;
            }
        };
        // The size and the checksum that the directory states have to be those of what comes.
        let mut content = member.verifying_reader(unpacked);
        unpack.member(name, outer, depth, &mut content)?;
    }
    match seen < stated {
        true => Err(broken("the directory of the zip archive is not whole")),
        false => Ok(()),
    }
}

/// True when `start..end` shares a byte with one of the ranges `taken`, none of which do so.
fn overlaps(taken: &BTreeMap<u64, u64>, start: u64, end: u64) -> bool {
    taken
        .range(..end)
        .next_back()
        .is_some_and(|(_, before)| *before > start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_share_a_byte_overlap() {
        let taken = BTreeMap::from([(10, 20), (30, 40)]);
        for (start, end, expected) in [
            (0, 10, false),
            (0, 11, true),
            (15, 16, true),
            (20, 30, false),
            (19, 30, true),
            (20, 31, true),
            (40, 90, false),
            (0, 90, true),
        ] {
            assert_eq!(overlaps(&taken, start, end), expected, "{start}..{end}");
        }
    }
}

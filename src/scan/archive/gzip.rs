//! The one member of a gzip file, by the `flate2` library.

use flate2::read::MultiGzDecoder;

use super::Unpack;
use super::reader::Stream;
use crate::bytes::ReadAt;
use crate::source::SourceError;

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    unpack.allowance.member()?;
    let mut content = MultiGzDecoder::new(Stream::new(bytes));
    let name = content
        .header()
        .and_then(|header| header.filename())
        .map_or_else(
            || "content".to_owned(),
            |name| String::from_utf8_lossy(name).into_owned(),
        );
    unpack.member(name, outer, depth, &mut content)
}

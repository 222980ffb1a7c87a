//! Members of a Microsoft cabinet, by the `cab` library: what Windows Error Reporting uploads.

use cab::Cabinet;

use super::reader::Stream;
use super::{Unpack, broken, unpacking};
use crate::bytes::ReadAt;
use crate::source::SourceError;

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    let mut cabinet = Cabinet::new(Stream::new(bytes))
        .map_err(|_| broken("the cabinet is cut, damaged or of another format"))?;
    let mut names: Vec<String> = Vec::new();
    for folder in cabinet.folder_entries() {
        for file in folder.file_entries() {
            unpack.allowance.member()?;
            names.push(file.name().to_owned());
        }
    }
    // The library reads a member by its name: of several with one name it knows the first.
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            unpack.unreadable(name, outer, broken("a second member of this name"));
            continue;
        }
        match cabinet.read_file(&name) {
            Ok(mut content) => unpack.member(name, outer, depth, &mut content)?,
            Err(error) => unpack.unreadable(name, outer, unpacking(&error)),
        }
    }
    Ok(())
}

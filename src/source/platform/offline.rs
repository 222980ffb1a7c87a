//! Files whose content is not on the disk: a tape library or a cloud has it, and reading fetches it.

use std::fs::Metadata;

/// True when a directory says that an entry's content is elsewhere: opening it may fetch it. `listed` gives what the
/// directory told about it, which Windows does with the name.
#[cfg(windows)]
pub fn is_listed_offline(listed: impl FnOnce() -> Option<Metadata>) -> bool {
    listed().is_some_and(|found| is_offline(&found))
}

/// True when a directory says that an entry's content is elsewhere. Only Windows tells so, and elsewhere opening
/// a file fetches nothing.
#[cfg(not(windows))]
pub fn is_listed_offline(_: impl FnOnce() -> Option<Metadata>) -> bool {
    false
}

/// True when reading the file would fetch it from somewhere else: a hierarchical store's stub has a
/// size but no blocks. A file that is nothing but a hole looks the same, and holds nothing either.
#[cfg(unix)]
pub fn is_offline(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.len() >= 4096 && found.blocks() == 0
}

/// True when reading the file would fetch it from somewhere else.
#[cfg(windows)]
pub fn is_offline(found: &Metadata) -> bool {
    is_elsewhere(std::os::windows::fs::MetadataExt::file_attributes(found))
}

/// True for the attributes of a file whose content a tape library or a cloud has: `FILE_ATTRIBUTE_OFFLINE`,
/// `FILE_ATTRIBUTE_RECALL_ON_OPEN` or `FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS` ("File Attribute Constants" in Microsoft's
/// documentation).
#[cfg(any(windows, test))]
fn is_elsewhere(attributes: u32) -> bool {
    attributes & (0x1000 | 0x4_0000 | 0x40_0000) != 0
}

/// True when reading the file would fetch it from somewhere else.
#[cfg(not(any(unix, windows)))]
pub fn is_offline(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_placeholders_are_told_from_those_of_files_that_are_here() {
        // Archive, sparse, reparse point, unpinned: a cloud's file that was fetched and may be given back.
        let here = 0x20 | 0x200 | 0x400 | 0x10_0000;
        assert!(!is_elsewhere(here));
        for elsewhere in [0x1000, 0x4_0000, 0x40_0000] {
            assert!(is_elsewhere(here | elsewhere), "{elsewhere:#x}");
        }
    }
}

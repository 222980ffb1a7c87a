//! What a driver's image in memory says about itself: its PDB and its exact version.
//!
//! The image's own header must name the module the list names; what its pages do not hold stays
//! unknown. A page of the resource section that is paged out makes the version unknown, not zero.

use crate::bytes::{Budget, Gva};
use crate::image::{CodeView, Image, VersionInfo};
use crate::memory::Memory;

use crate::facts::{Module, PdbIdentity, VersionClaim, VersionSource, file_name};

/// Steps that a look at an image costs, its largest version resource included.
const ASKED: u64 = 300;
/// Bytes of a page.
const PAGE: usize = 0x1000;

/// Completes `module` from its image. False when no image of its identity is at its base.
pub fn complete(module: &mut Module, memory: &dyn Memory, budget: &Budget) -> bool {
    let (base, size) = (module.base, module.size);
    let mut fetch = |rva: u32| {
        // Each page makes the question be asked once more.
        budget.spend(ASKED).ok()?;
        let at = base.checked_add(u64::from(rva)).filter(|_| rva < size)?;
        let mut bytes = vec![0; PAGE];
        memory.read(Gva(at), &mut bytes).ok().map(|()| bytes)
    };
    let Ok(mut image) = Image::mapped(&mut fetch) else {
        return false;
    };
    if image.time_date_stamp() != module.time_date_stamp || image.size_of_image() != size {
        return false;
    }
    module.pdb = image
        .with_pages(&mut fetch, Image::codeview)
        .and_then(pdb_identity)
        .or(module.pdb.take());
    let version = image.with_pages(&mut fetch, |image| {
        image.version().filter(|info| info.file.is_some())
    });
    if module.version.is_none() {
        module.version = version.and_then(|info| claim(&info));
    }
    true
}

fn claim(info: &VersionInfo) -> Option<VersionClaim> {
    let file = info.file?;
    Some(VersionClaim {
        version: file,
        branch_tag: info.build_lab().map(str::to_owned),
        source: VersionSource::Memory,
    })
}

fn pdb_identity(record: CodeView) -> Option<PdbIdentity> {
    let name = file_name(record.name()).to_owned();
    let guid_age = match &record {
        CodeView::Pdb70 { guid, age, .. } => format!("{guid}{age:X}"),
        CodeView::Pdb20 { signature, age, .. } => format!("{signature:08X}{age:X}"),
    };
    (!name.is_empty()).then_some(PdbIdentity { name, guid_age })
}

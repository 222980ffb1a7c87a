//! Names in an Itanium's image: what a pointer to a function points to is a descriptor, and a part of a
//! function has a row of its own.

use std::sync::Arc;

use kbtriage::image::Image;
use kbtriage::machine::Machine;
use kbtriage::symbols::{ModuleIdentity, ModuleSymbols, PdbIdentity, index_pdb};

use crate::support::itanium::descriptors::Descriptors;
use crate::support::itanium::image::{self, Function};
use crate::support::memory_image;
use crate::support::shared::shared;
use crate::support::symbols::{GUID, Pdb};

fn file() -> Vec<u8> {
    let image = memory_image::Image {
        name: "tcpip.pdb".to_owned(),
        wide: true,
        time_date_stamp: 0x4791_9003,
        check_sum: 1,
        version: [6, 0, 6001, 18000],
        lab: "longhorn_rtm.080118-1840".to_owned(),
        guid: GUID,
        age: 1,
    };
    let function = |begin: u32, end: u32, prologue: u64| Function {
        begin,
        end,
        descriptors: Some(
            Descriptors::default()
                .prologue(prologue)
                .rp_gr(0, 35)
                .body(u64::from((end - begin) / 16 * 3) - prologue),
        ),
    };
    let functions = [
        function(0x1100, 0x1200, 3),
        function(0x1300, 0x1400, 3),
        // A part that was moved away.
        function(0x1500, 0x1540, 0),
    ];
    let mut bytes = image::bytes(&image, &functions, 0);
    image::describe(&mut bytes, 0x1E00, 0x1100);
    image::describe(&mut bytes, 0x1E10, 0x1300);
    // Something that looks like a descriptor, with another gp.
    image::describe(&mut bytes, 0x1E20, 0x1300);
    bytes[0x1E28] ^= 8;
    bytes
}

fn symbols(publics: &[(u32, &str)]) -> ModuleSymbols {
    let pdb = Pdb {
        machine: 0x200,
        ..Pdb::new(GUID, 1, publics)
    };
    let module = ModuleIdentity::new("tcpip.sys", 0x4791_9003, image::BYTES).unwrap();
    let index = index_pdb(pdb.write()).unwrap();
    let identity = PdbIdentity {
        name: module.name.clone(),
        guid: index.guid().unwrap(),
        age: index.age(),
    };
    let image = Arc::new(Image::from_file(file()).unwrap());
    ModuleSymbols::new(module, Machine::Ia64, Some((identity, index)), Some(image))
}

fn name(symbols: &ModuleSymbols, rva: u32) -> Option<String> {
    let hit = symbols.name_at(rva)?;
    Some(format!("{}+{:#x}", hit.name, hit.displacement))
}

#[test]
fn a_function_has_the_name_of_its_code_or_of_its_descriptor() {
    // Publics count from 0x1000: one at the code, one at the second function's descriptor.
    let symbols = symbols(&[
        (0x100, ".TtStopTimer"),
        (0xE10, "TtStartTimer"),
        (0xE20, "NoFunction"),
    ]);
    assert_eq!(name(&symbols, 0x1120).as_deref(), Some("TtStopTimer+0x20"));
    assert_eq!(name(&symbols, 0x1310).as_deref(), Some("TtStartTimer+0x10"));
    // The moved part belongs to nobody that the table or the PDB names.
    assert_eq!(name(&symbols, 0x1510), None);
    // What a descriptor is called is not the name of what lies behind it.
    assert_eq!(name(&symbols, 0x1E18), None);
}

#[test]
fn exports_lead_through_their_descriptors_to_code() {
    let mut bytes = file();
    let at = 0x2400usize;
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    for (offset, value) in [(20, 1), (24, 1), (28, 0x2440), (32, 0x2450), (36, 0x2460)] {
        put(at + offset, value);
    }
    put(0x2440, 0x1E10);
    put(0x2450, 0x2470);
    put(0x80 + 24 + 112, at as u32);
    put(0x80 + 24 + 116, 0x20);
    bytes[0x2470..0x2479].copy_from_slice(b"StartIt\0\0");
    let image = Image::from_file(bytes).unwrap();
    let exports = image.exports();
    assert_eq!(exports.len(), 1);
    assert_eq!(
        (exports[0].rva, exports[0].name.as_str()),
        (0x1300, "StartIt")
    );
    assert_eq!(image.descriptor_target(0x1E20), None);
    assert_eq!(image.descriptor_target(0x1E00), Some(0x1100));
}

#[test]
fn every_export_of_a_real_library_leads_to_the_beginning_of_a_function() {
    let Some(path) = shared("data/ia64/libusb0-phywe/libusb0.dll") else {
        return;
    };
    let image = Image::from_file(std::fs::read(path).unwrap()).unwrap();
    let exports = image.exports();
    assert!(exports.len() > 30, "{}", exports.len());
    let mut begins = 0;
    for export in &exports {
        assert!(image.is_executable(export.rva), "{}", export.name);
        assert_eq!(export.rva % 16, 0, "{}", export.name);
        // A function that calls nothing has no row.
        begins += usize::from(
            image
                .function_at(export.rva)
                .is_some_and(|f| f.begin == export.rva),
        );
        assert!(
            image
                .function_at(export.rva)
                .is_none_or(|f| f.begin == export.rva)
        );
    }
    assert!(begins > exports.len() / 2, "{begins} of {}", exports.len());
}

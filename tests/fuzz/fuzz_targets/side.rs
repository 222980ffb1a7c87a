//! Files that lie beside a dump or are named on the command line: an error report's parts, an inventory, a work
//! list, a mapping of machine names. The first byte says which.
#![no_main]

use kbtriage::knowledge::inventory::Inventory;
use kbtriage::knowledge::wer_report::WerReport;
use kbtriage::scan::{MachineNamer, list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    match which % 6 {
        number @ 0..=2 => {
            let name = ["sysdata.xml", "Version.txt", "Report.wer"][usize::from(number)];
            let mut report = WerReport::default();
            report.add(name, rest);
            assert!(report.drivers.len() <= 8192);
            std::hint::black_box(report.version("tcpip.sys"));
        }
        3 => {
            let text = String::from_utf8_lossy(rest);
            let mut inventory = Inventory::default();
            if let Err(error) = inventory.read(&text, "inventory.csv") {
                assert!(!error.to_string().is_empty());
            }
        }
        4 => {
            let mut lines = rest;
            if let Err(error) = list::read(&mut lines, None) {
                assert!(!error.to_string().is_empty());
            }
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            if let Err(error) = MachineNamer::read_mapping(&text) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
});

//! Walks over stacks of real functions whose frames an independent implementation measured.

mod unwind_support;

use kbtriage::bytes::Budget;
use kbtriage::machine::{Machine, Registers};
use kbtriage::unwind::{Trust, Walker};
use unwind_support::chain::{call_sites, chain};
use unwind_support::{Image, store};

const STACK: u64 = 0xFFFF_F880_0900_0000;

#[test]
fn stacks_of_real_driver_functions_are_walked_frame_by_frame() {
    let Some(store) = store() else { return };
    let path = store.join("tcpip.sys/8CA873CB2eb000/tcpip.sys");
    let image = Image::load(&path, 0xFFFF_F880_0160_0000);
    let sites = call_sites(&image, 1);
    assert!(sites.len() > 4000, "{} call sites", sites.len());
    let mut walked = 0;
    for part in sites.chunks(40) {
        let chain = chain(&image, part, STACK);
        let mut start = Registers::new(Machine::X64);
        start.set_ip(chain.ips[0]);
        start.set_sp(chain.sps[0]);
        for reg in [3, 5, 6, 7, 12, 13, 14, 15] {
            start.set(kbtriage::machine::Reg(reg), 0);
        }
        let walk = Walker {
            code: &image,
            memory: &chain.stack,
            stacks: &[],
            budget: &Budget::default(),
        }
        .walk(&start);
        let ips: Vec<u64> = walk.frames.iter().filter_map(|f| f.ip()).collect();
        let sps: Vec<u64> = walk.frames.iter().filter_map(|f| f.sp()).collect();
        assert_eq!(ips, chain.ips, "{:?}", walk.stopped_because);
        assert_eq!(sps, chain.sps);
        assert!(walk.complete);
        assert_eq!(walk.faulting_activity, part.len());
        assert!(
            walk.frames[1..]
                .iter()
                .all(|f| f.trust == Trust::UnwindInfo)
        );
        walked += ips.len();
    }
    println!("{walked} frames of real functions");
}

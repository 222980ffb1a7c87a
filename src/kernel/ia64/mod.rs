//! IA-64: how the kernel is found in physical memory, and what only its structures have.
//!
//! Facts: the headers of the WDK 6001.18000, which is Server 2008 itself. No real IA-64 memory dump
//! is known, so several readings are tried and only what fits is believed; which one did is said.

use crate::bytes::Gva;
use crate::memory::Memory;

mod image;
mod roots;

pub use roots::{Settled, address_space};

/// Offset of the KPRCB in the KPCR around it.
const PRCB_IN_PCR: u64 = 0xE80;
/// Offset of KPCR.Prcb: the address of the KPRCB inside.
const PCR_PRCB: u64 = 0xB18;
/// Offset of KPCR.CurrentIrql (one byte).
const PCR_IRQL: u64 = 0xB2B;
/// Offset of KPCR.PteKbase: where the kernel's own page tables are seen.
const PCR_PTE_BASE: u64 = 0xC38;
/// What that field should hold.
const PTE_BASE: u64 = 0xFFFF_FF00_0000_0000;
/// Offset of the saved translation registers in the KPRCB: eight for instructions, eight for data.
const TRANSLATION_REGISTERS: u64 = 0xFF0;
/// The build whose headers give these offsets.
const BUILD: u32 = 6001;
/// IRQLs there are.
const LEVELS: u8 = 16;
/// Where each processor sees its own KPCR.
const OWN_PCR: u64 = 0xE000_0000_FFFF_0000;

/// KPCR.CurrentIrql around a KPRCB; `None` when the KPCR does not lead to this KPRCB.
pub fn irql(memory: &dyn Memory, prcb: u64, build: Option<u32>) -> Option<u8> {
    let pcr = prcb
        .checked_sub(PRCB_IN_PCR)
        .filter(|_| build == Some(BUILD))?;
    let back = memory.read_u64(Gva(pcr.checked_add(PCR_PRCB)?)).ok()?;
    let leads_back = back == prcb || back == OWN_PCR + PRCB_IN_PCR;
    let irql = memory.read_u8(Gva(pcr.checked_add(PCR_IRQL)?)).ok()?;
    (leads_back && irql < LEVELS).then_some(irql)
}

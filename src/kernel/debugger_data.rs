//! `KDDEBUGGER_DATA64` (`KDBG`): where the kernel keeps what a debugger needs.
//!
//! The layout is the same 64-bit one on every architecture; each Windows version only appends,
//! so a field past the block's own Size does not exist. Source: the public `wdbgexts.h`.

use crate::bytes::View;

/// Field offsets used here.
mod field {
    pub const OWNER_TAG: usize = 0x10;
    pub const SIZE: usize = 0x14;
    pub const KERN_BASE: usize = 0x18;
    pub const PS_LOADED_MODULE_LIST: usize = 0x48;
    pub const PS_ACTIVE_PROCESS_HEAD: usize = 0x50;
    pub const KI_BUGCHECK_DATA: usize = 0x88;
    pub const MM_PAGED_POOL_START: usize = 0x120;
    pub const POOL_TRACK_TABLE: usize = 0x1B8;
    pub const NT_BUILD_LAB: usize = 0x208;
    pub const KI_PROCESSOR_BLOCK: usize = 0x218;
    pub const MM_UNLOADED_DRIVERS: usize = 0x220;
    pub const MM_LAST_UNLOADED_DRIVER: usize = 0x228;
    pub const CM_NT_CSD_VERSION: usize = 0x268;
    pub const MM_SYSTEM_PARENT_TABLE_PAGE: usize = 0x288;
    pub const OFFSET_KTHREAD_INITIAL_STACK: usize = 0x29E;
    pub const OFFSET_KTHREAD_APC_PROCESS: usize = 0x2A0;
    pub const OFFSET_KTHREAD_BSTORE: usize = 0x2A4;
    pub const OFFSET_KTHREAD_BSTORE_LIMIT: usize = 0x2A6;
    pub const SIZE_PRCB: usize = 0x2B0;
    pub const OFFSET_PRCB_DPC_ROUTINE: usize = 0x2B2;
    pub const OFFSET_PRCB_CURRENT_THREAD: usize = 0x2B4;
    pub const OFFSET_PRCB_PROC_STATE_CONTEXT: usize = 0x2BC;
    pub const OFFSET_PRCB_NUMBER: usize = 0x2BE;
    pub const OFFSET_PRCB_PCR_PAGE: usize = 0x2F0;
    pub const OFFSET_PRCB_SPECIAL_REGISTERS: usize = 0x2F2;
}

/// The largest block known is 0x3A0 bytes; the size field bounds what is read.
const LARGEST: usize = 0x1000;
/// Up to and including KernBase.
const SMALLEST: usize = 0x20;

/// What an encoded block is decoded with: two variables of the kernel and the address of a third, which
/// only symbols name. Source: QEMU's `contrib/elf2dmp`, volatility's `win8_kdbg.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// KiWaitNever.
    pub never: u64,
    /// KiWaitAlways.
    pub always: u64,
    /// Address of KdpDataBlockEncoded.
    pub encoded_at: u64,
}

impl Keys {
    fn plain(&self, word: u64) -> u64 {
        // The rotation is by the key's low byte, which a 64-bit rotation takes modulo 64.
        let rotated = (word ^ self.never).rotate_left((self.never & 0x3F) as u32);
        let address = self.encoded_at | 0xFFFF_0000_0000_0000;
        (rotated ^ address).swap_bytes() ^ self.always
    }
}

#[cfg(test)]
thread_local! {
    /// How many blocks this thread has read: a dump's is read once.
    pub static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A plain (not encoded) debugger data block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebuggerData {
    bytes: Vec<u8>,
}

impl DebuggerData {
    /// Reads the block at the start of `bytes`; `None` when it is encoded or not one.
    pub fn read(bytes: &[u8]) -> Option<DebuggerData> {
        #[cfg(test)]
        READS.set(READS.get() + 1);
        let view = View(bytes);
        if view.bytes(field::OWNER_TAG, 4)? != b"KDBG" {
            return None;
        }
        let size = usize::try_from(view.u32(field::SIZE)?).ok()?;
        if !(SMALLEST..=LARGEST).contains(&size) {
            return None;
        }
        let bytes = bytes.get(..size.min(bytes.len()))?.to_vec();
        Some(DebuggerData { bytes })
    }

    /// Decodes an encoded block; `None` when the keys do not make one of it.
    pub fn decode(bytes: &[u8], keys: &Keys) -> Option<DebuggerData> {
        let plain: Vec<u8> = bytes
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .flat_map(|word| keys.plain(word).to_le_bytes())
            .collect();
        DebuggerData::read(&plain)
    }

    /// Bytes present, at most the block's own size.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The 64-bit field at `offset`: a virtual address in most cases; 0 counts as absent.
    pub fn u64(&self, offset: usize) -> Option<u64> {
        View(&self.bytes).u64(offset).filter(|v| *v != 0)
    }

    /// The 16-bit field at `offset`: an offset or a size. 0xFFFF counts as absent.
    pub fn u16(&self, offset: usize) -> Option<u16> {
        View(&self.bytes).u16(offset).filter(|v| *v != 0xFFFF)
    }

    /// Base address of the kernel image.
    pub fn kern_base(&self) -> Option<u64> {
        self.u64(field::KERN_BASE)
    }

    /// Address of the head of the list of loaded modules.
    pub fn loaded_module_list(&self) -> Option<u64> {
        self.u64(field::PS_LOADED_MODULE_LIST)
    }

    /// Address of the head of the list of processes.
    pub fn active_process_head(&self) -> Option<u64> {
        self.u64(field::PS_ACTIVE_PROCESS_HEAD)
    }

    /// Address of the bug check code and its four parameters, five pointers.
    pub fn bugcheck_data(&self) -> Option<u64> {
        self.u64(field::KI_BUGCHECK_DATA)
    }

    /// Address of the variable that holds the start of paged pool.
    pub fn paged_pool_start(&self) -> Option<u64> {
        self.u64(field::MM_PAGED_POOL_START)
    }

    /// Address of the pointer to the pool tracking table.
    pub fn pool_track_table(&self) -> Option<u64> {
        self.u64(field::POOL_TRACK_TABLE)
    }

    /// Address of the pointer to the ring of unloaded drivers.
    pub fn unloaded_drivers(&self) -> Option<u64> {
        self.u64(field::MM_UNLOADED_DRIVERS)
    }

    /// Address of the count of drivers unloaded so far.
    pub fn last_unloaded_driver(&self) -> Option<u64> {
        self.u64(field::MM_LAST_UNLOADED_DRIVER)
    }

    /// Address of the array of KPRCB pointers.
    pub fn processor_block(&self) -> Option<u64> {
        self.u64(field::KI_PROCESSOR_BLOCK)
    }

    /// Address of the build string.
    pub fn nt_build_lab(&self) -> Option<u64> {
        self.u64(field::NT_BUILD_LAB)
    }

    /// Address of the 32-bit CSDVersion.
    pub fn csd_version(&self) -> Option<u64> {
        self.u64(field::CM_NT_CSD_VERSION)
    }

    /// IA-64: address of the page number of the root of the kernel's page tables.
    pub fn system_parent_table_page(&self) -> Option<u64> {
        self.u64(field::MM_SYSTEM_PARENT_TABLE_PAGE)
    }

    /// IA-64: offset of KTHREAD.InitialBStore.
    pub fn kthread_backing_store(&self) -> Option<u16> {
        self.u16(field::OFFSET_KTHREAD_BSTORE).filter(|o| *o != 0)
    }

    /// IA-64: offset of KTHREAD.BStoreLimit.
    pub fn kthread_backing_store_limit(&self) -> Option<u16> {
        self.u16(field::OFFSET_KTHREAD_BSTORE_LIMIT)
            .filter(|o| *o != 0)
    }

    /// IA-64: offset of KPRCB.PcrPage.
    pub fn prcb_pcr_page(&self) -> Option<u16> {
        self.u16(field::OFFSET_PRCB_PCR_PAGE).filter(|o| *o != 0)
    }

    /// Offset of the special registers in KPRCB.ProcessorState.
    pub fn prcb_special_registers(&self) -> Option<u16> {
        self.u16(field::OFFSET_PRCB_SPECIAL_REGISTERS)
            .filter(|o| *o != 0)
    }

    /// Offset of KTHREAD.InitialStack.
    pub fn kthread_initial_stack(&self) -> Option<u16> {
        self.u16(field::OFFSET_KTHREAD_INITIAL_STACK)
    }

    /// Offset of KTHREAD.ApcState.Process.
    pub fn kthread_process(&self) -> Option<u16> {
        self.u16(field::OFFSET_KTHREAD_APC_PROCESS)
            .filter(|o| *o != 0)
    }

    /// sizeof(KPRCB).
    pub fn size_prcb(&self) -> Option<u16> {
        self.u16(field::SIZE_PRCB).filter(|s| *s != 0)
    }

    /// Offset of KPRCB.DpcRoutineActive.
    pub fn prcb_dpc_routine(&self) -> Option<u16> {
        self.u16(field::OFFSET_PRCB_DPC_ROUTINE).filter(|o| *o != 0)
    }

    /// Offset of KPRCB.CurrentThread.
    pub fn prcb_current_thread(&self) -> Option<u16> {
        self.u16(field::OFFSET_PRCB_CURRENT_THREAD)
            .filter(|o| *o != 0)
    }

    /// Offset of KPRCB.Number.
    pub fn prcb_number(&self) -> Option<u16> {
        self.u16(field::OFFSET_PRCB_NUMBER).filter(|o| *o != 0)
    }

    /// Offset of the CONTEXT in KPRCB.ProcessorState.
    pub fn prcb_context(&self) -> Option<u16> {
        self.u16(field::OFFSET_PRCB_PROC_STATE_CONTEXT)
            .filter(|o| *o != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_past_the_blocks_own_size_does_not_exist() {
        let mut bytes = vec![0x11; 0x400];
        bytes[0x10..0x14].copy_from_slice(b"KDBG");
        bytes[0x14..0x18].copy_from_slice(&0x290u32.to_le_bytes());
        let block = DebuggerData::read(&bytes).unwrap();
        assert_eq!(block.len(), 0x290);
        assert_eq!(block.processor_block(), Some(0x1111_1111_1111_1111));
        assert_eq!(block.prcb_current_thread(), None);
    }

    #[test]
    fn an_encoded_block_is_not_read_as_a_plain_one() {
        assert_eq!(DebuggerData::read(&[0xA5; 0x340]), None);
    }

    #[test]
    fn an_encoded_block_is_decoded_with_the_kernels_keys_and_only_with_them() {
        let keys = Keys {
            never: 0x8A3C_55D1_0E4F_29B7,
            always: 0x0123_4567_89AB_CDEF,
            encoded_at: 0xFFFF_F800_02A1_7C40,
        };
        // The way back, step by step: what the kernel does to each word.
        let encode = |plain: u64| {
            let swapped = u64::from_be_bytes((plain ^ keys.always).to_le_bytes());
            let x = swapped ^ keys.encoded_at;
            // 0xB7 modulo 64 is 55.
            x.rotate_left(9) ^ keys.never
        };
        let mut plain = vec![0x11; 0x340];
        plain[0x10..0x14].copy_from_slice(b"KDBG");
        plain[0x14..0x18].copy_from_slice(&0x340u32.to_le_bytes());
        plain[0x48..0x50].copy_from_slice(&0xFFFF_F800_0181_2345u64.to_le_bytes());
        let encoded: Vec<u8> = plain
            .chunks(8)
            .flat_map(|w| encode(u64::from_le_bytes(w.try_into().unwrap())).to_le_bytes())
            .collect();
        assert_eq!(DebuggerData::read(&encoded), None);
        let block = DebuggerData::decode(&encoded, &keys).unwrap();
        assert_eq!(block.loaded_module_list(), Some(0xFFFF_F800_0181_2345));
        assert_eq!(block.len(), 0x340);
        let other = Keys { always: 1, ..keys };
        assert_eq!(DebuggerData::decode(&encoded, &other), None);
    }
}

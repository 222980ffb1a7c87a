//! What a crash left behind, in the terms of the format and without its offsets.

/// The processor architecture a dump is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86,
    X64,
    Ia64,
    Arm64,
}

impl Machine {
    pub fn image_type(self) -> u32 {
        match self {
            Machine::X86 => 0x014C,
            Machine::X64 => 0x8664,
            Machine::Ia64 => 0x0200,
            Machine::Arm64 => 0xAA64,
        }
    }

    pub fn pointer_width(self) -> usize {
        if self == Machine::X86 { 4 } else { 8 }
    }

    pub fn page_size(self) -> usize {
        if self == Machine::Ia64 {
            0x2000
        } else {
            0x1000
        }
    }

    pub fn header_size(self) -> usize {
        if self == Machine::X86 { 0x1000 } else { 0x2000 }
    }
}

/// Who wrote a triage dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The crashing kernel itself.
    Kernel,
    /// A debugger engine that cut a larger dump down.
    Debugger,
}

/// A header field that the writer left painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    KdDebuggerDataBlock,
    ProductType,
    SuiteMask,
    SystemTime,
    SystemUpTime,
    MiniDumpFields,
    PsLoadedModuleList,
}

/// A loaded driver.
#[derive(Clone, Debug)]
pub struct Driver {
    /// Last component.
    pub name: String,
    /// Directory with a trailing separator; a kernel-written dump does not show it.
    pub directory: &'static str,
    pub base: u64,
    pub size: u32,
    pub time_date_stamp: u32,
    pub checksum: u32,
}

impl Driver {
    pub fn at(&self, offset: u64) -> u64 {
        self.base + offset
    }
}

/// A driver that was unloaded before the crash.
#[derive(Clone, Debug)]
pub struct Unloaded {
    pub name: &'static str,
    pub start: u64,
    pub end: u64,
}

/// Memory that the dump holds as a data block.
#[derive(Clone, Debug)]
pub struct Block {
    pub address: u64,
    pub bytes: Vec<u8>,
}

/// The copied stack, from its lowest address.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    pub low: u64,
    pub bytes: Vec<u8>,
}

/// Registers of the header's context.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    pub ip: u64,
    pub sp: u64,
    pub fp: u64,
    pub flags: u32,
    /// x86: eax ecx edx ebx esp ebp esi edi; x64: rax rcx rdx rbx rsp rbp rsi rdi r8..r15;
    /// ARM64: x0..; IA-64: r1.. The stack and frame slots are taken from `sp` and `fp`.
    pub general: [u64; 16],
    /// Link register (ARM64), return pointer (IA-64).
    pub link: u64,
    /// IA-64 register stack engine: BSP.
    pub backing_store: u64,
}

/// The process of the current thread.
#[derive(Clone, Debug)]
pub struct Process {
    pub address: u64,
    pub id: u64,
    /// At most 15 characters are kept.
    pub image: &'static str,
}

/// A block of secondary data.
#[derive(Clone, Debug)]
pub struct Tagged {
    pub guid: [u8; 16],
    pub data: Vec<u8>,
    pub pre_pad: u32,
    pub post_pad: u32,
}

/// One crash.
#[derive(Clone, Debug)]
pub struct CrashState {
    pub machine: Machine,
    pub pae: bool,
    pub writer: Writer,
    pub dump_type: u32,
    pub build: u32,
    /// 0x100 a service pack.
    pub csd_version: u32,
    pub build_lab: String,
    pub processors: u32,
    pub code: u32,
    pub parameters: [u64; 4],
    /// Seconds since 1970.
    pub crash_time: u64,
    pub uptime_seconds: u64,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product_type: u32,
    pub suite_mask: u32,
    pub directory_table_base: u64,
    pub registers: Registers,
    pub processor_number: u16,
    pub saved_irql: u8,
    pub dpc_active: bool,
    pub prcb: u64,
    pub thread: u64,
    /// Low and high end of the current thread's own stack.
    pub thread_stack: (u64, u64),
    pub process: Process,
    /// Entry 0 is the kernel.
    pub drivers: Vec<Driver>,
    pub unloaded: Vec<Unloaded>,
    pub stack: Stack,
    /// IA-64: highest address and bytes of the register backing store.
    pub backing_store: Option<Stack>,
    pub blocks: Vec<Block>,
    pub tagged: Vec<Tagged>,
    /// Stale bytes behind the tagged data; kernel-written files only.
    pub slack: usize,
    /// Replaces the writer's own value.
    pub triage_options: Option<u32>,
    /// Physical memory runs: first page, pages.
    pub runs: Vec<(u64, u64)>,
    pub unwritten: Vec<Unwritten>,
    /// False: the last four bytes of the triage part are missing their mark.
    pub tail_intact: bool,
    /// The whole CONTEXT, where `registers` cannot say all of it.
    pub context: Option<Vec<u8>>,
}

impl CrashState {
    pub fn is_32_bit(&self) -> bool {
        self.machine == Machine::X86
    }

    pub fn kernel(&self) -> &Driver {
        &self.drivers[0]
    }

    /// The driver of that name.
    pub fn driver(&self, name: &str) -> &Driver {
        self.drivers
            .iter()
            .find(|driver| driver.name.eq_ignore_ascii_case(name))
            .expect("the scene loads this driver")
    }

    pub fn driver_mut(&mut self, name: &str) -> &mut Driver {
        self.drivers
            .iter_mut()
            .find(|driver| driver.name.eq_ignore_ascii_case(name))
            .expect("the scene loads this driver")
    }

    pub fn leaves(&self, field: Unwritten) -> bool {
        self.unwritten.contains(&field)
    }

    // Where the kernel keeps what the debugger data block names: offsets into its image, invented.
    pub fn kd_debugger_data_block(&self) -> u64 {
        self.kernel().at(0x11_B0A0)
    }
    pub fn ps_loaded_module_list(&self) -> u64 {
        self.kernel().at(0x12_4C70)
    }
    pub fn ps_active_process_head(&self) -> u64 {
        self.kernel().at(0x11_A990)
    }
    pub fn pfn_data_base(&self) -> u64 {
        match self.machine {
            Machine::X86 => 0x8380_0000,
            Machine::X64 => 0xFFFF_FA80_0000_0000,
            Machine::Ia64 => 0xE000_0080_0000_0000,
            Machine::Arm64 => 0xFFFF_FA00_0000_0000,
        }
    }
    pub fn nt_build_lab(&self) -> u64 {
        self.kernel().at(0x10_0040)
    }
    pub fn ki_bugcheck_data(&self) -> u64 {
        self.kernel().at(0x11_F2E0)
    }
    pub fn ki_processor_block(&self) -> u64 {
        self.kernel().at(0x12_0680)
    }
    pub fn cm_nt_csd_version(&self) -> u64 {
        self.kernel().at(0x12_1118)
    }
}

//! What only a dump with memory tells: every processor, pool tags, findings at addresses.

use serde::{Deserialize, Serialize};

use crate::vocabulary::open_enum;

use super::{FindingKind, SpinKind, StackFacts, TableMark};

/// One processor at the moment of the crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorFacts {
    /// Number, from 0.
    pub number: u32,
    /// Address of its KPRCB.
    #[serde(default)]
    pub prcb: Option<u64>,
    /// It is the one that crashed.
    pub crashed: bool,
    /// Instruction pointer its freeze saved.
    pub ip: Option<u64>,
    /// IRQL.
    pub irql: Option<u8>,
    /// Where the IRQL was read.
    #[serde(default)]
    pub irql_source: Option<IrqlSource>,
    /// A DPC routine was running.
    pub dpc_active: Option<bool>,
    /// Clock ticks the DPC had taken, and the limit.
    pub dpc_time: Option<(u32, u32)>,
    /// Address of the thread that was running.
    pub thread: Option<u64>,
    /// Name of that thread's process.
    pub process: Option<String>,
    /// What it spins on; `None` when it is in no loop that is known.
    #[serde(default)]
    pub spin: Option<SpinFacts>,
    /// Queue handles on the stack of its activity that are really queued for their lock.
    #[serde(default)]
    pub handles: Vec<HandleFacts>,
    /// The part of the stack that was there to be searched for handles: lowest address and address past
    /// it. `None` where the stack is not known.
    #[serde(default)]
    pub searched: Option<(u64, u64)>,
    /// Timer tables (pool tag `Iptt`) that its registers and its activity's stack lead to.
    #[serde(default)]
    pub tables: Vec<TableFacts>,
}

open_enum! {
    /// Where the IRQL of a processor was read.
    IrqlSource {
        /// KPRCB.DebuggerSavedIRQL: what the processor that crashed was at before the bug check raised it.
        BugCheck = "bug-check",
        /// CR8 as the freeze saved it.
        Cr8 = "cr8",
        /// KPCR.Irql of x86. A HAL that keeps the level in the local APIC may leave an old one there.
        Kpcr = "kpcr",
    }
}

/// A processor in a loop that does not end by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpinFacts {
    /// What it reads.
    pub kind: SpinKind,
    /// Where the loop reads; for a list, an entry that leads to itself or back into the cycle.
    pub address: u64,
    /// What is there.
    pub value: Option<u64>,
    /// The lock it waits for, where it waits for one.
    pub lock: Option<u64>,
    /// Pool tag of the block around the lock or the entry.
    pub tag: Option<String>,
}

/// A queue handle (KLOCK_QUEUE_HANDLE) that its lock's queue really holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleFacts {
    /// Address on the stack.
    pub address: u64,
    /// Address of the spin lock.
    pub lock: u64,
    /// It waits for the lock; false when it owns it.
    pub waiting: bool,
    /// Pool tag of the block around the lock.
    pub tag: Option<String>,
}

/// A timer table that a processor works with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Where on the stack its address was found; `None` for a register.
    pub seen_at: Option<u64>,
    /// Address of the table's block.
    pub table: u64,
}

/// The multicast forwarding set, read with the layout that the image's own code uses, or that of the fixed x64 build
/// of Windows 10.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFacts {
    /// Address.
    pub address: u64,
    /// Entries; `None` where the layout does not say where they are counted.
    pub entries: Option<u32>,
    /// The layout was read from the image's own code.
    #[serde(default)]
    pub by_code: bool,
    /// Address of its spin lock.
    pub spin_lock: u64,
    /// What the spin lock holds: 0, 1, or the address of its queue's last handle.
    pub held_by: u64,
    /// Readers inside the lock.
    pub readers: u32,
    /// Address of its timer table.
    pub table: u64,
    /// What the table was recognised by.
    pub table_has: TableMark,
    /// Processors whose registers or stack lead to it.
    pub seen_on: Vec<u32>,
}

/// Outstanding pool allocations of one tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTagFacts {
    /// The tag's four characters.
    pub tag: String,
    /// Allocations that were not freed.
    pub outstanding: u64,
}

/// Something seen at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Where.
    pub address: Option<u64>,
    /// Pool tag.
    pub tag: Option<String>,
    /// In words.
    pub detail: String,
    /// What `detail` says of a list: an entry, what it holds or where it leads, and where that leads back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<u64>,
}

/// What only a dump with memory tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFacts {
    /// Every processor found.
    pub processors: Vec<ProcessorFacts>,
    /// Stacks of the processors that did not crash.
    pub other_stacks: Vec<StackFacts>,
    /// Tags of the defect's own allocations; `None` when the tracking table is not there.
    pub pool_tags: Option<Vec<PoolTagFacts>>,
    /// What was seen at addresses.
    pub findings: Vec<Finding>,
    /// Forwarding sets found.
    #[serde(default)]
    pub sets: Vec<SetFacts>,
}

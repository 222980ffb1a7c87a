//! What only a dump with memory tells: every processor, pool tags, findings at addresses.

use serde::{Deserialize, Serialize};

use super::StackFacts;

/// One processor at the moment of the crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorFacts {
    /// Number, from 0.
    pub number: u32,
    /// It is the one that crashed.
    pub crashed: bool,
    /// Instruction pointer its freeze saved.
    pub ip: Option<u64>,
    /// IRQL: CR8 where the processor has it, else what the bug check saved.
    pub irql: Option<u8>,
    /// A DPC routine was running.
    pub dpc_active: Option<bool>,
    /// Clock ticks the DPC had taken, and the limit.
    pub dpc_time: Option<(u32, u32)>,
    /// Address of the thread that was running.
    pub thread: Option<u64>,
    /// Name of that thread's process.
    pub process: Option<String>,
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
    /// What it is, stable: `pool-block`, `torn-list`, `pool-tag` and so on.
    pub kind: String,
    /// Where.
    pub address: Option<u64>,
    /// Pool tag.
    pub tag: Option<String>,
    /// In words.
    pub detail: String,
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
}

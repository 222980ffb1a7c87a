//! What was read from the instructions of the network stack.

use serde::{Deserialize, Serialize};

use super::CodeOrigin;
use crate::vocabulary::open_enum;

open_enum! {
    /// The lock under which the forwarding code restarts a timer.
    LockFact {
        /// The write lock: fixed code.
        WriteLock = "write-lock",
        /// The read lock: the defect.
        ReadLock = "read-lock",
        /// It cannot be told.
        Unknown = "unknown",
    }
}

/// The code check of `tcpip.sys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockCheckFacts {
    /// What was found.
    pub finding: LockFact,
    /// Where, or why nothing was.
    pub reason: String,
    /// Where the code was read.
    pub source: CodeOrigin,
}

/// What the function of a frame does, by its instructions, to doubly linked lists that its arguments lead
/// to. Each is true only where it was seen; false says nothing where `whole` is false.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListWorkFacts {
    /// Instruction pointer of the frame, as in the stack.
    pub ip: u64,
    /// It joins the neighbours of an entry at an argument (takes it off its list).
    pub unlinks: bool,
    /// It puts an entry at an argument between two neighbours.
    pub inserts: bool,
    /// It follows a list from link to link in a loop.
    pub walks: bool,
    /// Every path was read, calls into the same module followed up to two deep.
    pub whole: bool,
    /// It takes the one entry at an argument off its list and puts the same one on again: it restarts a timer.
    #[serde(default)]
    pub moves_one: bool,
}

/// The function of a frame belongs to multicast forwarding by its code, whatever its name: it hands list
/// entries to a routine that multicast forwarding functions alone call besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardingFunctionFacts {
    /// Instruction pointer of the frame, as in the stack.
    pub ip: u64,
    /// The routine, by name, or by its offset in the module.
    pub routine: String,
    /// The other functions that call it, by name, ascending.
    pub callers: Vec<String>,
}

/// Where in an entry its timer's link lies, as callers of the routine that stops a timer say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerLinkFacts {
    /// Bytes from the entry's start to its timer's two links.
    pub displacement: u64,
    /// The routine that stops a timer, by name.
    pub routine: String,
    /// The functions that pass that displacement, by name, ascending: multicast forwarding functions only.
    pub callers: Vec<String>,
}

/// Where in the set of forwarding entries its parts lie, as the forwarding functions' code says it.
/// Bytes from the set's start; `None` where the code does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLayoutFacts {
    /// The lock that the forwarding function takes for reading.
    pub lock: Option<u64>,
    /// The pointer to the timer table.
    pub table: Option<u64>,
}

/// What was read from code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CodeFacts {
    /// The code check; `None` where neither symbols nor code are at hand.
    pub lock_check: Option<LockCheckFacts>,
    /// Instruction pointers of frames whose unnamed function calls timer code and nothing else.
    pub timer_wrappers: Vec<u64>,
    /// What functions of the network stack do to lists that their arguments lead to: of every frame of the
    /// faulting activity whose function has no name that a family knows.
    pub list_work: Vec<ListWorkFacts>,
    /// Frames of every stack whose function belongs to multicast forwarding by whom it calls.
    pub forwarding: Vec<ForwardingFunctionFacts>,
    /// Instruction pointers of innermost frames that lie in a loop which goes from entry to entry of a list.
    pub walking: Vec<u64>,
    /// Where in a forwarding entry its timer's link lies by the image's own code; more than one where callers
    /// disagree, none where the code does not say or is not at hand.
    pub timer_links: Vec<TimerLinkFacts>,
    /// The set's layout by the image's own code.
    pub set_layout: SetLayoutFacts,
}

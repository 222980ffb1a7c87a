//! Closed words of facts, spelled as the report contract spells them.

use crate::vocabulary::open_enum;

open_enum! {
    /// What a frame of a call stack rests on.
    Trust {
        /// The registers the walk started from.
        Context = "context",
        /// The image's unwind data.
        UnwindInfo = "unwind-info",
        /// The PDB's frame data.
        FrameData = "frame-data",
        /// The chain of saved frame pointers.
        FramePointer = "frame-pointer",
        /// A trap frame the kernel saved.
        TrapFrame = "trap-frame",
        /// A word on the stack that looks like a return address: a candidate, no more.
        Scan = "scan",
    }
}

open_enum! {
    /// How the activity of a frame came to interrupt the one below.
    Boundary {
        /// The frame was interrupted by a device, a clock, another processor or an APC.
        Interrupt = "interrupt",
        /// From here outward is not the deferred procedure call but what it ran on top of.
        Dpc = "dpc",
        /// The frame's own instruction raised an exception: the same activity goes on.
        Exception = "exception",
        /// The frame is user-mode code.
        User = "user",
    }
}

open_enum! {
    /// How well a name fits its address.
    SymbolKind {
        /// The address lies in the function of that name.
        Exact = "exact",
        /// It lies in a part of that function that was moved away from its start.
        Cold = "cold",
        /// The nearest name below; nothing says where its function ends.
        Approximate = "approximate",
        /// From the export table only.
        Export = "export",
    }
}

open_enum! {
    /// What an instruction does.
    InstructionKind {
        /// Joins the neighbours of a list entry: each is stored into the other.
        ListUnlink = "list-unlink",
        /// Stores a new entry into its neighbours.
        ListInsert = "list-insert",
        /// Loads a pointer from where the same pointer led.
        ListWalk = "list-walk",
        /// Compares a neighbour's link before unlinking, or fails because it differed.
        CheckedUnlink = "checked-unlink",
        /// Calls or jumps through a pointer.
        CallThroughPointer = "call-through-pointer",
        /// Anything else that accesses memory.
        PlainAccess = "plain-access",
    }
}

impl InstructionKind {
    /// True for an operation on a doubly linked list that does not check its links.
    pub fn is_list_operation(self) -> bool {
        matches!(
            self,
            InstructionKind::ListUnlink | InstructionKind::ListInsert | InstructionKind::ListWalk
        )
    }
}

impl Boundary {
    /// True when what lies outward of the frame, the frame included, is another activity than
    /// what lies inward.
    pub fn ends_activity(self) -> bool {
        matches!(self, Boundary::Interrupt | Boundary::Dpc)
    }
}

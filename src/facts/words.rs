//! Closed words of facts, spelled as the report contract spells them.

use crate::vocabulary::open_enum;

open_enum! {
    /// The declared kind of a dump file.
    Format {
        /// Type 4.
        KernelTriage = "kernel-triage",
        /// Type 2.
        KernelSummary = "kernel-summary",
        /// Type 1.
        KernelComplete = "kernel-complete",
        /// Types 5 and 6.
        KernelBitmap = "kernel-bitmap",
        /// Types 8, 9 and 0xA.
        KernelRanges = "kernel-ranges",
        /// Type 3.
        KernelHeaderOnly = "kernel-header-only",
        /// A kernel dump of a type no source describes.
        KernelUnknown = "kernel-unknown",
        /// MDMP.
        UserMinidump = "user-minidump",
    }
}

open_enum! {
    /// ProductType.
    Product {
        /// 1.
        Workstation = "workstation",
        /// 2.
        DomainController = "domain-controller",
        /// 3.
        Server = "server",
    }
}

open_enum! {
    /// Where a value was read that both a dump's header and its memory hold.
    #[derive(Default)]
    ReadFrom {
        /// Only the header says it.
        #[default]
        Header = "header",
        /// The kernel's variables in memory.
        Memory = "memory",
        /// The error report beside the dump.
        WerReport = "wer-report",
        /// The version of a file of Windows, where neither header nor memory says it.
        Module = "module",
    }
}

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

open_enum! {
    /// How the registers at the fault were found.
    FaultSource {
        /// A KTRAP_FRAME that a parameter names or whose contents were validated.
        TrapFrame = "trap-frame",
        /// A CONTEXT record, named by a parameter or found on the stack.
        ContextRecord = "context-record",
        /// An EXCEPTION_RECORD: the address only, unless a trap frame lies at its distance.
        ExceptionRecord = "exception-record",
        /// A machine frame of which only the processor's own five words could be validated.
        MachineFrame = "machine-frame",
        /// The dump's own context.
        HeaderContext = "header-context",
        /// Nothing but the address in the bug check's parameters.
        BugcheckParameters = "bugcheck-parameters",
    }
}

open_enum! {
    /// What the processor was doing.
    Activity {
        /// A thread.
        Thread = "thread",
        /// A deferred procedure call.
        Dpc = "dpc",
        /// The idle loop, between its deferred procedure calls.
        Idle = "idle",
        /// An interrupt service routine.
        Interrupt = "interrupt",
    }
}

open_enum! {
    /// Something seen in memory.
    FindingKind {
        /// A register of the fault points into a block of pool.
        PoolBlock = "pool-block",
        /// Allocations of a tag are outstanding.
        PoolTag = "pool-tag",
        /// A register points to a list entry at the same offset of its block as a neighbour of the same tag.
        SharedListLink = "shared-list-link",
        /// A list's neighbours disagree, and each leads to a real entry.
        TornList = "torn-list",
        /// A list leads to something that is no entry.
        OverwrittenList = "overwritten-list",
        /// A list is torn as only two processors at once tear it.
        RacedList = "raced-list",
        /// A list of timers is torn in a way that others than a race leave, too.
        TornQueue = "torn-queue",
        /// The list operation worked on a forwarding entry.
        ForwardingEntry = "forwarding-entry",
        /// The entry that was worked on is on no list any more.
        UnlinkedEntry = "unlinked-entry",
        /// An entry that is still on its list holds what no list leaves.
        OverwrittenEntry = "overwritten-entry",
        /// Memory holds another link than the processor had read.
        ChangedEntry = "changed-entry",
        /// The fault went through a null link of which nothing says whose work it is.
        NullLink = "null-link",
    }
}

open_enum! {
    /// What a loop that does not end by itself reads.
    SpinKind {
        /// It waits in the queue of a spin lock.
        QueuedSpinLock = "queued-spin-lock",
        /// It waits for a spin lock.
        SpinLock = "spin-lock",
        /// It waits until the readers of a lock have left.
        Readers = "readers",
        /// It does not get past a list entry that leads to itself.
        SelfLinkedEntry = "self-linked-entry",
        /// It goes round a list that leads back into itself.
        CyclicList = "cyclic-list",
        /// It reads a place again and again, and what that is is not known.
        Memory = "memory",
    }
}

open_enum! {
    /// The system that a dump of a program was made on.
    OperatingSystem {
        /// Windows.
        Windows = "windows",
        /// Linux.
        Linux = "linux",
        /// macOS.
        MacOs = "macos",
        /// iOS.
        Ios = "ios",
        /// Android.
        Android = "android",
        /// Fuchsia.
        Fuchsia = "fuchsia",
        /// Solaris.
        Solaris = "solaris",
        /// PlayStation 3.
        Ps3 = "ps3",
        /// Native Client.
        NaCl = "nacl",
        /// A number that no list of platforms has.
        Unknown = "unknown",
    }
}

open_enum! {
    /// Where the setting of multicast forwarding was read.
    ForwardingSource {
        /// The SYSTEM hive in the dump's memory.
        RegistryInDump = "registry-in-dump",
        /// A SYSTEM hive beside the dump.
        HiveFile = "hive-file",
        /// A `.reg` export beside the dump.
        RegExport = "reg-export",
        /// Saved output of `netsh` beside the dump.
        NetshOutput = "netsh-output",
        /// There are allocations of forwarding entries.
        PoolAllocations = "pool-allocations",
        /// The forwarding set counts entries.
        ForwardingSet = "forwarding-set",
    }
}

open_enum! {
    /// Where a module's code was read.
    CodeOrigin {
        /// Its image file.
        Image = "image",
        /// The dump's memory.
        Memory = "memory",
    }
}

open_enum! {
    /// What a timer table was recognised by.
    #[derive(Default)]
    TableMark {
        /// Its block is tagged `Iptt`.
        #[default]
        Tag = "tag",
        /// It is a large allocation of list heads.
        Lists = "lists",
    }
}

impl SpinKind {
    /// True for a walk along a list, which waits for nobody.
    pub fn is_walk(self) -> bool {
        matches!(self, SpinKind::SelfLinkedEntry | SpinKind::CyclicList)
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

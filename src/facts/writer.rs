//! The programs that make kernel dumps, by the words of the report.

use crate::vocabulary::open_enum;

open_enum! {
    /// A program that makes kernel dumps. They differ in what they fill in.
    Writer {
        /// The kernel itself, at the crash.
        Kernel = "kernel",
        /// A debugger or error reporting, from a larger dump.
        Debugger = "debugger",
        /// LiveKd, of a running system.
        LiveKd = "livekd",
        /// QEMU, from the memory of a guest.
        Qemu = "qemu",
        /// QEMU's `elf2dmp`.
        Elf2dmp = "elf2dmp",
        /// Rekall's `raw2dmp`.
        Rekall = "rekall",
        /// Volatility's `raw2dmp`.
        Volatility = "volatility",
        /// Bin2Dmp and its relatives (win32dd, DumpIt, Hibr2Dmp).
        Bin2dmp = "bin2dmp",
        /// Some other program that left the bug check open.
        Converter = "converter",
    }
}

impl Writer {
    /// True for programs that make a dump out of an image of memory: what they put into the header
    /// is theirs and not the kernel's.
    pub fn converts(self) -> bool {
        !matches!(self, Writer::Kernel | Writer::Debugger)
    }

    /// True for a program that gives every dump the same build number.
    pub fn invents_build(self) -> bool {
        self == Writer::Rekall
    }
}

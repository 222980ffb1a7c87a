//! The programs that make kernel dumps, by the words of the report.

use serde::{Deserialize, Serialize};

/// A program that makes kernel dumps. They differ in what they fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writer {
    /// The kernel itself, at the crash.
    Kernel,
    /// A debugger or error reporting, from a larger dump.
    Debugger,
    /// LiveKd, of a running system.
    #[serde(rename = "livekd")]
    LiveKd,
    /// QEMU, from the memory of a guest.
    Qemu,
    /// QEMU's `elf2dmp`.
    Elf2dmp,
    /// Rekall's `raw2dmp`.
    Rekall,
    /// Volatility's `raw2dmp`.
    Volatility,
    /// Bin2Dmp and its relatives (win32dd, DumpIt, Hibr2Dmp).
    Bin2dmp,
    /// Some other program that left the bug check open.
    Converter,
}

impl Writer {
    /// The word the report uses.
    pub fn name(self) -> &'static str {
        match self {
            Writer::Kernel => "kernel",
            Writer::Debugger => "debugger",
            Writer::LiveKd => "livekd",
            Writer::Qemu => "qemu",
            Writer::Elf2dmp => "elf2dmp",
            Writer::Rekall => "rekall",
            Writer::Volatility => "volatility",
            Writer::Bin2dmp => "bin2dmp",
            Writer::Converter => "converter",
        }
    }

    /// The writer that `name` is the word of.
    pub fn named(name: &str) -> Option<Writer> {
        [
            Writer::Kernel,
            Writer::Debugger,
            Writer::LiveKd,
            Writer::Qemu,
            Writer::Elf2dmp,
            Writer::Rekall,
            Writer::Volatility,
            Writer::Bin2dmp,
            Writer::Converter,
        ]
        .into_iter()
        .find(|writer| writer.name() == name)
    }

    /// True for programs that make a dump out of an image of memory: what they put into the header
    /// is theirs and not the kernel's.
    pub fn converts(self) -> bool {
        !matches!(self, Writer::Kernel | Writer::Debugger)
    }
}

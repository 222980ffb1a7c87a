//! What a walk has to know about loaded code. The only seam between the walk and the rooms that
//! hold images and symbols: they implement it, tests fake it.

use std::borrow::Cow;

use crate::bytes::ModuleId;

/// The address range of one loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleSpan {
    /// Its position in the dump's module list.
    pub id: ModuleId,
    /// First address.
    pub base: u64,
    /// Size in bytes (`SizeOfImage`).
    pub size: u64,
}

impl ModuleSpan {
    /// True when `address` lies inside.
    pub fn contains(&self, address: u64) -> bool {
        address
            .checked_sub(self.base)
            .is_some_and(|offset| offset < self.size)
    }

    /// The offset of `address` from the base, when it lies inside and fits an RVA.
    pub fn rva(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.base)?;
        (offset < self.size)
            .then(|| u32::try_from(offset).ok())
            .flatten()
    }
}

/// Where an image keeps its `.pdata` records: the exception entry of its data directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionDirectory {
    /// Offset from the image base.
    pub rva: u32,
    /// Size in bytes; a multiple of the record size, a remainder is ignored.
    pub size: u32,
}

/// The name of the function that owns an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The undecorated name, as `TtStopTimer`.
    pub symbol: Cow<'a, str>,
    /// Bytes from the start of the function.
    pub displacement: u64,
}

/// How an x86 function's frame is described in its PDB (PDB format: `FrameData` and FPO streams).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameData<'a> {
    /// Offset from the image base of the first byte described.
    pub start: u32,
    /// Bytes of code described.
    pub code_size: u32,
    /// Bytes of local variables.
    pub locals: u32,
    /// Bytes of parameters the caller pushed.
    pub parameters: u32,
    /// Bytes of registers saved by the prologue.
    pub saved_registers: u32,
    /// Bytes of prologue.
    pub prolog: u32,
    /// Which rules apply.
    pub program: FrameProgram<'a>,
}

/// The rule part of [`FrameData`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameProgram<'a> {
    /// A postfix program, as `$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + =`.
    Program(Cow<'a, str>),
    /// An FPO record: the frame is a fixed distance below the return address, and `ebp` is either
    /// saved in it or untouched.
    Fpo {
        /// The prologue saved `ebp`, and the function uses it for something else.
        uses_base_pointer: bool,
    },
    /// A function with an ordinary `ebp` frame.
    Standard,
    /// A trap handler's frame: a `KTRAP_FRAME` lies at the stack pointer.
    Trap,
}

/// What the walk needs of the modules of one dump.
///
/// "Not known" is `None` everywhere: a module without an image has no exception directory to the
/// walk, which is not the same as a module that has none.
pub trait CodeInfo {
    /// The module that contains `address`.
    fn module_at(&self, address: u64) -> Option<ModuleSpan>;

    /// The lowest and the highest address that a module can hold. Most words of a stack are none of code: told
    /// at once.
    fn bounds(&self) -> (u64, u64) {
        (0, u64::MAX)
    }

    /// Whether `rva` lies in an executable section of the module; `None` when the module's
    /// section table is not known.
    fn is_executable(&self, module: ModuleSpan, rva: u32) -> Option<bool>;

    /// Fills `buf` with image bytes at `rva`, from the image file or from the dump's memory, and
    /// returns whether all of them were there. Bytes that were not there are never zeros.
    fn read_image(&self, module: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool;

    /// Where the module's `.pdata` lies.
    fn exception_directory(&self, module: ModuleSpan) -> Option<ExceptionDirectory>;

    /// The description of the x86 frame at `address` from the module's PDB.
    fn frame_data(&self, address: u64) -> Option<FrameData<'_>>;

    /// The name of the function at `address`.
    fn name_at(&self, address: u64) -> Option<Name<'_>>;

    /// The file name of the module, as `tcpip.sys`.
    fn module_name(&self, module: ModuleSpan) -> Option<Cow<'_, str>>;
}

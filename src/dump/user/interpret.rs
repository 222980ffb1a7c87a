//! Turns the small copy of a minidump into plain data by means of the `minidump` crates.
//!
//! No symbols: the walker is given a supplier without paths, so it opens no file and no connection.

use std::time::{Duration, UNIX_EPOCH};

use minidump::system_info::{Cpu, Os};
use minidump::{
    CodeView, CrashReason, Minidump, MinidumpException, MinidumpMiscInfo, MinidumpModule,
    MinidumpModuleList, MinidumpSystemInfo, MinidumpThreadList, MinidumpUnloadedModuleList, Module,
};
use minidump_processor::process_minidump;
use minidump_unwind::{FrameTrust, StackFrame, Symbolizer, simple_symbol_supplier};

use crate::bytes::PagedReader;
use crate::dump::Damages;
use crate::facts::{OperatingSystem, Trust};
use crate::machine::Machine;

use super::extract::Extract;
use super::{
    UnloadedUserModule, UserDump, UserDumpError, UserException, UserFrame, UserLocation,
    UserModule, UserPdb, UserSystem, file_name,
};

/// Bytes of stack given to the walker at first. Bounds its frames: each takes at least one pointer.
const FIRST_PIECE: u64 = 32 * 1024;
/// Bytes of stack given to the walker at most: a quarter of what Windows gives a thread.
const LAST_PIECE: u64 = 256 * 1024;
/// Bytes at the instruction pointer, for the walker's look at the instruction.
const CODE: u64 = 64;
/// Frames kept.
const MOST_FRAMES: usize = 256;

/// A platform that Breakpad has a number for and the `minidump` crate none.
const FUCHSIA: u32 = 0x8206;

type Dump<'a> = Minidump<'a, &'a [u8]>;

/// Reads everything out of the copy.
pub(super) fn read(
    reader: &PagedReader<'_>,
    extract: &Extract,
    damage: &mut Damages,
) -> Result<UserDump, UserDumpError> {
    let bare = extract.copy.minidump(&[]);
    let dump = Minidump::read(bare.as_slice()).map_err(|_| UserDumpError::NotMinidump)?;
    let system = dump.get_stream::<MinidumpSystemInfo>().ok();
    let misc = dump.get_stream::<MinidumpMiscInfo>().ok();
    let modules = dump.get_stream::<MinidumpModuleList>().unwrap_or_default();
    let exception = dump.get_stream::<MinidumpException<'_>>().ok();
    let written = UNIX_EPOCH + Duration::from_secs(dump.header.time_date_stamp.into());

    let mut result = UserDump {
        system: system.as_ref().map(user_system),
        time: Some(u64::from(dump.header.time_date_stamp)).filter(|time| *time != 0),
        flags: dump.header.flags,
        process_id: misc.as_ref().and_then(|m| m.raw.process_id().copied()),
        process_uptime: misc
            .as_ref()
            .and_then(MinidumpMiscInfo::process_create_time)
            .and_then(|start| written.duration_since(start).ok())
            .map(|uptime| uptime.as_secs()),
        threads: extract.threads,
        modules: modules.iter().map(user_module).collect(),
        unloaded: unloaded(&dump),
        ..UserDump::default()
    };
    result.exception = exception
        .as_ref()
        .map(|exception| user_exception(exception, system.as_ref(), &modules));
    let dropped = extract.modules.saturating_sub(result.modules.len());
    if dropped > 0 {
        damage.note(
            format!("modules of impossible size, left out: {dropped}"),
            None,
        );
    }
    let registers = crash_registers(&dump, system.as_ref(), misc.as_ref(), exception.as_ref());
    if let Some((ip, sp)) = registers {
        result.instruction_pointer = Some(ip);
        result.stack_pointer = Some(sp);
        walk(reader, extract, (ip, sp), &mut result, damage);
    } else if exception.is_some() {
        damage.note("the registers at the crash cannot be read", None);
    }
    Ok(result)
}

fn user_system(info: &MinidumpSystemInfo) -> UserSystem {
    let raw = &info.raw;
    let csd_version = info
        .csd_version()
        .map(|text| text.trim_matches(['\0', ' ']).to_owned());
    let platform = match info.os {
        Os::Windows => OperatingSystem::Windows,
        Os::MacOs => OperatingSystem::MacOs,
        Os::Ios => OperatingSystem::Ios,
        Os::Linux => OperatingSystem::Linux,
        Os::Solaris => OperatingSystem::Solaris,
        Os::Android => OperatingSystem::Android,
        Os::Ps3 => OperatingSystem::Ps3,
        Os::NaCl => OperatingSystem::NaCl,
        Os::Unknown(FUCHSIA) => OperatingSystem::Fuchsia,
        Os::Unknown(_) => OperatingSystem::Unknown,
    };
    UserSystem {
        service_pack: csd_version
            .as_deref()
            .filter(|_| info.os == Os::Windows)
            .and_then(service_pack),
        platform,
        major: raw.major_version,
        minor: raw.minor_version,
        build: raw.build_number,
        csd_version,
        product_type: Some(raw.product_type).filter(|product| (1..=3).contains(product)),
        architecture: machine(raw.processor_architecture),
        raw_architecture: raw.processor_architecture,
        processors: Some(raw.number_of_processors).filter(|count| *count != 0),
    }
}

/// PROCESSOR_ARCHITECTURE_*, with the number Breakpad used for ARM64 before Windows had one.
fn machine(architecture: u16) -> Option<Machine> {
    match architecture {
        0 | 10 => Some(Machine::X86),
        5 => Some(Machine::Arm),
        6 => Some(Machine::Ia64),
        9 => Some(Machine::X64),
        12 | 0x8003 => Some(Machine::Arm64),
        _ => None,
    }
}

/// `Service Pack 1` and betas such as `Service Pack 1, v.275`; nothing for a release without one.
fn service_pack(csd: &str) -> Option<u32> {
    if csd.is_empty() {
        return Some(0);
    }
    let rest = csd.strip_prefix("Service Pack ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn user_module(module: &MinidumpModule) -> UserModule {
    let info = &module.raw.version_info;
    // The fixed file information is all zero where an image has no version resource.
    let versioned = info.signature == minidump_common::format::VS_FFI_SIGNATURE
        && (info.file_version_hi, info.file_version_lo) != (0, 0);
    UserModule {
        name: file_name(&module.name).to_owned(),
        path: module.name.clone(),
        base: module.raw.base_of_image,
        size: module.raw.size_of_image,
        time_date_stamp: module.raw.time_date_stamp,
        checksum: module.raw.checksum,
        version: versioned.then(|| {
            let (hi, lo) = (info.file_version_hi, info.file_version_lo);
            format!("{}.{}.{}.{}", hi >> 16, hi & 0xFFFF, lo >> 16, lo & 0xFFFF)
        }),
        pdb: user_pdb(module),
    }
}

fn user_pdb(module: &MinidumpModule) -> Option<UserPdb> {
    let guid_age = match module.codeview_info.as_ref()? {
        CodeView::Pdb70(record) => format!("{:#}{:x}", record.signature, record.age),
        CodeView::Pdb20(record) => format!("{:08X}{:x}", record.signature, record.age),
        _ => return None,
    };
    let path = module.debug_file()?;
    Some(UserPdb {
        name: file_name(&path).to_owned(),
        guid_age,
    })
}

fn unloaded(dump: &Dump<'_>) -> Vec<UnloadedUserModule> {
    let list = dump
        .get_stream::<MinidumpUnloadedModuleList>()
        .unwrap_or_default();
    list.iter()
        .map(|module| UnloadedUserModule {
            name: file_name(&module.name).to_owned(),
            base: module.raw.base_of_image,
            size: module.raw.size_of_image,
            time_date_stamp: module.raw.time_date_stamp,
            checksum: module.raw.checksum,
        })
        .collect()
}

fn user_exception(
    exception: &MinidumpException<'_>,
    system: Option<&MinidumpSystemInfo>,
    modules: &MinidumpModuleList,
) -> UserException {
    let record = &exception.raw.exception_record;
    let (os, cpu) = system.map_or((Os::Unknown(0), Cpu::Unknown(u16::MAX)), |system| {
        (system.os, system.cpu)
    });
    let reason = exception.get_crash_reason(os, cpu);
    let address = system
        .and_then(|system| machine(system.raw.processor_architecture))
        .map_or(record.exception_address, |machine| {
            machine.truncate(record.exception_address)
        });
    UserException {
        thread: exception.get_crashing_thread_id(),
        code: record.exception_code,
        name: exception_name(&reason),
        reason: reason.to_string(),
        address,
        crash_address: exception.get_crash_address(os, cpu),
        parameters: record
            .exception_information
            .iter()
            .take(record.number_parameters as usize)
            .copied()
            .collect(),
        location: locate(modules, address),
    }
}

/// The name of the code alone, for Windows.
fn exception_name(reason: &CrashReason) -> Option<String> {
    match reason {
        CrashReason::WindowsGeneral(code) => Some(format!("{code:?}")),
        CrashReason::WindowsNtStatus(code) => Some(format!("{code:?}")),
        CrashReason::WindowsWinError(code) => Some(format!("{code:?}")),
        CrashReason::WindowsAccessViolation(_) => Some("EXCEPTION_ACCESS_VIOLATION".to_owned()),
        CrashReason::WindowsInPageError(..) => Some("EXCEPTION_IN_PAGE_ERROR".to_owned()),
        CrashReason::WindowsStackBufferOverrun(_) => Some("STATUS_STACK_BUFFER_OVERRUN".to_owned()),
        _ => None,
    }
}

fn locate(modules: &MinidumpModuleList, address: u64) -> Option<UserLocation> {
    let module = modules.module_at_address(address)?;
    Some(UserLocation {
        module: file_name(&module.name).to_owned(),
        offset: address.checked_sub(module.raw.base_of_image)?,
    })
}

/// Instruction and stack pointer at the crash, from the exception's context or, without one, from
/// that of its thread.
fn crash_registers(
    dump: &Dump<'_>,
    system: Option<&MinidumpSystemInfo>,
    misc: Option<&MinidumpMiscInfo>,
    exception: Option<&MinidumpException<'_>>,
) -> Option<(u64, u64)> {
    let (system, exception) = (system?, exception?);
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().ok();
    let context = exception.context(system, misc).or_else(|| {
        let thread = threads.as_ref()?.threads.first()?;
        thread.context(system, misc)
    })?;
    Some((
        context.get_instruction_pointer(),
        context.get_stack_pointer(),
    ))
}

/// Walks the stack of the thread that crashed.
///
/// The walker has no limit of frames, so it is given a piece of the stack, and a larger one as long as
/// that finds more frames.
fn walk(
    reader: &PagedReader<'_>,
    extract: &Extract,
    (ip, sp): (u64, u64),
    result: &mut UserDump,
    damage: &mut Damages,
) {
    let code = extract.ranges.read(reader, ip, CODE).bytes;
    let mut piece = FIRST_PIECE;
    loop {
        let stack = extract.ranges.read(reader, sp, piece);
        if piece == FIRST_PIECE {
            if stack.bytes.is_empty() {
                damage.note("the memory at the stack pointer is not in the dump", None);
            } else if stack.cut {
                damage.note("the stack of the thread that crashed is cut off", None);
            }
        }
        let frames = match frames(extract, &[(sp, stack.bytes), (ip, code.clone())]) {
            Ok(frames) => frames,
            Err(error) => {
                damage.note(format!("the stack cannot be walked: {error}"), None);
                return;
            }
        };
        let grown = frames.len() > result.stack.len();
        if grown {
            result.stack = frames;
        }
        result.stack_cut = grown && stack.more;
        if !result.stack_cut || result.stack.len() > MOST_FRAMES || piece >= LAST_PIECE {
            break;
        }
        piece = piece.saturating_mul(2);
    }
    result.stack_cut |= result.stack.len() > MOST_FRAMES;
    result.stack.truncate(MOST_FRAMES);
}

/// The frames that the walker finds in `memory`.
fn frames(
    extract: &Extract,
    memory: &[(u64, Vec<u8>)],
) -> Result<Vec<UserFrame>, minidump_processor::ProcessError> {
    let bytes = extract.copy.minidump(memory);
    let dump = Minidump::read(bytes.as_slice())?;
    let provider = Symbolizer::new(simple_symbol_supplier(Vec::new()));
    let state = pollster::block_on(process_minidump(&dump, &provider))?;
    let stack = state
        .requesting_thread
        .and_then(|thread| state.threads.get(thread));
    Ok(stack.map_or(Vec::new(), |stack| {
        stack
            .frames
            .iter()
            .take(MOST_FRAMES + 1)
            .map(|frame| user_frame(frame, &state.modules))
            .collect()
    }))
}

fn user_frame(frame: &StackFrame, modules: &MinidumpModuleList) -> UserFrame {
    UserFrame {
        instruction_pointer: frame.resume_address,
        stack_pointer: frame.context.get_stack_pointer(),
        location: locate(modules, frame.resume_address),
        trust: match frame.trust {
            FrameTrust::Context => Trust::Context,
            FrameTrust::CallFrameInfo | FrameTrust::PreWalked => Trust::UnwindInfo,
            FrameTrust::FramePointer => Trust::FramePointer,
            FrameTrust::Scan | FrameTrust::CfiScan | FrameTrust::None => Trust::Scan,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::service_pack;

    #[test]
    fn a_service_pack_is_read_from_its_name() {
        assert_eq!(service_pack(""), Some(0));
        assert_eq!(service_pack("Service Pack 1"), Some(1));
        assert_eq!(service_pack("Service Pack 2, v.286"), Some(2));
        assert_eq!(service_pack("Service Pack "), None);
        assert_eq!(service_pack("Linux 5.4"), None);
    }
}

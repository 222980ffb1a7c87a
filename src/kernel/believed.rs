//! What memory says where the dump's header says it too. Memory is believed: converters and hypervisors
//! put numbers of their own into a header, and the kernel's variables are the crashed kernel's.

use crate::bytes::{Budget, Gva};
use crate::dump::{BugCheck, Header, Writer};
use crate::image::Image;
use crate::knowledge::bugchecks::{self, base_code};
use crate::machine::Machine;
use crate::memory::{Memory, Paged};

use super::find::Block;
use super::pieces::Pieces;
use super::shared_data::{self, SharedData};
use super::state::{self, KernelState};

/// FILETIME units by which the header's time may differ from the kernel's clock: the header is written when
/// the clock has stopped.
const SAME_TIME: u64 = 300 * 10_000_000;
/// Bytes of a page.
const PAGE: usize = 0x1000;

/// Where a value was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Only the header says it.
    Header,
    /// The kernel's own variables.
    Memory,
}

/// What the header says and memory contradicts, or what no memory bears out and the writer puts into every
/// file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disbelieved {
    /// Bug check.
    pub bug_check: Option<BugCheck>,
    /// Build number.
    pub build: Option<u32>,
    /// Number of processors.
    pub processors: Option<u32>,
    /// FILETIME.
    pub time: Option<u64>,
    /// In units of 100 ns.
    pub uptime: Option<u64>,
}

/// The header with what memory says in place of what it says itself.
#[derive(Clone, Debug)]
pub struct Believed {
    /// The header to go by.
    pub header: Header,
    /// Where the bug check was read; `None` when there is none.
    pub bug_check: Option<From>,
    /// Where the build was read.
    pub build: Option<From>,
    /// The header's other values.
    pub disbelieved: Disbelieved,
    /// Memory says that no bug check was raised: the system was running.
    pub running: bool,
}

/// The header alone: its placeholders say nothing.
pub fn by_header(header: &Header) -> Believed {
    let mut own = header.clone();
    let placeholders = header.placeholders();
    let mut disbelieved = Disbelieved::default();
    if placeholders.bug_check {
        disbelieved.bug_check = header.bug_check();
        own.bug_check_code = None;
        own.bug_check_parameters = [None; 4];
    }
    if placeholders.build {
        disbelieved.build = own.build.take();
    }
    if placeholders.time {
        disbelieved.time = own.system_time.take();
    }
    Believed {
        bug_check: own.bug_check_code.map(|_| From::Header),
        build: own.build.map(|_| From::Header),
        header: own,
        disbelieved,
        running: header.writer == Some(Writer::LiveKd),
    }
}

/// The kernel's variables and the header that agrees with them. `None` when the machine is none whose memory
/// is read.
pub fn read(
    space: &Paged<'_>,
    header: &Header,
    block: &Block,
    budget: &Budget,
) -> Option<(KernelState, Believed)> {
    let machine = header.machine?;
    let mut kernel = state::read(space, header, block, budget)?;
    let shared = shared_data::read(space, machine);
    let build = build(space, &kernel, &shared, header);
    let mut believed = believe(header, &kernel, build, &shared);
    believed.header.kd_debugger_data_block = block.at;
    kernel.look_at_processors(space, &believed.header, budget);
    Some((kernel, believed))
}

/// The header of a small dump, completed by what its pieces of memory say: the build's name and the bug check. The
/// kernel stores a bug check before it writes the file, and in a running system it stores none: a code that is one is
/// believed before the header's. Bytes that are no known code say nothing.
pub fn of_triage(header: &Header, pieces: &Pieces<'_>) -> Believed {
    let mut own = by_header(header);
    if let Some(build) = pieces.build_lab.as_deref().and_then(build_of) {
        let stated = own.header.build.filter(|stated| *stated != build);
        // An update level of the same Windows: the header is as good.
        if stated.is_none_or(|stated| [6002, 6003] != [stated.min(build), stated.max(build)]) {
            own.disbelieved.build = stated.or(own.disbelieved.build);
            own.header.build = Some(build);
            own.build = Some(From::Memory);
        }
    }
    let known = own.header.bug_check_code.map(base_code);
    let stored = pieces
        .bugcheck
        .filter(|(code, _)| *code != 0 && bugchecks::find(*code).name.is_some());
    match stored {
        // A sign that the header is right; its code may carry a mark of its own. A parameter that was never written
        // is the kernel's.
        Some((code, parameters)) if known == Some(base_code(code)) => {
            own.bug_check = Some(From::Memory);
            for (stated, value) in own.header.bug_check_parameters.iter_mut().zip(parameters) {
                stated.get_or_insert(header.truncate(value));
            }
        }
        Some(stored) => bug_check(header, Some(stored), &mut own),
        None => {}
    }
    own
}

/// The build that a NtBuildLab begins with.
fn build_of(lab: &str) -> Option<u32> {
    let build = lab.split('.').next()?.parse().ok()?;
    (2000..100_000).contains(&build).then_some(build)
}

/// What is known of the build.
enum Build {
    Said(u32),
    /// Memory says that it is another than the header's.
    Contradicted,
    Silent,
}

fn build(space: &Paged<'_>, kernel: &KernelState, shared: &SharedData, header: &Header) -> Build {
    let lab = || build_of(kernel.build_lab.as_deref()?);
    let image = || {
        let first = kernel.drivers.as_ref()?.drivers.first()?;
        let (base, size) = (first.base, first.size_of_image);
        let mut fetch = |rva: u32| {
            let at = base.checked_add(u64::from(rva)).filter(|_| rva < size)?;
            let mut bytes = vec![0; PAGE];
            space.read(Gva(at), &mut bytes).ok().map(|()| bytes)
        };
        let mut image = Image::mapped(&mut fetch).ok()?;
        let version = image.with_pages(&mut fetch, Image::version)?;
        version.file.map(|file| u32::from(file.build))
    };
    let plausible = |build: &u32| (2000..100_000).contains(build);
    if let Some(build) = lab().or_else(|| image().filter(plausible)) {
        return Build::Said(build);
    }
    let other = header.build.and_then(version_of).zip(shared.version);
    match other {
        Some((stated, found)) if stated != found => Build::Contradicted,
        _ => Build::Silent,
    }
}

/// Major and minor version by build: public release history.
fn version_of(build: u32) -> Option<(u32, u32)> {
    Some(match build {
        2195 => (5, 0),
        2600 => (5, 1),
        3790 => (5, 2),
        6000..=6003 => (6, 0),
        7600 | 7601 => (6, 1),
        9200 => (6, 2),
        9600 => (6, 3),
        10240.. => (10, 0),
        _ => return None,
    })
}

fn believe(header: &Header, kernel: &KernelState, build: Build, shared: &SharedData) -> Believed {
    let mut own = by_header(header);
    match build {
        Build::Said(build) => {
            own.disbelieved.build = header.build.filter(|stated| *stated != build);
            own.header.build = Some(build);
            own.build = Some(From::Memory);
        }
        Build::Contradicted => {
            own.disbelieved.build = own.header.build.take().or(own.disbelieved.build);
            own.build = None;
        }
        Build::Silent => {}
    }
    if let Some(count) = kernel.processor_count {
        own.disbelieved.processors = header.processors.filter(|stated| *stated != count);
        own.header.processors = Some(count);
    }
    bug_check(header, kernel.bugcheck, &mut own);
    let placeholder = header.placeholders().time;
    if let Some(time) = shared.time {
        let near = |stated: u64| stated.abs_diff(time) <= SAME_TIME && !placeholder;
        if !header.system_time.is_some_and(near) {
            own.disbelieved.time = header.system_time;
            own.header.system_time = Some(time);
            own.disbelieved.uptime = header.system_up_time.filter(|stated| {
                shared
                    .uptime
                    .is_some_and(|up| up.abs_diff(*stated) > SAME_TIME)
            });
            own.header.system_up_time = shared.uptime.or(header.system_up_time);
        }
    }
    if own.header.system_up_time.is_none() {
        own.header.system_up_time = shared.uptime;
    }
    if own.header.product_type.is_none() {
        own.header.product_type = shared.product;
    }
    own
}

/// The bug check that the kernel stored before it stopped.
fn bug_check(header: &Header, stored: Option<(u32, [u64; 4])>, own: &mut Believed) {
    let Some((code, parameters)) = stored else {
        return;
    };
    if code == 0 {
        // The kernel stores the code before anything else.
        own.running |= own.header.bug_check_code.is_none();
        return;
    }
    let machine = header.machine.unwrap_or(Machine::X64);
    let stored = parameters.map(|value| Some(machine.truncate(value)));
    own.bug_check = Some(From::Memory);
    own.running = false;
    // What was never written contradicts nothing.
    let agrees =
        |(stated, value): (&Option<u64>, &Option<u64>)| stated.is_none() || stated == value;
    let same = header
        .bug_check_code
        .is_some_and(|stated| base_code(stated) == base_code(code))
        && header.bug_check_parameters.iter().zip(&stored).all(agrees);
    if same {
        // The header's code may carry the mark of a file whose context is the fault's.
        own.header.bug_check_code = header.bug_check_code;
        own.header.bug_check_parameters = stored;
        own.disbelieved.bug_check = None;
        return;
    }
    own.disbelieved.bug_check = header.bug_check();
    own.header.bug_check_code = Some(code);
    own.header.bug_check_parameters = stored;
}

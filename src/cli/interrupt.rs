//! What asks the program to stop: Ctrl-C, a closed console, and the signals that end a program.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit status after an interruption: 128 and SIGINT, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// A flag that the first interrupt sets; the second ends the program at once. A signal that is ignored stays so:
/// `nohup` starts a program with the hang-up ignored.
#[cfg(unix)]
pub fn stop_flag() -> Arc<AtomicBool> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_shutdown};
    let stop = Arc::new(AtomicBool::new(false));
    let ignored = ignored();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored & 1 << (signal - 1) == 0 {
            // Without a handler an interrupt just ends the program. In the order in which they run: the second one finds
            // the flag set.
            let again = Arc::clone(&stop);
            let _ = register_conditional_shutdown(signal, i32::from(INTERRUPTED), again);
            let _ = register(signal, Arc::clone(&stop));
        }
    }
    stop
}

/// The signals that whoever started the program has it ignore, a bit for each from the first: proc(5), `SigIgn`. None
/// where the system does not tell.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

/// A flag that the first interrupt sets; the second ends the program at once.
#[cfg(not(unix))]
pub fn stop_flag() -> Arc<AtomicBool> {
    use std::sync::atomic::Ordering;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Without a handler an interrupt just ends the program.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    });
    stop
}

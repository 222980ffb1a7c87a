//! Containment of foreign parsers: a panic in a library that reads hostile bytes becomes a value.
//!
//! Stops panics only. Endless loops, stack overflow and huge allocations are prevented by checks
//! before a library sees the bytes. Needs `panic = "unwind"` and, so that wrong sums are caught
//! and not wrapped, overflow checks in release builds (`Cargo.toml`).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<u32> = const { Cell::new(0) };
}
static HOOK: Once = Once::new();

/// Runs `work` and gives `None` when it panics; the panic prints nothing.
///
/// `work` must not leave anything half-changed behind: it may only build and return a value.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if QUIET.with(Cell::get) == 0 {
                loud(info);
            }
        }));
    });
    QUIET.with(|depth| depth.set(depth.get().saturating_add(1)));
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.with(|depth| depth.set(depth.get().saturating_sub(1)));
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn a_panic_becomes_none_and_the_next_call_works() {
        assert_eq!(contained(|| -> u8 { panic!("inside a parser") }), None);
        assert_eq!(contained(|| 7), Some(7));
    }
}

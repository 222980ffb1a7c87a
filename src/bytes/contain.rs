//! Runs code of other libraries on hostile bytes: a panic in there becomes an error and prints nothing.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Code run by [`contained`] panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a parser gave up: {0}")]
pub struct Panicked(pub String);

/// Runs `work` and turns a panic in it into an error. Only the panic message of this thread is
/// silenced: the hook that was set before the first call still sees every other panic.
///
/// Endless loops, stack overflow and huge allocations are not contained: bound the input first.
///
/// # Errors
/// [`Panicked`] with the panic's message.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                previous(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.map_err(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Panicked(text.unwrap_or_else(|| "no message".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_results_pass_through() {
        assert_eq!(contained(|| 7), Ok(7));
        let empty: [u8; 0] = [];
        let error = contained(|| empty[std::hint::black_box(3)]).unwrap_err();
        assert!(error.0.contains("out of bounds"), "{error}");
        assert_eq!(
            contained(|| contained(|| panic!("inner")).unwrap_err()),
            Ok(Panicked("inner".to_owned()))
        );
    }
}

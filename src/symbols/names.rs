//! How a linker's name becomes the name a person reads: x86 decoration, C++ mangling, patterns.
//!
//! Decoration rules: "Decorated names" in the Microsoft C/C++ documentation. C++ names go through
//! `msvc-demangler`; its work grows with back-references, so long names and names with many of
//! them stay as they are.

use std::borrow::Cow;

use msvc_demangler::DemangleFlags;

use crate::bytes::contained;
use crate::machine::Machine;

/// Longest C++ name that is demangled, in bytes.
const MAX_MANGLED: usize = 512;
/// Back-references a C++ name may hold: each may repeat all that precedes it.
const MAX_DIGITS: usize = 20;

/// Constants the compiler names by their value, without decoration.
const CONSTANTS: &[&str] = &["__real@", "__xmm@", "__ymm@", "__mask@"];

/// The readable form of a name in a PDB or an export table.
pub fn readable(raw: &str, machine: Machine) -> Cow<'_, str> {
    if raw.starts_with('?') {
        return demangled(raw).map_or(Cow::Borrowed(raw), Cow::Owned);
    }
    match machine {
        Machine::X86 => Cow::Borrowed(undecorated(raw)),
        // The code of an IA-64 function has a name of its own beside that of its descriptor.
        Machine::Ia64 => Cow::Borrowed(
            raw.strip_prefix('.')
                .filter(|name| !name.is_empty())
                .unwrap_or(raw),
        ),
        _ => Cow::Borrowed(raw),
    }
}

/// `_name` (cdecl), `_name@8` (stdcall), `@name@8` (fastcall) and `name@@16` (vectorcall) without
/// their decoration; other names as they are.
fn undecorated(raw: &str) -> &str {
    let argument_bytes = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if CONSTANTS.iter().any(|prefix| raw.starts_with(prefix)) {
        return raw;
    }
    let (body, stack) = match raw.rsplit_once('@') {
        Some((body, bytes)) if argument_bytes(bytes) => (body, true),
        _ => (raw, false),
    };
    let name = match (body.strip_prefix('_'), body.strip_prefix('@')) {
        (Some(name), _) => name,
        (None, Some(name)) if stack => name,
        (None, None) if stack => body.strip_suffix('@').unwrap_or(raw),
        _ => raw,
    };
    match name.is_empty() {
        true => raw,
        false => name,
    }
}

fn demangled(raw: &str) -> Option<String> {
    let digits = raw.bytes().filter(u8::is_ascii_digit).count();
    if raw.len() > MAX_MANGLED || digits > MAX_DIGITS || !raw.is_ascii() {
        return None;
    }
    let text = contained(|| msvc_demangler::demangle(raw, DemangleFlags::NAME_ONLY));
    let text = text.ok()?.ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A pattern with `*` (any text) and `?` (any one character), compared without regard to case.
#[derive(Clone, Debug)]
pub struct Glob(Vec<char>);

impl Glob {
    /// A pattern for whole names.
    pub fn new(pattern: &str) -> Glob {
        let mut parts: Vec<char> = pattern.chars().map(|c| c.to_ascii_lowercase()).collect();
        parts.dedup_by(|a, b| *a == '*' && *b == '*');
        Glob(parts)
    }

    /// True when the whole of `name` fits. Takes time in proportion to pattern times name.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().map(|c| c.to_ascii_lowercase()).collect();
        let (mut n, mut p) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            match self.0.get(p) {
                Some('*') => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(c) if *c == '?' || name.get(n) == Some(c) => {
                    p += 1;
                    n += 1;
                }
                _ => match retry {
                    Some((pattern, from)) => {
                        p = pattern;
                        n = from + 1;
                        retry = Some((pattern, n));
                    }
                    None => return false,
                },
            }
        }
        self.0
            .get(p..)
            .unwrap_or_default()
            .iter()
            .all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_decoration_is_removed_and_other_machines_keep_their_names() {
        let x86 = |raw| readable(raw, Machine::X86).into_owned();
        assert_eq!(x86("_DriverEntry@8"), "DriverEntry");
        assert_eq!(x86("@IofCompleteRequest@8"), "IofCompleteRequest");
        assert_eq!(x86("_sprintf"), "sprintf");
        assert_eq!(x86("vec@@16"), "vec");
        assert_eq!(x86("__SEH_prolog4"), "_SEH_prolog4");
        assert_eq!(x86("KeBugCheckEx"), "KeBugCheckEx");
        assert_eq!(x86("__real@4008000000000000"), "__real@4008000000000000");
        assert_eq!(x86("_"), "_");
        assert_eq!(x86("@@1"), "@@1");
        assert_eq!(readable("_local@8", Machine::X64), "_local@8");
    }

    #[test]
    fn the_code_of_an_itanium_function_has_its_functions_name() {
        assert_eq!(readable(".KeBugCheckEx", Machine::Ia64), "KeBugCheckEx");
        assert_eq!(readable("KeBugCheckEx", Machine::Ia64), "KeBugCheckEx");
        assert_eq!(readable(".", Machine::Ia64), ".");
        assert_eq!(readable(".text", Machine::X64), ".text");
    }

    #[test]
    fn cpp_names_are_demangled_to_scope_and_name() {
        let name = readable(
            "?Insert@CTimerWheel@@QEAAXPEAU_LIST_ENTRY@@@Z",
            Machine::X64,
        );
        assert_eq!(name, "CTimerWheel::Insert");
        assert_eq!(readable("?broken", Machine::X64), "?broken");
    }

    #[test]
    fn a_name_built_to_explode_in_the_demangler_is_left_as_it_is() {
        let mut bomb = String::from("?f@@YAXP6AXPAX0@Z");
        for level in 1..9 {
            bomb.push_str("P6AX");
            bomb.push_str(&level.to_string().repeat(40));
            bomb.push_str("@Z");
        }
        bomb.push_str("@Z");
        assert_eq!(readable(&bomb, Machine::X64), bomb);
    }

    #[test]
    fn globs_match_whole_names_without_regard_to_case() {
        assert!(Glob::new("*mfe*").matches("IppRestartMfeTimer"));
        assert!(Glob::new("Tt*Timer").matches("TtStopTimer"));
        assert!(!Glob::new("Tt*Timer").matches("TtStopTimerEx"));
        assert!(Glob::new("Tt?topTimer").matches("TtStopTimer"));
        assert!(Glob::new("**").matches(""));
        let hostile = "*a".repeat(40) + "b";
        assert!(!Glob::new(&hostile).matches(&"a".repeat(2000)));
    }
}

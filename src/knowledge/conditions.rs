//! The language of rules over the facts of one crash: what has to hold for a rule to speak.
//!
//! Data only; `evidence::conditions` evaluates them. Used by the look-alikes and by the articles
//! that rule files describe. Embedded ones are borrowed, those of a user's file owned.

use std::borrow::Cow;

/// Text of a rule.
pub type Text = Cow<'static, str>;
/// A list in a rule.
pub type List<T> = Cow<'static, [T]>;

/// What has to hold. All that is given has to; within one list, any item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Windows build, ranges with both ends.
    pub builds: List<(u32, u32)>,
    /// `workstation`, `server`, `domain-controller`.
    pub products: List<Text>,
    /// Bug check code, without the M bit.
    pub codes: List<u32>,
    /// `x86`, `x64`, `ia64`, `arm64`.
    pub architectures: List<Text>,
    /// Bug check parameters: index from 1, value.
    pub parameters: List<(u8, u64)>,
    /// File name of the module nearest the fault: the faulting one, or, for a fault inside the
    /// kernel or HAL, the first certain frame outside them. `*` stands for any text.
    pub modules: List<Text>,
    /// The function nearest the fault.
    pub functions: List<Function>,
    /// A function among the certain frames of the faulting activity.
    pub on_stack: List<Function>,
    /// File name of a module among those frames, the faulting one included.
    pub stack_modules: List<Text>,
    /// File name of a module of which one return address repeats among those frames.
    pub stack_repeats: List<Text>,
    /// The function nearest the fault has a name (true) or none (false).
    pub named: Option<bool>,
    /// The faulting module is not part of Windows, or one of the first certain frames is not and was
    /// called by a driver of Windows or called the network stack (true); or there is none such (false).
    pub foreign: Option<bool>,
    /// Loaded drivers by file name; `*` stands for any text.
    pub loaded: List<Text>,
    /// How many different ones have to be loaded; 0 and 1 are the same.
    pub loaded_at_least: u8,
    /// `read`, `write` or `execute`.
    pub access: Option<Text>,
    /// The address referenced is below this.
    pub address_below: Option<u64>,
    /// IRQL at the fault.
    pub irql: Option<u8>,
    /// Seconds since start-up are fewer than this.
    pub uptime_below: Option<u64>,
    /// At least so many processors.
    pub processors_at_least: Option<u32>,
    /// A file linked at this time or later, Unix seconds.
    pub linked_since: Option<(Text, u64)>,
}

/// `module!name`; `*` in the name stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Module name without suffix, lower case.
    pub module: Text,
    /// Case-sensitive.
    pub name: Text,
}

impl Function {
    /// `module` with or without a suffix, in any case; `symbol` undecorated.
    pub fn matches(&self, module: &str, symbol: &str) -> bool {
        let stem = module.rsplit_once('.').map_or(module, |(stem, _)| stem);
        stem.eq_ignore_ascii_case(&self.module) && glob(&self.name, symbol)
    }
}

/// `*` matches any text, everything else itself.
pub fn glob(pattern: &str, text: &str) -> bool {
    glob_by(pattern.as_bytes(), text.as_bytes(), |wanted, own| {
        wanted == own
    })
}

/// [`glob`] over `text` in lower case.
pub fn glob_lower_case(pattern: &str, text: &str) -> bool {
    glob_by(pattern.as_bytes(), text.as_bytes(), |wanted, own| {
        wanted == own.to_ascii_lowercase()
    })
}

/// Byte by byte: each name of a dump is held against hundreds of patterns. After a mismatch the last `*`
/// takes one byte more; earlier ones need no second look.
fn glob_by(pattern: &[u8], text: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    let (mut at, mut own) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(own) {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, own));
            }
            Some(wanted) if same(*wanted, *byte) => {
                at += 1;
                own += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    at = after;
                    own = taken + 1;
                    star = Some((after, own));
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*c", "abcd", false),
            ("a*c", "ac", true),
            ("a*c", "abcbc", true),
            ("aa*a", "aa", false),
            ("*ab*ab*", "xabyabz", true),
            ("*ab*ab*", "xabz", false),
            ("a**b", "axb", true),
            ("abc", "abcd", false),
            ("abcd", "abc", false),
            ("*é", "caf\u{e9}", true),
            ("ABC", "abc", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
        assert!(glob_lower_case("net*.sys", "NetIO.SYS"));
        assert!(!glob_lower_case("Net*.sys", "NetIO.SYS"));
    }
}

//! A dump's modules as a table of bytes for stored facts. A few hundred modules are most of a dump's
//! facts, and as JSON objects they took more time than finding them.
//!
//! The first byte is the version of the form. Then, for each module: a byte of flags, the texts, and base,
//! size, time stamp and checksum as little-endian numbers; what few modules have follows as JSON. A
//! directory is written once.

use super::list::{Entry, ModuleRef, Modules};
use super::{Details, SymbolState};
use crate::bytes::{Span, TextsBuilder, View};

/// Version of the form.
const FORM: u8 = 3;
/// Stands for a length of its own in four bytes.
const LONG: u8 = u8::MAX;
/// Bytes of paths that are put together at most: a directory that is written once can be named often,
/// and a store may come from elsewhere.
const MOST_PATHS: usize = 16 << 20;
/// The module has a name.
const NAME: u8 = 1;
/// It has a path: its directory is one of those seen, and the rest of it is the module's name.
const SEEN: u8 = 2;
/// It has a path whose directory is new, and the rest of which is the module's name.
const NEW: u8 = 4;
/// It has a path of another form.
const PATH: u8 = 8;
/// It has a checksum.
const CHECKSUM: u8 = 16;
/// It has the rest.
const REST: u8 = 32;
/// Its symbols were looked for and are missing, and nothing else is known of it.
const MISSING: u8 = 64;

/// The modules as bytes.
pub(super) fn pack(modules: &Modules) -> Vec<u8> {
    let mut out = Vec::with_capacity(modules.len() * 48 + 1);
    let mut directories: Vec<&str> = Vec::new();
    out.push(FORM);
    for module in modules.iter() {
        one(module, &mut directories, &mut out);
    }
    out
}

fn one<'a>(module: ModuleRef<'a>, directories: &mut Vec<&'a str>, out: &mut Vec<u8>) {
    let ModuleRef {
        name,
        path,
        base,
        size,
        time_date_stamp,
        checksum,
        details,
    } = module;
    let directory = path.and_then(|path| path.strip_suffix(name?));
    let seen = directory.and_then(|own| directories.iter().position(|seen| *seen == own));
    let seen = seen.and_then(|index| u8::try_from(index).ok());
    let path_form = match (path, directory, seen) {
        (None, ..) => 0,
        (Some(_), None, _) => PATH,
        (Some(_), Some(_), None) => NEW,
        (Some(_), Some(_), Some(_)) => SEEN,
    };
    let (rest_form, rest) = rest(details);
    let flags = [(NAME, name.is_some()), (CHECKSUM, checksum.is_some())];
    let flags = flags.iter().filter(|(_, has)| *has);
    let flags = flags.fold(path_form | rest_form, |all, (flag, _)| all | flag);
    let numbers = u128::from(base) | u128::from(size) << 64 | u128::from(time_date_stamp) << 96;
    out.push(flags);
    out.extend_from_slice(&numbers.to_le_bytes());
    out.extend_from_slice(&checksum.unwrap_or(0).to_le_bytes());
    if let Some(name) = name {
        text(name, out);
    }
    match (path, directory, seen) {
        (None, ..) => {}
        (Some(path), None, _) => text(path, out),
        (Some(_), Some(directory), None) => {
            text(directory, out);
            directories.push(directory);
        }
        (Some(_), Some(_), Some(index)) => out.push(index),
    }
    if let Some(json) = rest {
        text(&json, out);
    }
}

/// How what is known of a module besides its entry is written, and its JSON where that is the form.
fn rest(details: Option<&Details>) -> (u8, Option<String>) {
    match details {
        None => (0, None),
        Some(details) if *details == Details::default() => (0, None),
        Some(details) if *details == missing() => (MISSING, None),
        // Plain structures of text and numbers: they always have a JSON form.
        Some(details) => match serde_json::to_string(details) {
            Ok(json) => (REST, Some(json)),
            Err(_) => (0, None),
        },
    }
}

fn missing() -> Details {
    Details {
        symbols: SymbolState::Missing,
        ..Details::default()
    }
}

/// Length in one byte, in five when it is large, and the text.
fn text(text: &str, out: &mut Vec<u8>) {
    // No text of a dump is that long: a name's length is bounded where it is read.
    let len = u32::try_from(text.len()).unwrap_or(0);
    match u8::try_from(len) {
        Ok(short) if short != LONG => out.push(short),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&len.to_le_bytes());
        }
    }
    if len > 0 {
        out.extend_from_slice(text.as_bytes());
    }
}

/// The modules in `packed`; `None` when it is not what [`pack`] wrote.
pub(super) fn unpack(packed: &[u8]) -> Option<Modules> {
    let mut reader = Reader {
        bytes: View(packed),
        at: 0,
        paths: 0,
    };
    if reader.byte()? != FORM {
        return None;
    }
    let mut texts = TextsBuilder::with_capacity(packed.len());
    let mut entries = Vec::new();
    let mut directories = Vec::new();
    let mut learnt = Vec::new();
    while reader.at < packed.len() {
        let (entry, details) = reader.module(&mut directories, &mut texts)?;
        learnt.extend(details.map(|details| (entries.len(), details)));
        entries.push(entry);
    }
    Some(Modules::with(texts.finish(), entries, learnt))
}

struct Reader<'a> {
    bytes: View<'a>,
    at: usize,
    /// Bytes of paths put together so far.
    paths: usize,
}

impl<'a> Reader<'a> {
    fn advance(&mut self, by: usize) -> Option<usize> {
        let at = self.at;
        self.at = at.checked_add(by)?;
        Some(at)
    }

    fn byte(&mut self) -> Option<u8> {
        let at = self.advance(1)?;
        self.bytes.u8(at)
    }

    fn word(&mut self) -> Option<u32> {
        let at = self.advance(4)?;
        self.bytes.u32(at)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = match self.byte()? {
            LONG => usize::try_from(self.word()?).ok()?,
            short => usize::from(short),
        };
        let at = self.advance(len)?;
        std::str::from_utf8(self.bytes.bytes(at, len)?).ok()
    }

    /// A path, at whose end the name lies.
    fn path(&mut self, directory: &str, file: &str, texts: &mut TextsBuilder) -> Option<Span> {
        self.paths = self.paths.checked_add(directory.len() + file.len())?;
        if self.paths > MOST_PATHS {
            return None;
        }
        texts.push_both(directory, file)
    }

    fn module(
        &mut self,
        directories: &mut Vec<&'a str>,
        texts: &mut TextsBuilder,
    ) -> Option<(Entry, Option<Details>)> {
        let flags = self.byte()?;
        let has = |flag| flags & flag != 0;
        let at = self.advance(8)?;
        let base = self.bytes.u64(at)?;
        let (size, time_date_stamp) = (self.word()?, self.word()?);
        let checksum = Some(self.word()?).filter(|_| has(CHECKSUM));
        let name = if has(NAME) { Some(self.text()?) } else { None };
        if has(NEW) {
            directories.push(self.text()?);
        }
        let directory = if has(NEW) {
            Some(*directories.last()?)
        } else if has(SEEN) {
            Some(*directories.get(usize::from(self.byte()?))?)
        } else {
            None
        };
        let (name, path) = match directory {
            Some(directory) => {
                let path = self.path(directory, name?, texts)?;
                (Some(path.tail(name?.len())?), Some(path))
            }
            None => {
                let path = if has(PATH) { Some(self.text()?) } else { None };
                let mut add = |text: Option<&str>| text.and_then(|text| texts.push(text));
                (add(name), add(path))
            }
        };
        let details = if has(REST) {
            Some(serde_json::from_str(self.text()?).ok()?)
        } else {
            has(MISSING).then(missing)
        };
        let entry = Entry {
            name,
            path,
            base,
            size,
            time_date_stamp,
            checksum,
        };
        Some((entry, details))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Module, VersionClaim, VersionSource, WrongFile};
    use super::*;

    fn pack(modules: &[Module]) -> Vec<u8> {
        super::pack(&Modules::from(modules.to_vec()))
    }

    fn module(name: Option<&str>, path: Option<&str>) -> Module {
        Module {
            name: name.map(str::to_owned),
            path: path.map(str::to_owned),
            base: u64::MAX - 7,
            size: 0x1000,
            time_date_stamp: 0x4791_9120,
            checksum: Some(1),
            details: Details::default(),
        }
    }

    fn of(symbols: SymbolState) -> Module {
        Module {
            details: Details {
                symbols,
                ..Details::default()
            },
            ..module(Some("ndis.sys"), None)
        }
    }

    #[test]
    fn what_is_packed_comes_back() {
        let tcpip = Module {
            details: Details {
                version: Some(VersionClaim {
                    version: [6, 0, 6001, 18000],
                    branch_tag: Some("longhorn_rtm".to_owned()),
                    source: VersionSource::Table,
                }),
                pdb: None,
                symbols: SymbolState::Mismatched,
                wrong_files: vec![WrongFile {
                    file: "tcpip.pdb".to_owned(),
                    wanted: "1".to_owned(),
                    found: "2".to_owned(),
                }],
            },
            ..module(Some("tcpip.sys"), Some(r"\SystemRoot\drivers\tcpip.sys"))
        };
        let modules = vec![
            module(Some("nt"), None),
            tcpip,
            module(Some("netio.sys"), Some(r"\SystemRoot\drivers\netio.sys")),
            of(SymbolState::Missing),
            module(Some("other"), Some(r"\SystemRoot\drivers\name.sys")),
            module(None, Some(r"C:\é\")),
            module(Some(&"n".repeat(254)), Some(&"p".repeat(255))),
            module(Some(&"n".repeat(1000)), None),
            Module {
                checksum: None,
                ..module(None, None)
            },
        ];
        let packed = pack(&modules);
        assert_eq!(unpack(&packed), Some(Modules::from(modules)));
    }

    #[test]
    fn a_directory_that_is_named_again_and_again_does_not_grow_without_bound() {
        let path = format!(r"{}\a.sys", "d".repeat(60_000));
        let modules = vec![module(Some("a.sys"), Some(&path)); 300];
        let packed = pack(&modules);
        assert!(packed.len() < 100_000, "{}", packed.len());
        assert_eq!(unpack(&packed), None);
        assert_eq!(
            unpack(&pack(&modules[..200])),
            Some(Modules::from(modules[..200].to_vec()))
        );
    }

    #[test]
    fn any_number_of_modules_comes_back_with_what_is_known_of_each() {
        let mut modules = vec![of(SymbolState::Missing); 70_000];
        modules.push(of(SymbolState::Loaded));
        assert_eq!(unpack(&pack(&modules)), Some(Modules::from(modules)));
    }

    #[test]
    fn what_was_not_packed_here_is_refused() {
        let bytes = pack(&[module(Some("nt"), None)]);
        for cut in 2..bytes.len() {
            assert_eq!(unpack(&bytes[..cut]), None, "{cut}");
        }
        let mut other = bytes;
        other[0] = 9;
        assert_eq!(unpack(&other), None);
        assert_eq!(unpack(b""), None);
    }
}

//! A dump's modules as a table of bytes for stored facts. A few hundred modules are most of a dump's
//! facts, and as JSON objects they took more time than finding them.
//!
//! The first byte is the version of the form. Then, for each module: a byte of flags, the texts, and base,
//! size, time stamp and checksum as little-endian numbers; what few modules have follows as JSON. A
//! directory is written once.

use serde::{Deserialize, Serialize};

use super::{Module, PdbIdentity, SymbolState, VersionClaim, WrongFile};
use crate::bytes::View;

/// Version of the form.
const FORM: u8 = 2;
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

/// What only modules have that a question was about.
#[derive(Serialize, Deserialize)]
struct Rest {
    version: Option<VersionClaim>,
    pdb: Option<PdbIdentity>,
    symbols: SymbolState,
    wrong_files: Vec<WrongFile>,
}

/// The modules as bytes.
pub(super) fn pack(modules: &[Module]) -> Vec<u8> {
    let mut out = Vec::with_capacity(modules.len() * 48 + 1);
    let mut directories: Vec<&str> = Vec::new();
    out.push(FORM);
    for module in modules {
        one(module, &mut directories, &mut out);
    }
    out
}

fn one<'a>(module: &'a Module, directories: &mut Vec<&'a str>, out: &mut Vec<u8>) {
    let Module {
        name,
        path,
        base,
        size,
        time_date_stamp,
        checksum,
        version,
        pdb,
        symbols,
        wrong_files,
    } = module;
    let start = out.len();
    let mut flags = 0;
    out.push(flags);
    if let Some(name) = name {
        flags |= NAME;
        text(name, out);
    }
    if let Some(path) = path {
        let directory = name.as_deref().and_then(|name| path.strip_suffix(name));
        let seen = directories.iter().position(|seen| Some(*seen) == directory);
        match (directory, seen.map(u8::try_from)) {
            (Some(_), Some(Ok(index))) => {
                flags |= SEEN;
                out.push(index);
            }
            (Some(directory), _) => {
                flags |= NEW;
                text(directory, out);
                directories.push(directory);
            }
            (None, _) => {
                flags |= PATH;
                text(path, out);
            }
        }
    }
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&time_date_stamp.to_le_bytes());
    if let Some(checksum) = checksum {
        flags |= CHECKSUM;
        out.extend_from_slice(&checksum.to_le_bytes());
    }
    let plain = version.is_none()
        && pdb.is_none()
        && *symbols == SymbolState::default()
        && wrong_files.is_empty();
    if !plain {
        let rest = Rest {
            version: version.clone(),
            pdb: pdb.clone(),
            symbols: *symbols,
            wrong_files: wrong_files.clone(),
        };
        // Plain structures of text and numbers: they always have a JSON form.
        if let Ok(json) = serde_json::to_string(&rest) {
            flags |= REST;
            text(&json, out);
        }
    }
    if let Some(place) = out.get_mut(start) {
        *place = flags;
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
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<Module>> {
    let mut reader = Reader {
        bytes: View(packed),
        at: 0,
        paths: 0,
    };
    if reader.byte()? != FORM {
        return None;
    }
    let mut modules = Vec::new();
    let mut directories = Vec::new();
    while reader.at < packed.len() {
        modules.push(reader.module(&mut directories)?);
    }
    Some(modules)
}

struct Reader<'a> {
    bytes: View<'a>,
    at: usize,
    /// Bytes of paths put together so far.
    paths: usize,
}

impl Reader<'_> {
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

    fn text(&mut self) -> Option<String> {
        let len = match self.byte()? {
            LONG => usize::try_from(self.word()?).ok()?,
            short => usize::from(short),
        };
        let at = self.advance(len)?;
        String::from_utf8(self.bytes.bytes(at, len)?.to_vec()).ok()
    }

    fn path(&mut self, directory: &str, file: &str) -> Option<String> {
        self.paths = self.paths.checked_add(directory.len() + file.len())?;
        (self.paths <= MOST_PATHS).then(|| format!("{directory}{file}"))
    }

    fn module(&mut self, directories: &mut Vec<String>) -> Option<Module> {
        let flags = self.byte()?;
        let has = |flag| flags & flag != 0;
        let name = if has(NAME) { Some(self.text()?) } else { None };
        if has(NEW) {
            directories.push(self.text()?);
        }
        let path = if has(NEW) {
            Some(self.path(directories.last()?, name.as_deref()?)?)
        } else if has(SEEN) {
            let directory = directories.get(usize::from(self.byte()?))?;
            Some(self.path(directory, name.as_deref()?)?)
        } else if has(PATH) {
            Some(self.text()?)
        } else {
            None
        };
        let at = self.advance(8)?;
        let base = self.bytes.u64(at)?;
        let (size, time_date_stamp) = (self.word()?, self.word()?);
        let checksum = if has(CHECKSUM) {
            Some(self.word()?)
        } else {
            None
        };
        let rest = if has(REST) {
            serde_json::from_str(&self.text()?).ok()?
        } else {
            Rest {
                version: None,
                pdb: None,
                symbols: SymbolState::default(),
                wrong_files: Vec::new(),
            }
        };
        Some(Module {
            name,
            path,
            base,
            size,
            time_date_stamp,
            checksum,
            version: rest.version,
            pdb: rest.pdb,
            symbols: rest.symbols,
            wrong_files: rest.wrong_files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::VersionSource;
    use super::*;

    fn module(name: Option<&str>, path: Option<&str>) -> Module {
        Module {
            name: name.map(str::to_owned),
            path: path.map(str::to_owned),
            base: u64::MAX - 7,
            size: 0x1000,
            time_date_stamp: 0x4791_9120,
            checksum: Some(1),
            version: None,
            pdb: None,
            symbols: SymbolState::NotNeeded,
            wrong_files: Vec::new(),
        }
    }

    #[test]
    fn what_is_packed_comes_back() {
        let tcpip = Module {
            version: Some(VersionClaim {
                version: [6, 0, 6001, 18000],
                branch_tag: Some("longhorn_rtm".to_owned()),
                source: VersionSource::Table,
            }),
            symbols: SymbolState::Mismatched,
            wrong_files: vec![WrongFile {
                file: "tcpip.pdb".to_owned(),
                wanted: "1".to_owned(),
                found: "2".to_owned(),
            }],
            ..module(Some("tcpip.sys"), Some(r"\SystemRoot\drivers\tcpip.sys"))
        };
        let modules = vec![
            module(Some("nt"), None),
            tcpip,
            module(Some("netio.sys"), Some(r"\SystemRoot\drivers\netio.sys")),
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
        assert_eq!(unpack(&packed), Some(modules));
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
            Some(modules[..200].to_vec())
        );
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

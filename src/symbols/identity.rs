//! Identities of images and PDBs, the keys they have in a symbol store, and the one gate a file
//! name from a dump or an image passes before it can become part of a path.
//!
//! Keys: "SymStore folder structure" in the Windows debugger documentation.

use std::fmt;

use crate::image::{CodeView, Guid};

/// Longest file name accepted, in bytes.
const MAX_NAME: usize = 128;
/// Names Windows reserves for devices, with or without an extension.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// A file name that is safe as one path component on every system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// A name from a dump, an image or a path list that is no plain file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a plain file name")]
pub struct BadName;

impl FileName {
    /// Takes the last component of a Windows or Unix path.
    ///
    /// # Errors
    /// [`BadName`] when that component is empty, longer than 128 bytes, holds a character outside
    /// letters, digits and `._-+$~()!#&@{}` or an inner space, begins or ends with a dot or a
    /// space, names a stream, or is a reserved device name.
    pub fn new(path: &str) -> Result<FileName, BadName> {
        let last = path.rsplit(['\\', '/']).next().unwrap_or_default();
        let name = match last.split_once(':') {
            Some((drive, rest)) if drive.len() == 1 => rest,
            Some(_) => return Err(BadName),
            None => last,
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+$~()!#&@{} ".contains(c);
        let edge = |c: char| c == '.' || c == ' ';
        let stem = name.split('.').next().unwrap_or_default().trim_end();
        let bad = name.is_empty()
            || name.len() > MAX_NAME
            || !name.chars().all(allowed)
            || name.starts_with(edge)
            || name.ends_with(edge)
            || is_device(stem);
        match bad {
            true => Err(BadName),
            false => Ok(FileName(name.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the last dot, in lower case; empty without a dot.
    pub fn extension(&self) -> String {
        match self.0.rsplit_once('.') {
            Some((_, extension)) => extension.to_ascii_lowercase(),
            None => String::new(),
        }
    }

    /// The name of the compressed form: the last character replaced by an underscore.
    pub fn compressed(&self) -> FileName {
        let mut name = self.0.clone();
        name.pop();
        name.push('_');
        FileName(name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_device(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    if DEVICES.contains(&stem.as_str()) {
        return true;
    }
    let Some(number) = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"))
    else {
        return false;
    };
    number.len() == 1 && number.bytes().all(|b| b.is_ascii_digit())
}

/// Which image was loaded: what the module list of a dump says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleIdentity {
    /// File name, last component only.
    pub name: FileName,
    /// `TimeDateStamp` of the COFF header.
    pub time_date_stamp: u32,
    /// `SizeOfImage` in bytes.
    pub size_of_image: u32,
    /// `CheckSum`, when the module list holds one. Not part of the key.
    pub checksum: Option<u32>,
}

impl ModuleIdentity {
    /// An identity from a module list; `path` may be any path of the crashed machine.
    ///
    /// # Errors
    /// [`BadName`] when the last component is no plain file name.
    pub fn new(
        path: &str,
        time_date_stamp: u32,
        size_of_image: u32,
    ) -> Result<ModuleIdentity, BadName> {
        Ok(ModuleIdentity {
            name: FileName::new(path)?,
            time_date_stamp,
            size_of_image,
            checksum: None,
        })
    }

    /// The folder name in a symbol store: `%08X%x` of time stamp and size.
    pub fn key(&self) -> String {
        format!("{:08X}{:x}", self.time_date_stamp, self.size_of_image)
    }
}

/// Which PDB an image asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PdbIdentity {
    /// File name, last component only.
    pub name: FileName,
    /// GUID of the PDB.
    pub guid: Guid,
    /// Age, compared with the PDB's DBI age.
    pub age: u32,
}

impl PdbIdentity {
    /// The identity in an image's CodeView record; `None` for PDB 2.0, which no 6.0 system uses.
    ///
    /// # Errors
    /// [`BadName`] when the record's file name is no plain file name.
    pub fn from_codeview(record: &CodeView) -> Result<Option<PdbIdentity>, BadName> {
        match record {
            CodeView::Pdb70 { guid, age, name } => Ok(Some(PdbIdentity {
                name: FileName::new(name)?,
                guid: *guid,
                age: *age,
            })),
            CodeView::Pdb20 { .. } => Ok(None),
        }
    }

    /// The folder name in a symbol store: GUID in upper case, age in hexadecimal.
    pub fn key(&self) -> String {
        format!("{}{:X}", self.guid, self.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_component_of_a_path_is_used() {
        for path in [
            "tcpip.pdb",
            r"d:\build\obj\tcpip.pdb",
            "/tmp/x/tcpip.pdb",
            r"..\..\tcpip.pdb",
            r"\\server\share\tcpip.pdb",
            "c:tcpip.pdb",
        ] {
            assert_eq!(FileName::new(path).unwrap().as_str(), "tcpip.pdb", "{path}");
        }
    }

    #[test]
    fn names_that_are_no_plain_file_names_are_refused() {
        let long = "a".repeat(4096);
        for path in [
            "",
            ".",
            "..",
            r"..\..",
            "a/",
            r"c:\",
            "c:",
            "tcpip.pdb:stream",
            "tcpip.pdb.",
            "tcpip.pdb ",
            " tcpip.pdb",
            ".hidden",
            "nul",
            "NUL.pdb",
            "com1.pdb",
            "Lpt9",
            "aux .pdb",
            "conin$",
            "a\0b.pdb",
            "a\nb.pdb",
            "a*b.pdb",
            "a?b.pdb",
            "a|b",
            "a\"b",
            "a<b",
            "ä.pdb",
            "tcp\u{202e}bdp.pdb",
            "c:a:b",
            &long,
        ] {
            assert_eq!(FileName::new(path), Err(BadName), "{path:?}");
        }
    }

    #[test]
    fn keys_are_written_as_symbol_stores_write_them() {
        let image = ModuleIdentity::new(
            r"\SystemRoot\System32\drivers\tcpip.sys",
            0x8CA873CB,
            0x2eb000,
        );
        assert_eq!(image.unwrap().key(), "8CA873CB2eb000");
        let small = ModuleIdentity::new("a.sys", 0x1234, 0x7000).unwrap();
        assert_eq!(small.key(), "000012347000");
        assert_eq!(small.name.compressed().as_str(), "a.sy_");
        let pdb = PdbIdentity {
            name: FileName::new("tcpip.pdb").unwrap(),
            guid: Guid::from_fields(
                0xBB6E495A,
                0xD484,
                0x1255,
                [0x93, 0x18, 0x63, 0x23, 0x3D, 0x91, 0x6B, 0x60],
            ),
            age: 26,
        };
        assert_eq!(pdb.key(), "BB6E495AD4841255931863233D916B601A");
    }
}

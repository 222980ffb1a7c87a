//! The code check of a tcpip.sys given to `kb check`: which lock does it hold when it restarts a timer?
//!
//! Knows where its symbols may be: the symbol path, and the folder of the file. The check itself is
//! the `code` room's.

use std::path::Path;

use serde::Serialize;

use crate::bytes::{Budget, contained};
use crate::cli::symbols::SymbolArgs;
use crate::code::{self, ImageCode};
use crate::facts::LockFact;
use crate::image::Image;
use crate::knowledge::hotfix::KB943650;
use crate::symbols::{ModuleIdentity, Origin, SymbolLibrary, SymbolPath};

/// Reads the code of the file at a path, whose bytes these are.
pub type CodeReader<'a> = dyn Fn(&Path, &[u8]) -> CodeCheck + 'a;

/// The finding, with where it was seen or why it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CodeCheck {
    /// What was found.
    pub finding: LockFact,
    /// For a person.
    pub reason: String,
}

impl CodeCheck {
    fn unknown(reason: impl Into<String>) -> CodeCheck {
        CodeCheck {
            finding: LockFact::Unknown,
            reason: reason.into(),
        }
    }
}

/// The code check of an image, with the symbols that these options lead to.
pub(super) fn read(symbols: &SymbolArgs, path: &Path, bytes: &[u8]) -> CodeCheck {
    contained(|| check(symbols, path, bytes))
        .unwrap_or_else(|_| CodeCheck::unknown("the image or its symbols are damaged"))
}

fn check(symbols: &SymbolArgs, path: &Path, bytes: &[u8]) -> CodeCheck {
    let Ok(image) = Image::from_file(bytes.to_vec()) else {
        return CodeCheck::unknown("the image is damaged");
    };
    let Some(machine) = image.machine() else {
        return CodeCheck::unknown("code of this architecture is not read");
    };
    let Ok(identity) = ModuleIdentity::new(
        KB943650.decides,
        image.time_date_stamp(),
        image.size_of_image(),
    ) else {
        return CodeCheck::unknown("the image is damaged");
    };
    let mut options = symbols.options(false);
    if let Some(folder) = folder(path) {
        options
            .symbols
            .append(SymbolPath::parse(&folder, Origin::CommandLine));
    }
    let library = SymbolLibrary::new(options);
    let resolved = library.resolve(&identity, machine, image.codeview().as_ref());
    let Some(names) = resolved.symbols.found() else {
        return CodeCheck::unknown(
            "function not located: the symbols of this file are not at hand (--symbols)",
        );
    };
    let found = code::check(&ImageCode::new(&image, names), &Budget::default());
    CodeCheck {
        finding: found.finding,
        reason: found.reason,
    }
}

/// The folder of a file, where its name cannot be taken for anything else in a symbol path.
fn folder(path: &Path) -> Option<String> {
    let parent = path.parent()?;
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let text = parent.to_str()?;
    let plain = !text.contains(['*', ';']) && !text.contains("://");
    plain.then(|| text.to_owned())
}

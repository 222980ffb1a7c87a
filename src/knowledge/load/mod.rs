//! Rule files: reads the articles of `--knowledge` and says exactly what is wrong with one.
//!
//! A file is TOML of at most [`MAX_FILE`] bytes and describes one article. Every error names the
//! file, the line and what was expected. The embedded articles went through the same reader when
//! their tables were made.

mod article;
mod document;

use std::path::Path;

pub use article::{article, look_alikes};
pub use document::LoadError;

use super::article::Article;

/// Largest rule file in bytes; a full article has a few kilobytes.
pub const MAX_FILE: usize = 256 << 10;
/// Most rule files in a directory.
const MAX_FILES: usize = 256;
/// Most items of any list in a rule file.
pub const MAX_ITEMS: usize = 256;
/// Longest text in a rule file, in bytes.
pub const MAX_TEXT: usize = 2048;

/// Articles of a directory, with the bytes that they were read from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The articles, by file name.
    pub articles: Vec<Article>,
    /// What names this knowledge: every file's name and text.
    pub sources: Vec<(String, String)>,
}

/// Reads every `*.toml` of a directory, by name; other files are left alone. `read` gives a file's
/// bytes or a message.
///
/// # Errors
/// The first thing that is wrong, for a person.
pub fn directory(
    path: &Path,
    read: impl Fn(&Path) -> Result<Vec<u8>, String>,
) -> Result<Loaded, LoadError> {
    let shown = path.to_string_lossy().into_owned();
    let listing = std::fs::read_dir(path).map_err(|error| {
        LoadError::whole(
            &shown,
            format!("expected a directory of rule files: {error}"),
        )
    })?;
    let mut files = Vec::new();
    for entry in listing {
        let path = entry
            .map_err(|error| LoadError::whole(&shown, error.to_string()))?
            .path();
        let toml = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        if toml {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(LoadError::whole(
                &shown,
                format!("expected at most {MAX_FILES} rule files"),
            ));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(LoadError::whole(
            &shown,
            "expected at least one rule file, *.toml".to_owned(),
        ));
    }
    let mut loaded = Loaded::default();
    for file in files {
        let origin = file.to_string_lossy().into_owned();
        let bytes = read(&file).map_err(|message| LoadError::whole(&origin, message))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = error
                .as_bytes()
                .iter()
                .take(error.utf8_error().valid_up_to());
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            LoadError::at(&origin, line, "expected UTF-8 text".to_owned())
        })?;
        let read = article(&text, &origin)?;
        if let Some(other) = loaded
            .articles
            .iter()
            .find(|e| super::article::same(&e.kb, &read.kb))
        {
            let message = format!(
                "expected one file for each article; {} has one already",
                other.kb
            );
            return Err(LoadError::whole(&origin, message));
        }
        loaded.articles.push(read);
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
        loaded.sources.push((name.unwrap_or_default(), text));
    }
    Ok(loaded)
}

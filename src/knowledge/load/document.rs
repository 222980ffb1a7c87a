//! A TOML document whose every value knows its line, and readers that say what they expected.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{MAX_FILE, MAX_ITEMS, MAX_TEXT};

/// What is wrong with a rule file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct LoadError {
    /// The file.
    pub origin: String,
    /// The line, from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// What was expected and what was found.
    pub message: String,
}

impl LoadError {
    pub(super) fn at(origin: &str, line: usize, message: String) -> LoadError {
        LoadError {
            origin: origin.to_owned(),
            line: Some(line),
            message,
        }
    }

    pub(super) fn whole(origin: &str, message: String) -> LoadError {
        LoadError {
            origin: origin.to_owned(),
            line: None,
            message,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, LoadError>;

/// The text and its name.
#[derive(Clone, Copy)]
pub(super) struct Document<'d> {
    pub origin: &'d str,
    pub text: &'d str,
}

impl<'d> Document<'d> {
    /// The table of the whole document.
    pub fn parse(self) -> Result<Spanned<DeTable<'d>>> {
        if self.text.len() > MAX_FILE {
            let message = format!(
                "expected at most {MAX_FILE} bytes, found {}",
                self.text.len()
            );
            return Err(LoadError::whole(self.origin, message));
        }
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = format!("expected TOML: {}", error.message());
            self.error(at, message)
        })
    }

    fn line(self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    pub fn error(self, at: usize, message: String) -> LoadError {
        LoadError::at(self.origin, self.line(at), message)
    }
}

/// A table that is being read: every key has to be taken once.
pub(super) struct Table<'a, 'd> {
    document: Document<'d>,
    name: String,
    at: usize,
    table: &'a DeTable<'d>,
    allowed: BTreeSet<&'static str>,
}

/// A value and where it stands.
pub(super) struct Item<'a, 'd> {
    pub document: Document<'d>,
    pub key: String,
    pub at: usize,
    pub value: &'a DeValue<'d>,
}

impl<'a, 'd> Table<'a, 'd> {
    pub fn new(document: Document<'d>, name: &str, table: &'a Spanned<DeTable<'d>>) -> Self {
        Table {
            document,
            name: name.to_owned(),
            at: table.span().start,
            table: table.get_ref(),
            allowed: BTreeSet::new(),
        }
    }

    pub fn optional(&mut self, key: &'static str) -> Option<Item<'a, 'd>> {
        self.allowed.insert(key);
        self.table.get(key).map(|value| Item {
            document: self.document,
            key: key.to_owned(),
            at: value.span().start,
            value: value.get_ref(),
        })
    }

    pub fn required(&mut self, key: &'static str) -> Result<Item<'a, 'd>> {
        let (document, at) = (self.document, self.at);
        let name = self.name.clone();
        self.optional(key)
            .ok_or_else(|| document.error(at, format!("expected {key} in {name}")))
    }

    /// Refuses keys that no reader took.
    pub fn finish(self) -> Result<()> {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.allowed.contains(name) {
                let known: Vec<&str> = self.allowed.iter().copied().collect();
                let short: String = name.chars().take(60).collect();
                return Err(self.document.error(
                    key.span().start,
                    format!(
                        "expected one of {} in {}, found {short:?}",
                        known.join(", "),
                        self.name
                    ),
                ));
            }
        }
        Ok(())
    }

    pub fn error(&self, message: String) -> LoadError {
        self.document.error(self.at, message)
    }
}

impl<'a, 'd> Item<'a, 'd> {
    pub fn fail<T>(&self, expected: &str) -> Result<T> {
        let found = match self.value {
            DeValue::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            DeValue::Integer(number) => number.as_str().chars().take(60).collect(),
            DeValue::Float(_) => "a fraction".to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date without quotes".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("expected {expected} as {}, found {found}", self.key);
        Err(self.document.error(self.at, message))
    }

    pub fn text(&self) -> Result<String> {
        match self.value {
            DeValue::String(text) if text.len() > MAX_TEXT => {
                self.fail(&format!("text of at most {MAX_TEXT} bytes"))
            }
            DeValue::String(text) if text.trim().is_empty() => self.fail("some text"),
            DeValue::String(text) => Ok(text.as_ref().to_owned()),
            _ => self.fail("text in quotes"),
        }
    }

    /// One of some words, made into what it means.
    pub fn word<T: Copy>(&self, words: &[T], name: impl Fn(T) -> &'static str) -> Result<T> {
        let known: Vec<&str> = words.iter().map(|word| name(*word)).collect();
        let expected = format!("one of {}", known.join(", "));
        match self.value {
            DeValue::String(text) => {
                match words.iter().find(|word| name(**word) == text.as_ref()) {
                    Some(word) => Ok(*word),
                    None => self.fail(&expected),
                }
            }
            _ => self.fail(&expected),
        }
    }

    /// A whole number from 0 to `most`: bare, or hexadecimal in quotes.
    pub fn number(&self, most: u64) -> Result<u64> {
        let parsed = match self.value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => text
                .strip_prefix("0x")
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        match parsed.filter(|number| *number <= most) {
            Some(number) => Ok(number),
            None => self.fail(&format!("a number from 0 to {most:#x}")),
        }
    }

    pub fn truth(&self) -> Result<bool> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => self.fail("true or false"),
        }
    }

    pub fn items(&self) -> Result<Vec<Item<'a, 'd>>> {
        let DeValue::Array(array) = self.value else {
            return self.fail("a list in brackets");
        };
        if array.len() > MAX_ITEMS {
            let message = format!(
                "expected at most {MAX_ITEMS} items in {}, found {}",
                self.key,
                array.len()
            );
            return Err(self.document.error(self.at, message));
        }
        Ok(array
            .iter()
            .map(|value| Item {
                document: self.document,
                key: format!("an item of {}", self.key),
                at: value.span().start,
                value: value.get_ref(),
            })
            .collect())
    }

    /// Each item of a list.
    pub fn list<T>(&self, mut each: impl FnMut(&Item<'a, 'd>) -> Result<T>) -> Result<Vec<T>> {
        self.items()?.iter().map(&mut each).collect()
    }

    pub fn table(&self, name: &str) -> Result<Table<'a, 'd>> {
        let DeValue::Table(table) = self.value else {
            return self.fail("a table");
        };
        Ok(Table {
            document: self.document,
            name: name.to_owned(),
            at: self.at,
            table,
            allowed: BTreeSet::new(),
        })
    }
}

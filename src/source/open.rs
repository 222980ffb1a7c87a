//! Opens a path as a source of bytes. Looks before it opens: only regular files are read.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::bytes::{FileReader, ReadAt};

use super::platform::{self, State};
use super::{ErrorKind, SourceError, SourceInfo};

/// See [`Source::changed_just_now`].
const JUST_NOW: Duration = Duration::from_secs(5);
/// See [`Source::is_quiet`]: no memory dump, which every crash writes anew.
const SMALL: u64 = 16 << 20;
const MOMENT: Duration = Duration::from_secs(2);
const UNCHANGED: Duration = Duration::from_secs(3600);

/// An open input: its bytes and where they came from.
pub struct Source {
    /// Where the bytes came from.
    pub info: SourceInfo,
    bytes: Box<dyn ReadAt>,
    /// The file it was read from, and how that looked when it was opened.
    file: Option<(PathBuf, State, Metadata)>,
    since: Instant,
}

impl Source {
    /// A source of `bytes` that is not a file of its own.
    pub fn new(info: SourceInfo, bytes: Box<dyn ReadAt>) -> Source {
        Source {
            info,
            bytes,
            file: None,
            since: Instant::now(),
        }
    }

    /// What its file looked like when it was opened; `None` where it is no file of its own.
    pub fn found(&self) -> Option<&Metadata> {
        self.file.as_ref().map(|(_, _, found)| found)
    }

    /// True where nobody writes to it, by all that is known: a small file that nobody changed for an hour and
    /// that was read in a moment. To ask again would be another question to a server for each file of a share; one
    /// that did change meanwhile has another time, and the next scan reads it again.
    pub fn is_quiet(&self) -> bool {
        let Some((_, opened, _)) = &self.file else {
            return true;
        };
        let age = opened
            .modified()
            .map(|at| SystemTime::now().duration_since(at));
        self.bytes.len() <= SMALL
            && self.since.elapsed() < MOMENT
            && matches!(age, Some(Ok(age)) if age >= UNCHANGED)
    }

    /// The bytes.
    pub fn bytes(&self) -> &dyn ReadAt {
        self.bytes.as_ref()
    }

    /// Asks whether the file is still the one that was opened: a dump that is being written or copied
    /// changes its size or its times, one that is replaced is another file.
    ///
    /// # Errors
    /// [`ErrorKind::Growing`] when it is not.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let Some((path, opened, _)) = &self.file else {
            return Ok(());
        };
        let Ok(now) = fs::metadata(path) else {
            return Ok(());
        };
        if State::of(&now) == *opened {
            return Ok(());
        }
        Err(SourceError::new(
            ErrorKind::Growing,
            format!(
                "the file changed while it was read ({} bytes, now {}): run again when it is complete",
                self.info.size.unwrap_or_default(),
                now.len()
            ),
        ))
    }

    /// True when it had changed so short a time before it was opened that another change may bear the same
    /// time: within the coarsest clock of a file system, and what the clocks of two computers differ by.
    pub fn changed_just_now(&self) -> bool {
        let Some((_, opened, _)) = &self.file else {
            return false;
        };
        match opened
            .modified()
            .map(|at| SystemTime::now().duration_since(at))
        {
            Some(Ok(age)) => age < JUST_NOW,
            Some(Err(ahead)) => ahead.duration() < JUST_NOW,
            None => false,
        }
    }

    /// Reads what `fingerprint` was made of once more: within the resolution of a clock a file changes
    /// without another time.
    ///
    /// # Errors
    /// [`ErrorKind::Growing`] when it is something else now.
    pub fn check_fingerprint(&self, fingerprint: &str) -> Result<(), SourceError> {
        if self.file.is_none() {
            return Ok(());
        }
        match super::fingerprint(self.bytes()) {
            Ok(now) if now == fingerprint => Ok(()),
            Ok(_) => Err(SourceError::new(
                ErrorKind::Growing,
                "the file changed while it was read: run again when it is complete",
            )),
            Err(error) => Err(SourceError::new(ErrorKind::Io, error.to_string())),
        }
    }
}

/// Opens a regular file. An empty one opens: [`super::identify`] says what to do about it.
///
/// # Errors
/// [`SourceError`] of kind `not-found`, `permission`, `is-directory`, `unsupported` (a pipe, socket or
/// device: never opened for reading) or `io`.
pub fn open(path: &Path) -> Result<Source, SourceError> {
    let found = fs::metadata(path).map_err(|e| SourceError::from_io(&e, path, "looking at it"))?;
    open_found(path, &found)
}

/// As [`open`], for a caller that just looked at it and found `found`.
///
/// # Errors
/// As [`open`].
pub fn open_found(path: &Path, found: &Metadata) -> Result<Source, SourceError> {
    require_regular(found)?;
    let file = platform::open(path).map_err(|e| SourceError::from_io(&e, path, "opening it"))?;
    let source = opened(path, file)?;
    // What was opened may not be what was looked at.
    let same = |(_, state, _): &(PathBuf, State, Metadata)| state.same_file(&State::of(found));
    match source.file.as_ref().is_some_and(same) {
        true => Ok(source),
        false => Err(SourceError::new(
            ErrorKind::Growing,
            "another file took its place while it was looked at: run again",
        )),
    }
}

/// Opens what a directory just called a regular file, and looks at it once it is open: one question less to a
/// server. A link that took its place is not followed where the system can refuse that; `None` then.
///
/// # Errors
/// As [`open`].
pub fn open_listed(path: &Path) -> Result<Option<Source>, SourceError> {
    match platform::open_itself(path) {
        Ok(Some(file)) => opened(path, file).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(SourceError::from_io(&error, path, "opening it")),
    }
}

fn opened(path: &Path, file: fs::File) -> Result<Source, SourceError> {
    let found = file
        .metadata()
        .map_err(|e| SourceError::from_io(&e, path, "looking at it"))?;
    require_regular(&found)?;
    let reader = FileReader::of_len(file, found.len());
    Ok(Source {
        info: SourceInfo {
            size: Some(reader.len()),
            modified: modified(&found),
            ..SourceInfo::of_path(path)
        },
        bytes: Box::new(reader),
        file: Some((path.to_owned(), State::of(&found), found)),
        since: Instant::now(),
    })
}

fn require_regular(found: &Metadata) -> Result<(), SourceError> {
    if found.is_dir() {
        return Err(SourceError::directory());
    }
    if !found.is_file() {
        let what = platform::special(found.file_type());
        return Err(SourceError::new(
            ErrorKind::Unsupported,
            format!("{what}, not a file: pass the dump as a file, or through standard input as -"),
        ));
    }
    Ok(())
}

fn modified(found: &Metadata) -> Option<i64> {
    let time = found.modified().ok()?;
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs())
            .ok()
            .and_then(i64::checked_neg),
    }
}

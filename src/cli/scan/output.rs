//! Where records go: standard output, or a file that bears its name only when it is complete.
//!
//! Until then it has a name that nobody can guess, in the same folder, and was made there: no link is followed.
//! A second program that writes to the same name is refused. A device or a pipe (`/dev/null`, `/dev/stdout`, a FIFO)
//! is written to as it is: giving its name to a file would take it away from everybody else.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use crate::scan::Writeback;
use crate::source::{FileKind, identify, platform};

/// Bytes after which what was written is moved to the disk.
const PIECE: usize = 8 << 20;

/// Bytes of a file that say what it is.
const BEGINNING: u64 = 64 * 1024;

/// A place for records.
pub enum Output<'a> {
    /// Standard output.
    Standard(&'a mut dyn Write),
    /// A device or a pipe: what is written is there at once.
    Device(BufWriter<File>),
    /// A file, under a temporary name beside it.
    File {
        /// The open file.
        file: BufWriter<Pushed>,
        /// Its name until it is complete.
        temporary: TempPath,
        /// Its name afterwards.
        path: PathBuf,
        /// Held while it is written.
        claim: Claim,
    },
}

impl<'a> Output<'a> {
    /// The file at `path`, or `standard`, which `-` means as well.
    ///
    /// # Errors
    /// Whatever the system says about the file; that another program writes it.
    pub fn new(path: Option<&Path>, standard: &'a mut dyn Write) -> io::Result<Output<'a>> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Output::Standard(standard));
        };
        if platform::is_stream(path) {
            let device = platform::open_stream(path)?;
            return Ok(Output::Device(BufWriter::new(device)));
        }
        if path.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "a directory: name a file in it",
            ));
        }
        platform::can_be_named(path)?;
        let claim = Claim::of(path)?;
        // Before the work and not behind it.
        platform::can_be_replaced(path)?;
        refuse_known(path)?;
        let (file, temporary) = unfinished(path)?.into_parts();
        Ok(Output::File {
            file: BufWriter::with_capacity(1 << 16, Pushed::new(file)),
            temporary,
            path: path.to_owned(),
            claim,
        })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn keep(mut self) -> io::Result<()> {
        self.flush()?;
        if let Output::File {
            file,
            temporary,
            path,
            claim,
        } = self
        {
            let mut file = file.into_inner().map_err(|e| e.into_error())?;
            file.writeback.finish()?;
            drop(file);
            give_name(temporary, &path)?;
            drop(claim);
        }
        Ok(())
    }

    /// Leaves the file under its temporary name: it is not whole. Gives that name.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn leave(mut self) -> io::Result<Option<PathBuf>> {
        self.flush()?;
        match self {
            Output::Standard(_) | Output::Device(_) => Ok(None),
            Output::File {
                temporary, path, ..
            } => Ok(Some(beside(&path, &kept(temporary)))),
        }
    }
}

/// Refuses to write over what is no output of a program like this: a dump, an archive, a store, an image. By its
/// content, as one file may have many names.
fn refuse_known(path: &Path) -> io::Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let mut begins = Vec::new();
    let len = File::open(path)
        .and_then(|file| file.take(BEGINNING).read_to_end(&mut begins))
        .map_err(|error| {
            // A rename over it asks for no right to the file itself.
            let message = format!(
                "what is there cannot be read ({error}), and is not written over: name another place"
            );
            io::Error::new(error.kind(), message)
        })?;
    let what = match identify(&begins, len as u64) {
        FileKind::Foreign(foreign) => foreign.what,
        FileKind::BrokenKernelSignature => "crash dump",
        kind if kind.is_dump() => "crash dump",
        _ => return Ok(()),
    };
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("a file is there that is not written over ({what}): name another place"),
    ))
}

/// Renames a complete file, which stays where it is when that fails.
fn give_name(temporary: TempPath, path: &Path) -> io::Result<()> {
    let kept = kept(temporary);
    let target = platform::exact_folder(folder_of(path)).join(name_of(path)?);
    platform::rename(&kept, &target).map_err(|error| {
        let message = format!(
            "{}: {error}; everything is in {}",
            path.display(),
            beside(path, &kept).display()
        );
        io::Error::new(error.kind(), message)
    })
}

/// The file under its temporary name, which is not deleted whatever the system says.
fn kept(temporary: TempPath) -> PathBuf {
    match temporary.keep() {
        Ok(path) => path,
        Err(mut failed) => {
            failed.path.disable_cleanup(true);
            failed.path.to_path_buf()
        }
    }
}

/// The temporary file of `path` as a person would name it, who named that.
fn beside(path: &Path, temporary: &Path) -> PathBuf {
    match temporary.file_name() {
        Some(name) => path.with_file_name(name),
        None => temporary.to_owned(),
    }
}

/// A new file in the folder of `path`, with a name made from its own that nobody can guess.
///
/// # Errors
/// Whatever the system says.
fn unfinished(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut prefix = name_of(path)?.to_owned();
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    // As other programs' files: the umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // On Windows the library renames nothing whose path has more than 260 characters, unless it is a verbatim one.
    builder.tempfile_in(platform::exact_folder(folder_of(path)))
}

/// The right to write to a name: a locked file beside it, which goes away with it.
pub struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    fn of(path: &Path) -> io::Result<Claim> {
        let mut name = std::ffi::OsString::from(".");
        name.push(name_of(path)?);
        name.push(".lock");
        let lock = folder_of(path).join(name);
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            libc::O_NOFOLLOW | libc::O_NONBLOCK,
        );
        let file = options.open(&lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another run writes to this file now",
                ));
            }
            // Some file systems have no locks: the name that nobody can guess has to do.
            Err(fs::TryLockError::Error(_)) => {}
        }
        Ok(Claim { file, path: lock })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is held: who comes now makes a new one.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

fn name_of(path: &Path) -> io::Result<&std::ffi::OsStr> {
    path.file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file whose content goes to the disk piece by piece while more is written.
pub struct Pushed {
    file: Arc<File>,
    writeback: Writeback,
    /// Bytes written since the last piece.
    written: usize,
}

impl Pushed {
    fn new(file: File) -> Pushed {
        let file = Arc::new(file);
        Pushed {
            writeback: Writeback::new(Arc::clone(&file)),
            file,
            written: 0,
        }
    }
}

impl Write for Pushed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buf)?;
        self.written = self.written.saturating_add(written);
        if self.written >= PIECE {
            self.written = 0;
            self.writeback.push()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Write for Output<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Output::Standard(out) => out.write(buf),
            Output::Device(device) => device.write(buf),
            Output::File { file, .. } => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Standard(out) => out.flush(),
            Output::Device(device) => device.flush(),
            Output::File { file, .. } => file.flush(),
        }
    }
}

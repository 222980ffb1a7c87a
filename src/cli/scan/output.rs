//! Where records go: standard output, or a file that bears its name only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scan::Writeback;

/// Bytes after which what was written is moved to the disk.
const PIECE: usize = 8 << 20;

/// A place for records.
pub enum Output<'a> {
    /// Standard output.
    Standard(&'a mut dyn Write),
    /// A file, under a temporary name beside it.
    File {
        /// The open file.
        file: BufWriter<Pushed>,
        /// Its name until it is complete.
        temporary: PathBuf,
        /// Its name afterwards.
        path: PathBuf,
    },
}

impl<'a> Output<'a> {
    /// The file at `path`, or `standard`.
    ///
    /// # Errors
    /// Whatever the system says about the file.
    pub fn new(path: Option<&Path>, standard: &'a mut dyn Write) -> io::Result<Output<'a>> {
        let Some(path) = path else {
            return Ok(Output::Standard(standard));
        };
        let mut name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?
            .to_owned();
        name.push(".partial");
        let temporary = path.with_file_name(name);
        Ok(Output::File {
            file: BufWriter::with_capacity(1 << 16, Pushed::new(File::create(&temporary)?)),
            temporary,
            path: path.to_owned(),
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
        } = self
        {
            let mut file = file.into_inner().map_err(|e| e.into_error())?;
            file.writeback.finish()?;
            drop(file);
            fs::rename(temporary, path)?;
        }
        Ok(())
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
            Output::File { file, .. } => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Standard(out) => out.flush(),
            Output::File { file, .. } => file.flush(),
        }
    }
}

//! Where records go: standard output, or a file that bears its name only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A place for records.
pub enum Output<'a> {
    /// Standard output.
    Standard(&'a mut dyn Write),
    /// A file, under a temporary name beside it.
    File {
        /// The open file.
        file: BufWriter<File>,
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
            file: BufWriter::with_capacity(1 << 16, File::create(&temporary)?),
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
            file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
            fs::rename(temporary, path)?;
        }
        Ok(())
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

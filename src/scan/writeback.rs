//! Moves what is written to a file to the disk while more is written, so that the wait at the end is short. Knows
//! nothing of what is written.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A file that is written, and the thread that waits for the disk meanwhile.
pub struct Writeback {
    file: Arc<File>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Writeback {
    /// For what is written to `file`.
    pub fn new(file: Arc<File>) -> Writeback {
        Writeback {
            file,
            running: None,
        }
    }

    /// Moves what was written to the disk, unless that still goes on.
    ///
    /// # Errors
    /// What the system said to the last try.
    pub fn push(&mut self) -> io::Result<()> {
        if self.running.as_ref().is_some_and(|run| !run.is_finished()) {
            return Ok(());
        }
        self.wait()?;
        let file = Arc::clone(&self.file);
        // Without a thread it is done at the end.
        self.running = thread::Builder::new()
            .name("writeback".to_owned())
            .spawn(move || file.sync_data())
            .ok();
        Ok(())
    }

    /// Waits until everything that was written is on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&mut self) -> io::Result<()> {
        self.wait()?;
        self.file.sync_all()
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.running.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // A panic of the thread: the last wait is the one that counts.
            Some(Err(_)) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_written_while_the_disk_is_waited_for_is_there_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = Arc::new(File::create(&path).unwrap());
        let mut writeback = Writeback::new(Arc::clone(&file));
        let mut expected = Vec::new();
        for n in 0..64u8 {
            let piece = vec![n; 4096];
            file.as_ref().write_all(&piece).unwrap();
            writeback.push().unwrap();
            expected.extend(piece);
        }
        writeback.finish().unwrap();
        assert!(writeback.running.is_none());
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}

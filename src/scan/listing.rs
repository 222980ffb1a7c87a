//! Lists directories side by side: on a share each listing waits for the server several times, and a server that
//! stops answering holds up its own directories only.
//!
//! Threads are not scoped, as in the pool: a listing in a dead mount cannot be ended, only left behind. No
//! walker that is a library can leave one behind; that is why this is ours.

use std::ffi::OsString;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::platform;
use super::pulse::Pulse;
use crate::knowledge::wer_report;
use crate::source::Folder;
use crate::source::platform::is_listed_offline;

/// Most listings at once.
const THREADS: usize = 16;
/// How often listings that may not come back are looked at.
const TICK: Duration = Duration::from_millis(100);

/// One entry of a directory.
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is, or why that cannot be told.
    pub kind: Result<FileType, String>,
    /// Its number on its file system, where the directory tells it.
    pub number: Option<u64>,
    /// Its content is not on the disk, where the directory tells that.
    pub elsewhere: bool,
}

/// What became of one listing.
#[derive(Default)]
pub struct Listing {
    /// What is there, in the order of the file system.
    pub entries: Vec<Entry>,
    /// A root that is no directory.
    pub itself: Option<Entry>,
    /// Why it is not whole.
    pub error: Option<io::Error>,
    /// What lies beside its dumps.
    pub folder: Arc<Folder>,
}

struct Request {
    number: u64,
    path: PathBuf,
    is_root: bool,
}

/// One thread as its watcher sees it.
#[derive(Default)]
struct Slot {
    pulse: Pulse,
    /// The request in work. Who takes it answers it.
    at: Mutex<Option<u64>>,
}

impl Slot {
    fn take(&self) -> Option<u64> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.take()
    }
}

/// Threads that list directories, as many as there is work for.
pub struct Lister {
    requests: Sender<Request>,
    queue: Receiver<Request>,
    answer: Sender<(u64, Listing)>,
    answers: Receiver<(u64, Listing)>,
    slots: Vec<Arc<Slot>>,
    /// Longest wait for one answer of the system.
    limit: Duration,
    asked: u64,
    waiting: usize,
}

impl Lister {
    /// Nothing asked yet. A system call that takes longer than `limit` is given up.
    pub fn new(limit: Duration) -> Lister {
        let (requests, queue) = unbounded();
        let (answer, answers) = unbounded();
        Lister {
            requests,
            queue,
            answer,
            answers,
            slots: Vec::new(),
            limit,
            asked: 0,
            waiting: 0,
        }
    }

    /// Asks for the listing of a directory and gives its number. A root may be something else.
    pub fn ask(&mut self, path: PathBuf, is_root: bool) -> u64 {
        let number = self.asked;
        self.asked += 1;
        self.waiting += 1;
        let request = Request {
            number,
            path,
            is_root,
        };
        if self.slots.len() < THREADS.min(self.waiting) {
            self.spawn();
        }
        if self.slots.is_empty() {
            let listing = list(&request, &Pulse::default());
            let _ = self.answer.send((number, listing));
        } else {
            let _ = self.requests.send(request);
        }
        number
    }

    /// Listings asked for and not given yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Waits for a listing, whichever comes first; `None` when none is asked for.
    pub fn next(&mut self) -> Option<(u64, Listing)> {
        while self.waiting > 0 {
            let answer = match self.answers.recv_timeout(TICK) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => self.given_up(),
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            if let Some(answer) = answer {
                self.waiting -= 1;
                return Some(answer);
            }
        }
        None
    }

    fn spawn(&mut self) {
        let slot = Arc::new(Slot::default());
        let (queue, answer) = (self.queue.clone(), self.answer.clone());
        let own = Arc::clone(&slot);
        let spawned = thread::Builder::new()
            .name("scan-listing".to_owned())
            .spawn(move || work(&own, &queue, &answer));
        // Those that run do the work of one that does not.
        if spawned.is_ok() {
            self.slots.push(slot);
        }
    }

    /// The answer for a directory whose listing does not come back; its thread is left behind.
    fn given_up(&mut self) -> Option<(u64, Listing)> {
        let limit = self.limit;
        let index = self
            .slots
            .iter()
            .position(|slot| slot.pulse.waiting() > limit)?;
        let number = self.slots.swap_remove(index).take();
        self.spawn();
        let error = io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "listing it did not come back within {} s: is the file server there?",
                limit.as_secs()
            ),
        );
        let listing = Listing {
            error: Some(error),
            ..Listing::default()
        };
        Some((number?, listing))
    }
}

fn work(slot: &Slot, queue: &Receiver<Request>, answer: &Sender<(u64, Listing)>) {
    while let Ok(request) = queue.recv() {
        *slot.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.number);
        let listing = list(&request, &slot.pulse);
        // Nobody waits for the answer of a thread that was left behind.
        let Some(number) = slot.take() else { return };
        if answer.send((number, listing)).is_err() {
            return;
        }
    }
}

fn list(request: &Request, pulse: &Pulse) -> Listing {
    let path = &request.path;
    let mut listing = Listing::default();
    let listed = match request.is_root {
        true => pulse.during(|| itself(path)).and_then(|itself| {
            let is_directory = itself.is_none();
            listing.itself = itself;
            match is_directory {
                true => entries(path, pulse, &mut listing),
                false => Ok(()),
            }
        }),
        false => entries(path, pulse, &mut listing),
    };
    listing.error = listed.err();
    listing
}

fn entries(path: &Path, pulse: &Pulse, listing: &mut Listing) -> io::Result<()> {
    let mut folder = Folder::at(path);
    let mut entries = pulse.during(|| fs::read_dir(path))?;
    let mut failed = None;
    while let Some(entry) = pulse.during(|| entries.next()) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let name = entry.file_name();
        // Some file systems do not tell it in their listing: that asks them again.
        let kind = pulse.during(|| entry.file_type());
        let elsewhere = is_listed_offline(|| entry.metadata().ok());
        // What would have to be fetched is not read for the sake of a dump beside it.
        if kind.as_ref().is_ok_and(FileType::is_file) && !elsewhere {
            folder.add(&name, wer_report::is_part);
        }
        listing.entries.push(Entry {
            name,
            kind: kind.map_err(|error| error.to_string()),
            number: platform::entry_number(&entry),
            elsewhere,
        });
    }
    listing.folder = Arc::new(folder);
    failed.map_or(Ok(()), Err)
}

/// A root that is no directory, nor a link to one.
fn itself(path: &Path) -> io::Result<Option<Entry>> {
    let found = path.symlink_metadata()?;
    let is_directory = match found.file_type().is_symlink() {
        true => path.metadata()?.is_dir(),
        false => found.is_dir(),
    };
    Ok((!is_directory).then(|| Entry {
        name: OsString::new(),
        kind: Ok(found.file_type()),
        number: platform::FileStat::of(&found).file,
        elsewhere: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_listed_side_by_side_and_each_answered_once() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..40 {
            let folder = dir.path().join(n.to_string());
            fs::create_dir(&folder).unwrap();
            for file in 0..n {
                fs::write(folder.join(file.to_string()), "").unwrap();
            }
        }
        let mut lister = Lister::new(Duration::from_secs(60));
        let asked: Vec<u64> = (0..41)
            .map(|n| lister.ask(dir.path().join(n.to_string()), false))
            .collect();
        let mut counts = vec![None; 41];
        while let Some((number, listing)) = lister.next() {
            let index = asked.iter().position(|own| *own == number).unwrap();
            let count = (listing.error.is_none()).then_some(listing.entries.len());
            assert_eq!(counts[index].replace(count), None, "answered twice");
        }
        let counts: Vec<Option<usize>> = counts.into_iter().map(Option::unwrap).collect();
        let expected: Vec<Option<usize>> = (0..40).map(Some).chain([None]).collect();
        assert_eq!(counts, expected);
        assert!(lister.slots.len() <= THREADS);
    }

    #[test]
    fn a_listing_that_does_not_come_back_is_given_up_and_the_others_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let mut lister = Lister::new(Duration::from_millis(200));
        // A thread that waits for a system that never answers.
        let slot = Arc::new(Slot::default());
        let stuck = Arc::clone(&slot);
        thread::spawn(move || stuck.pulse.during(thread::park));
        *slot.at.lock().unwrap() = Some(0);
        lister.slots.push(slot);
        (lister.asked, lister.waiting) = (1, 1);
        lister.spawn();
        let other = lister.ask(dir.path().to_owned(), false);
        let (number, listing) = lister.next().unwrap();
        assert_eq!((number, listing.error.is_none()), (other, true));
        let (number, listing) = lister.next().unwrap();
        let error = listing.error.unwrap().to_string();
        assert!(
            number == 0 && error.contains("did not come back"),
            "{error}"
        );
        assert!(lister.next().is_none());
    }
}

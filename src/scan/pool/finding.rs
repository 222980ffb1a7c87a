//! The thread that finds files and queues them for the workers.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, TrySendError};

use super::GATHER;
use super::threads::Message;
use crate::scan::discover::{What, discover};
use crate::scan::pulse::Pulse;
use crate::scan::{Done, Item, Job, Outcome, Part};

/// The finding thread as its watcher sees it.
#[derive(Default)]
pub(super) struct Walking {
    pub(super) pulse: Pulse,
    pub(super) last: Mutex<PathBuf>,
}

/// Finds files until there are no more or the run is told to stop.
pub(super) fn find(
    job: &Job,
    walking: &Walking,
    items: &Sender<Item>,
    tokens: &Sender<()>,
    results: &Sender<Message>,
) {
    let mut number = 0u64;
    let (discovery, limit) = (&job.options.discovery, job.options.stuck);
    let walked = discover(discovery, limit, &walking.pulse, &mut |found| {
        if job.stop.load(Ordering::Relaxed) || tokens.send(()).is_err() {
            return ControlFlow::Break(());
        }
        walking
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&found.path);
        let found = found.unless_elsewhere(job.options.offline_files);
        let outcome = match found.what {
            What::File => None,
            What::Skipped(skip) => Some(Outcome::Skipped(skip)),
            What::Unreadable(message) => Some(Outcome::Unreadable(message)),
        };
        let sent = match outcome {
            None => hand_out(
                items,
                Item {
                    number,
                    path: found.path,
                    relative: found.relative,
                    file: found.file,
                    is_listed: found.is_listed,
                    folder: found.folder,
                    attempt: 0,
                },
            ),
            Some(outcome) => results
                .send(Message::Found(Done {
                    number,
                    path: found.path,
                    relative: found.relative,
                    stat: None,
                    outcome,
                    known: false,
                    part: Part::Whole,
                    date: false,
                    earlier: None,
                }))
                .is_ok(),
        };
        number += 1;
        match sent {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    let whole = walked.is_continue();
    let _ = results.send(Message::Listed(number, whole));
}

/// Queues a file for the workers, many at once where they are slower; false when there are none any more.
pub(super) fn hand_out(items: &Sender<Item>, item: Item) -> bool {
    match items.try_send(item) {
        Ok(()) => true,
        Err(TrySendError::Full(item)) => {
            thread::sleep(GATHER);
            items.send(item).is_ok()
        }
        Err(TrySendError::Disconnected(_)) => false,
    }
}

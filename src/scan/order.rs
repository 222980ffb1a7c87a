//! Hands results over in the order of discovery. Memory stays bounded: discovery runs ahead of the oldest
//! unfinished file by no more than a window, and what waits beyond a few MiB waits in an unnamed temporary file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Done, Outcome, Record};

/// Bytes of results that wait in memory.
const HELD: usize = 32 << 20;

/// Bytes that sort as paths are walked: component by component.
pub fn path_key(path: &Path) -> Vec<u8> {
    let mut key = Vec::new();
    for part in path.components() {
        // No file name holds a NUL, and nothing sorts before it.
        key.extend_from_slice(part.as_os_str().as_encoded_bytes());
        key.push(0);
    }
    key
}

/// Puts results in order, or lets them through as they come.
pub struct Order {
    sorted: bool,
    next: u64,
    waiting: BTreeMap<u64, VecDeque<Waiting>>,
    held: usize,
    limit: usize,
    spill: Option<File>,
    end: u64,
}

/// A result whose turn has not come.
enum Waiting {
    Here(Done),
    /// Its records lie in the file: offset and length in bytes.
    There(Done, u64, u64),
}

impl Order {
    /// An order; `sorted` by number, or none.
    pub fn new(sorted: bool) -> Order {
        Order {
            sorted,
            next: 0,
            waiting: BTreeMap::new(),
            held: 0,
            limit: HELD,
            spill: None,
            end: 0,
        }
    }

    /// Adds a result and gives those whose turn has come to `take`, one by one.
    ///
    /// # Errors
    /// Those of the temporary file, and those of `take`.
    pub fn add(
        &mut self,
        done: Done,
        take: &mut dyn FnMut(Done) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.sorted {
            return take(done);
        }
        let number = done.number;
        let waiting = match number == self.next {
            true => self.here(done),
            false => self.keep(done)?,
        };
        self.waiting.entry(number).or_default().push_back(waiting);
        while let Some(parts) = self.waiting.get_mut(&self.next) {
            let Some(part) = parts.pop_front() else {
                break;
            };
            let done = self.fetch(part)?;
            if done.part.ends() {
                self.waiting.remove(&self.next);
                self.next += 1;
            }
            take(done)?;
        }
        Ok(())
    }

    /// What is left when a run ends early, in order.
    pub fn rest(mut self) -> impl Iterator<Item = io::Result<Done>> {
        let waiting: Vec<Waiting> = std::mem::take(&mut self.waiting)
            .into_values()
            .flatten()
            .collect();
        waiting.into_iter().map(move |part| self.fetch(part))
    }

    fn here(&mut self, done: Done) -> Waiting {
        self.held += done.weight();
        Waiting::Here(done)
    }

    /// Keeps a result in memory while there is room, and in the file otherwise.
    fn keep(&mut self, mut done: Done) -> io::Result<Waiting> {
        if self.held.saturating_add(done.weight()) <= self.limit {
            return Ok(self.here(done));
        }
        let Outcome::Records(records) = &mut done.outcome else {
            return Ok(self.here(done));
        };
        let records = serde_json::to_vec(&std::mem::take(records))?;
        let file = match &mut self.spill {
            Some(file) => file,
            None => self.spill.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(&records)?;
        let (at, len) = (self.end, records.len() as u64);
        self.end += len;
        self.held += done.weight();
        Ok(Waiting::There(done, at, len))
    }

    fn fetch(&mut self, waiting: Waiting) -> io::Result<Done> {
        let (mut done, at, len) = match waiting {
            Waiting::Here(done) => {
                self.held = self.held.saturating_sub(done.weight());
                return Ok(done);
            }
            Waiting::There(done, at, len) => (done, at, len),
        };
        self.held = self.held.saturating_sub(done.weight());
        let file = self.spill.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(at))?;
        let records: Vec<Record> = serde_json::from_reader(io::BufReader::new(file.take(len)))?;
        done.outcome = Outcome::Records(records);
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::report::summary::Summary;
    use crate::scan::Part;
    use crate::source::{ErrorKind, SourceError, SourceInfo};
    use crate::triage::Engine;

    fn done(number: u64, part: Part, message: &str) -> Done {
        let info = SourceInfo::of_path(Path::new("a.dmp"));
        let error = SourceError::new(ErrorKind::Io, message);
        let summary = Summary::of(Engine::default().unreadable(&info, &error).report, None);
        Done {
            number,
            path: PathBuf::from("a.dmp"),
            relative: PathBuf::new(),
            stat: None,
            outcome: Outcome::Records(vec![Record {
                line: format!("line of {message}"),
                summary,
                is_full: true,
                facts: Some(vec![1, 2, 3]),
            }]),
            known: false,
            date: false,
            earlier: None,
            part,
        }
    }

    fn add(order: &mut Order, done: Done) -> Vec<Done> {
        let mut ready = Vec::new();
        order
            .add(done, &mut |done| {
                ready.push(done);
                Ok(())
            })
            .unwrap();
        ready
    }

    fn messages(done: &[Done]) -> Vec<String> {
        done.iter()
            .flat_map(|done| match &done.outcome {
                Outcome::Records(records) => records.clone(),
                _ => Vec::new(),
            })
            .map(|record| {
                assert_eq!(record.facts.as_deref(), Some([1, 2, 3].as_slice()));
                let message = record.summary.error.unwrap().message;
                assert_eq!(record.line, format!("line of {message}"));
                message
            })
            .collect()
    }

    #[test]
    fn results_come_in_their_order_in_memory_and_through_a_file() {
        for limit in [HELD, 0] {
            let mut order = Order::new(true);
            order.limit = limit;
            assert!(add(&mut order, done(2, Part::Whole, "2")).is_empty());
            assert!(add(&mut order, done(1, Part::First, "1a")).is_empty());
            let now = add(&mut order, done(0, Part::Whole, "0"));
            assert_eq!(messages(&now), ["0", "1a"]);
            let now = add(&mut order, done(1, Part::Next, "1b"));
            assert_eq!(messages(&now), ["1b"]);
            add(&mut order, done(4, Part::Whole, "4"));
            let now = add(&mut order, done(1, Part::Last, "1c"));
            assert_eq!(messages(&now), ["1c", "2"]);
            let rest: Vec<Done> = order.rest().map(Result::unwrap).collect();
            assert_eq!(messages(&rest), ["4"]);
        }
    }
}

//! Machines of a run of any size: so many dumps are held in memory, those beyond wait in an unnamed
//! temporary file until their machine's turn comes. The records are the same either way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::Fleet;
use super::machine::machine_key;
use crate::knowledge::inventory::Inventory;
use crate::report::records::MachineRecord;
use crate::report::summary::Summary;

/// Dumps held in memory: some tens of MiB.
const HELD: u64 = 20_000;

/// Machines and their dumps, in bounded memory but for twelve bytes a dump.
#[derive(Default)]
pub struct Machines {
    fleet: Fleet,
    added: u64,
    spool: Option<Spool>,
}

/// Summaries in a file.
struct Spool {
    file: BufWriter<File>,
    end: u64,
    /// Where the summaries of a machine lie: offset and packed length in bytes.
    places: BTreeMap<String, Vec<(u64, u32)>>,
}

impl Machines {
    /// Machines of which an inventory tells versions besides.
    pub fn with(inventory: Arc<Inventory>) -> Machines {
        Machines {
            fleet: Fleet::with(inventory),
            ..Machines::default()
        }
    }

    /// Counts one dump.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn add(&mut self, summary: Summary) -> io::Result<()> {
        self.add_beyond(summary, HELD)
    }

    fn add_beyond(&mut self, summary: Summary, held: u64) -> io::Result<()> {
        let Some(machine) = &summary.machine else {
            return Ok(());
        };
        self.added += 1;
        if self.added <= held {
            self.fleet.add(summary);
            return Ok(());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(Spool {
                file: BufWriter::new(tempfile::tempfile()?),
                end: 0,
                places: BTreeMap::new(),
            }),
        };
        spool.push(machine_key(&machine.name), &summary)
    }

    /// Gives each machine's record, by name.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn into_records(self) -> io::Result<Vec<MachineRecord>> {
        let mut fleet = self.fleet;
        let Some(mut spool) = self.spool else {
            return Ok(fleet.into_records());
        };
        spool.file.flush()?;
        let mut records: Vec<(String, MachineRecord)> = Vec::new();
        for (machine, places) in &spool.places {
            for place in places {
                fleet.add(read(spool.file.get_mut(), *place)?);
            }
            records.extend(fleet.take(machine).map(|record| (machine.clone(), record)));
        }
        // The others are in memory whole.
        records.extend(fleet.keyed_records());
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }
}

impl Spool {
    fn push(&mut self, machine: String, summary: &Summary) -> io::Result<()> {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut packed, summary)?;
        let packed = packed.finish()?;
        self.file.write_all(&packed)?;
        let len = u32::try_from(packed.len()).map_err(io::Error::other)?;
        self.places
            .entry(machine)
            .or_default()
            .push((self.end, len));
        self.end += u64::from(len);
        Ok(())
    }
}

fn read(file: &mut File, (at, len): (u64, u32)) -> io::Result<Summary> {
    file.seek(SeekFrom::Start(at))?;
    let packed = file.take(u64::from(len));
    Ok(serde_json::from_reader(io::BufReader::new(
        DeflateDecoder::new(packed),
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::SourceInfo;
    use crate::report::summary::MachineName;
    use crate::triage::Engine;

    /// A summary of a fixture, counted for `machine`, as if it were the crash number `n`.
    fn summary(machine: &str, n: u64) -> Summary {
        let bytes: Vec<u8> = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/dumps/server2008-x64-d1.dmp"
        ))
        .unwrap();
        let info = SourceInfo {
            path: format!("{machine}/{n}.dmp"),
            ..SourceInfo::default()
        };
        let report = Engine::default().triage(&bytes, &info);
        let mut summary = Summary::of(
            report,
            Some(MachineName {
                name: machine.to_owned(),
                source: "path".to_owned(),
            }),
        );
        summary.crash_id = Some(format!("c1:{n}"));
        summary
    }

    #[test]
    fn dumps_beyond_what_is_held_give_the_same_records() {
        let all: Vec<Summary> = (0..12)
            .map(|n| summary(["HOST1", "host1", "Host2", "ALONE"][n as usize % 4], n))
            .collect();
        let records = |held: u64| {
            let mut machines = Machines::default();
            for summary in &all {
                machines.add_beyond(summary.clone(), held).unwrap();
            }
            machines.into_records().unwrap()
        };
        let in_memory = records(u64::MAX);
        assert_eq!(in_memory.len(), 3);
        for held in [0, 1, 5, 11] {
            assert_eq!(records(held), in_memory, "{held} held");
        }
    }

    #[test]
    fn many_machines_have_the_records_that_each_has_alone() {
        let one = summary("HOST", 0);
        let mut machines = Machines::default();
        let mut alone = Vec::new();
        for n in 0..300 {
            let mut of = one.clone();
            of.machine.as_mut().unwrap().name = format!("HOST{:03}", n * 7 % 300);
            of.crash_id = Some(format!("c1:{n}"));
            let mut single = Machines::default();
            single.add(of.clone()).unwrap();
            alone.extend(single.into_records().unwrap());
            machines.add(of).unwrap();
        }
        alone.sort_by(|a, b| a.machine.name.cmp(&b.machine.name));
        assert_eq!(machines.into_records().unwrap(), alone);
    }
}

//! Machines of a run of any size: so many dumps are held in memory, what counts of those beyond waits in an unnamed
//! temporary file until their machine's turn comes. The records are the same either way.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use twox_hash::XxHash3_128;

use super::Fleet;
use super::machine::{Dumps, machine_key};
use super::member::Member;
use crate::knowledge::inventory::Inventory;
use crate::report::counted;
use crate::report::records::MachineRecord;
use crate::report::summary::Summary;

/// Dumps held in memory: some tens of MiB.
const HELD: u64 = 20_000;

/// Machines and their dumps, in bounded memory but for some forty bytes a dump.
#[derive(Default)]
pub struct Machines {
    fleet: Fleet,
    added: u64,
    spool: Option<Spool>,
}

/// What counts of dumps, in a file.
struct Spool {
    file: BufWriter<File>,
    end: u64,
    /// What is known of each machine's dumps in the file, by its key.
    machines: BTreeMap<String, Spooled>,
}

/// The dumps of one machine in the file.
#[derive(Default)]
struct Spooled {
    /// The least spelling of its name.
    name: String,
    /// The name is that of a dump or was given.
    named: bool,
    /// Where they lie: offset and length in bytes; and the crash, hashed.
    places: Vec<(u64, u32, [u8; 16])>,
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
        if summary.machine.is_none() {
            return Ok(());
        }
        self.added += 1;
        if self.added <= held {
            self.fleet.add(summary);
            return Ok(());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(Spool {
                file: BufWriter::with_capacity(1 << 20, tempfile::tempfile()?),
                end: 0,
                machines: BTreeMap::new(),
            }),
        };
        spool.push(summary)
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
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, owner) in owners(&fleet, &spool) {
            groups.entry(owner).or_default().push(key);
        }
        let mut records = Vec::with_capacity(groups.len());
        for (owner, keys) in groups {
            let mut all = Dumps::default();
            for key in keys {
                let mut own = fleet.take(&key).unwrap_or_default();
                if let Some(spooled) = spool.machines.remove(&key) {
                    own.is_called(&spooled.name);
                    for (at, len, _) in spooled.places {
                        let summary = read(spool.file.get_mut(), at, len)?;
                        own.members
                            .extend(Member::of(summary).map(|(_, member)| member));
                    }
                }
                if key == owner {
                    all.name = own.name;
                }
                all.members.append(&mut own.members);
            }
            records.push(all.record(fleet.inventory()));
        }
        Ok(records)
    }
}

/// For each machine the one that it is: see `Fleet::merged`, which does the same for dumps in memory.
fn owners(fleet: &Fleet, spool: &Spool) -> Vec<(String, String)> {
    // Of each machine: its name is guessed.
    let mut guessed: BTreeMap<&str, bool> = BTreeMap::new();
    let mut crashes: Vec<([u8; 16], &str)> = Vec::new();
    for (key, dumps) in fleet.machines() {
        let named = dumps.members.iter().any(|member| member.named);
        guessed.insert(key, !named);
        crashes.extend(dumps.members.iter().map(|m| (hash(&m.crash), key.as_str())));
    }
    for (key, spooled) in &spool.machines {
        *guessed.entry(key).or_insert(true) &= !spooled.named;
        crashes.extend(
            spooled
                .places
                .iter()
                .map(|(_, _, crash)| (*crash, key.as_str())),
        );
    }
    crashes.sort_unstable();
    crashes.dedup();
    // The one machine with a name of its own that had a crash of a guessed one; `None` when there were several.
    let mut named: HashMap<&str, Option<&str>> = HashMap::new();
    let is_guessed = |key: &str| guessed.get(key).copied().unwrap_or(true);
    for one in crashes
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|one| one.len() > 1)
    {
        for (_, owner) in one.iter().filter(|(_, key)| !is_guessed(key)) {
            for (_, key) in one.iter().filter(|(_, key)| is_guessed(key)) {
                named
                    .entry(key)
                    .and_modify(|known| *known = known.filter(|known| known == owner))
                    .or_insert(Some(owner));
            }
        }
    }
    let owner = |key: &str| named.get(key).copied().flatten().unwrap_or(key).to_owned();
    guessed
        .keys()
        .map(|key| ((*key).to_owned(), owner(key)))
        .collect()
}

fn hash(crash: &str) -> [u8; 16] {
    XxHash3_128::oneshot(crash.as_bytes()).to_le_bytes()
}

impl Spool {
    fn push(&mut self, summary: Summary) -> io::Result<()> {
        let packed = counted::pack(&summary);
        // One that was not analysed counts for none.
        let Some((name, member)) = Member::of(summary) else {
            return Ok(());
        };
        self.file.write_all(&packed)?;
        let len = u32::try_from(packed.len()).map_err(io::Error::other)?;
        let machine = self.machines.entry(machine_key(&name)).or_default();
        if machine.name.is_empty() || name < machine.name {
            machine.name = name;
        }
        machine.named |= member.named;
        machine.places.push((self.end, len, hash(&member.crash)));
        self.end += u64::from(len);
        Ok(())
    }
}

fn read(file: &mut File, at: u64, len: u32) -> io::Result<Summary> {
    file.seek(SeekFrom::Start(at))?;
    let mut packed = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(u64::from(len)).read_to_end(&mut packed)?;
    counted::unpack(&packed).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::SourceInfo;
    use crate::report::summary::MachineName;
    use crate::triage::{Engine, Request};

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
        let report = Engine::default().triage(&bytes, Request::new(&info)).report;
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
    fn a_place_with_a_crash_of_a_named_machine_is_that_machine_in_memory_and_in_the_file() {
        let mut all: Vec<Summary> = (0..9)
            .map(|n| summary(["HOST1", "PLACE", "HOST2"][n as usize % 3], n))
            .collect();
        for n in [0, 2, 3, 5, 6, 8] {
            all[n].machine.as_mut().unwrap().source = "dump".to_owned();
        }
        let records = |all: &[Summary], held: u64| {
            let mut machines = Machines::default();
            for summary in all {
                machines.add_beyond(summary.clone(), held).unwrap();
            }
            machines.into_records().unwrap()
        };
        let same = |all: &[Summary], machines: usize| {
            let in_memory = records(all, u64::MAX);
            assert_eq!(in_memory.len(), machines);
            for held in [0, 1, 4, 8] {
                assert_eq!(records(all, held), in_memory, "{held} held");
            }
        };
        same(&all, 3);
        // A crash of one named machine, then one of another as well.
        all[1].crash_id = all[0].crash_id.clone();
        same(&all, 2);
        all[4].crash_id = all[2].crash_id.clone();
        same(&all, 3);
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

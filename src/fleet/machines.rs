//! The machines of a run of any size: whose each dump is, and the record of every machine at the end.
//!
//! What counts of a dump waits as bytes until its machine's turn comes: a few dozen bytes a dump stay in memory, and
//! what is read at once is one machine's.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::thread;

use twox_hash::XxHash3_128;

use super::machine::record;
use super::member::Member;
use super::spool::{Place, Spool, Spooled};
use crate::knowledge::inventory::Inventory;
use crate::report::records::MachineRecord;
use crate::report::summary::Summary;

/// Threads that make the records of all machines at most.
const MOST_THREADS: usize = 8;
/// Machines that are no thread's worth.
const FEW: usize = 32;

/// Machines and their dumps.
#[derive(Default)]
pub struct Machines {
    /// By name in upper case: Windows compares computer names so.
    machines: BTreeMap<String, Dumps>,
    spool: Spool,
    inventory: Arc<Inventory>,
}

/// The dumps counted under one name.
#[derive(Default)]
struct Dumps {
    /// Of several spellings the least one: always the same.
    name: String,
    /// A dump holds the name, or it was given.
    named: bool,
    dumps: Vec<Dump>,
}

/// One dump.
struct Dump {
    place: Place,
    /// Its crash, hashed.
    crash: [u8; 16],
}

/// The dumps of one machine, under however many names.
struct Machine<'a> {
    name: &'a str,
    names: Vec<&'a Dumps>,
}

impl Machines {
    /// Machines of which an inventory tells versions besides.
    pub fn with(inventory: Arc<Inventory>) -> Machines {
        Machines {
            inventory,
            ..Machines::default()
        }
    }

    /// Counts one dump; one without a machine, or that was not analysed, counts for none.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn add(&mut self, summary: &Summary) -> io::Result<()> {
        let Some((name, member)) = Member::of(summary) else {
            return Ok(());
        };
        let packed = member.pack().map_err(io::Error::other)?;
        let place = self.spool.push(&packed)?;
        let machine = self.machines.entry(name.to_uppercase()).or_default();
        if machine.dumps.is_empty() || name < machine.name.as_str() {
            name.clone_into(&mut machine.name);
        }
        machine.named |= member.named;
        machine.dumps.push(Dump {
            place,
            crash: XxHash3_128::oneshot(member.crash.as_bytes()).to_le_bytes(),
        });
        Ok(())
    }

    /// Gives each machine's record, by name; by several threads where there are many: nothing else is left to do at
    /// the end of a scan.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn into_records(self) -> io::Result<Vec<MachineRecord>> {
        let spooled = self.spool.finish()?;
        let machines: Vec<Machine<'_>> = merged(&self.machines).into_values().collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = machines.len().div_ceil(threads.min(MOST_THREADS)).max(FEW);
        let (spooled, inventory) = (&spooled, &*self.inventory);
        thread::scope(|scope| {
            let mut shares = machines.chunks(share);
            let first = shares.next().unwrap_or_default();
            // Without a thread, its share is done here.
            let others: Vec<_> = shares
                .map(|share| {
                    let run = move || records(share, spooled, inventory);
                    let spawned = thread::Builder::new().spawn_scoped(scope, run);
                    (share, spawned.ok())
                })
                .collect();
            let mut all = records(first, spooled, inventory)?;
            for (share, thread) in others {
                let done = thread.and_then(|thread| thread.join().ok());
                all.extend(done.unwrap_or_else(|| records(share, spooled, inventory))?);
            }
            Ok(all)
        })
    }
}

/// The records of some machines.
fn records(
    machines: &[Machine<'_>],
    spooled: &Spooled,
    inventory: &Inventory,
) -> io::Result<Vec<MachineRecord>> {
    let mut bytes = Vec::new();
    let mut all = Vec::with_capacity(machines.len());
    for machine in machines {
        bytes.clear();
        let dumps = machine.names.iter().flat_map(|name| &name.dumps);
        let ranges: Vec<_> = dumps
            .map(|dump| spooled.read(dump.place, &mut bytes))
            .collect::<Result<_, _>>()?;
        let members: Vec<Member<'_>> = ranges
            .into_iter()
            .map(|range| Member::unpack(bytes.get(range).unwrap_or_default()))
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        all.push(record(machine.name, &members, inventory));
    }
    Ok(all)
}

/// The machines, those joined that are one: a name that only a dump's place gave is that of the machine whose own
/// name another dump of the very same crash holds. A place with dumps of two machines is nobody's.
fn merged(machines: &BTreeMap<String, Dumps>) -> BTreeMap<&str, Machine<'_>> {
    let owners = owners(machines);
    let mut merged: BTreeMap<&str, Machine<'_>> = BTreeMap::new();
    for (key, dumps) in machines {
        let owner = owners.get(key.as_str()).copied().unwrap_or(key);
        let into = merged.entry(owner).or_insert_with(|| Machine {
            name: machines.get(owner).map_or("", |own| &own.name),
            names: Vec::new(),
        });
        into.names.push(dumps);
    }
    merged
}

/// Of each guessed name the one machine with a name of its own that had a crash of it.
fn owners(machines: &BTreeMap<String, Dumps>) -> HashMap<&str, &str> {
    let named = machines.values().filter(|dumps| dumps.named).count();
    if named == 0 || named == machines.len() {
        return HashMap::new();
    }
    let mut crashes: Vec<([u8; 16], bool, &str)> = machines
        .iter()
        .flat_map(|(key, own)| own.dumps.iter().map(|d| (d.crash, own.named, key.as_str())))
        .collect();
    crashes.sort_unstable();
    crashes.dedup();
    // `None` where there were several.
    let mut found: HashMap<&str, Option<&str>> = HashMap::new();
    for one in crashes.chunk_by(|a, b| a.0 == b.0) {
        let (guessed, named) = one.split_at(one.partition_point(|(_, named, _)| !named));
        let owner = match named {
            [] => continue,
            [(.., only)] => Some(*only),
            _ => None,
        };
        for (.., key) in guessed {
            found
                .entry(key)
                .and_modify(|known| *known = known.filter(|known| Some(*known) == owner))
                .or_insert(owner);
        }
    }
    let single = |(key, owner): (_, Option<_>)| Some((key, owner?));
    found.into_iter().filter_map(single).collect()
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

    /// The records of dumps of which so many bytes are held in memory.
    fn records_of(all: &[Summary], held: usize) -> Vec<MachineRecord> {
        let mut machines = Machines {
            spool: Spool::holding(held),
            ..Machines::default()
        };
        for summary in all {
            machines.add(summary).unwrap();
        }
        machines.into_records().unwrap()
    }

    #[test]
    fn dumps_beyond_what_is_held_give_the_same_records() {
        let all: Vec<Summary> = (0..12)
            .map(|n| summary(["HOST1", "host1", "Host2", "ALONE"][n as usize % 4], n))
            .collect();
        let records = |held: usize| records_of(&all, held);
        let in_memory = records(usize::MAX);
        assert_eq!(in_memory.len(), 3);
        for held in [0, 1, 3000, 12_000] {
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
        let same = |all: &[Summary], machines: usize| {
            let in_memory = records_of(all, usize::MAX);
            assert_eq!(in_memory.len(), machines);
            for held in [0, 1, 3000, 12_000] {
                assert_eq!(records_of(all, held), in_memory, "{held} held");
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
            single.add(&of).unwrap();
            alone.extend(single.into_records().unwrap());
            machines.add(&of).unwrap();
        }
        alone.sort_by(|a, b| a.machine.name.cmp(&b.machine.name));
        assert_eq!(machines.into_records().unwrap(), alone);
    }
}

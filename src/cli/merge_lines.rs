//! Puts the output lines of several shards together: sorted by path, with the machines and the
//! counts of the whole. Holds an index in memory, never the lines.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use crate::bytes::make_room;
use crate::fleet::Machines;
use crate::knowledge::inventory::Inventory;
use crate::report::Report;
use crate::report::escape::visible;
use crate::report::json;
use crate::report::records::ScanRecord;
use crate::report::summary::{MachineName, Summary};
use crate::scan::{Tally, path_key};
use crate::source::path_from_bytes;
use crate::store::{self, Part};

use super::scan::output::Output;

/// Parts that are open at once: a process may open a thousand files.
const OPEN: usize = 256;
/// Longest line: a full report of many modules is far shorter.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Where a line is, and its place in the order.
struct Place {
    key: Vec<u8>,
    /// Members of one archive keep their order.
    number: usize,
    part: usize,
    start: u64,
    len: usize,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    source: Option<Source>,
    /// Of a file that was skipped (`--all-files`).
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    path: String,
    path_exact: Option<String>,
    container: Option<Container>,
}

#[derive(Deserialize)]
struct Container {
    path: String,
}

/// Writes the lines of all `parts` to `output`, or to `standard` where that is `-`.
///
/// # Errors
/// A line for a person.
pub fn run(
    output: &Path,
    parts: &[PathBuf],
    inventory: Inventory,
    standard: &mut dyn Write,
) -> Result<(), String> {
    let target = output.canonicalize().ok();
    if target.is_some() && parts.iter().any(|part| part.canonicalize().ok() == target) {
        let shown = visible(&output.to_string_lossy());
        return Err(format!("{shown}: is one of the parts: name another place"));
    }
    let mut places = Vec::new();
    let mut machines = Machines::with(Arc::new(inventory));
    let mut closings = Vec::new();
    for (part, path) in parts.iter().enumerate() {
        let shown = visible(&path.to_string_lossy());
        super::store::is_there(path)?;
        let scan =
            index(path, part, &mut places, &mut machines).map_err(|e| format!("{shown}: {e}"))?;
        closings.push(Part {
            path: path.clone(),
            scan,
        });
    }
    store::check(&closings).map_err(|error| error.to_string())?;
    super::store::refuse_inside(&closings, output, "--output")?;
    places.sort_by(|a, b| (&a.key, a.number).cmp(&(&b.key, b.number)));
    write(output, parts, &places, machines, &closings, standard)
        .map_err(|error| format!("--output: {}: {error}", visible(&output.to_string_lossy())))
}

/// Reads one part: notes where its lines are, and gives its closing record.
fn index(
    path: &Path,
    part: usize,
    places: &mut Vec<Place>,
    machines: &mut Machines,
) -> Result<ScanRecord, String> {
    // Its lines are read twice: opening a pipe would wait, and nothing can be read of one again.
    if !std::fs::metadata(path)
        .map_err(|e| e.to_string())?
        .is_file()
    {
        return Err("no file: the lines of a shard are one".to_owned());
    }
    let mut reader = BufReader::new(File::open(path).map_err(|e| e.to_string())?);
    let beginning = reader.fill_buf().map_err(|e| e.to_string())?;
    if beginning.starts_with(b"SQLite format 3\0") {
        return Err("a store: --db merges those, --output the lines of scans".to_owned());
    }
    let mut line = String::new();
    let mut start = 0u64;
    let mut reports = 0;
    let mut closing: Option<ScanRecord> = None;
    loop {
        line.clear();
        let read = Read::by_ref(&mut reader)
            .take(LONGEST)
            .read_line(&mut line)
            .map_err(|e| e.to_string())?;
        if read == 0 {
            break;
        }
        let bad = |e: serde_json::Error| format!("not the lines of a scan: {e}");
        let head: Head = serde_json::from_str(&line).map_err(bad)?;
        match (head.kind.as_str(), head.source) {
            ("report", Some(source)) => {
                // A skipped file's record counts for nothing.
                reports += u64::from(head.reason.is_none());
                if let Some(summary) = summary(&line) {
                    machines.add(&summary).map_err(|e| e.to_string())?;
                }
                places.push(Place {
                    key: key(source),
                    number: places.len(),
                    part,
                    start,
                    len: read,
                });
            }
            ("scan", _) => closing = Some(serde_json::from_str(&line).map_err(bad)?),
            // Machines are worked out anew: one may have dumps in several parts.
            _ => {}
        }
        start += read as u64;
    }
    let closing = closing.ok_or("its run did not end: run that shard again")?;
    if closing.complete && closing.reports != reports {
        return Err(format!(
            "{reports} records, and its run wrote {}: run that shard again",
            closing.reports
        ));
    }
    Ok(closing)
}

/// The summary in a line, or of the whole report in it.
fn summary(line: &str) -> Option<Summary> {
    #[derive(Deserialize)]
    struct Named {
        machine: Option<MachineName>,
    }
    serde_json::from_str(line).ok().or_else(|| {
        // Read twice: together, what neither knows would be held in memory.
        let report: Report = serde_json::from_str(line).ok()?;
        let named: Named = serde_json::from_str(line).ok()?;
        Some(Summary::of(report, named.machine))
    })
}

/// The place of a record: that of the file that was found.
fn key(source: Source) -> Vec<u8> {
    let exact = source
        .path_exact
        .and_then(|text| BASE64.decode(text).ok())
        .and_then(|bytes| path_from_bytes(&bytes));
    let path = exact.unwrap_or_else(|| {
        let found = source.container.map(|container| container.path);
        PathBuf::from(found.unwrap_or(source.path))
    });
    path_key(&path)
}

fn write(
    output: &Path,
    parts: &[PathBuf],
    places: &[Place],
    machines: Machines,
    closings: &[Part],
    standard: &mut dyn Write,
) -> io::Result<()> {
    let mut out = Output::new(Some(output), standard)?;
    let mut files: HashMap<usize, File> = HashMap::new();
    let mut line = Vec::new();
    for place in places {
        let Some(path) = parts.get(place.part) else {
            continue;
        };
        if files.len() >= OPEN && !files.contains_key(&place.part) {
            files.clear();
        }
        let file = match files.entry(place.part) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => closed.insert(File::open(path)?),
        };
        make_room(&mut line, place.len);
        file.seek(SeekFrom::Start(place.start))?;
        file.read_exact(&mut line)?;
        out.write_all(&line)?;
    }
    let machines = machines.into_records()?;
    for machine in &machines {
        json::write_compact(&mut out, machine)?;
        out.write_all(b"\n")?;
    }
    let mut tally = Tally::default();
    for part in closings {
        tally.merge(&part.scan);
    }
    if let Some(first) = closings.first() {
        let scan = tally.record(
            first.scan.tool.clone(),
            first.scan.roots.clone(),
            None,
            true,
            machines.len() as u64,
        );
        json::write_compact(&mut out, &scan)?;
        out.write_all(b"\n")?;
    }
    out.keep()
}

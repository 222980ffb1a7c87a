//! Drawings of memory: the addresses of a fault in their order, and a list with its tear where the dump shows it.

use serde::Serialize;

use crate::facts::FindingKind;
use crate::knowledge::bugchecks::Access;
use crate::report::escape::visible;
use crate::report::memory::{PROCESSOR_STATE, SPINNING};
use crate::report::model::{MemoryFinding, Report};
use crate::report::text;

/// Points of a strip at most.
const POINTS: usize = 20;
/// Nodes of a list at most.
const NODES: usize = 4;
/// Distance from the top of one node to that of the next.
const STEP: usize = 78;
/// Height of a node.
const HEIGHT: usize = 34;
/// What is below is no address of a list entry: a null pointer, or a small number in its place.
const LOWEST: u64 = 0x100_0000;

/// One address.
#[derive(Debug, Serialize)]
pub struct Point {
    /// As text.
    pub address: String,
    /// What lies there.
    pub label: String,
    /// `place`, `pointer` or `block`.
    pub kind: &'static str,
    /// The distance from the address before, where it is far.
    pub gap: Option<String>,
}

/// The addresses that play a part in the fault, ascending.
pub fn strip(report: &Report) -> Vec<Point> {
    let mut points: Vec<(u64, String, &'static str, String)> = Vec::new();
    let mut add = |hex: &str, kind, label: String| {
        let digits = hex.trim_start_matches("0x");
        if let Ok(value) = u64::from_str_radix(digits, 16) {
            points.push((value, hex.to_owned(), kind, label));
        }
    };
    if let Some(fault) = &report.fault {
        if let Some(ip) = &fault.instruction_pointer {
            let place = fault.location.as_ref().map(text::place);
            let place = place.map(|place| format!(", {place}")).unwrap_or_default();
            add(
                &ip.0,
                "place",
                format!("the instruction that faulted{place}"),
            );
        }
        if let Some(address) = &fault.address {
            let verb = match fault.access.as_deref().and_then(Access::named) {
                Some(Access::Read) => "that was read",
                Some(Access::Write) => "that was written",
                Some(Access::Execute) => "that was executed",
                None => "that was referenced",
            };
            add(&address.0, "pointer", format!("the address {verb}"));
        }
        if let Some(effective) = fault.effective_address.as_ref().filter(|e| !e.agrees) {
            add(
                &effective.value.0,
                "pointer",
                "where the registers lead".to_owned(),
            );
        }
        let instruction = fault.instruction.as_deref().unwrap_or_default();
        let operands: Vec<&str> = instruction
            .split(|c: char| !c.is_ascii_alphanumeric())
            .collect();
        for (name, value) in fault.registers.iter().flat_map(|all| &all.0) {
            if operands.contains(&name.as_str()) {
                add(
                    &value.0,
                    "pointer",
                    format!("register {name} of the instruction"),
                );
            }
        }
    }
    let sp = report
        .stack
        .as_ref()
        .and_then(|stack| stack.frames.first()?.stack_pointer.as_ref());
    if let Some(sp) = sp {
        add(&sp.0, "place", "the stack pointer".to_owned());
    }
    for finding in report.memory_findings.iter().flatten().take(POINTS) {
        let own = !matches!(finding.kind.as_str(), PROCESSOR_STATE | SPINNING);
        if let Some(address) = finding.address.as_ref().filter(|_| own) {
            let tag = finding.tag.as_deref();
            let tag = tag.map(|tag| format!(", tagged {tag}")).unwrap_or_default();
            let label = format!("{}{tag}", finding.kind.replace('-', " "));
            add(&address.0, "block", label);
        }
    }
    points.sort_by(|a, b| (a.0, a.2).cmp(&(b.0, b.2)));
    let mut out: Vec<(u64, Point)> = Vec::new();
    for (value, address, kind, label) in points {
        let label = visible(&label);
        if let Some((last, point)) = out.last_mut()
            && *last == value
        {
            if !point.label.contains(&label) {
                point.label.push_str("; ");
                point.label.push_str(&label);
            }
            if kind == "pointer" {
                point.kind = kind;
            }
            continue;
        }
        let gap = out.last().map(|(last, _)| distance(value - last));
        let point = Point {
            address: visible(&address),
            label,
            kind,
            gap,
        };
        out.push((value, point));
        if out.len() == POINTS {
            break;
        }
    }
    // One address alone is no drawing.
    match out.len() {
        0 | 1 => Vec::new(),
        _ => out.into_iter().map(|(_, point)| point).collect(),
    }
}

/// A distance in the largest unit that gives a whole number above nine.
fn distance(bytes: u64) -> String {
    let units = [("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10)];
    // Addresses of programs and of the system lie at the two ends.
    if bytes >> 50 > 0 {
        return "in another part of memory".to_owned();
    }
    let fits = units.iter().find(|(_, shift)| bytes >> shift > 9);
    match fits {
        Some((unit, shift)) => format!("{} {unit} further", bytes >> shift),
        None => format!("{bytes:#x} bytes further"),
    }
}

/// A list, node by node, and where it is torn.
#[derive(Debug, Serialize)]
pub struct List {
    /// What the dump shows, in words.
    pub caption: String,
    /// Height of the drawing.
    pub height: usize,
    /// From the first node on.
    pub nodes: Vec<Node>,
}

/// One node of a drawing 320 wide.
#[derive(Debug, Serialize)]
pub struct Node {
    /// The address, or a word.
    pub label: String,
    /// `link` or `torn`, what leads here; empty for the first.
    pub link: &'static str,
    /// Where the link begins, its tip's base, its word, the node, the node's text.
    pub from: usize,
    /// Base of the arrow's tip.
    pub tip: usize,
    /// Line of the word beside the link.
    pub word: usize,
    /// Top of the node.
    pub y: usize,
    /// Line of the node's text.
    pub text: usize,
}

/// The tear that the dump's memory shows, drawn; `None` where it shows none.
pub fn list(report: &Report) -> Option<List> {
    let kinds = [
        FindingKind::TornList.as_str(),
        FindingKind::OverwrittenList.as_str(),
        FindingKind::UnlinkedEntry.as_str(),
        FindingKind::OverwrittenEntry.as_str(),
        SPINNING,
    ];
    let findings = report.memory_findings.as_deref()?;
    let own = |kind| move |f: &&MemoryFinding| f.kind == kind && !f.list.is_empty();
    let finding = kinds
        .into_iter()
        .find_map(|kind| findings.iter().find(own(kind)))?;
    let mut labels: Vec<String> = Vec::new();
    for label in finding.list.iter().filter(|at| **at >= LOWEST) {
        let label = format!("{label:#x}");
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    if let [only] = labels.as_slice() {
        labels = vec!["the queue".to_owned(), only.clone()];
    }
    if labels.len() < 2 {
        return None;
    }
    labels.truncate(NODES);
    let last = labels.len() - 1;
    let nodes: Vec<Node> = labels
        .into_iter()
        .enumerate()
        .map(|(index, label)| {
            let y = 2 + index * STEP;
            Node {
                label,
                link: match index {
                    0 => "",
                    _ if index == last => "torn",
                    _ => "link",
                },
                from: y.saturating_sub(STEP - HEIGHT),
                tip: y.saturating_sub(9),
                word: y.saturating_sub(18),
                y,
                text: y + 22,
            }
        })
        .collect();
    Some(List {
        caption: visible(&text::words::sentence(&finding.detail))
            .trim_end_matches('.')
            .to_owned(),
        height: last * STEP + HEIGHT + 4,
        nodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_said_in_a_unit_that_can_be_read() {
        assert_eq!(distance(0x40), "0x40 bytes further");
        assert_eq!(distance(40 << 10), "40 KB further");
        assert_eq!(distance(3 << 43), "24 TB further");
    }
}

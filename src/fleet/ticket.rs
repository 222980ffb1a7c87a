//! Tickets about machines and buckets: what they say, and the payloads that ticket systems take when
//! one is created. Built as JSON values; nothing is sent.
//!
//! Fields: Jira Cloud REST API 3 "Create issue" with an Atlassian document as description;
//! ServiceNow Table API on `incident`; GLPI REST API "Add item" on `Ticket`.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::bucket::BucketRow;
use crate::knowledge::hotfix::KB943650;
use crate::report::escape::visible;
use crate::report::records::MachineRecord;
use crate::report::text::words;
use crate::verdict::Verdict;

/// Longest `summary` that Jira takes, in characters.
const JIRA_SUMMARY: usize = 255;
/// Longest `short_description` of a ServiceNow task, in characters.
const SERVICENOW_SHORT: usize = 160;
/// Longest `description` of a ServiceNow task, in characters.
const SERVICENOW_TEXT: usize = 4000;
/// Dumps that a ticket names.
const DUMPS: usize = 20;
/// Suspects that a ticket names.
const SUSPECTS: usize = 3;
/// Longest line of an Atlassian document, in characters: paths of dumps can be long.
const JIRA_LINE: usize = 1000;
/// Text of an Atlassian document, in characters: Jira takes 32,767.
const JIRA_TEXT: usize = 30_000;
/// Longest `name` of a GLPI ticket, in characters.
const GLPI_NAME: usize = 255;

/// A system that takes tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketSystem {
    /// Jira Cloud.
    Jira,
    /// ServiceNow.
    ServiceNow,
    /// GLPI.
    Glpi,
}

/// What one ticket says. All text is harmless: controls are made visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ticket {
    /// Stable: the same machine or bucket gives the same key in every run.
    pub key: String,
    /// One line.
    pub title: String,
    /// The machine, where it is about one.
    pub machine: Option<String>,
    /// The word of the report.
    pub verdict: Option<Verdict>,
    /// Label and value.
    pub facts: Vec<(String, String)>,
    /// Evidence, a line each.
    pub evidence: Vec<String>,
    /// Dumps by path.
    pub dumps: Vec<String>,
    /// What to do, in order.
    pub actions: Vec<String>,
    /// What can be sent to whoever runs the machine, where something is asked of them.
    pub customer: Vec<String>,
}

/// What the site wants of a payload.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Jira: key of the project.
    pub project: String,
    /// Jira: name of the issue type.
    pub issue_type: String,
    /// Jira: name of the priority. ServiceNow: 1 to 3 for impact and urgency; GLPI: 1 to 5.
    pub priority: Option<String>,
    /// ServiceNow: assignment group. GLPI: number of the group.
    pub group: Option<String>,
}

impl Ticket {
    /// The ticket about a machine. `actions` are those of the report on its telling dump.
    pub fn of_machine(record: &MachineRecord, actions: Vec<String>) -> Ticket {
        let verdict = record.hotfix.verdict;
        let machine = visible(&record.machine.name);
        let mut facts = vec![
            ("Verdict".to_owned(), verdict.as_str().replace('-', " ")),
            (
                "Match".to_owned(),
                record.hotfix.matching.status.as_str().replace('-', " "),
            ),
            (
                "Hotfix".to_owned(),
                format!(
                    "{} ({})",
                    record
                        .hotfix
                        .applicability
                        .status
                        .as_str()
                        .replace('-', " "),
                    visible(&record.hotfix.applicability.reason)
                ),
            ),
            (
                "Crashes".to_owned(),
                format!(
                    "{} in {}",
                    record.dumps.crashes,
                    words::counted(record.dumps.count, "dump")
                ),
            ),
        ];
        if let Some(dump) = &record.hotfix.matching.decided_by {
            facts.push(("Decided by".to_owned(), visible(dump)));
        }
        let codes: Vec<String> = record
            .stop_codes
            .iter()
            .map(|stop| format!("{} ({})", stop.code.0, stop.crashes))
            .collect();
        facts.push(("Stop codes".to_owned(), codes.join(", ")));
        for suspect in record.shared_suspects.iter().take(SUSPECTS) {
            let crashes = words::counted(suspect.crashes, "crash");
            facts.push((
                "Shared suspect".to_owned(),
                format!("{} (laid to it: {crashes})", visible(&suspect.module)),
            ));
        }
        for (label, time) in [
            ("First crash", &record.first_crash),
            ("Last crash", &record.last_crash),
        ] {
            if let Some(time) = time {
                facts.push((label.to_owned(), time.clone()));
            }
        }
        let mut dumps: Vec<String> = Vec::new();
        for path in record
            .hotfix
            .matching
            .evidence
            .iter()
            .flat_map(|e| &e.dumps)
        {
            let path = visible(path);
            if !dumps.contains(&path) {
                dumps.push(path);
            }
        }
        if let Some(more) = dumps.len().checked_sub(DUMPS).filter(|more| *more > 0) {
            dumps.truncate(DUMPS);
            dumps.push(format!("and {more} more"));
        }
        Ticket {
            key: key(
                "machine",
                &record.machine.name.to_uppercase(),
                &record.hotfix.kb,
            ),
            title: format!(
                "{machine}: {} {} for {}",
                record.hotfix.kb,
                verdict.as_str().replace('-', " "),
                match record.dumps.crashes {
                    1 => "a crash or hang",
                    _ => "repeated crashes",
                }
            ),
            machine: Some(machine),
            verdict: Some(verdict),
            facts,
            evidence: record
                .hotfix
                .matching
                .evidence
                .iter()
                .map(|e| {
                    let sign = if e.supports { "for" } else { "against" };
                    format!("{sign}, {}: {}", e.strength, visible(&e.summary))
                })
                .collect(),
            dumps,
            actions: actions.iter().map(|action| visible(action)).collect(),
            customer: customer(verdict),
        }
    }

    /// The ticket about a bucket.
    pub fn of_bucket(row: &BucketRow, kb: &str, actions: Vec<String>) -> Ticket {
        let name = visible(row.name.as_ref().unwrap_or(&row.key));
        let mut facts = vec![
            ("Bucket".to_owned(), visible(&row.key)),
            (
                "Crashes".to_owned(),
                format!(
                    "{} on {}",
                    row.crashes,
                    words::counted(row.machines, "machine")
                ),
            ),
        ];
        for (label, time) in [
            ("First seen", &row.first_seen),
            ("Last seen", &row.last_seen),
        ] {
            if let Some(time) = time {
                facts.push((label.to_owned(), time.clone()));
            }
        }
        let verdicts: Vec<String> = row
            .verdicts
            .iter()
            .map(|(verdict, n)| format!("{n} {}", verdict.replace('-', " ")))
            .collect();
        facts.push((format!("Verdicts about {kb}"), verdicts.join(", ")));
        Ticket {
            key: key("bucket", &row.key, kb),
            title: format!(
                "{name}: {} on {}",
                words::counted(row.crashes, "crash"),
                words::counted(row.machines, "machine")
            ),
            machine: None,
            verdict: None,
            facts,
            evidence: Vec::new(),
            dumps: vec![visible(&row.example)],
            actions: actions.iter().map(|action| visible(action)).collect(),
            customer: Vec::new(),
        }
    }

    /// The keys that a machine or a bucket of this name has.
    pub fn keys(name: &str, kb: &str) -> [String; 2] {
        [
            key("machine", &name.to_uppercase(), kb),
            key("bucket", name, kb),
        ]
    }

    /// What changes when the text does: the same digest is the same ticket.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.title.as_bytes());
        hash.update(self.plain().as_bytes());
        format!("{:x}", hash.finalize())
    }

    /// The payload that adds what is known now to the ticket that `target` has already.
    pub fn update(&self, target: TicketSystem) -> Value {
        match target {
            TicketSystem::Jira => json!({
                "update": { "comment": [{ "add": { "body": self.atlassian() } }] }
            }),
            TicketSystem::ServiceNow => json!({
                "work_notes": cut(&self.plain(), SERVICENOW_TEXT),
                "correlation_id": self.key,
            }),
            TicketSystem::Glpi => json!({
                "input": { "itemtype": "Ticket", "content": self.html() }
            }),
        }
    }

    /// The payload that `target` takes.
    pub fn payload(&self, target: TicketSystem, wishes: &Wishes) -> Value {
        let number = |most: u64| {
            let priority = wishes
                .priority
                .as_deref()
                .and_then(|p| p.parse::<u64>().ok());
            priority.filter(|n| (1..=most).contains(n))
        };
        match target {
            TicketSystem::Jira => {
                let mut issue = json!({
                    "fields": {
                        "project": { "key": wishes.project },
                        "issuetype": { "name": wishes.issue_type },
                        "summary": cut(&self.title, JIRA_SUMMARY),
                        "description": self.atlassian(),
                        "labels": ["kbtriage", self.key],
                    }
                });
                let fields = issue.get_mut("fields").and_then(Value::as_object_mut);
                if let (Some(priority), Some(fields)) = (&wishes.priority, fields) {
                    fields.insert("priority".to_owned(), json!({ "name": priority }));
                }
                issue
            }
            TicketSystem::ServiceNow => {
                let mut incident = json!({
                    "short_description": cut(&self.title, SERVICENOW_SHORT),
                    "description": cut(&self.plain(), SERVICENOW_TEXT),
                    "category": "software",
                    "impact": number(3).unwrap_or(2).to_string(),
                    "urgency": number(3).unwrap_or(2).to_string(),
                    "correlation_id": self.key,
                    "correlation_display": "kbtriage",
                });
                if let (Some(group), Some(object)) = (&wishes.group, incident.as_object_mut()) {
                    object.insert("assignment_group".to_owned(), group.as_str().into());
                }
                if let (Some(machine), Some(object)) = (&self.machine, incident.as_object_mut()) {
                    object.insert("cmdb_ci".to_owned(), machine.as_str().into());
                }
                incident
            }
            TicketSystem::Glpi => {
                let mut ticket = json!({
                "input": {
                    "name": cut(&self.title, GLPI_NAME),
                    "content": self.html(),
                    // 1 is an incident; 3 is medium.
                    "type": 1,
                    "urgency": number(5).unwrap_or(3),
                    "impact": number(5).unwrap_or(3),
                    "externalid": self.key,
                }
                });
                let group = wishes.group.as_deref().and_then(|g| g.parse::<u64>().ok());
                let input = ticket.get_mut("input").and_then(Value::as_object_mut);
                if let (Some(group), Some(input)) = (group, input) {
                    input.insert("_groups_id_assign".to_owned(), group.into());
                }
                ticket
            }
        }
    }

    /// Lists under headings, those that have something.
    fn lists(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        [
            ("What to do", &self.actions),
            ("Text for whoever runs the machine", &self.customer),
            ("Evidence", &self.evidence),
            ("Dumps", &self.dumps),
        ]
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
    }

    fn plain(&self) -> String {
        let mut out = String::new();
        for (label, value) in &self.facts {
            out.push_str(&format!("{label}: {value}\n"));
        }
        for (heading, lines) in self.lists() {
            out.push_str(&format!("\n{heading}\n"));
            for line in lines {
                out.push_str(&format!("- {line}\n"));
            }
        }
        out
    }

    fn html(&self) -> String {
        let mut out = String::from("<ul>");
        for (label, value) in &self.facts {
            out.push_str(&format!("<li>{}: {}</li>", html(label), html(value)));
        }
        out.push_str("</ul>");
        for (heading, lines) in self.lists() {
            out.push_str(&format!("<p>{}</p><ul>", html(heading)));
            for line in lines {
                out.push_str(&format!("<li>{}</li>", html(line)));
            }
            out.push_str("</ul>");
        }
        out
    }

    /// An Atlassian document: text nodes hold text as it is.
    fn atlassian(&self) -> Value {
        let paragraph = |text: &str| json!({ "type": "paragraph", "content": [{ "type": "text", "text": text }] });
        let mut room = JIRA_TEXT;
        let mut list = |lines: &mut dyn Iterator<Item = String>| {
            let items: Vec<Value> = lines
                .map_while(|line| {
                    let line = cut(&line, JIRA_LINE.min(room));
                    room -= line.chars().count();
                    // A text node is never empty.
                    (!line.is_empty()).then_some(line)
                })
                .map(|line| json!({ "type": "listItem", "content": [paragraph(&line)] }))
                .collect();
            json!({ "type": "bulletList", "content": items })
        };
        let mut content = vec![list(
            &mut self
                .facts
                .iter()
                .map(|(label, value)| format!("{label}: {value}")),
        )];
        for (heading, lines) in self.lists() {
            let lines = list(&mut lines.iter().cloned());
            // A list is never empty either.
            if lines.pointer("/content/0").is_some() {
                content.push(json!({
                    "type": "heading",
                    "attrs": { "level": 3 },
                    "content": [{ "type": "text", "text": heading }],
                }));
                content.push(lines);
            }
        }
        json!({ "type": "doc", "version": 1, "content": content })
    }
}

/// What to ask of whoever runs a machine that may have the defect: a check that costs nothing and changes nothing.
fn customer(verdict: Verdict) -> Vec<String> {
    if verdict != Verdict::MayApply {
        return Vec::new();
    }
    let mut lines = vec![
        "This computer crashed in its network stack. A known defect of Windows Vista and Windows Server 2008 can \
         be the reason, but only while multicast forwarding is on. Please run these two commands as an \
         administrator; they show a setting and change nothing:"
            .to_owned(),
    ];
    let commands = KB943650.workaround.commands.iter();
    let show = commands.filter(|row| row.command.contains("show"));
    lines.extend(show.map(|row| row.command.to_owned()));
    lines.push("and send what they print, with the next file of C:\\Windows\\Minidump.".to_owned());
    lines
}

/// `kbtriage-` and 24 hex digits: fits labels and correlation ids, and holds no name.
fn key(kind: &str, name: &str, kb: &str) -> String {
    let mut hash = Sha256::new();
    for part in [kind, name, kb] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hex: String = hash
        .finalize()
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("kbtriage-{hex}")
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_longer_than_its_system_takes() {
        let ticket = Ticket {
            key: key("machine", "HOST", "KB943650"),
            title: "é".repeat(500),
            machine: Some("HOST".to_owned()),
            verdict: None,
            facts: Vec::new(),
            evidence: vec!["<b>".repeat(3000)],
            dumps: Vec::new(),
            actions: Vec::new(),
            customer: Vec::new(),
        };
        let length = |payload: &Value, at: &str| {
            payload
                .pointer(at)
                .and_then(Value::as_str)
                .map(|text| text.chars().count())
        };
        let wishes = Wishes {
            project: "OPS".to_owned(),
            issue_type: "Task".to_owned(),
            ..Wishes::default()
        };
        let jira = ticket.payload(TicketSystem::Jira, &wishes);
        assert_eq!(length(&jira, "/fields/summary"), Some(255));
        let incident = ticket.payload(TicketSystem::ServiceNow, &wishes);
        assert_eq!(length(&incident, "/short_description"), Some(160));
        assert_eq!(length(&incident, "/description"), Some(4000));
        let glpi = ticket.payload(TicketSystem::Glpi, &wishes);
        assert_eq!(length(&glpi, "/input/name"), Some(255));
        assert!(!glpi.to_string().contains("<b>"));
    }
}

//! `kbtriage fleet tickets`: payloads for ticket systems, and the user's own templates.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::fleet::Buckets;
use crate::fleet::template::{self, Template};
use crate::fleet::ticket::{Ticket, TicketSystem, Wishes};
use crate::knowledge::hotfix::KB943650;
use crate::report::json;
use crate::store::{Store, StoreError};
use crate::verdict::Verdict;

use super::fleet::SelectArgs;
use super::triage::usage;

/// What a ticket is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Per {
    /// A machine
    Machine,
    /// A bucket of crashes
    Bucket,
}

/// Options of `fleet tickets`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kbtriage fleet tickets --db dumps.db --to jira --project OPS
  kbtriage fleet tickets --db dumps.db --to servicenow --only applies
  kbtriage fleet tickets --db dumps.db --to ticket.html

One payload a line, as the system takes it when a ticket is created. Nothing
is sent. The deduplication key is a label in Jira, correlation_id in
ServiceNow, externalid in GLPI. Without --only: machines and buckets with
applies, applies-after-service-pack, probably-applies or may-apply.")]
pub struct TicketArgs {
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// jira, servicenow, glpi, slack, teams, or a template file
    #[arg(long, value_name = "SYSTEM|TEMPLATE")]
    to: String,
    /// What a ticket is about
    #[arg(long, value_enum, default_value_t = Per::Machine)]
    per: Per,
    /// Jira: key of the project
    #[arg(long, value_name = "KEY", default_value = "OPS", value_parser = parse_project)]
    project: String,
    /// Jira: name of the issue type
    #[arg(long, value_name = "NAME", default_value = "Task")]
    r#type: String,
    /// Jira: name of the priority; ServiceNow: impact and urgency from 1 to 3;
    /// GLPI: from 1 to 5
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,
    /// ServiceNow: assignment group; GLPI: number of the group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only tickets that are new or say something else than when they were
    /// last written with this option; the store remembers
    #[arg(long)]
    since_last: bool,
    /// Tickets that exist: lines of machine or bucket key, tab, ticket. The store
    /// remembers, and from then on their payloads are updates
    #[arg(long, value_name = "FILE", value_parser = super::analysis::one_file())]
    map: Option<PathBuf>,
}

fn parse_project(text: &str) -> Result<String, String> {
    let good = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    match good {
        true => Ok(text.to_owned()),
        false => Err("a project key: upper-case letters, digits and _".to_owned()),
    }
}

enum Form {
    Payload(TicketSystem),
    /// The user's own.
    Template(Box<Template>),
    /// One that comes with the program and makes JSON.
    Message(Box<Template>),
}

/// The mark of the ticket that exists about something, by our key.
const EXISTING: &str = "ticket-of:";
/// The mark of what was last written about something, by our key.
const WRITTEN: &str = "ticket-written:";

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &TicketArgs, out: &mut dyn Write) -> io::Result<u8> {
    let form = match form(&args.to) {
        Ok(form) => form,
        Err(message) => return usage(&format!("--to: {message}")),
    };
    let (tickets, verdicts, nameless) = match args.tickets() {
        Ok(tickets) => tickets,
        Err(message) => return usage(&message),
    };
    super::fleet::say_nameless(nameless)?;
    let wishes = Wishes {
        project: args.project.clone(),
        issue_type: args.r#type.clone(),
        priority: args.priority.clone(),
        group: args.group.clone(),
    };
    let remembered = match args.remember() {
        Ok(remembered) => remembered,
        Err(message) => return usage(&message),
    };
    let mut written = 0;
    for ticket in &tickets {
        let existing = match remembered.mark(&format!("{EXISTING}{}", ticket.key)) {
            Ok(existing) => existing,
            Err(error) => return usage(&format!("--db: {error}")),
        };
        if args.since_last {
            let name = format!("{WRITTEN}{}", ticket.key);
            let digest = ticket.digest();
            match remembered.mark(&name) {
                Ok(last) if last.as_ref() == Some(&digest) => continue,
                Ok(_) => {}
                Err(error) => return usage(&format!("--db: {error}")),
            }
            remembered.set_mark(&name, &digest)?;
        }
        written += 1;
        match &form {
            Form::Payload(target) => {
                let payload = match existing {
                    Some(key) => {
                        serde_json::json!({ "ticket": key, "update": ticket.update(*target) })
                    }
                    None => ticket.payload(*target, &wishes),
                };
                json::write_compact(&mut *out, &payload)?;
                writeln!(out)?;
            }
            Form::Template(template) => match template.render(ticket) {
                Ok(text) => writeln!(out, "{text}")?,
                Err(error) => return usage(&format!("--to: {error}")),
            },
            Form::Message(template) => {
                let text = template.render(ticket).map_err(io::Error::other)?;
                let message: serde_json::Value = serde_json::from_str(&text)?;
                json::write_compact(&mut *out, &message)?;
                writeln!(out)?;
            }
        }
    }
    if written == 0 {
        let what = match args.per {
            Per::Machine => "machine",
            Per::Bucket => "bucket",
        };
        let why = match tickets.is_empty() {
            true => {
                format!("no {what} with something to do about it (--only VERDICT writes others)")
            }
            false => "nothing is new since they were last written".to_owned(),
        };
        writeln!(
            crate::cli::terminal::stderr(),
            "kbtriage: no tickets: {why}"
        )?;
    }
    Ok(args.select.status(verdicts))
}

fn form(to: &str) -> Result<Form, String> {
    let message = |text: &str| {
        let template = Template::new("message.json", text.to_owned()).map_err(|e| e.to_string())?;
        Ok(Form::Message(Box::new(template)))
    };
    match to {
        "slack" => return message(include_str!("../fleet/templates/slack.json")),
        "teams" => return message(include_str!("../fleet/templates/teams.json")),
        _ => {}
    }
    Ok(Form::Payload(match to {
        "jira" => TicketSystem::Jira,
        "servicenow" => TicketSystem::ServiceNow,
        "glpi" => TicketSystem::Glpi,
        file => {
            let path = PathBuf::from(file);
            let (text, _) = super::kb::read_text(&path, template::LARGEST).map_err(|e| {
                format!("neither jira, servicenow, glpi, slack nor teams, nor a template file: {e}")
            })?;
            let template = Template::new(file, text).map_err(|e| e.to_string())?;
            return Ok(Form::Template(Box::new(template)));
        }
    }))
}

impl TicketArgs {
    /// True when there is something to do about a verdict, or it was asked for.
    fn wants(&self, verdict: Verdict) -> bool {
        match self.select.filter.only.is_empty() {
            true => !matches!(verdict, Verdict::DoesNotApply | Verdict::Undetermined),
            false => self.select.wants(verdict),
        }
    }

    /// The store with what it is to remember: opened for writing only where something is.
    fn remember(&self) -> Result<Store, String> {
        let failed = |error: StoreError| format!("--db: {error}");
        // One that does not exist is not made.
        let store = self.select.open()?;
        if self.map.is_none() && !self.since_last {
            return Ok(store);
        }
        drop(store);
        let store = Store::create(&self.select.db).map_err(failed)?;
        if let Some(path) = &self.map {
            let text = std::fs::read_to_string(path).map_err(|e| format!("--map: {e}"))?;
            for (line, number) in text.lines().zip(1..) {
                if line.trim().is_empty() || line.starts_with('#') {
                    continue;
                }
                let (name, ticket) = line
                    .split_once('\t')
                    .map(|(name, ticket)| (name.trim(), ticket.trim()))
                    .filter(|(name, ticket)| !name.is_empty() && !ticket.is_empty())
                    .ok_or_else(|| {
                        format!("--map: line {number}: expected a machine or a bucket's key, a tab and a ticket")
                    })?;
                for key in Ticket::keys(name, KB943650.kb) {
                    store
                        .set_mark(&format!("{EXISTING}{key}"), ticket)
                        .map_err(failed)?;
                }
            }
        }
        Ok(store)
    }

    /// The tickets, the verdicts they are about, and the dumps that count for no machine.
    fn tickets(&self) -> Result<(Vec<Ticket>, Vec<Verdict>, u64), String> {
        let mut tickets = Vec::new();
        let mut verdicts = Vec::new();
        let mut nameless = 0;
        match self.per {
            Per::Machine => {
                let (records, without) = self.select.all_machines()?;
                nameless = without;
                for record in records {
                    if self.wants(record.hotfix.verdict) {
                        verdicts.push(record.hotfix.verdict);
                        let actions = actions(record.hotfix.verdict);
                        tickets.push(Ticket::of_machine(&record, actions));
                    }
                }
            }
            Per::Bucket => {
                let mut buckets = Buckets::default();
                self.select.each(|summary| buckets.add(&summary))?;
                for row in buckets.rows(|verdict| self.wants(verdict)) {
                    let best = Verdict::ALL
                        .iter()
                        .copied()
                        .find(|verdict| row.verdicts.contains_key(verdict.as_str()));
                    verdicts.extend(best);
                    let actions = best.map(actions).unwrap_or_default();
                    tickets.push(Ticket::of_bucket(&row, KB943650.kb, actions));
                }
            }
        }
        Ok((tickets, verdicts, nameless))
    }
}

/// What to do, in general; the report on each dump says it for its machine.
fn actions(verdict: Verdict) -> Vec<String> {
    let report = "read the report on the dumps below: kbtriage triage DUMP".to_owned();
    let mut actions = match verdict {
        Verdict::Applies | Verdict::ProbablyApplies => vec![format!(
            "install Service Pack 2 or a later update of tcpip.sys, or {}",
            KB943650.kb
        )],
        Verdict::AppliesAfterServicePack => vec![format!(
            "install Service Pack 2, or Service Pack 1 and then {}",
            KB943650.kb
        )],
        Verdict::MayApply => vec![
            "see whether multicast forwarding is on, which costs nothing: netsh interface ipv4 show global, \
             and the same with ipv6; where it is off, it is another problem"
                .to_owned(),
            "set the machine up for a kernel memory dump, so that the next crash can tell"
                .to_owned(),
        ],
        Verdict::DoesNotApply | Verdict::Undetermined => Vec::new(),
    };
    actions.push(report);
    actions
}

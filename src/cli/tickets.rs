//! `kbtriage fleet tickets`: payloads for ticket systems, and the user's own templates.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::fleet::Buckets;
use crate::fleet::template::Template;
use crate::fleet::ticket::{Target, Ticket};
use crate::knowledge::hotfix::KB943650;
use crate::report::json;
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
    select: SelectArgs,
    /// jira, servicenow, glpi, or a template file
    #[arg(long, value_name = "SYSTEM|TEMPLATE")]
    to: String,
    /// What a ticket is about
    #[arg(long, value_enum, default_value_t = Per::Machine)]
    per: Per,
    /// Jira: key of the project
    #[arg(long, value_name = "KEY", default_value = "OPS", value_parser = parse_project)]
    project: String,
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
    Payload(Target),
    Template(Box<Template>),
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &TicketArgs, out: &mut dyn Write) -> io::Result<u8> {
    let form = match form(&args.to) {
        Ok(form) => form,
        Err(message) => return usage(&format!("--to: {message}")),
    };
    let (tickets, verdicts) = match args.tickets() {
        Ok(tickets) => tickets,
        Err(message) => return usage(&message),
    };
    for ticket in &tickets {
        match &form {
            Form::Payload(target) => {
                json::write_compact(&mut *out, &ticket.payload(*target, &args.project))?;
                writeln!(out)?;
            }
            Form::Template(template) => match template.render(ticket) {
                Ok(text) => writeln!(out, "{text}")?,
                Err(error) => return usage(&format!("--to: {error}")),
            },
        }
    }
    Ok(args.select.status(verdicts))
}

fn form(to: &str) -> Result<Form, String> {
    Ok(Form::Payload(match to {
        "jira" => Target::Jira,
        "servicenow" => Target::ServiceNow,
        "glpi" => Target::Glpi,
        file => {
            let path = PathBuf::from(file);
            let text = std::fs::read_to_string(&path).map_err(|e| {
                let file = crate::report::escape::visible(file);
                format!("{file} is neither jira, servicenow nor glpi, nor a template file: {e}")
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

    fn tickets(&self) -> Result<(Vec<Ticket>, Vec<Verdict>), String> {
        let mut tickets = Vec::new();
        let mut verdicts = Vec::new();
        match self.per {
            Per::Machine => {
                for record in self.select.machines()? {
                    if self.wants(record.hotfix.verdict) {
                        verdicts.push(record.hotfix.verdict);
                        let actions = actions(record.hotfix.verdict);
                        tickets.push(Ticket::of_machine(&record, actions));
                    }
                }
            }
            Per::Bucket => {
                let mut buckets = Buckets::default();
                self.select.each(|summary| {
                    if summary.verdict().is_some_and(|verdict| self.wants(verdict)) {
                        buckets.add(&summary);
                    }
                })?;
                for row in buckets.rows() {
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
        Ok((tickets, verdicts))
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
            "set the machine up for a kernel memory dump, so that the next crash can tell"
                .to_owned(),
        ],
        Verdict::DoesNotApply | Verdict::Undetermined => Vec::new(),
    };
    actions.push(report);
    actions
}

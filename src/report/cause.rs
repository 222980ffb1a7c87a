//! A judged cause as a record, and the one line that says it.

use super::model as m;
use super::values::{Hex, rfc3339_from_unix};
use crate::cause::{Cause, Confidence, Event, Suspect, What};

/// The record of a cause.
pub(super) fn record(cause: &Cause) -> m::Cause {
    m::Cause {
        event: cause.event,
        headline: headline(cause),
        reason: cause.reason.clone(),
        suspects: cause.suspects.iter().map(suspect).collect(),
        hints: cause
            .hints
            .iter()
            .map(|hint| m::HintRecord {
                kind: hint.kind.to_string(),
                text: hint.text.clone(),
                place: hint.place.clone(),
            })
            .collect(),
        next: cause
            .next
            .iter()
            .map(|step| m::Action {
                action: step.id.to_owned(),
                text: step.text.clone(),
                command: step.command.clone(),
            })
            .collect(),
    }
}

fn suspect(suspect: &Suspect) -> m::SuspectRecord {
    let (offset, function) = match &suspect.place {
        Some((offset, function)) => (Some(Hex::plain(*offset)), function.clone()),
        None => (None, None),
    };
    m::SuspectRecord {
        what: suspect.what,
        module: suspect.module.clone(),
        offset,
        function,
        trust: suspect.trust,
        reason: suspect.reason.clone(),
        linked: suspect
            .linked
            .and_then(|stamp| rfc3339_from_unix(stamp.into())),
    }
}

/// `acmefilter.sys, not part of Windows`; `no suspect`.
fn headline(cause: &Cause) -> String {
    let names: Vec<String> = cause.suspects.iter().map(name).collect();
    let sure = cause.suspects.iter().map(|suspect| suspect.trust).max();
    let who = match (names.as_slice(), sure) {
        ([], _) => "no suspect".to_owned(),
        ([one], Some(Confidence::Strong)) => one.clone(),
        ([one], Some(Confidence::Moderate)) => format!("probably {one}"),
        ([one], _) => format!("perhaps {one}"),
        (several, _) => format!("one of {}", several.join(" and ")),
    };
    match (cause.event, names.is_empty()) {
        (Event::LiveReport, true) => "a report of a running Windows, not a crash".to_owned(),
        (Event::LiveReport, false) => format!("a report of a running Windows, not a crash: {who}"),
        (Event::Forced, _) => "a forced dump, nothing crashed by itself".to_owned(),
        (Event::Hang, _) => format!("a processor did not get on: {who}"),
        (Event::Crash, _) => who,
    }
}

fn name(suspect: &Suspect) -> String {
    match (suspect.what, &suspect.module) {
        (What::Driver, Some(file)) => format!(
            "{}, not known to be part of Windows",
            file.to_ascii_lowercase()
        ),
        (What::Windows, Some(file)) => format!("{}, part of Windows", file.to_ascii_lowercase()),
        (What::Hardware, _) => "the hardware".to_owned(),
        (What::Firmware, _) => "the firmware".to_owned(),
        (What::Storage, _) => "a disk or file system".to_owned(),
        (What::Process, _) => "a program that Windows needs".to_owned(),
        (What::Driver | What::Windows, None) => "a driver".to_owned(),
    }
}

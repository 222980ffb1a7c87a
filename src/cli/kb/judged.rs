//! What `kb check` answers: one file by its version and its code, and several as the files of one machine.
//!
//! The rules stand in `knowledge::versions`.

use std::ffi::OsStr;

use super::inspect::{ASSUMED, CheckNote, FileCheck, Identity, Subject, blank};
use crate::facts::LockFact;
use crate::knowledge::Basis;
use crate::knowledge::hotfix::{FileRole, KB943650};
use crate::knowledge::versions::{self, Agreement, Applicability, ByCode, FileVersion, FixState};

const NO_VERSION: &str =
    "the file holds no version resource and is in no table of known builds: its version is unknown";

/// What the version and the code of one file say.
pub(super) fn judged(item: &OsStr, subject: Subject) -> FileCheck {
    let identity = subject.image.map(|image| Identity {
        machine: format!("0x{:04x}", image.machine),
        time_date_stamp: format!("0x{:08x}", image.time_date_stamp),
        size_of_image: format!("0x{:x}", image.size_of_image),
        checksum: format!("0x{:08x}", image.checksum),
    });
    let check = FileCheck {
        file_source: Some(subject.file_source),
        version: subject.version.map(|(version, _)| version),
        version_source: subject.version.map(|(_, source)| source),
        identity,
        code: subject.code,
        notes: subject.notes,
        ..blank(item)
    };
    let Some((version, _)) = subject.version else {
        return by_code(FileCheck {
            file: Some(subject.file.clone()),
            reason: NO_VERSION.to_owned(),
            ..check
        });
    };
    let judgement = versions::judge(&subject.file, version);
    by_code(FileCheck {
        file: Some(subject.file.clone()),
        state: judgement.state,
        applicability: judgement.applicability,
        branch: judgement.branch,
        basis: judgement.basis,
        certainty: judgement.certainty,
        reason: judgement.reason.to_owned(),
        package_installed: judgement.package_installed,
        ..check
    })
}

/// The answer by the version with what the code shows.
fn by_code(mut check: FileCheck) -> FileCheck {
    let Some((finding, reason)) = check.code.as_ref().map(|c| (c.finding, c.reason.clone())) else {
        return check;
    };
    let (state, words) = match finding {
        LockFact::WriteLock => (FixState::Fixed, "has the fix"),
        LockFact::ReadLock => (FixState::NotFixed, "has the defect"),
        LockFact::Unknown => return check,
    };
    // Another Windows is not asked for this hotfix, whatever its code does.
    let other = !matches!(
        check.applicability,
        Applicability::Applicable
            | Applicability::AlreadyInstalled
            | Applicability::IncludedInLaterUpdate
            | Applicability::Unknown
    );
    if other {
        return check;
    }
    let both = format!("{}; but its code {words}: {reason}", check.reason);
    match versions::by_code(check.state, check.version, state) {
        ByCode::Agrees => {}
        ByCode::Outweighed => check.reason = format!("{both}; the published version decides"),
        ByCode::Disputed => {
            check.reason = format!("{both}: which of them is right is not known");
            check.basis = Basis::None;
            (check.state, check.applicability) = (FixState::Unknown, Applicability::Unknown);
        }
        ByCode::Decides => {
            check.reason = format!("the code shows it: {reason}");
            check.basis = Basis::PublicSymbol;
            (check.state, check.applicability) = match state {
                FixState::Fixed => (state, Applicability::IncludedInLaterUpdate),
                _ => (state, Applicability::Applicable),
            };
        }
    }
    check
}

/// Adds what the files say together.
pub(super) fn compare(checks: &mut [FileCheck]) {
    // A bare version stands for the machine's tcpip.sys only where no tcpip.sys was named.
    let decides = |check: &FileCheck| {
        check.file.as_deref().and_then(|file| KB943650.role(file)) == Some(FileRole::Decides)
    };
    let bare = |check: &FileCheck| check.file_source == Some(ASSUMED);
    let named = checks.iter().any(|check| decides(check) && !bare(check));
    let files: Vec<(usize, String, FileVersion)> = checks
        .iter()
        .enumerate()
        .filter(|(_, check)| !(named && bare(check)))
        .filter_map(|(index, check)| Some((index, check.file.clone()?, check.version?)))
        .filter(|(_, file, _)| KB943650.role(file).is_some())
        .collect();
    let deciding: Vec<usize> = files
        .iter()
        .filter(|(index, ..)| checks.get(*index).is_some_and(decides))
        .map(|(index, ..)| *index)
        .collect();
    let [decides] = deciding.as_slice() else {
        if deciding.len() > 1 && deciding.len() < files.len() {
            for index in deciding {
                note(checks, index, "not-compared", "info", SEVERAL.to_owned());
            }
        }
        return;
    };
    let named: Vec<(&str, FileVersion)> = files
        .iter()
        .map(|(_, file, version)| (file.as_str(), *version))
        .collect();
    let together = versions::judge_package(&named);
    let (code, severity, text) = match together.agreement {
        Agreement::Agrees => return,
        Agreement::PartiallyServiced => (
            "partially-serviced",
            "warning",
            versions::PARTIALLY_SERVICED,
        ),
        Agreement::FixedWithOlderFiles => ("older-inventory", "info", versions::OLDER_INVENTORY),
    };
    let others: Vec<(usize, String)> = together
        .disagreeing
        .iter()
        .filter_map(|at| files.get(*at))
        .map(|(index, file, version)| (*index, format!("{file} {version}")))
        .collect();
    let list: Vec<&str> = others.iter().map(|(_, name)| name.as_str()).collect();
    let message = format!("{text} ({})", list.join(", "));
    for index in others.iter().map(|(index, _)| *index).chain([*decides]) {
        note(checks, index, code, severity, message.clone());
        // All files of one machine get the machine's answer, whichever of them leads.
        if let Some(check) = checks.get_mut(index) {
            check.applicability = together.applicability;
        }
    }
}

const SEVERAL: &str = "several tcpip.sys were given, so they were not compared with the other files: give the files of one machine at a time";

fn note(
    checks: &mut [FileCheck],
    index: usize,
    code: &'static str,
    severity: &'static str,
    message: String,
) {
    if let Some(check) = checks.get_mut(index) {
        check
            .notes
            .push(CheckNote::new(code, severity, "/applicability", message));
    }
}

//! One crash and its dumps: how well it matches, by its richest dump and by what other dumps of the machine know about
//! the same files.
//!
//! Windows writes a small dump and a memory dump of one crash. What the richer one shows stands: a poorer one has less
//! of the same memory, and what it could not see does not add to it.

use std::collections::BTreeMap;

use super::member::Member;
use crate::facts::Format;
use crate::knowledge::defect::BUILDS;
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::matching::{self, Effect};
use crate::knowledge::versions::{FileVersion, FixState, judge as judge_version};
use crate::report::unix_from_rfc3339;
use crate::verdict::{Applicability, MatchStatus, Piece, judge};

/// Versions of the deciding file that some dump of the machine knows, by the file's identity.
pub(super) type Known<'a> = BTreeMap<(&'a str, u32), FileVersion>;

/// One crash: its dumps, and how well it matches.
pub(super) struct Crash<'a> {
    pub dumps: Vec<&'a Member<'a>>,
    /// Those whose evidence counts, the one that decided first.
    pub counted: Vec<&'a Member<'a>>,
    pub status: MatchStatus,
}

impl<'a> Crash<'a> {
    pub fn time(&self) -> Option<i64> {
        let text = self.dumps.iter().find_map(|dump| dump.time)?;
        unix_from_rfc3339(text)
    }

    /// The bug check's code and name.
    pub fn code(&self) -> Option<(&'a str, Option<&'a str>)> {
        self.dumps.iter().find_map(|dump| dump.code)
    }

    pub fn module(&self) -> Option<&str> {
        self.dumps.iter().find_map(|dump| dump.module.as_deref())
    }
}

/// The versions of the deciding file that dumps know. One that two dumps disagree about is not
/// known.
pub(super) fn known<'a>(members: &[&'a Member<'a>]) -> Known<'a> {
    let mut known: BTreeMap<(&str, u32), Option<FileVersion>> = BTreeMap::new();
    for (member, file) in members.iter().filter_map(|m| Some((*m, m.deciding()?))) {
        let own = file.version.map(|(text, _)| text);
        let decided = || {
            let by = &member.applicability.decided_from;
            let from = by.iter().find(|from| from.file == KB943650.decides)?;
            from.version.as_deref()
        };
        let version = own.or_else(decided).and_then(|text| text.parse().ok());
        let Some(version) = version else {
            continue;
        };
        known
            .entry(file.identity)
            .and_modify(|own| *own = own.filter(|own| *own == version))
            .or_insert(Some(version));
    }
    known
        .into_iter()
        .filter_map(|(identity, version)| Some((identity, version?)))
        .collect()
}

/// The crashes among a machine's dumps, in the order of their first dump. A program's dump is no
/// crash of the machine, nor is a report of a running system.
pub(super) fn crashes<'a>(members: &[&'a Member<'a>], known: &Known<'_>) -> Vec<Crash<'a>> {
    let mut order: Vec<&str> = Vec::new();
    let mut groups: BTreeMap<&str, Vec<&'a Member<'a>>> = BTreeMap::new();
    for member in members.iter().filter(|m| !m.user_mode && !m.live) {
        let group = groups.entry(member.crash).or_insert_with(|| {
            order.push(member.crash);
            Vec::new()
        });
        group.push(member);
    }
    order
        .into_iter()
        .filter_map(|key| groups.remove(key))
        .map(|dumps| {
            let counted = counted(&dumps);
            Crash {
                status: status(&counted, &dumps, known),
                counted,
                dumps,
            }
        })
        .collect()
}

/// The dumps whose evidence counts: the richest one. Where that is damaged, or tells nothing, it does not hold all
/// that the others hold, and they count with it; whatever it shows against the match still stands.
fn counted<'a>(dumps: &[&'a Member<'a>]) -> Vec<&'a Member<'a>> {
    let mut order = dumps.to_vec();
    order.sort_by_key(|dump| {
        (
            std::cmp::Reverse(richness(dump.format, dump.degraded)),
            dump.path,
        )
    });
    let whole = order
        .first()
        .is_some_and(|first| !first.degraded && first.status != MatchStatus::InsufficientData);
    if whole {
        order.truncate(1);
    }
    order
}

/// How much of the crash a dump holds, by its kind (in the words of the report contract); a damaged one less than a
/// whole one of its kind.
pub(super) fn richness(format: &str, degraded: bool) -> (u8, bool) {
    let kind = match Format::named(format) {
        Some(Format::KernelComplete) => 5,
        Some(Format::KernelBitmap | Format::KernelRanges) => 4,
        Some(Format::KernelSummary) => 3,
        Some(Format::KernelTriage) => 2,
        Some(Format::KernelHeaderOnly) => 1,
        Some(Format::KernelUnknown | Format::UserMinidump) | None => 0,
    };
    (kind, !degraded)
}

/// How well a crash matches, by the evidence that counts and by the version that another dump of the machine
/// knows of the very same file.
fn status(counted: &[&Member<'_>], dumps: &[&Member<'_>], known: &Known<'_>) -> MatchStatus {
    let learnt = dumps
        .iter()
        .filter_map(|dump| dump.deciding())
        .filter(|file| file.version.is_none())
        .find_map(|file| known.get(&file.identity))
        .map(|version| judge_version(KB943650.decides, *version).state);
    let only = match counted {
        [only] if learnt.is_none() => Some(only.status),
        _ => None,
    };
    if let Some(status) = only {
        return status;
    }
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for (id, supports, ..) in counted.iter().flat_map(|dump| &dump.evidence) {
        let rule = matching::match_rule(id).filter(|rule| rule.supports == *supports);
        pieces.extend(rule.map(|rule| Piece {
            id,
            effect: rule.effect,
            unless: rule.unless,
        }));
    }
    pieces.extend(learnt.and_then(piece));
    let may_lack_fix = counted.iter().any(|dump| {
        let open = matches!(
            dump.applicability.status,
            Applicability::Applicable
                | Applicability::NeedsServicePack
                | Applicability::PartiallyServiced
                | Applicability::Unknown
        );
        open && dump.build.is_some_and(|build| BUILDS.contains(&build))
    });
    judge(&pieces, may_lack_fix).status
}

/// What a version that was learnt elsewhere does to the match.
fn piece(state: FixState) -> Option<Piece<'static>> {
    let (id, effect) = match state {
        FixState::NotFixed => ("build.unfixed", Effect::Unfixed),
        FixState::Fixed => ("build.fixed", Effect::Excludes),
        FixState::NotApplicable => ("build.other-system", Effect::Excludes),
        FixState::Unknown => return None,
    };
    Some(Piece {
        id,
        effect,
        unless: &[],
    })
}

//! Was tcpip.sys linked in the hours when a release of Windows 6.0 was? Then it is a file of that release, whatever
//! else the dump holds: no table of files and no other driver is needed.

use crate::facts::CrashFacts;
use crate::knowledge::Basis;
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::releases;

use super::servicing::SERVICE_PACK_1;
use super::{Context, Evidence, Observation, Outcome, Strength};

/// The link time of tcpip.sys against the hours of the release.
pub(super) fn observe(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match facts.system.build {
        Some(SERVICE_PACK_1) => judge(facts),
        Some(_) => Outcome::Neutral("the Windows build decides already".to_owned()),
        None => Outcome::NotObservable("the dump does not name its Windows build".to_owned()),
    };
    Observation {
        observer: "build.release-window",
        question: "Was tcpip.sys linked in the hours when the files of the release were?",
        outcome,
    }
}

fn judge(facts: &CrashFacts) -> Outcome {
    let Some((_, tcpip)) = facts.modules.find(KB943650.decides) else {
        return Outcome::NotObservable("the dump names no tcpip.sys".to_owned());
    };
    match releases::of_stamp(tcpip.time_date_stamp, facts.dump.architecture) {
        Some(release) if release.build == SERVICE_PACK_1 => Outcome::Found(vec![
            Evidence::pro(
                "build.release-window",
                Strength::Moderate,
                Basis::PublicSource,
                format!(
                    "linked in the same hours as the {} files of {}: probably that file, untouched \
                     by any update",
                    release.architecture, release.version
                ),
            )
            .at("tcpip.sys"),
        ]),
        _ => Outcome::Neutral(
            "tcpip.sys was not linked in the hours of the release that are published".to_owned(),
        ),
    }
}

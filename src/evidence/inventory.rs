//! Other files of the hotfix's package, where a version of them is known.

use crate::facts::{CrashFacts, Module};
use crate::knowledge::Basis;
use crate::knowledge::hotfix::{FileRole, KB943650};
use crate::knowledge::versions::judge;

use super::{Context, Evidence, Observation, Outcome, Strength, servicing};

/// Versions of bfe.dll, fwpuclnt.dll, ikeext.dll and the like.
pub(super) fn observe(facts: &CrashFacts, context: &Context<'_>) -> Observation {
    let mut found = Vec::new();
    let other = |module: &&Module| {
        let role = module.name().and_then(|name| KB943650.role(name));
        role.is_some_and(|role| role != FileRole::Decides)
    };
    for module in facts.modules.iter().filter(other) {
        let Some(name) = module.name() else {
            continue;
        };
        let Some(version) = servicing::version_of(module, context.builds) else {
            continue;
        };
        if judge(name, version).package_installed == Some(false) {
            found.push(
                Evidence::pro(
                    "inventory.package-not-installed",
                    Strength::Weak,
                    Basis::ServicingRule,
                    format!(
                        "{} {version} is not the hotfix's: the package is not installed",
                        name.to_ascii_lowercase()
                    ),
                )
                .at("module list"),
            );
        }
    }
    let outcome = if found.is_empty() {
        Outcome::Neutral(
            "no version of another file of the package says that it is missing".to_owned(),
        )
    } else {
        Outcome::Found(found)
    };
    Observation {
        observer: "inventory.package",
        question: "Do other files of the package show that it is not installed?",
        outcome,
    }
}

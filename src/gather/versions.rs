//! Versions of modules that the dump itself does not tell: by the table of known builds, and by an
//! inventory of the machine.

use crate::facts::{CrashFacts, ReadFrom, VersionClaim, VersionSource, unix_from_filetime};
use crate::knowledge::builds::{BuildTable, Identified};
use crate::knowledge::inventory::Inventory;
use crate::knowledge::versions::{FileVersion, carries_build};

/// Versions by the table of known builds, for modules whose version nothing better tells. What an
/// older table or an inventory said is forgotten first.
pub fn identify_builds(facts: &mut CrashFacts, builds: &BuildTable) {
    for id in facts.modules.ids() {
        facts.modules.update(id, |module| {
            let source = module.version.as_ref().map(|claim| claim.source);
            if !matches!(
                source,
                None | Some(
                    VersionSource::Table | VersionSource::Inventory | VersionSource::WerReport
                )
            ) {
                return;
            }
            // Most files are none that the table knows.
            if source.is_none() && !builds.knows_stamp(module.time_date_stamp) {
                return;
            }
            let known = module
                .name()
                .map(|name| builds.identify(name, module.time_date_stamp, module.size));
            module.version = match known {
                Some(Identified::Known(build)) => {
                    Some(claimed(build.version, VersionSource::Table))
                }
                // Known by name alone: the table knows the file itself, where it does.
                _ if source == Some(VersionSource::WerReport) => return,
                Some(Identified::Contradicted(..) | Identified::Unknown) | None => None,
            };
        });
    }
    build_by_version(facts);
}

/// The Windows of a dump that nothing else names: that of its files whose versions carry one.
fn build_by_version(facts: &mut CrashFacts) {
    let system = &mut facts.system;
    if system.build_source == Some(ReadFrom::Module) {
        (system.build, system.build_source) = (None, None);
    }
    if system.build.is_some() {
        return;
    }
    let own = |claim: &VersionClaim| {
        !matches!(
            claim.source,
            VersionSource::Inventory | VersionSource::WerReport
        )
    };
    let mut builds = facts
        .modules
        .iter()
        .filter(|module| module.name().is_some_and(carries_build))
        .filter_map(|module| module.version.as_ref())
        .filter(|claim| own(claim))
        .map(|claim| u32::from(claim.version.build));
    let Some(build) = builds.next() else {
        return;
    };
    if builds.all(|other| other == build) {
        system.build = Some(build);
        system.build_source = Some(ReadFrom::Module);
    }
}

/// Versions by the machine's inventory, for modules whose version nothing better tells. Gives a
/// remark where an inventory was given and could not be used.
pub fn look_up(
    facts: &mut CrashFacts,
    inventory: &Inventory,
    machine: Option<&str>,
) -> Option<String> {
    if inventory.is_empty() {
        return None;
    }
    let Some(machine) = machine else {
        return Some(
            "neither the dump nor --machine says which machine it is of: the inventory was not \
             used"
                .to_owned(),
        );
    };
    if !inventory.knows(machine) {
        return Some(format!("the inventory has no row of {machine}"));
    }
    let crash = facts.dump.crash_time.and_then(unix_from_filetime);
    let build = facts.system.build;
    let mut other_system = None;
    for id in facts.modules.ids() {
        let module = facts.modules.get(id).filter(|m| m.version.is_none());
        let Some((module, name)) = module.and_then(|module| Some((module, module.name()?))) else {
            continue;
        };
        let identity = (module.time_date_stamp, module.size);
        let Some(v) = inventory.at_crash(machine, name, identity, crash) else {
            continue;
        };
        if carries_build(name) && build.is_some_and(|own| own != u32::from(v.build)) {
            other_system = Some(format!(
                "the inventory's {} {v} of {machine} is of another Windows than the dump: it was \
                 not used",
                name.to_ascii_lowercase()
            ));
            continue;
        }
        facts.modules.update(id, |module| {
            module.version = Some(claimed(v, VersionSource::Inventory));
        });
    }
    other_system
}

fn claimed(version: FileVersion, source: VersionSource) -> VersionClaim {
    VersionClaim {
        version,
        branch_tag: None,
        source,
    }
}

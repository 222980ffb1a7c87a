//! The system that a dump is of: its names, its version, its setting of multicast forwarding.

use super::model as m;
use super::values::rfc3339_from_filetime;
use crate::facts::{CrashFacts, Format, OperatingSystem};
use crate::knowledge::versions::system_name;

/// The system as a report has it.
pub(super) fn system(facts: &CrashFacts) -> m::System {
    let build = facts.system.build;
    m::System {
        platform: match facts.dump.format {
            Format::UserMinidump => facts.system.platform,
            _ => Some(OperatingSystem::Windows),
        }
        .map(|platform| platform.to_string()),
        version: build
            .and_then(windows_version)
            .map(str::to_owned)
            .or_else(|| facts.system.os_version.clone()),
        build,
        build_source: facts
            .system
            .build_source
            .map(|from| from.as_str().to_owned()),
        service_pack: facts.system.service_pack,
        product: facts
            .system
            .product
            .map(|product| product.as_str().to_owned()),
        name: build
            .and_then(|build| system_name(build, facts.dump.architecture))
            .map(str::to_owned)
            .or_else(|| platform_name(facts.system.platform?).map(str::to_owned)),
        build_lab: facts.system.build_lab.clone(),
        machine: facts.system.machine.clone(),
        multicast_forwarding: {
            let state = &facts.system.multicast_forwarding;
            m::MulticastForwarding {
                ipv4: state.ipv4,
                ipv6: state.ipv6,
                any: state.any,
                source: state.source.map(|source| source.to_string()),
                as_of: state.as_of.and_then(rfc3339_from_filetime),
            }
        },
    }
}

/// What people call a system that is not Windows; `None` for Windows.
fn platform_name(platform: OperatingSystem) -> Option<&'static str> {
    Some(match platform {
        OperatingSystem::Linux => "Linux",
        OperatingSystem::MacOs => "macOS",
        OperatingSystem::Ios => "iOS",
        OperatingSystem::Android => "Android",
        OperatingSystem::Fuchsia => "Fuchsia",
        OperatingSystem::Solaris => "Solaris",
        OperatingSystem::Ps3 => "PlayStation 3",
        OperatingSystem::NaCl => "Native Client",
        OperatingSystem::Windows => return None,
        OperatingSystem::Unknown => "unknown system, not Windows",
    })
}

/// Major and minor version by build number: public release history.
fn windows_version(build: u32) -> Option<&'static str> {
    Some(match build {
        2195 => "5.0",
        2600 => "5.1",
        3790 => "5.2",
        6000..=6003 => "6.0",
        7600 | 7601 => "6.1",
        9200 => "6.2",
        9600 => "6.3",
        10240.. => "10.0",
        _ => return None,
    })
}

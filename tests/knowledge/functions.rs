//! The classes of the functions that matter, by their public names: Windows 7 RTM's tcpip.sys and two Windows 10 builds. Each
//! class here was given by hand, by what the function is for; that the names exist is looked up in what Microsoft published.

use std::collections::BTreeSet;

use kbtriage::knowledge::defect::{self, FamilyId};

use super::shared;

/// Every function of the forwarding entries and of the timer tables, every IP-layer function that runs at a timer's end or
/// starts one, and the ancestors of a fault in them.
const CLASSES: &[(Option<&str>, &[&str])] = &[
    (
        None,
        &[
            "IppCleanupTimerManager",
            "IppInitializeTimerManager",
            "IppMulticastForwardingTrace",
            "IppNotificationTimeoutRoutine",
            "IppStartMulticastForwarding",
            "IppStartTimerManager",
            "IppStopMulticastForwarding",
            "IppTimeoutDpc",
            "IppTimerReschedule",
        ],
    ),
    (
        Some("addresses"),
        &[
            "IppAddressSetTimeout",
            "IppEphemeralLoopbackAddressSetStartOrContinueTimer",
            "IppEphemeralLoopbackAddressSetTimeout",
            "IppHandleAddressLifetimeTimeout",
            "IppLinkLocalAddressConfigurationTimeout",
            "IppStartUnicastAddressTimer",
        ],
    ),
    (Some("completion"), &["IppCompleteAndFreePacketList"]),
    (
        Some("groups"),
        &[
            "IppCancelMulticastTimer",
            "IppMulticastDiscoveryTimeout",
            "IppMulticastDiscoveryVersionTimeout",
            "IppProcessMulticastDiscoveryTimeoutEvents",
            "IppResetMulticastTimer",
        ],
    ),
    (
        Some("interfaces"),
        &[
            "IppCompartmentSetTimeout",
            "IppEchoRequestSetTimeout",
            "IppPhysicalInterfaceNotificationTimeoutRoutine",
            "IppPhysicalInterfaceRequestSetTimeout",
            "IppStartEchoRequestTimer",
            "IppUpdateSitePrefixTimer",
            "Ipv4pInterfaceSetTimeout",
            "Ipv6pInterfaceSetTimeout",
        ],
    ),
    (Some("ip-timeout"), &["IppTimeout"]),
    (
        Some("mfe"),
        &[
            "IppCommitSetAllMfeParameters",
            "IppCopyMfeKey",
            "IppCreateAndInsertMfeUnderLock",
            "IppCreateMfe",
            "IppCreateMfeForPacket",
            "IppDeleteMfeSetUnderLock",
            "IppDeleteMfes",
            "IppDispatchMfeQueuedPackets",
            "IppEnqueuePacketToMfeUnderLock",
            "IppFindMfe",
            "IppFindMfeBucket",
            "IppFindMfeUnderLock",
            "IppForwardMulticastPackets",
            "IppInitializeMfeSet",
            "IppInsertMfeUnderLock",
            "IppIsMfeDependent",
            "IppIsMfeSetMemoryQuotaExceeded",
            "IppRemoveMfeUnderLock",
            "IppUninitializeMfeSet",
            "IppValidateMfeKey",
            "IppValidateSetAllMfeParameters",
        ],
    ),
    (Some("mfe-expiry"), &["IppMfeSetTimeOut"]),
    (
        Some("mfe-outward"),
        &[
            "IppCleanupMfe",
            "IppDereferenceMfe",
            "IppNotifyMfeChange",
            "IppNotifyMfeChangeWorker",
        ],
    ),
    (
        Some("mfe-timer"),
        &["IppRestartMfeTimer", "IppStartMfeTimer"],
    ),
    (
        Some("neighbors"),
        &[
            "IppNeighborSetStartOrContinueTimer",
            "IppNeighborSetTimeout",
            "IppNeighborTimeout",
            "IppStartNeighborTimer",
        ],
    ),
    (Some("other-transport"), &["UdpSendMessages"]),
    (
        Some("packets"),
        &[
            "IpFlcReceivePackets",
            "IppDispatchReceivePacketHelper",
            "IppDispatchSendPacketHelper",
            "IppFlcReceivePacketsCore",
            "IppPacketizeDatagrams",
            "IppReceiveHeaderBatch",
            "IppReceiveHeadersHelper",
            "IppSendDatagramsCommon",
            "Ipv6pHandleAnycastAdvertisementTimeout",
        ],
    ),
    (
        Some("reassembly"),
        &[
            "IppReassemblyTimeout",
            "Ipv4pReassemblyTimeout",
            "Ipv6pReassembleDatagram",
            "Ipv6pReassemblyTimeout",
        ],
    ),
    (
        Some("routes"),
        &[
            "IppPathSetStartOrContinueTimer",
            "IppPathSetTimeout",
            "IppRouteSetTimeout",
            "IppRouteTimeout",
            "IppRouterAdvertisementTimeout",
            "Ipv4pPathMtuDiscoveryTimeout",
            "Ipv4pPathMtuTimeoutFired",
            "Ipv4pRouterDiscoveryTimeout",
            "Ipv6pPathMtuDiscoveryTimeout",
            "Ipv6pPathMtuTimeoutFired",
            "Ipv6pRouterDiscoveryTimeout",
            "Ipv6pRouterSolicitationTimeout",
        ],
    ),
    (
        Some("tcp"),
        &[
            "TcpPeriodicTimeoutHandler",
            "TcpProcessExpiredTcbTimers",
            "TcpStartTimerTcb",
        ],
    ),
    (
        Some("timer"),
        &[
            "RtlCleanupTimerWheel",
            "RtlCleanupTimerWheelEntry",
            "RtlEndTimerWheelEnumeration",
            "RtlEnumerateNextTimerWheelEntry",
            "RtlGetNextExpirationTimerWheelTick",
            "RtlGetNextExpiredTimerWheelEntry",
            "RtlHasTimerWheelEntryTimerExpired",
            "RtlIndicateTimerWheelEntryTimerStart",
            "RtlInitializeTimerWheel",
            "RtlInitializeTimerWheelEntry",
            "RtlInitializeTimerWheelEnumeration",
            "RtlIsTimerWheelEntryTimerSet",
            "RtlIsTimerWheelSuspended",
            "RtlResumeTimerWheel",
            "RtlReturnTimerWheelEntry",
            "RtlStartTimerWheelEntryTimer",
            "RtlSuspendTimerWheel",
            "RtlUpdateCurrentTimerWheelTick",
            "TtCreateTable",
            "TtDestroyTable",
            "TtFireTimerEx",
            "TtGetNextExpirationTickAndTryToSuspendTimerWheel",
            "TtIsTimerActive",
            "TtQueryTimerEx",
            "TtStartTimerEx",
            "TtStopTimer",
            "TtTriggerFastTimers",
        ],
    ),
    (Some("unicast-forwarding"), &["IppForwardPackets"]),
];

/// Public functions of Windows 7's tcpip.sys.
fn windows_7() -> Option<BTreeSet<String>> {
    let path = shared("data/vista/win7-rtm-x64-tcpip-publics.tsv")?;
    let text = std::fs::read_to_string(path).expect("a table of names");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let columns = rows.map(|line| line.split('\t').collect::<Vec<_>>());
    let functions = columns.filter(|row| row.get(1) == Some(&"function"));
    Some(functions.map(|row| row[2].to_owned()).collect())
}

/// Every text of a symbol file that could be a name, whatever it stands for there.
fn words(pdb: &[u8]) -> BTreeSet<String> {
    pdb.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .filter(|word| (4..80).contains(&word.len()))
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn windows_10() -> Option<Vec<BTreeSet<String>>> {
    let folder = shared("data/symbols/tcpip.pdb")?;
    let builds = std::fs::read_dir(folder).expect("a store");
    let files = builds.map(|build| build.expect("a folder").path().join("tcpip.pdb"));
    Some(
        files
            .map(|file| words(&std::fs::read(file).expect("a symbol file")))
            .collect(),
    )
}

fn class(name: &str) -> Option<&'static str> {
    defect::family("tcpip.sys", name).map(FamilyId::as_str)
}

#[test]
fn every_function_that_matters_has_its_class() {
    for (expected, names) in CLASSES {
        for name in *names {
            assert_eq!(class(name), *expected, "{name}");
        }
    }
}

#[test]
fn the_functions_that_matter_are_published_ones_and_none_is_left_out() {
    let (Some(seven), Some(ten)) = (windows_7(), windows_10()) else {
        return;
    };
    assert!(
        seven.len() > 4_000 && ten.len() == 2,
        "{} {}",
        seven.len(),
        ten.len()
    );
    let listed: BTreeSet<&str> = CLASSES
        .iter()
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    for name in &listed {
        let known = seven.contains(*name) || ten.iter().any(|words| words.contains(*name));
        assert!(known, "nobody published {name}");
    }
    let matters =
        |name: &str| name.starts_with("Tt") || (name.starts_with("Ipp") && name.contains("Mfe"));
    for name in seven.iter().filter(|name| matters(name)) {
        assert!(listed.contains(name.as_str()), "{name} has no class here");
    }
}

#[test]
fn no_public_name_is_classed_against_what_it_says() {
    let Some(seven) = windows_7() else {
        return;
    };
    let ten = windows_10().unwrap_or_default();
    for name in seven.iter().chain(ten.iter().flatten()) {
        let family = defect::family("tcpip.sys", name);
        let own = family.is_some_and(|f| f.as_str().starts_with("mfe"));
        let timer = family == Some(FamilyId::Timer);
        let forwarding = name.starts_with("Ipp") && name.contains("Mfe");
        assert_eq!(
            own,
            forwarding || name == "IppForwardMulticastPackets",
            "{name}"
        );
        if name.starts_with("Tt") && name.chars().nth(2).is_some_and(|c| c.is_ascii_uppercase()) {
            assert!(timer, "{name}");
        }
        for other in [
            "Neighbor",
            "Reassembl",
            "MulticastDiscovery",
            "PathMtu",
            "Tcb",
        ] {
            if name.starts_with("Ipp") && name.contains(other) {
                assert!(family.is_none_or(FamilyId::is_other_owner), "{name}");
            }
        }
    }
}

#[test]
fn the_network_stack_under_its_public_names_names_its_owners() {
    // What faults most often elsewhere is known as somebody else's.
    for (module, name, other, timers) in [
        ("tcpip", "Ipv6pReassembleDatagram", true, true),
        ("tcpip", "TcpTcbHeaderSend", true, true),
        ("netio", "StreamInvokeCalloutAndNormalizeAction", true, true),
        ("tcpip", "IppReceiveHeaderBatch", true, false),
        ("tcpip", "UdpSendMessages", true, false),
        ("netio", "NetioFreeNetBufferList", true, false),
        ("tcpip", "TtStopTimer", false, false),
        ("tcpip", "IppTimeout", false, false),
    ] {
        let family = defect::family(module, name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (family.is_other_owner(), family.keeps_timers()),
            (other, timers),
            "{name}"
        );
    }
}

//! The signs of the defect: dates, symbol families, look-alikes.

use std::collections::BTreeSet;

use kbtriage::knowledge::article;
use kbtriage::knowledge::defect::{self, DateFinding, FamilyId};

#[test]
fn link_dates_fall_into_the_window_of_the_rule() {
    // Unix seconds from `date -u -d '2008-07-14' +%s` and the like.
    for (stamp, finding) in [
        (0u32, DateFinding::Implausible),
        (0x4547_4150, DateFinding::Implausible), // the PAGE filler
        (0x4791_9120, DateFinding::ProbablyNotFixed), // x86 SP1 tcpip.sys of a published dump
        (1_215_993_599, DateFinding::ProbablyNotFixed),
        (1_215_993_600, DateFinding::HotfixWindow), // 2008-07-14T00:00:00Z
        (1_216_103_880, DateFinding::HotfixWindow), // 2008-07-15T06:38:00Z
        (1_216_103_940, DateFinding::SaysNothing),
        (0x8CA8_73CB, DateFinding::SaysNothing),
        (u32::MAX, DateFinding::SaysNothing),
    ] {
        assert_eq!(
            defect::judge_stamp(stamp).map(|w| w.finding),
            Some(finding),
            "{stamp:#x}"
        );
    }
}

#[test]
fn a_function_belongs_to_its_most_specific_family() {
    for (module, symbol, family) in [
        ("tcpip.sys", "IppRestartMfeTimer", Some("mfe-timer")),
        ("tcpip", "_IppStartMfeTimer@8", Some("mfe-timer")),
        ("tcpip.sys", "IppMfeSetTimeOut", Some("mfe-expiry")),
        ("tcpip.sys", "IppDereferenceMfe", Some("mfe-outward")),
        ("tcpip.sys", "IppRemoveMfeUnderLock", Some("mfe")),
        ("tcpip.sys", "IppForwardMulticastPackets", Some("mfe")),
        ("tcpip.sys", "IppForwardPackets", Some("unicast-forwarding")),
        ("TCPIP.SYS", "TtStopTimer", Some("timer")),
        ("NETIO.SYS", "RtlCleanupTimerWheel", Some("timer")),
        // Windows 7's tcpip.sys has timer wheel functions of its own beside NETIO's.
        ("tcpip.sys", "RtlCleanupTimerWheel", Some("timer")),
        ("tcpip.sys", "IppTimeout", Some("ip-timeout")),
        // The DPC itself: data, and never a frame.
        ("tcpip.sys", "IppTimeoutDpc", None),
        // What nobody published says nothing.
        ("tcpip.sys", "IppTimeoutX", None),
        ("tcpip.sys", "IppStopTimer", None),
        ("tcpip.sys", "IppRefreshMulticastEntry", None),
        ("netio.sys", "NetioStopTimer", None),
        ("tcpip.sys", "IppNeighborSetTimeout", Some("neighbors")),
        ("tcpip.sys", "IppAddressSetTimeout", Some("addresses")),
        ("tcpip.sys", "IppReassemblyTimeout", Some("reassembly")),
        (
            "tcpip.sys",
            "IppProcessMulticastDiscoveryTimeoutEvents",
            Some("groups"),
        ),
        ("tcpip.sys", "Ipv6pReassembleDatagram", Some("reassembly")),
        (
            "netio.sys",
            "NetioDereferenceNetBufferListChain",
            Some("buffers"),
        ),
        ("tcpip.sys", "ttStopTimer", None),
        ("mytcpip.sys", "TtStopTimer", None),
        ("tcpip.sys", "WfpAlepFilter", Some("filter")),
        ("fwpkclnt.sys", "anything", Some("filter")),
        ("tcpip.sys", "TcpTcbHeaderSend", Some("tcp")),
    ] {
        assert_eq!(
            defect::family(module, symbol).map(FamilyId::as_str),
            family,
            "{module}!{symbol}"
        );
    }
}

#[test]
fn a_folded_function_counts_only_if_all_its_names_agree() {
    let of = |names: &[&str]| {
        defect::family_of_all("tcpip.sys", names.iter().copied()).map(FamilyId::as_str)
    };
    assert_eq!(of(&["TtStopTimer", "TtFireTimer"]), Some("timer"));
    assert_eq!(of(&["TtStopTimer", "TcpSomething"]), None);
    assert_eq!(of(&["TtStopTimer", "memset"]), None);
    // Two other owners are another owner all the same.
    assert_eq!(
        of(&["IppNeighborSetTimeout", "IppAddressSetTimeout"]),
        Some("neighbors")
    );
    assert_eq!(of(&["IppNeighborSetTimeout", "IppUnheardOf"]), None);
    assert_eq!(of(&[]), None);
}

#[test]
fn look_alikes_have_their_own_names_and_the_nearest_one_is_of_service_pack_2() {
    let ids: BTreeSet<&str> = article::look_alikes()
        .iter()
        .map(|row| row.id.as_ref())
        .collect();
    assert_eq!(ids.len(), article::look_alikes().len());
    for id in [
        "KB972887",
        "MS08-001",
        "KB946776",
        "KB950570",
        "KB972907",
        "KB976529",
        "KB979278",
        "KB973482",
        "KB969290",
        "KB2752589",
        "KB2905412",
        "KB2519644",
        "third-party-filter",
        "bad-memory",
    ] {
        assert!(ids.contains(id), "{id}");
    }
    // Behind the one that the faulting function's own name settles.
    let mut order = article::look_alikes().iter().map(|known| known.id.clone());
    assert_eq!(order.next().unwrap(), "CVE-2021-24086");
    assert_eq!(order.next().unwrap(), "KB972887");
    assert_eq!(
        defect::pool_tags()
            .iter()
            .map(|row| row.tag)
            .collect::<Vec<_>>(),
        ["IPmf", "Iptt"]
    );
}

//! Which versions hold the fix, at every boundary, and what files say together.

use kbtriage::knowledge::hotfix::KB943650;
use kbtriage::knowledge::versions::{
    self, Agreement, Applicability, Branch, ByCode, FileVersion, FixState, judge, judge_package,
};

use super::version;

#[test]
fn the_version_rules_cover_every_version_exactly_once() {
    let as_number = |v: FileVersion| {
        u64::from(v.major) << 48
            | u64::from(v.minor) << 32
            | u64::from(v.build) << 16
            | u64::from(v.revision)
    };
    let mut next = Some(0u64);
    for rule in versions::version_rules() {
        assert_eq!(
            Some(as_number(rule.from)),
            next,
            "gap or overlap at {}",
            rule.from
        );
        assert!(rule.from <= rule.to);
        next = as_number(rule.to).checked_add(1);
    }
    assert_eq!(next, None, "the last rule ends at the highest version");
}

/// First and last version of every row of the published rules, by hand.
#[test]
fn each_boundary_of_the_version_rules_falls_on_the_right_side() {
    use Applicability as A;
    use FixState as S;
    for (from, to, state, applicability, branch) in [
        (
            "0.0.0.0",
            "4.65535.65535.65535",
            S::Unknown,
            A::Unknown,
            None,
        ),
        (
            "5.0.0.0",
            "5.65535.65535.65535",
            S::NotApplicable,
            A::NotApplicable,
            None,
        ),
        ("6.0.0.0", "6.0.6000.16385", S::Unknown, A::Unknown, None),
        (
            "6.0.6000.16386",
            "6.0.6000.16386",
            S::NotFixed,
            A::NeedsServicePack,
            Some(Branch::Rtm),
        ),
        (
            "6.0.6000.16387",
            "6.0.6000.19999",
            S::NotFixed,
            A::NeedsServicePack,
            Some(Branch::Gdr),
        ),
        (
            "6.0.6000.20000",
            "6.0.6000.65535",
            S::NotFixed,
            A::NeedsServicePack,
            Some(Branch::Ldr),
        ),
        ("6.0.6001.0", "6.0.6001.17999", S::Unknown, A::Unknown, None),
        (
            "6.0.6001.18000",
            "6.0.6001.18000",
            S::NotFixed,
            A::Applicable,
            Some(Branch::Rtm),
        ),
        (
            "6.0.6001.18001",
            "6.0.6001.18999",
            S::NotFixed,
            A::Applicable,
            Some(Branch::Gdr),
        ),
        (
            "6.0.6001.19000",
            "6.0.6001.21999",
            S::Unknown,
            A::Unknown,
            None,
        ),
        (
            "6.0.6001.22000",
            "6.0.6001.22221",
            S::NotFixed,
            A::Applicable,
            Some(Branch::Ldr),
        ),
        (
            "6.0.6001.22222",
            "6.0.6001.22222",
            S::Fixed,
            A::AlreadyInstalled,
            Some(Branch::Ldr),
        ),
        (
            "6.0.6001.22223",
            "6.0.6001.65535",
            S::Fixed,
            A::IncludedInLaterUpdate,
            Some(Branch::Ldr),
        ),
        ("6.0.6002.0", "6.0.6002.18004", S::Unknown, A::Unknown, None),
        (
            "6.0.6002.18005",
            "6.0.6002.18005",
            S::Fixed,
            A::SupersededByServicePack,
            Some(Branch::Rtm),
        ),
        (
            "6.0.6002.18006",
            "6.0.6002.19999",
            S::Fixed,
            A::SupersededByServicePack,
            Some(Branch::Gdr),
        ),
        (
            "6.0.6002.20000",
            "6.0.6002.21999",
            S::Fixed,
            A::SupersededByServicePack,
            None,
        ),
        (
            "6.0.6002.22000",
            "6.0.6002.65535",
            S::Fixed,
            A::SupersededByServicePack,
            Some(Branch::Ldr),
        ),
        (
            "6.0.6003.0",
            "6.0.6003.65535",
            S::Fixed,
            A::SupersededByServicePack,
            None,
        ),
        (
            "6.0.6004.0",
            "6.0.65535.65535",
            S::Unknown,
            A::Unknown,
            None,
        ),
        (
            "6.1.0.0",
            "65535.65535.65535.65535",
            S::NotApplicable,
            A::NotApplicable,
            None,
        ),
    ] {
        for text in [from, to] {
            let found = judge("tcpip.sys", version(text));
            assert_eq!(
                (found.state, found.applicability, found.branch),
                (state, applicability, branch),
                "tcpip.sys {text}"
            );
        }
    }
}

#[test]
fn a_gdr_build_from_2010_is_not_fixed_and_the_ldr_build_of_its_bulletin_is() {
    let rows: Vec<_> = KB943650
        .later_updates
        .iter()
        .filter(|row| row.build == 6001)
        .collect();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(
            judge("tcpip.sys", row.gdr).state,
            FixState::NotFixed,
            "{}",
            row.bulletin
        );
        assert_eq!(
            judge("tcpip.sys", row.gdr).branch,
            Some(Branch::Gdr),
            "{}",
            row.bulletin
        );
        assert_eq!(
            judge("tcpip.sys", row.ldr).state,
            FixState::Fixed,
            "{}",
            row.bulletin
        );
        assert_eq!(
            judge("tcpip.sys", row.ldr).branch,
            Some(Branch::Ldr),
            "{}",
            row.bulletin
        );
    }
    assert!(
        judge("tcpip.sys", version("6.0.6001.18493"))
            .reason
            .contains("whatever its date")
    );
    for row in KB943650
        .later_updates
        .iter()
        .filter(|row| row.build == 6002)
    {
        assert_eq!(
            judge("tcpip.sys", row.gdr).applicability,
            Applicability::SupersededByServicePack
        );
        assert_eq!(judge("tcpip.sys", row.gdr).branch, Some(Branch::Gdr));
        assert_eq!(judge("tcpip.sys", row.ldr).branch, Some(Branch::Ldr));
    }
}

#[test]
fn a_version_is_four_numbers_with_an_optional_lab() {
    assert_eq!(
        version("6.0.6001.18000 (longhorn_rtm.080118-1840)"),
        FileVersion::new(6, 0, 6001, 18000)
    );
    assert_eq!(version(" 6.0.6001.22222 ").to_string(), "6.0.6001.22222");
    assert_eq!(
        FileVersion::from_halves(0x0006_0000, 0x1771_56CE),
        version("6.0.6001.22222")
    );
    for bad in [
        "",
        "6.0.6001",
        "6.0.6001.18000.1",
        "6.0.6001.65536",
        "6.0.6001.-1",
        "6.0.6001.+1",
        "6.0.6001.",
        "v6.0.6001.1",
        "6.0.6001.18000 rtm",
        "6.0.6001.18000 (x",
    ] {
        assert!(bad.parse::<FileVersion>().is_err(), "{bad:?}");
    }
    assert!(
        version("6.0.6001.9999") < version("6.0.6001.18000"),
        "compared by value, not as text"
    );
}

#[test]
fn inventory_files_never_decide_within_service_pack_1() {
    for file in [
        "netio.sys",
        "fwpkclnt.sys",
        "bfe.dll",
        "fwpuclnt.dll",
        "ikeext.dll",
    ] {
        for text in [
            "6.0.6001.18000",
            "6.0.6001.22221",
            "6.0.6001.22222",
            "6.0.6001.22500",
        ] {
            let found = judge(file, version(text));
            assert_eq!(found.state, FixState::Unknown, "{file} {text}");
            assert_ne!(found.package_installed, Some(true), "{file} {text}");
        }
        assert_eq!(
            judge(file, version("6.1.7601.17514")).state,
            FixState::NotApplicable
        );
        assert_eq!(
            judge(file, version("6.0.6000.16386")).applicability,
            Applicability::NeedsServicePack
        );
        assert_eq!(
            judge(file, version("6.0.6002.18005")).applicability,
            Applicability::SupersededByServicePack
        );
    }
}

#[test]
fn an_older_file_of_the_other_component_shows_that_the_package_is_not_installed() {
    for file in ["bfe.dll", "fwpuclnt.dll", "ikeext.dll"] {
        assert_eq!(
            judge(file, version("6.0.6001.18000")).package_installed,
            Some(false),
            "{file}"
        );
        assert_eq!(
            judge(file, version("6.0.6001.18999")).package_installed,
            Some(false),
            "{file}"
        );
        assert_eq!(
            judge(file, version("6.0.6001.22221")).package_installed,
            Some(false),
            "{file}"
        );
        assert_eq!(
            judge(file, version("6.0.6001.22222")).package_installed,
            None,
            "{file}"
        );
    }
    assert_eq!(
        judge("netio.sys", version("6.0.6001.18000")).package_installed,
        None
    );
}

#[test]
fn a_file_that_the_hotfix_does_not_contain_says_nothing() {
    let found = judge("ntoskrnl.exe", version("6.0.6001.18000"));
    assert_eq!((found.state, found.role), (FixState::Unknown, None));
}

#[test]
fn partially_serviced_needs_an_unfixed_tcpip_beside_newer_files() {
    let unfixed = ("Tcpip.sys", version("6.0.6001.18377"));
    let fixed = ("tcpip.sys", version("6.0.6001.22577"));
    let old = ("netio.sys", version("6.0.6001.18000"));
    let new = ("netio.sys", version("6.0.6001.22222"));
    let both = judge_package(&[new, unfixed]);
    assert_eq!(both.applicability, Applicability::PartiallyServiced);
    assert_eq!(
        (both.agreement, both.disagreeing),
        (Agreement::PartiallyServiced, vec![0])
    );
    let lagging = judge_package(&[fixed, old]);
    assert_eq!(lagging.applicability, Applicability::IncludedInLaterUpdate);
    assert_eq!(lagging.agreement, Agreement::FixedWithOlderFiles);
    assert_eq!(
        judge_package(&[unfixed, old]).applicability,
        Applicability::Applicable
    );
    assert_eq!(judge_package(&[unfixed, old]).agreement, Agreement::Agrees);
    assert_eq!(judge_package(&[fixed, new]).agreement, Agreement::Agrees);
    assert_eq!(
        judge_package(&[old, new]).applicability,
        Applicability::Unknown
    );
    assert_eq!(judge_package(&[]).applicability, Applicability::Unknown);
    let vendor = ("vendor.sys", version("6.0.6001.22222"));
    assert_eq!(
        judge_package(&[unfixed, vendor]).agreement,
        Agreement::Agrees
    );
}

#[test]
fn the_build_number_alone_settles_every_windows_but_service_pack_1() {
    for (build, applicability) in [
        (1381, Applicability::Unknown),
        (2600, Applicability::NotApplicable),
        (3790, Applicability::NotApplicable),
        (5600, Applicability::Unknown),
        (6000, Applicability::NeedsServicePack),
        (6001, Applicability::Unknown),
        (6002, Applicability::SupersededByServicePack),
        (6003, Applicability::SupersededByServicePack),
        (6519, Applicability::Unknown),
        (7600, Applicability::NotApplicable),
        (7601, Applicability::NotApplicable),
        (26100, Applicability::NotApplicable),
        (u32::MAX, Applicability::NotApplicable),
    ] {
        assert_eq!(
            versions::judge_system(build).applicability,
            applicability,
            "build {build}"
        );
    }
    let mut next = Some(0u32);
    for rule in versions::system_rules() {
        assert_eq!(Some(rule.from), next);
        next = rule.to.checked_add(1);
    }
    assert_eq!(next, None);
}

#[test]
fn code_decides_where_no_version_does_and_a_published_version_outweighs_it() {
    let by_code = |said, text: Option<&str>, shown| {
        versions::by_code(said, text.map(|text| text.parse().unwrap()), shown)
    };
    let (fixed, not) = (FixState::Fixed, FixState::NotFixed);
    // The release build of Service Pack 1 and the hotfix are stated exactly; what lies between follows from a rule.
    assert_eq!(
        by_code(not, Some("6.0.6001.18000"), fixed),
        ByCode::Outweighed
    );
    assert_eq!(
        by_code(fixed, Some("6.0.6001.22222"), not),
        ByCode::Outweighed
    );
    assert_eq!(
        by_code(not, Some("6.0.6001.22150"), fixed),
        ByCode::Disputed
    );
    assert_eq!(
        by_code(fixed, Some("6.0.6001.22300"), not),
        ByCode::Disputed
    );
    assert_eq!(by_code(not, Some("6.0.6001.22150"), not), ByCode::Agrees);
    for shown in [fixed, not] {
        assert_eq!(by_code(FixState::Unknown, None, shown), ByCode::Decides);
    }
}

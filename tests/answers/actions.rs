//! What to do, by situation: the order, the packages by name, and never the hotfix where it does not
//! fit. Package names come from the article's own list; versions from its tables.

use crate::support::facts::Crash;
use kbtriage::evidence::servicing;
use kbtriage::facts::CrashFacts;
use kbtriage::knowledge::builds::BuildTable;
use kbtriage::verdict::{
    Action, Applicability, Decision, MatchStatus, actions, verdict, would_settle,
};
use serde_json::json;

/// What to do about facts whose match has this status.
fn todo(facts: &CrashFacts, status: MatchStatus) -> Vec<Action> {
    let servicing = servicing(facts, &BuildTable::embedded());
    let decision = Decision {
        status,
        rule: "",
        decided_by: Vec::new(),
        missing: Vec::new(),
    };
    let verdict = verdict(status, servicing.applicability);
    actions(facts, &servicing, (&decision, &[]), verdict)
}

fn ids(list: &[Action]) -> Vec<&str> {
    let mut ids: Vec<&str> = list.iter().map(|action| action.id.as_ref()).collect();
    ids.dedup();
    ids
}

fn text<'a>(list: &'a [Action], id: &str) -> &'a str {
    &list
        .iter()
        .find(|action| action.id == id)
        .unwrap_or_else(|| panic!("no {id}"))
        .text
}

fn commands(list: &[Action]) -> String {
    list.iter()
        .filter_map(|action| action.command.clone())
        .collect::<Vec<_>>()
        .join("\n")
}

fn gdr() -> Crash {
    Crash::new()
        .stack(&["tcpip"])
        .version("tcpip.sys", [6, 0, 6001, 18311])
}

/// Another Windows, whose tcpip.sys has no known version.
fn of(build: u32) -> Crash {
    Crash::new().stack(&["tcpip"]).build(build)
}

#[test]
fn an_unfixed_machine_gets_the_workaround_then_the_service_pack_then_the_hotfix() {
    let list = todo(&gdr().facts(), MatchStatus::Confirmed);
    assert_eq!(
        ids(&list),
        [
            "check-forwarding",
            "workaround",
            "check-routing",
            "install-service-pack",
            "install-later-update",
            "install-hotfix",
            "verify",
            "debugger"
        ]
    );
    assert!(text(&list, "install-service-pack").starts_with("Install "));
    assert!(text(&list, "install-service-pack").contains("KB948465"));
    assert!(text(&list, "install-later-update").contains("MS10-058"));
    assert!(text(&list, "install-later-update").contains("6.0.6001.22713"));
    assert!(
        text(&list, "workaround").contains("Multicast routing through this computer stops"),
        "its side effect"
    );
    assert!(text(&list, "verify").contains("6.0.6001.22222 or later"));
}

#[test]
fn without_proof_a_better_dump_is_asked_for_with_the_commands() {
    let list = todo(&gdr().facts(), MatchStatus::Probable);
    let all = commands(&list);
    assert!(ids(&list).contains(&"collect-kernel-dump"));
    for command in [
        "CrashDumpEnabled /t REG_DWORD /d 2",
        "NMICrashDump /t REG_DWORD /d 1",
        "CrashOnCtrlScroll /t REG_DWORD /d 1",
    ] {
        assert!(all.contains(command), "{command}");
    }
    let memory = gdr().set("/dump/format", json!("kernel-complete")).facts();
    assert!(!ids(&todo(&memory, MatchStatus::Probable)).contains(&"collect-kernel-dump"));
    let header = Crash::new()
        .set("/dump/format", json!("kernel-header-only"))
        .facts();
    assert!(ids(&todo(&header, MatchStatus::InsufficientData)).contains(&"collect-kernel-dump"));
}

#[test]
fn the_state_of_forwarding_decides_what_is_said_about_it() {
    let with = |ipv4: Option<bool>| {
        let state = json!({ "ipv4": ipv4, "ipv6": null, "any": null, "source": "reg-export",
                            "as_of": null, "at_crash": false, "remarks": [] });
        let mut crash = gdr();
        crash.json["system"]["multicast_forwarding"] = state;
        todo(&crash.facts(), MatchStatus::Probable)
    };
    let on = with(Some(true));
    assert!(!ids(&on).contains(&"check-forwarding"), "it is known");
    assert!(text(&on, "workaround").contains("at once"));
    let off = with(Some(false));
    assert!(ids(&off).contains(&"check-forwarding") && !ids(&off).contains(&"workaround"));
    assert!(text(&off, "check-forwarding").contains("leave it off"));
    let unknown = with(None);
    let show = commands(&unknown);
    for command in [
        "netsh interface ipv4 show global",
        "netsh interface ipv6 show global",
        "netsh interface ipv4 set global multicastforwarding=disabled",
        "netsh interface ipv6 set global multicastforwarding=disabled",
    ] {
        assert!(show.contains(command), "{command}");
    }
}

#[test]
fn forwarding_entries_in_memory_mean_that_it_was_on() {
    let mut crash = gdr();
    crash.json["memory"] = json!({ "processors": [], "other_stacks": [], "findings": [],
        "pool_tags": [{ "tag": "IPmf", "outstanding": 9 }] });
    assert!(
        text(&todo(&crash.facts(), MatchStatus::Probable), "workaround").contains("which was on")
    );
}

#[test]
fn the_packages_are_those_of_the_architecture_and_the_edition() {
    let package = |architecture: &str, product: Option<&str>| {
        let facts = gdr()
            .set("/dump/architecture", json!(architecture))
            .set("/system/product", json!(product))
            .facts();
        let list = todo(&facts, MatchStatus::Probable);
        list.iter()
            .find(|a| a.id == "install-hotfix")
            .map(|a| a.text.clone())
    };
    let named = |architecture, product| package(architecture, product).unwrap();
    let x86_client = named("x86", Some("workstation"));
    assert!(x86_client.contains("Package_for_kb943650_client~31bf3856ad364e35~x86~~6.0.1.0"));
    assert!(!x86_client.contains("server"));
    let x64_server = named("x64", Some("domain-controller"));
    assert!(x64_server.contains("Package_for_kb943650_server~31bf3856ad364e35~amd64~~6.0.1.0"));
    assert!(
        x64_server
            .contains("Package_for_kb943650_sc~31bf3856ad364e35~amd64~~6.0.1.0 (Server Core)")
    );
    assert!(!x64_server.contains("client"));
    let ia64 = named("ia64", None);
    assert!(ia64.contains("Package_for_kb943650_server~31bf3856ad364e35~ia64~~6.0.1.0"));
    assert!(
        !ia64.contains("client"),
        "IA-64 has server packages only: {ia64}"
    );
    let unknown = named("x64", None);
    assert!(unknown.contains("_client~") && unknown.contains("_server~"));
    assert_eq!(package("arm64", None), None, "no package for it");
    assert!(
        !ids(&todo(
            &gdr().set("/system/product", json!("workstation")).facts(),
            MatchStatus::Probable
        ))
        .contains(&"check-routing")
    );
}

#[test]
fn vista_without_a_service_pack_gets_one_first() {
    let facts = Crash::new()
        .build(6000)
        .stack(&["tcpip"])
        .set("/system/product", json!("workstation"))
        .facts();
    let list = todo(&facts, MatchStatus::Possible);
    assert!(
        text(&list, "install-service-pack")
            .contains("Service Pack 1 (KB936330) has to be in first")
    );
    assert!(text(&list, "install-hotfix").contains("Service Pack 1 (KB936330), then the hotfix"));
    assert!(
        !ids(&list).contains(&"install-later-update"),
        "of the other branch"
    );
}

#[test]
fn a_workstation_has_no_routing_service_and_no_management_board() {
    let all = |product: &str| {
        let facts = gdr().set("/system/product", json!(product)).facts();
        let list = todo(&facts, MatchStatus::Probable);
        let texts: Vec<&str> = list.iter().map(|action| action.text.as_str()).collect();
        texts.join("\n")
    };
    let (client, server) = (all("workstation"), all("server"));
    for word in ["Routing and Remote Access", "management board"] {
        assert!(!client.contains(word), "{word}: {client}");
        assert!(server.contains(word), "{word}: {server}");
    }
    assert!(client.contains("Multicast routing through this computer stops."));
}

#[test]
fn itanium_was_never_vista() {
    for build in [6000, 6001, 6002, 7601] {
        let mut crash = of(build);
        crash.json["dump"]["architecture"] = json!("ia64");
        let facts = crash.facts();
        let reason = servicing(&facts, &BuildTable::embedded()).reason;
        assert!(!reason.contains("Vista"), "{build}: {reason}");
        for action in todo(&facts, MatchStatus::Probable) {
            assert!(!action.text.contains("Vista"), "{build}: {}", action.text);
        }
    }
}

#[test]
fn a_sign_of_the_defect_that_something_outweighs_is_not_called_something_else() {
    use kbtriage::evidence::{Context, evidence, observe};
    let builds = BuildTable::embedded();
    let facts = gdr()
        .stack(&["tcpip!TtStopTimer", "tcpip!IppRestartMfeTimer"])
        .set("/dump/processors", json!(1))
        .facts();
    let found = evidence(&observe(&facts, &Context { builds: &builds }));
    let servicing = servicing(&facts, &builds);
    let decision = kbtriage::verdict::decide(&found, true);
    assert_eq!(decision.status, MatchStatus::Unlikely);
    let word = verdict(decision.status, servicing.applicability);
    let list = actions(&facts, &servicing, (&decision, &found), word);
    let text = text(&list, "look-elsewhere");
    assert!(!text.contains("something else"), "{text}");
    assert!(text.contains("one processor"), "{text}");
    assert!(text.contains("lacks the fix"), "{text}");
}

#[test]
fn a_version_that_only_a_date_tells_is_looked_at_first() {
    let dated = Crash::new().stack(&["tcpip"]).facts();
    let list = todo(&dated, MatchStatus::Probable);
    let order = ids(&list);
    let at = |id| order.iter().position(|own| *own == id).unwrap();
    assert!(at("check-version") < at("install-service-pack"));
    assert!(text(&list, "install-service-pack").starts_with("If that version lacks the fix"));
}

#[test]
fn a_partly_serviced_machine_is_told_so() {
    let facts = gdr().version("netio.sys", [6, 0, 6001, 22222]).facts();
    let servicing = servicing(&facts, &BuildTable::embedded());
    assert_eq!(servicing.applicability, Applicability::PartiallyServiced);
    let list = todo(&facts, MatchStatus::Confirmed);
    assert!(text(&list, "install-later-update").contains("not its tcpip.sys"));
}

#[test]
fn the_hotfix_is_never_recommended_where_it_does_not_fit() {
    let machines = [
        gdr().version("tcpip.sys", [6, 0, 6001, 22222]),
        gdr().version("tcpip.sys", [6, 0, 6001, 22713]),
        of(6002),
        of(6003),
        of(7601),
        of(19041),
        // netio.sys came with Vista.
        of(3790).module("netio.sys", "name", json!("other.sys")),
    ];
    for machine in machines {
        let facts = machine.facts();
        for status in MatchStatus::ALL {
            let list = todo(&facts, *status);
            assert_eq!(
                ids(&list),
                ["look-elsewhere"],
                "{status} on {:?}",
                facts.system.build
            );
            assert!(!list[0].text.contains("lacks the fix"), "{}", list[0].text);
        }
    }
    for status in [
        MatchStatus::Excluded,
        MatchStatus::Unlikely,
        MatchStatus::InsufficientData,
    ] {
        let list = todo(&gdr().facts(), status);
        assert!(
            !ids(&list).iter().any(|id| id.starts_with("install")),
            "{status}"
        );
    }
    let other = todo(&gdr().facts(), MatchStatus::Unlikely);
    assert!(other[0].text.contains("lacks the fix"), "said all the same");
    let dated = todo(
        &Crash::new().stack(&["tcpip"]).facts(),
        MatchStatus::Unlikely,
    );
    assert!(dated[0].text.contains("probably lacks the fix"));
}

#[test]
fn the_debugger_commands_are_those_of_the_code_and_of_what_the_dump_holds() {
    let debugger = |crash: Crash| {
        let list = todo(&crash.facts(), MatchStatus::Probable);
        list.iter()
            .find(|a| a.id == "debugger")
            .unwrap()
            .command
            .clone()
            .unwrap()
    };
    let parameters = json!([0xC000_0005u32, 0x1000, 0x2000, 0x3000]);
    let with = |code| {
        gdr()
            .code(code)
            .set("/bugcheck/parameters", parameters.clone())
    };
    assert!(debugger(with(0x7E)).contains(".cxr 0x3000"));
    assert!(debugger(with(0x1000_007E)).contains(".cxr 0x3000"));
    assert!(debugger(with(0x3B)).contains(".cxr 0x2000"));
    assert!(debugger(with(0x8E)).contains(".trap 0x2000"));
    assert!(debugger(with(0xE2)).contains("~*kv"));
    assert!(debugger(gdr()).contains("lmvm tcpip") && !debugger(gdr()).contains("!poolused"));
    let mut memory = gdr().set("/dump/format", json!("kernel-complete"));
    memory.json["memory"] = json!({ "processors": [], "other_stacks": [], "pool_tags": null, "findings": [
        { "kind": "shared-list-link", "address": 0xFA80_1000u64, "tag": "IPmf", "detail": "" },
        { "kind": "torn-list", "address": 0xFA80_2000u64, "tag": "IPmf", "detail": "" },
    ] });
    let command = debugger(memory);
    for part in ["!poolused 4 IPmf", "!pool 0xfa801000 2", "dl 0xfa802000"] {
        assert!(command.contains(part), "{part}: {command}");
    }
}

#[test]
fn what_would_settle_it_is_what_is_missing() {
    let settle = |crash: Crash, status| {
        let facts = crash.facts();
        let servicing = servicing(&facts, &BuildTable::embedded());
        would_settle(&facts, &servicing, status).join("\n")
    };
    let without = Crash::new()
        .stack(&["tcpip"])
        .module("tcpip.sys", "symbols", json!("missing"));
    let dated = settle(without, MatchStatus::Possible);
    for part in [
        "image 47919120100000",
        "symbols of tcpip.sys",
        "kernel memory dump",
        "multicast forwarding was on",
    ] {
        assert!(dated.contains(part), "{part}: {dated}");
    }
    // Symbols that are at hand are not missing, whatever they name.
    let loaded = settle(Crash::new().stack(&["tcpip"]), MatchStatus::Possible);
    assert!(!loaded.contains("symbols of tcpip.sys"), "{loaded}");
    let named = settle(
        Crash::new()
            .stack(&["tcpip!TtStopTimer"])
            .version("tcpip.sys", [6, 0, 6001, 18000]),
        MatchStatus::Probable,
    );
    assert!(
        !named.contains("symbols") && !named.contains("version of tcpip.sys"),
        "{named}"
    );
    let forced = settle(gdr().code(0xE2), MatchStatus::InsufficientData);
    assert!(
        forced.contains("of another hang, by NMI or keyboard"),
        "{forced}"
    );
    for status in [
        MatchStatus::Confirmed,
        MatchStatus::Unlikely,
        MatchStatus::Excluded,
    ] {
        assert_eq!(settle(gdr(), status), "");
    }
    assert_eq!(
        settle(of(6002), MatchStatus::InsufficientData),
        "",
        "the machine has the fix"
    );
}

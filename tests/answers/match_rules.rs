//! The rule table of the match: complete, consistent, and what `docs/kb943650.md` says.
//!
//! The expected status of every combination of effects is worked out here a second time, from the
//! words of the published rules, without the tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kbtriage::evidence::{self, Basis, Context, Evidence, Strength};
use kbtriage::knowledge::builds::BuildTable;
use kbtriage::knowledge::matching::{self, Effect, MatchRule};
use serde_json::json;

use kbtriage::verdict::{Applicability, MatchStatus, Verdict, decide, verdict};

fn piece(id: &str) -> Evidence {
    let rule = matching::match_rule(id).unwrap_or_else(|| panic!("no row for {id}"));
    Evidence {
        id: rule.id.into(),
        supports: rule.supports,
        strength: Strength::Moderate,
        summary: String::new(),
        place: None,
        basis: Basis::Inference,
    }
}

fn status(ids: &[&str], may_lack_fix: bool) -> MatchStatus {
    let evidence: Vec<Evidence> = ids.iter().map(|id| piece(id)).collect();
    decide(&evidence, may_lack_fix).status
}

/// One id for each kind of row.
const KINDS: [&str; 18] = [
    "build.fixed",
    "frame.other-timer",
    "forwarding.off",
    "forwarding.off-before",
    "build.unfixed",
    "build.unfixed-by-date",
    "fault.queue-module",
    "code.primary",
    "frame.mfe-timer",
    "memory.mfe-link",
    "memory.mfe-block",
    "memory.raced-list",
    "memory.torn-list",
    "hang.in-queue-module",
    "forwarding.on",
    "irql.dispatch",
    "code.unrelated",
    "memory.overwritten-list",
];

/// The rules of `docs/kb943650.md`, read again.
fn expected(has: impl Fn(&str) -> bool, may_lack_fix: bool) -> MatchStatus {
    let frame = has("frame.mfe-timer");
    let at_entry = has("memory.mfe-link") || has("memory.mfe-block");
    if has("build.fixed") {
        return MatchStatus::Excluded;
    }
    // Nothing but the race itself, seen in memory, is proof.
    let proof = has("memory.raced-list");
    if has("frame.other-timer")
        || (has("memory.overwritten-list") && !proof)
        || (has("forwarding.off") && !has("forwarding.on"))
        || (has("forwarding.off-before") && !has("forwarding.on") && !frame && !at_entry)
    {
        return MatchStatus::Unlikely;
    }
    let unfixed = has("build.unfixed");
    let open = unfixed || has("build.unfixed-by-date") || may_lack_fix;
    if unfixed && proof && (frame || has("memory.mfe-link")) {
        MatchStatus::Confirmed
    } else if open && (frame || at_entry) {
        MatchStatus::Probable
    } else if open
        && has("code.primary")
        && (has("fault.queue-module") || has("hang.in-queue-module"))
    {
        MatchStatus::Possible
    } else {
        MatchStatus::InsufficientData
    }
}

#[test]
fn every_combination_gives_the_published_status_and_no_piece_works_against_its_side() {
    let pieces: Vec<Evidence> = KINDS.iter().map(|id| piece(id)).collect();
    for may_lack_fix in [false, true] {
        let of = |mask: usize| -> MatchStatus {
            let some: Vec<Evidence> = (0..KINDS.len())
                .filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| pieces[bit].clone())
                .collect();
            let forward = decide(&some, may_lack_fix).status;
            // Order: turned about by an amount that differs from mask to mask.
            let mut turned = some;
            turned.reverse();
            let by = mask % turned.len().max(1);
            turned.rotate_left(by);
            assert_eq!(
                decide(&turned, may_lack_fix).status,
                forward,
                "order mattered"
            );
            forward
        };
        let all: Vec<MatchStatus> = (0..1usize << KINDS.len()).map(of).collect();
        for (mask, found) in all.iter().enumerate() {
            let has = |id: &str| {
                KINDS
                    .iter()
                    .position(|kind| *kind == id)
                    .is_some_and(|bit| mask >> bit & 1 == 1)
            };
            assert_eq!(*found, expected(has, may_lack_fix), "{mask:#b}");
            for bit in (0..KINDS.len()).filter(|bit| mask >> bit & 1 == 0) {
                let more = all[mask | 1 << bit];
                match pieces[bit].supports {
                    true => assert!(more >= *found, "{} lowered {mask:#b}", KINDS[bit]),
                    false => assert!(more <= *found, "{} raised {mask:#b}", KINDS[bit]),
                }
            }
        }
    }
}

#[test]
fn every_row_is_of_a_kind_that_the_exhaustive_test_tries() {
    let kind = |rule: &MatchRule| (rule.supports, rule.effect, rule.unless);
    let tried: Vec<_> = KINDS
        .iter()
        .map(|id| kind(matching::match_rule(id).unwrap()))
        .collect();
    for rule in matching::match_rules() {
        assert!(
            tried.contains(&kind(rule)),
            "{}: a new kind of row: give it a representative in KINDS and a line in expected()",
            rule.id
        );
    }
}

#[test]
fn the_tables_are_consistent() {
    let ids: BTreeSet<&str> = matching::match_rules().iter().map(|rule| rule.id).collect();
    assert_eq!(
        ids.len(),
        matching::match_rules().len(),
        "an id has two rows"
    );
    for rule in matching::match_rules() {
        if let Some(side) = rule.effect.side() {
            assert_eq!(rule.supports, side, "{}: {}", rule.id, rule.effect);
        }
        assert!(
            rule.unless.is_empty() || rule.effect == Effect::Counters,
            "{}: only what counters can lose its force",
            rule.id
        );
        assert!(
            rule.unless.iter().all(|e| e.side() == Some(true)),
            "{}",
            rule.id
        );
    }
    for effect in Effect::ALL {
        assert!(
            !effect.phrase().is_empty(),
            "{effect} has no row in match-effects.tsv"
        );
    }
    let rows = matching::status_rows();
    assert!(
        rows.is_sorted_by(|a, b| a.status >= b.status),
        "highest first"
    );
    for row in rows {
        assert!(row.status > MatchStatus::InsufficientData, "{}", row.rule);
        assert!(
            row.needs.iter().all(|e| e.side() == Some(true)),
            "{}",
            row.rule
        );
    }
}

/// Rust files below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every text of the form `group.detail` in the observers' code that is neither an observer's name
/// nor a file name.
fn emitted() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/evidence");
    let mut ids = BTreeSet::new();
    for path in sources(&root) {
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().map(str::trim_start) {
            if line.starts_with("//") || line.starts_with("observer:") {
                continue;
            }
            for text in line.split('"').skip(1).step_by(2) {
                let Some((group, detail)) = text.split_once('.') else {
                    continue;
                };
                let word = |w: &str| {
                    w.starts_with(|c: char| c.is_ascii_lowercase())
                        && w.bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                };
                let file = ["sys", "dll", "exe", "mui", "pdb", "tsv", "txt"].contains(&detail);
                if word(group) && word(detail) && !file {
                    ids.insert(text.to_owned());
                }
            }
        }
    }
    ids
}

#[test]
fn every_id_that_an_observer_can_emit_has_a_row_and_every_row_an_observer() {
    let emitted = emitted();
    assert!(emitted.len() > 30, "the search found {emitted:?}");
    let known: BTreeSet<String> = matching::match_rules()
        .iter()
        .map(|r| r.id.to_owned())
        .collect();
    let missing: Vec<_> = emitted.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "no row in src/knowledge/data/match-rules.tsv for {missing:?}"
    );
    let unused: Vec<_> = known.difference(&emitted).collect();
    assert!(
        unused.is_empty(),
        "no observer of src/evidence emits {unused:?}"
    );
}

/// The page has each id in the list of its side, and none that no row has.
#[test]
fn the_page_names_every_piece_of_evidence_on_its_side() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kb943650.md");
    let page = std::fs::read_to_string(page).unwrap();
    let page = page.replace("\r\n", "\n");
    let (_, rest) = page.split_once("### For\n").expect("a list");
    let (supporting, rest) = rest.split_once("### Against\n").expect("a list");
    let (against, _) = rest.split_once("\n### ").expect("what follows");
    let named = |table: &str| -> BTreeSet<String> {
        let rows = table.lines().filter_map(|line| line.strip_prefix("- `"));
        rows.filter_map(|row| row.split_once('`'))
            .map(|(id, _)| id.to_owned())
            .collect()
    };
    let rows = |side: bool| -> BTreeSet<String> {
        let all = matching::match_rules().iter();
        all.filter(|rule| rule.supports == side)
            .map(|rule| rule.id.to_owned())
            .collect()
    };
    assert_eq!(named(supporting), rows(true));
    assert_eq!(named(against), rows(false));
}

#[test]
fn only_the_race_itself_confirms() {
    for sign in [
        "frame.mfe-timer",
        "frame.mfe-list-unknown",
        "memory.mfe-link",
    ] {
        let seen = [
            "build.unfixed",
            "build.unfixed-by-code",
            sign,
            "code.primary",
        ];
        // A list instruction whose registers give the address, a torn list, a walk without an end and a set that is
        // locked for reading are support: an overrun and a freed entry leave them, too.
        let support = [
            "instruction.list-operation",
            "memory.torn-list",
            "processors.endless-timer-queue",
            "lock.changed-under-read-lock",
            "forwarding.entries-exist",
        ];
        let supported = [&seen[..], &support[..]].concat();
        assert_eq!(status(&supported, true), MatchStatus::Probable, "{sign}");
        for proof in [
            "memory.raced-list",
            "memory.changed-entry",
            "memory.unlinked-entry",
            "processors.two-past-the-lock",
        ] {
            let proven = [&seen[..], &[proof]].concat();
            assert_eq!(
                status(&proven, true),
                MatchStatus::Confirmed,
                "{sign} {proof}"
            );
            let one_processor = [&proven[..], &["machine.one-processor"]].concat();
            assert_eq!(status(&one_processor, true), MatchStatus::Unlikely);
        }
    }
}

#[test]
fn a_list_operation_at_a_forwarding_entrys_block_is_probable_and_no_more() {
    let pieces = [
        "memory.mfe-block",
        "instruction.list-operation",
        "memory.raced-list",
    ];
    assert_eq!(status(&pieces, true), MatchStatus::Probable);
    let unfixed = [&pieces[..], &["build.unfixed"]].concat();
    assert_eq!(status(&unfixed, true), MatchStatus::Probable);
    assert_eq!(status(&pieces, false), MatchStatus::InsufficientData);
}

#[test]
fn a_decisive_frame_counts_whatever_the_code_so_that_a_forced_dump_can_show_the_spin() {
    assert_eq!(status(&["frame.mfe-timer"], true), MatchStatus::Probable);
    assert_eq!(
        status(&["fault.queue-module"], true),
        MatchStatus::InsufficientData
    );
}

#[test]
fn a_date_confirms_nothing() {
    let pieces = [
        "build.unfixed-by-date",
        "build.co-dated",
        "build.release-window",
        "frame.mfe-timer",
        "memory.raced-list",
    ];
    assert_eq!(status(&pieces, true), MatchStatus::Probable);
}

#[test]
fn forwarding_off_another_irql_and_one_processor_make_it_unlikely() {
    let possible = ["build.unfixed", "fault.queue-module", "code.primary"];
    assert_eq!(status(&possible, true), MatchStatus::Possible);
    for id in [
        "forwarding.off",
        "irql.not-dispatch",
        "machine.one-processor",
    ] {
        let with = [&possible[..], &[id]].concat();
        assert_eq!(status(&with, true), MatchStatus::Unlikely, "{id}");
    }
    // The race needs two, whatever the frames look like.
    let sign = ["frame.mfe-timer", "machine.one-processor"];
    assert_eq!(status(&sign, true), MatchStatus::Unlikely);
    let irql = ["frame.mfe-timer", "irql.not-dispatch"];
    assert_eq!(status(&irql, true), MatchStatus::Unlikely);
}

#[test]
fn a_decision_names_what_decided_and_what_is_missing() {
    let evidence = ["irql.dispatch", "frame.mfe-timer", "build.unfixed"].map(piece);
    let decision = decide(&evidence, true);
    assert_eq!(decision.status, MatchStatus::Probable);
    assert_eq!(decision.decided_by, ["frame.mfe-timer", "build.unfixed"]);
    let ways: Vec<_> = decision
        .missing
        .iter()
        .map(|m| (m.status, m.needs.clone()))
        .collect();
    assert_eq!(ways, [(MatchStatus::Confirmed, vec![Effect::Proof])]);
    let against = decide(&["code.primary", "frame.other-timer"].map(piece), true);
    assert_eq!(against.decided_by, ["frame.other-timer"]);
    assert!(against.missing.is_empty());
    let nothing = decide(&[], true);
    assert_eq!(nothing.missing[0].status, MatchStatus::Possible);
    assert_eq!(
        nothing.missing[0].needs,
        [Effect::Struck, Effect::RightCode]
    );
}

#[test]
fn the_word_for_a_ticket_follows_the_published_table() {
    use Applicability as A;
    use MatchStatus as M;
    use Verdict as V;
    let fixed = [
        A::AlreadyInstalled,
        A::IncludedInLaterUpdate,
        A::SupersededByServicePack,
        A::NotApplicable,
    ];
    for match_status in M::ALL.iter().copied() {
        for applicability in fixed {
            assert_eq!(verdict(match_status, applicability), V::DoesNotApply);
        }
    }
    for (match_status, applicable, service_pack, unknown) in [
        // confirmed with unknown applicability cannot occur: see the next test.
        (
            M::Confirmed,
            V::Applies,
            V::AppliesAfterServicePack,
            V::ProbablyApplies,
        ),
        (
            M::Probable,
            V::ProbablyApplies,
            V::AppliesAfterServicePack,
            V::ProbablyApplies,
        ),
        (M::Possible, V::MayApply, V::MayApply, V::MayApply),
        (
            M::InsufficientData,
            V::Undetermined,
            V::Undetermined,
            V::Undetermined,
        ),
        (
            M::Unlikely,
            V::DoesNotApply,
            V::DoesNotApply,
            V::DoesNotApply,
        ),
        (
            M::Excluded,
            V::DoesNotApply,
            V::DoesNotApply,
            V::DoesNotApply,
        ),
    ] {
        assert_eq!(verdict(match_status, A::Applicable), applicable);
        assert_eq!(verdict(match_status, A::PartiallyServiced), applicable);
        assert_eq!(verdict(match_status, A::NeedsServicePack), service_pack);
        assert_eq!(verdict(match_status, A::Unknown), unknown);
    }
}

/// `confirmed` rests on evidence whose effect is `unfixed`. Each such id has to come from an
/// observer that learns the applicability too; a new one is to be added here after a look at it.
#[test]
fn confirmed_never_meets_an_unknown_applicability() {
    let unfixed: Vec<&str> = matching::match_rules()
        .iter()
        .filter(|rule| rule.effect == Effect::Unfixed)
        .map(|rule| rule.id)
        .collect();
    for id in unfixed {
        assert!(
            [
                "build.before-service-pack",
                "build.unfixed",
                // Emitted only where `servicing` says not fixed, by the same code.
                "build.unfixed-by-code",
            ]
            .contains(&id),
            "{id}: does evidence::servicing know the applicability whenever it is emitted?"
        );
    }
    for row in matching::status_rows() {
        if row.status == MatchStatus::Confirmed {
            assert!(row.needs.contains(&Effect::Unfixed), "{}", row.rule);
        }
    }
}

/// A memory dump of an unlink in tcpip.sys that faulted, with these findings about forwarding entries.
fn in_memory(kinds: &[&str], outstanding: u64) -> crate::support::facts::Crash {
    let findings: Vec<_> = kinds
        .iter()
        .map(|kind| json!({ "kind": kind, "address": 0xFA80_1000u64, "tag": "IPmf", "detail": kind }))
        .collect();
    let mut crash = crate::support::facts::Crash::new()
        .stack(&["tcpip"])
        .set("/dump/format", json!("kernel-complete"))
        .set("/fault/instruction", json!("mov [rax],rcx"))
        .set("/fault/instruction_kind", json!("list-unlink"))
        .set("/fault/effective_address", json!([8, true]));
    crash.json["memory"] = json!({ "processors": [], "other_stacks": [], "findings": findings,
        "pool_tags": [{ "tag": "IPmf", "outstanding": outstanding }] });
    crash
}

/// Multicast forwarding in the registry as of the crash.
fn registry(mut crash: crate::support::facts::Crash, on: bool) -> crate::support::facts::Crash {
    crash.json["system"]["multicast_forwarding"] = json!({ "ipv4": on, "ipv6": null,
        "any": null, "source": "registry-in-dump", "as_of": null, "at_crash": true, "remarks": [] });
    crash
}

fn seen(crash: crate::support::facts::Crash) -> Vec<Evidence> {
    let builds = BuildTable::embedded();
    evidence::evidence(&evidence::observe(
        &crash.facts(),
        &Context { builds: &builds },
    ))
}

fn ids(crash: crate::support::facts::Crash) -> Vec<&'static str> {
    seen(crash).iter().map(crate::support::facts::id).collect()
}

/// A dump forced by hand, whose processor had been in a DPC for long.
fn hanging(functions: &[&str]) -> crate::support::facts::Crash {
    let mut crash = crate::support::facts::Crash::new()
        .code(0xE2)
        .stack(functions);
    crash.json["dpc_time"] = json!([40, 1000]);
    crash
}

#[test]
fn a_forced_dump_never_says_that_something_faulted() {
    let crash = hanging(&["tcpip!TtFireTimer", "tcpip!IppUnheardOf"])
        .version("tcpip.sys", [6, 0, 6001, 18000])
        .set("/fault/instruction_kind", json!("list-walk"))
        .set("/fault/effective_address", json!([8, true]));
    let evidence = seen(crash);
    for piece in &evidence {
        assert!(
            !piece.summary.contains("fault"),
            "{}: {}",
            piece.id,
            piece.summary
        );
    }
    let decision = decide(&evidence, true);
    assert_eq!(decision.status, MatchStatus::Possible);
    assert!(decision.rule.contains("hangs"), "{}", decision.rule);
    assert!(!decision.rule.contains("fault"), "{}", decision.rule);
}

#[test]
fn every_effect_is_reached_by_an_observer() {
    let decisive = ["tcpip!TtStopTimer", "tcpip!IppRestartMfeTimer"];
    let crashes = [
        crate::support::facts::Crash::new().stack(&decisive),
        crate::support::facts::Crash::new().version("tcpip.sys", [6, 0, 6001, 18000]),
        crate::support::facts::Crash::new().build(6002),
        crate::support::facts::Crash::new().stack(&["tcpip!TcpIndicateData"]),
        registry(in_memory(&["forwarding-entry"], 7), true),
        in_memory(&["forwarding-entry", "shared-list-link", "torn-list"], 7),
        in_memory(&["forwarding-entry", "unlinked-entry"], 7).stack(&decisive),
        hanging(&["tcpip!TtFireTimer"]),
    ];
    let reached: BTreeSet<String> = crashes
        .into_iter()
        .flat_map(seen)
        .map(|e| matching::match_rule(&e.id).unwrap().effect.to_string())
        .collect();
    for effect in Effect::ALL {
        assert!(
            reached.contains(&effect.to_string()),
            "no observer gave {effect}: {reached:?}"
        );
    }
}

#[test]
fn a_pointer_into_forwarding_memory_that_is_not_the_operations_entry_is_no_evidence() {
    let stray = ids(in_memory(&["pool-block", "shared-list-link"], 7));
    assert!(
        !stray.iter().any(|id| id.starts_with("memory.")),
        "{stray:?}"
    );
    let entry = ids(in_memory(&["pool-block", "forwarding-entry"], 7));
    assert!(entry.contains(&"memory.mfe-block"), "{entry:?}");
    let linked = ids(in_memory(&["forwarding-entry", "shared-list-link"], 7));
    assert!(linked.contains(&"memory.mfe-link"), "{linked:?}");
    // A null link that no code explains takes the force of both.
    let null = ids(in_memory(
        &["forwarding-entry", "shared-list-link", "null-link"],
        7,
    ));
    assert!(null.contains(&"memory.mfe-null-link"), "{null:?}");
    assert!(!null.contains(&"memory.mfe-link"), "{null:?}");
}

#[test]
fn forwarding_off_at_the_crash_excludes_where_memory_agrees() {
    // Nothing of forwarding exists in memory, and the registry says off.
    let both = seen(registry(in_memory(&[], 0), false));
    assert_eq!(decide(&both, true).status, MatchStatus::Excluded);
    // The value alone: netsh keeps its setting elsewhere.
    let sets_only = ids(registry(in_memory(&[], 2), false));
    assert!(sets_only.contains(&"forwarding.off"), "{sets_only:?}");
    assert!(!sets_only.contains(&"forwarding.off-at-crash"));
    let evidence = seen(registry(in_memory(&[], 2), false));
    assert_eq!(decide(&evidence, true).status, MatchStatus::Unlikely);
    // Memory alone, and a value that says on.
    assert!(!ids(in_memory(&[], 0)).contains(&"forwarding.off-at-crash"));
    assert!(!ids(registry(in_memory(&[], 0), true)).contains(&"forwarding.off-at-crash"));
}

//! The rule table: what each piece of evidence does to the match.
//!
//! Reviewable as data: a status follows from which kinds of effect are present, never from a sum.
//! Order does not matter; evidence for the match never lowers the status and evidence against it
//! never raises it, because a rule only asks whether an effect is present.

use crate::evidence::{Evidence, Strength};

use super::MatchStatus;

/// What a piece of evidence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The build lacks the fix or could lack it.
    Vulnerable,
    /// The fault is where the defect strikes.
    Struck,
    /// The code is one that the defect raises at the fault itself.
    RightCode,
    /// The multicast forwarding timer itself, by name and position.
    DecisiveFrame,
    /// The version or the code, not only a date, says that the fix is missing.
    Unfixed,
    /// What proves the list torn, together with the decisive frame and an unfixed build.
    Proof,
    /// Speaks against unless something decisive was seen.
    CountersAlone,
    /// Another owner, or a circumstance the defect cannot have: unlikely.
    Counters,
    /// Listed, decides nothing alone.
    Listed,
}

/// Evidence by name and what it does. Evidence with strength `excluding` excludes whatever its
/// name; a name that is missing here is only listed.
const RULES: &[(&str, Effect)] = &[
    ("build.unfixed", Effect::Unfixed),
    ("build.unfixed-by-date", Effect::Vulnerable),
    ("build.co-dated", Effect::Vulnerable),
    ("build.before-service-pack", Effect::Vulnerable),
    ("fault.queue-module", Effect::Struck),
    ("fault.called-from-queue-module", Effect::Struck),
    ("code.primary", Effect::RightCode),
    ("code.unrelated", Effect::Listed),
    ("code.secondary-victim", Effect::Listed),
    ("code.weakly-against", Effect::Listed),
    ("code.other-architecture", Effect::Listed),
    ("irql.dispatch", Effect::Listed),
    ("irql.not-dispatch", Effect::Counters),
    ("machine.processors", Effect::Listed),
    ("machine.one-processor", Effect::CountersAlone),
    ("frame.mfe-timer", Effect::DecisiveFrame),
    ("frame.mfe", Effect::Listed),
    ("frame.multicast-on-stack", Effect::Listed),
    ("frame.other-timer", Effect::Counters),
    ("frame.foreign-caller", Effect::Counters),
    ("frame.other-function", Effect::Counters),
    ("frame.completion", Effect::Counters),
    ("instruction.list-operation", Effect::Proof),
    ("instruction.checked-unlink", Effect::Counters),
    ("fault.other-module", Effect::Counters),
    ("fault.called-from-other-module", Effect::Counters),
    ("inventory.package-not-installed", Effect::Listed),
    ("memory.mfe-link", Effect::DecisiveFrame),
    ("memory.mfe-block", Effect::Struck),
    ("memory.torn-list", Effect::Proof),
    ("lock.changed-under-read-lock", Effect::Proof),
    ("lock.write-lock-held", Effect::Counters),
    ("lock.queue-handle-held", Effect::Counters),
    ("processors.two-past-the-lock", Effect::Proof),
    ("processors.endless-timer-queue", Effect::Proof),
    ("processors.endless-list-in-timer-code", Effect::Listed),
    ("forwarding.on", Effect::Listed),
    ("forwarding.off", Effect::Listed),
    ("forwarding.entries-exist", Effect::Listed),
];

fn effect(evidence: &Evidence) -> Effect {
    RULES
        .iter()
        .find(|(id, _)| *id == evidence.id)
        .map_or(Effect::Listed, |(_, effect)| *effect)
}

/// What the evidence says together.
///
/// `may_lack_fix` is true when the system is one that has the defect unless a fixed tcpip.sys is
/// known: an unknown build of tcpip.sys on 6001 leaves the match possible.
pub fn decide(evidence: &[Evidence], may_lack_fix: bool) -> MatchStatus {
    let has = |wanted: Effect, supports: bool| {
        evidence
            .iter()
            .any(|e| e.supports == supports && effect(e) == wanted)
    };
    let excluded = evidence
        .iter()
        .any(|e| !e.supports && e.strength == Strength::Excluding);
    if excluded {
        return MatchStatus::Excluded;
    }
    let decisive = has(Effect::DecisiveFrame, true);
    if has(Effect::Counters, false) || (has(Effect::CountersAlone, false) && !decisive) {
        return MatchStatus::Unlikely;
    }
    let unfixed = has(Effect::Unfixed, true);
    let vulnerable = may_lack_fix || unfixed || has(Effect::Vulnerable, true);
    let struck = decisive || has(Effect::Struck, true);
    if !vulnerable || !struck || !has(Effect::RightCode, true) {
        return MatchStatus::InsufficientData;
    }
    match (decisive, unfixed && has(Effect::Proof, true)) {
        (true, true) => MatchStatus::Confirmed,
        (true, false) => MatchStatus::Probable,
        (false, _) => MatchStatus::Possible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::Basis;

    fn piece(id: &'static str, supports: bool, strength: Strength) -> Evidence {
        Evidence {
            id,
            supports,
            strength,
            summary: String::new(),
            place: None,
            basis: Basis::Inference,
        }
    }

    /// Every piece the rules know, for and against as the observers use it.
    fn all() -> Vec<Evidence> {
        let mut pieces: Vec<Evidence> = RULES
            .iter()
            .map(|(id, effect)| {
                let supports = !matches!(
                    (*id, effect),
                    (_, Effect::Counters | Effect::CountersAlone)
                        | (
                            "code.unrelated" | "code.weakly-against" | "code.other-architecture",
                            _
                        )
                );
                piece(id, supports, Strength::Moderate)
            })
            .collect();
        pieces.push(piece("build.fixed", false, Strength::Excluding));
        pieces
    }

    #[test]
    fn adding_support_never_lowers_and_adding_counter_evidence_never_raises() {
        let pieces = all();
        // Every subset of three pieces, plus each piece: all interactions the rules can have.
        for a in &pieces {
            for b in &pieces {
                for c in &pieces {
                    let base = vec![a.clone(), b.clone(), c.clone()];
                    for may_lack_fix in [false, true] {
                        let before = decide(&base, may_lack_fix);
                        for extra in &pieces {
                            let mut more = base.clone();
                            more.push(extra.clone());
                            let after = decide(&more, may_lack_fix);
                            if extra.supports {
                                assert!(after >= before, "{} lowered", extra.id);
                            } else {
                                assert!(after <= before, "{} raised", extra.id);
                            }
                            more.reverse();
                            assert_eq!(decide(&more, may_lack_fix), after, "order mattered");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_decisive_frame_is_probable_and_with_proof_on_an_unfixed_version_confirmed() {
        let frame = piece("frame.mfe-timer", true, Strength::Decisive);
        let code = piece("code.primary", true, Strength::Weak);
        let list = piece("instruction.list-operation", true, Strength::Moderate);
        let dated = piece("build.unfixed-by-date", true, Strength::Moderate);
        let version = piece("build.unfixed", true, Strength::Moderate);
        let one = piece("machine.one-processor", false, Strength::Strong);
        let probable = [frame.clone(), code.clone(), list.clone(), dated];
        assert_eq!(
            decide(&probable, true),
            MatchStatus::Probable,
            "a date proves nothing"
        );
        let confirmed = [frame.clone(), code.clone(), list, version.clone()];
        assert_eq!(decide(&confirmed, true), MatchStatus::Confirmed);
        let without_list = [frame, code, version, one];
        assert_eq!(decide(&without_list, true), MatchStatus::Probable);
    }

    #[test]
    fn a_fault_in_tcpip_on_an_unfixed_build_is_possible_and_no_more() {
        let pieces = [
            piece("build.unfixed-by-date", true, Strength::Moderate),
            piece("fault.queue-module", true, Strength::Moderate),
            piece("code.primary", true, Strength::Weak),
        ];
        assert_eq!(decide(&pieces, true), MatchStatus::Possible);
        assert_eq!(decide(&pieces[..2], true), MatchStatus::InsufficientData);
    }
}

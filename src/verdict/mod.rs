//! The answer: does the crash match the defect, does the hotfix apply, what to do now.
//!
//! Two questions, never blended, and one word for a ticket derived from both. Pure: evidence in,
//! decision out. The rules are the tables of `knowledge::matching`; nothing is weighed outside them.

mod actions;
mod answers;
mod next_data;
mod rules;

pub use actions::{Action, actions};
pub use answers::{Answer, article_answer, defect_answer};
pub use next_data::{WHOLE_FILE, would_settle};
pub use rules::{Decision, Missing, Piece, RuleStep, decide, judge, trace};

use crate::knowledge::matching;
pub use crate::knowledge::matching::{Effect, MatchStatus};
pub use crate::knowledge::versions::Applicability;
use crate::vocabulary::closed_enum;

closed_enum! {
    /// One word for a ticket.
    Verdict {
        /// Install the hotfix (or what includes it).
        Applies = "applies",
        /// Install the service pack first.
        AppliesAfterServicePack = "applies-after-service-pack",
        /// Probably the defect.
        ProbablyApplies = "probably-applies",
        /// It may be the defect.
        MayApply = "may-apply",
        /// It is not the defect, or the machine has the fix.
        DoesNotApply = "does-not-apply",
        /// The dump cannot tell.
        Undetermined = "undetermined",
    }
}

/// The word for a ticket, from the two answers.
pub fn verdict(status: MatchStatus, applicability: Applicability) -> Verdict {
    use Applicability as A;
    use MatchStatus as M;
    if matches!(status, M::Unlikely | M::Excluded) {
        return Verdict::DoesNotApply;
    }
    match applicability {
        A::AlreadyInstalled
        | A::IncludedInLaterUpdate
        | A::SupersededByServicePack
        | A::NotApplicable => Verdict::DoesNotApply,
        A::NeedsServicePack => match status {
            M::Confirmed | M::Probable => Verdict::AppliesAfterServicePack,
            M::Possible => Verdict::MayApply,
            _ => Verdict::Undetermined,
        },
        A::Applicable | A::PartiallyServiced => match status {
            M::Confirmed => Verdict::Applies,
            M::Probable => Verdict::ProbablyApplies,
            M::Possible => Verdict::MayApply,
            _ => Verdict::Undetermined,
        },
        A::Unknown => match status {
            M::Confirmed | M::Probable => Verdict::ProbablyApplies,
            M::Possible => Verdict::MayApply,
            _ => Verdict::Undetermined,
        },
    }
}

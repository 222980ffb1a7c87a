//! What a report says a crash is, apart from the article asked for: suspects, hints, what to do next.

use serde::{Deserialize, Serialize};

use super::answer::Action;
use crate::cause::{Confidence, Event, What};
use crate::report::values::Hex;

/// What the crash is, whichever article was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cause {
    /// What kind of event the dump records.
    pub event: Event,
    /// In one line, for a person: the suspects, or that there is none.
    pub headline: String,
    /// Why, in one sentence.
    pub reason: String,
    /// The suspect; several that cannot be told apart; none.
    pub suspects: Vec<SuspectRecord>,
    /// What else was seen that points somewhere.
    pub hints: Vec<HintRecord>,
    /// What to do next, in order, at most five.
    pub next: Vec<Action>,
}

/// Whom the crash is laid to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SuspectRecord {
    /// What kind of thing it is.
    pub what: What,
    /// File name of a driver.
    pub module: Option<String>,
    /// Offset of the place in it.
    pub offset: Option<Hex>,
    /// Function of the place.
    pub function: Option<String>,
    /// How far it can be trusted.
    pub trust: Confidence,
    /// Why.
    pub reason: String,
    /// When the driver was linked, RFC 3339 UTC, where its stamp can be a date.
    pub linked: Option<String>,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HintRecord {
    /// What it is.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::cause::HintKind::ALL)))]
    pub kind: String,
    /// In words.
    pub text: String,
    /// Where it was seen.
    #[serde(rename = "where")]
    pub place: String,
}

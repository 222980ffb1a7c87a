//! Which dumps are written: by verdict and by time. The same options for scans and for what a store holds.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::report::summary::Summary;
use crate::verdict::Verdict;

/// Filters of what is written.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Only crashes since then: 2008-07-20 or 2008-07-20T03:14:07Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<String>,
    /// Only these verdicts, separated by commas
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = verdicts())]
    pub only: Vec<Verdict>,
}

/// A parser of verdicts, which help, manual pages and completions can list.
fn verdicts() -> impl TypedValueParser<Value = Verdict> {
    PossibleValuesParser::new(Verdict::ALL.iter().map(|verdict| verdict.as_str())).try_map(|text| {
        let known = Verdict::ALL.iter().copied();
        known
            .clone()
            .find(|verdict| verdict.as_str() == text)
            .ok_or("no verdict")
    })
}

fn parse_time(text: &str) -> Result<String, String> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    crate::report::unix_from_rfc3339(&whole)
        .and_then(crate::report::rfc3339_from_unix)
        .ok_or_else(|| {
            "a date such as 2008-07-20, or a time such as 2008-07-20T03:14:07Z".to_owned()
        })
}

impl FilterArgs {
    /// True when something with this verdict is asked for.
    pub fn wants(&self, verdict: Verdict) -> bool {
        self.only.is_empty() || self.only.contains(&verdict)
    }

    /// True when a crash of this time is asked for; one of an unknown time only where no time is asked for.
    pub fn wants_time(&self, summary: &Summary) -> bool {
        let time = summary.dump.as_ref().and_then(|d| d.crash_time.as_ref());
        self.since.is_none() || time >= self.since.as_ref()
    }

    /// True when the dump is asked for.
    pub fn wants_dump(&self, summary: &Summary) -> bool {
        let verdict = match summary.verdict() {
            Some(verdict) => self.wants(verdict),
            None => self.only.is_empty(),
        };
        verdict && self.wants_time(summary)
    }
}

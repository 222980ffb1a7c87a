//! The page about a fleet: headline numbers, crashes by week and verdict, machines by state with a timeline each,
//! buckets. Drawn from what a store holds; decides nothing.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::{BucketRow, Buckets, Machines};
use crate::report::escape::visible;
use crate::report::html::{self, Number};
use crate::report::records::MachineRecord;
use crate::report::summary::Summary;
use crate::report::text::words;
use crate::report::{rfc3339_from_unix, unix_from_rfc3339};
use crate::verdict::Verdict;

/// Machines and buckets of a page at most: a browser is slow with more.
const MOST_ROWS: usize = 2000;
/// Bytes of the page that each of its three lists may take; what is urgent comes first.
const MACHINE_BYTES: usize = 2 << 20;
const BUCKET_BYTES: usize = 1 << 20;
const DETAIL_BYTES: usize = 1 << 20;
/// Bars of the chart at most; more weeks are shown by month.
const MOST_BARS: i64 = 110;
/// Dots of a timeline at most: the newest.
const MOST_DOTS: usize = 24;
/// Width and height of the chart.
const CHART: (i64, i64) = (720, 158);
/// Width of a timeline, and what is left free at each end.
const TIMELINE: (i64, i64) = (160, 6);
const DAY: i64 = 86_400;

/// One crash on a time line.
type Moment = (i64, Verdict);

/// The page in the making.
#[derive(Default)]
pub struct FleetPage {
    machines: Machines,
    buckets: Buckets,
}

#[derive(Serialize)]
struct Page {
    title: String,
    numbers: Vec<Number>,
    chart: Option<Chart>,
    states: Vec<State>,
    machines: Vec<Machine>,
    more_machines: u64,
    from: String,
    to: String,
    buckets: Vec<Bucket>,
    more_buckets: u64,
    details: Vec<Details>,
    more_details: u64,
}

#[derive(Serialize)]
struct Chart {
    unit: &'static str,
    most: u64,
    caption: String,
    bars: Vec<Bar>,
    first: String,
    last: String,
}

#[derive(Serialize)]
struct Bar {
    title: String,
    x: i64,
    width: i64,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    class: &'static str,
    y: i64,
    height: i64,
}

#[derive(Serialize)]
struct State {
    state: &'static str,
    count: u64,
    share: u64,
}

#[derive(Serialize)]
struct Machine {
    rank: usize,
    name: String,
    class: &'static str,
    verdict: String,
    state: &'static str,
    version: String,
    crashes: u64,
    last: String,
    codes: String,
    timeline: String,
    dots: Vec<Dot>,
}

#[derive(Serialize)]
struct Dot {
    x: i64,
    class: &'static str,
}

#[derive(Serialize)]
struct Bucket {
    name: String,
    crashes: u64,
    machines: u64,
    first: String,
    last: String,
    verdicts: String,
}

#[derive(Serialize)]
struct Details {
    name: String,
    class: &'static str,
    verdict: String,
    reason: String,
    evidence: Vec<String>,
    dumps: Vec<String>,
}

impl FleetPage {
    /// Counts one dump.
    ///
    /// # Errors
    /// Those of the temporary file of a large fleet.
    pub fn add(&mut self, summary: &Summary) -> io::Result<()> {
        self.buckets.add(summary);
        self.machines.add(summary)
    }

    /// The page about machines and crashes that have one of the verdicts wanted.
    ///
    /// # Errors
    /// Those of the template library.
    pub fn render(self, wanted: impl Fn(Verdict) -> bool) -> io::Result<String> {
        let mut records = self.machines.into_records()?;
        records.retain(|record| wanted(record.hotfix.verdict));
        records.sort_by_key(|record| record.hotfix.verdict);
        let crashes: Vec<(&str, Option<i64>, Verdict)> = self
            .buckets
            .crashes(&wanted)
            .filter_map(|crash| {
                let time = crash.time.as_deref().and_then(unix_from_rfc3339);
                Some((crash.machine.as_str(), time, crash.verdict()?))
            })
            .collect();
        let times = || crashes.iter().filter_map(|(_, time, _)| *time);
        let span = times().min().zip(times().max());
        let mut numbers = vec![
            Number::plain(records.len() as u64, "machine"),
            Number::plain(crashes.len() as u64, "crash"),
        ];
        for verdict in Verdict::ALL {
            let own = records
                .iter()
                .filter(|record| record.hotfix.verdict == *verdict);
            match own.count() as u64 {
                0 => {}
                n => numbers.push(Number::verdict(*verdict, n)),
            }
        }
        let mut moments: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
        for (machine, time, verdict) in &crashes {
            let own = moments.entry(machine).or_default();
            own.extend(time.map(|time| (time, *verdict)));
        }
        let all: Vec<Moment> = moments.values().flatten().copied().collect();
        let none = Vec::new();
        let machines = records.iter().map(|record| {
            let own = moments.get(record.machine.name.to_uppercase().as_str());
            machine(record, own.unwrap_or(&none), span)
        });
        let machines = within(machines, MACHINE_BYTES, Machine::bytes);
        let rows = self.buckets.rows(&wanted);
        let buckets = within(rows.iter().map(bucket), BUCKET_BYTES, Bucket::bytes);
        let urgent = || {
            let all = records.iter();
            all.filter(|record| record.hotfix.verdict != Verdict::DoesNotApply)
        };
        let details = within(urgent().map(details), DETAIL_BYTES, Details::bytes);
        let more = |all: usize, shown: usize| (all - shown) as u64;
        let day = |time: Option<i64>| time.map_or("unknown".to_owned(), day);
        let page = Page {
            title: "Machines and KB943650".to_owned(),
            numbers,
            chart: span.and_then(|span| chart(&all, span)),
            states: states(&records),
            more_machines: more(records.len(), machines.len()),
            machines,
            from: day(span.map(|span| span.0)),
            to: day(span.map(|span| span.1)),
            more_buckets: more(rows.len(), buckets.len()),
            buckets,
            more_details: more(urgent().count(), details.len()),
            details,
        };
        html::page(&page.title, include_str!("page.html"), &page)
    }
}

/// The first rows that fit into so many bytes of a page, at most [`MOST_ROWS`].
fn within<T>(rows: impl Iterator<Item = T>, most: usize, bytes: fn(&T) -> usize) -> Vec<T> {
    let mut taken = 0usize;
    rows.take(MOST_ROWS)
        .take_while(|row| {
            taken = taken.saturating_add(bytes(row));
            taken <= most
        })
        .collect()
}

/// Bytes of a text in a page, where some characters have longer names.
fn written(text: &str) -> usize {
    let long = |byte: u8| matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'' | b'/');
    text.len() + 5 * text.bytes().filter(|byte| long(*byte)).count()
}

impl Machine {
    /// About as many bytes as its row takes.
    fn bytes(&self) -> usize {
        let texts = [&self.name, &self.version, &self.codes, &self.timeline];
        600 + 50 * self.dots.len() + texts.iter().map(|text| written(text)).sum::<usize>()
    }
}

impl Bucket {
    fn bytes(&self) -> usize {
        250 + written(&self.name) + written(&self.verdicts)
    }
}

impl Details {
    fn bytes(&self) -> usize {
        let texts = self.evidence.iter().chain(&self.dumps);
        300 + written(&self.name)
            + written(&self.reason)
            + texts.map(|text| 10 + written(text)).sum::<usize>()
    }
}

/// `2009-12-22`.
fn day(time: i64) -> String {
    let text = rfc3339_from_unix(time).unwrap_or_default();
    text.get(..10).unwrap_or_default().to_owned()
}

fn machine(record: &MachineRecord, moments: &[Moment], span: Option<(i64, i64)>) -> Machine {
    let verdict = record.hotfix.verdict;
    let codes: Vec<String> = record
        .stop_codes
        .iter()
        .map(|stop| words::stop_code(&stop.code.0))
        .collect();
    let mut newest: Vec<Moment> = moments.to_vec();
    newest.sort_unstable();
    let old = newest.len().saturating_sub(MOST_DOTS);
    let (width, free) = TIMELINE;
    let dots = newest.iter().skip(old).map(|(time, verdict)| {
        let (from, to) = span.unwrap_or((*time, *time));
        let place = (time - from).saturating_mul(width - 2 * free) / (to - from).max(1);
        Dot {
            x: free + place,
            class: html::bar(*verdict),
        }
    });
    let known = record
        .versions
        .iter()
        .find(|known| known.file == "tcpip.sys");
    Machine {
        rank: Verdict::ALL
            .iter()
            .position(|own| *own == verdict)
            .unwrap_or(0),
        name: visible(&record.machine.name),
        class: verdict.as_str(),
        verdict: words::verdict_headline(verdict).to_lowercase(),
        state: words::fix_state(&record.hotfix.applicability),
        version: visible(known.map_or("", |known| &known.version)),
        crashes: record.dumps.crashes,
        last: record
            .last_crash
            .as_deref()
            .and_then(|t| t.get(..10))
            .unwrap_or("")
            .to_owned(),
        codes: codes.join(" "),
        timeline: match moments.len() as u64 {
            0 => "no crash with a known time".to_owned(),
            n => format!(
                "{} from {} to {}",
                words::counted(n, "crash"),
                day(newest.first().map_or(0, |m| m.0)),
                day(newest.last().map_or(0, |m| m.0))
            ),
        },
        dots: dots.collect(),
    }
}

fn details(record: &MachineRecord) -> Details {
    let evidence = &record.hotfix.matching.evidence;
    let mut dumps: Vec<String> = Vec::new();
    for path in evidence.iter().flat_map(|e| &e.dumps) {
        let path = visible(path);
        if !dumps.contains(&path) && dumps.len() < 20 {
            dumps.push(path);
        }
    }
    Details {
        name: visible(&record.machine.name),
        class: record.hotfix.verdict.as_str(),
        verdict: words::verdict_headline(record.hotfix.verdict).to_lowercase(),
        reason: words::sentence(&visible(&record.hotfix.applicability.reason)),
        evidence: evidence
            .iter()
            .map(|e| {
                let side = if e.supports { "for" } else { "against" };
                let weight = words::strength(e.strength);
                let crashes = words::counted(e.crashes, "crash");
                format!("{side}, {weight}: {} ({crashes})", visible(&e.summary))
            })
            .collect(),
        dumps,
    }
}

fn bucket(row: &BucketRow) -> Bucket {
    let date = |time: &Option<String>| {
        let day = time.as_deref().and_then(|time| time.get(..10));
        day.unwrap_or_default().to_owned()
    };
    Bucket {
        name: visible(row.name.as_ref().unwrap_or(&row.key)),
        crashes: row.crashes,
        machines: row.machines,
        first: date(&row.first_seen),
        last: date(&row.last_seen),
        verdicts: words::verdict_counts(&row.verdicts),
    }
}

/// Machines by what is known of their tcpip.sys, the most first.
fn states(records: &[MachineRecord]) -> Vec<State> {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for record in records {
        *counts
            .entry(words::fix_state(&record.hotfix.applicability))
            .or_default() += 1;
    }
    let all = (records.len() as u64).max(1);
    let mut states: Vec<State> = counts
        .into_iter()
        .map(|(state, count)| State {
            state,
            count,
            share: count * 100 / all,
        })
        .collect();
    states.sort_by(|a, b| (b.count, a.state).cmp(&(a.count, b.state)));
    states
}

/// The period of a time: a week from Monday, or a month. Numbered so that neighbours differ by one.
fn period(time: i64, by_month: bool) -> i64 {
    if by_month {
        let text = day(time);
        let part = |range: std::ops::Range<usize>| text.get(range).and_then(|t| t.parse().ok());
        let (year, month): (i64, i64) = (part(0..4).unwrap_or(0), part(5..7).unwrap_or(1));
        return year * 12 + month - 1;
    }
    // 1970-01-01 was a Thursday.
    (time.div_euclid(DAY) + 3).div_euclid(7)
}

/// What a period is called: its Monday, or `2009-12`.
fn period_name(period: i64, by_month: bool) -> String {
    match by_month {
        true => format!(
            "{:04}-{:02}",
            period.div_euclid(12),
            period.rem_euclid(12) + 1
        ),
        false => day((period * 7 - 3) * DAY),
    }
}

/// Bars of crashes, stacked by the colours of the verdicts; the worst lie at the bottom.
fn chart(moments: &[Moment], (from, to): (i64, i64)) -> Option<Chart> {
    let weeks = period(to, false) - period(from, false) + 1;
    let by_month = weeks > MOST_BARS;
    let (first, last) = (period(from, by_month), period(to, by_month));
    let count = last - first + 1;
    // Times of two centuries are no fleet's: a clock was wrong.
    let (first, count) = match count > MOST_BARS {
        true => (last - MOST_BARS + 1, MOST_BARS),
        false => (first, count),
    };
    let mut periods: BTreeMap<i64, BTreeMap<&'static str, i64>> = BTreeMap::new();
    for (time, verdict) in moments {
        let own = period(*time, by_month);
        if own >= first {
            *periods
                .entry(own)
                .or_default()
                .entry(html::bar(*verdict))
                .or_default() += 1;
        }
    }
    let most = periods
        .values()
        .map(|parts| parts.values().sum::<i64>())
        .max()?;
    let (width, height) = CHART;
    let step = (width / count).max(1);
    let bars = periods
        .iter()
        .map(|(own, parts)| {
            let mut top = height;
            let mut drawn = Vec::new();
            for class in ["bar-red", "bar-yellow", "bar-grey"] {
                let n = parts.get(class).copied().unwrap_or(0);
                if n > 0 {
                    let tall = (n * (height - 8) / most).max(2);
                    top -= tall;
                    drawn.push(Part {
                        class,
                        y: top,
                        height: tall,
                    });
                }
            }
            let total: i64 = parts.values().sum();
            let total = words::counted(total.unsigned_abs(), "crash");
            Bar {
                title: format!("{}: {total}", period_name(*own, by_month)),
                x: (own - first) * step,
                width: (step - 1).clamp(1, 40),
                parts: drawn,
            }
        })
        .collect();
    let unit = if by_month { "month" } else { "week" };
    Some(Chart {
        unit,
        most: most.unsigned_abs(),
        caption: format!(
            "{} by {unit}, from {} to {}",
            words::counted(moments.len() as u64, "crash"),
            period_name(first, by_month),
            period_name(last, by_month)
        ),
        bars,
        first: period_name(first, by_month),
        last: period_name(last, by_month),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday() {
        // 2009-12-21 was a Monday.
        let time = |text: &str| unix_from_rfc3339(text).unwrap();
        let week = period(time("2009-12-22T00:47:00Z"), false);
        assert_eq!(period_name(week, false), "2009-12-21");
        assert_eq!(period(time("2009-12-21T00:00:00Z"), false), week);
        assert_eq!(period(time("2009-12-27T23:59:59Z"), false), week);
        assert_eq!(period(time("2009-12-28T00:00:00Z"), false), week + 1);
        let month = period(time("2009-12-22T00:47:00Z"), true);
        assert_eq!(period_name(month, true), "2009-12");
        assert_eq!(period_name(month + 1, true), "2010-01");
    }
}

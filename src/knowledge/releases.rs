//! When the files of the three releases of Windows 6.0 were linked: a stamp inside a release's own hours is a
//! file of that release, untouched by any update.
//!
//! The hours are those of 3 to 20 published files each (`data/releases.tsv`), widened by an hour: files of the
//! same build that nobody published may lie a little outside.

use super::tables::rules::RELEASES;
use super::versions::FileVersion;
use crate::machine::Machine;

/// A release of Windows 6.0 for one architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Build number.
    pub build: u32,
    /// What its files are versioned.
    pub version: FileVersion,
    /// x86 or x64.
    pub architecture: Machine,
    /// First and last link time observed, Unix seconds.
    pub first: u32,
    pub last: u32,
}

/// Seconds by which the observed hours are widened.
const MARGIN: u32 = 3600;

/// The release in whose hours a link time lies. IA-64 has no published files.
pub fn of_stamp(time_date_stamp: u32, architecture: Option<Machine>) -> Option<&'static Release> {
    RELEASES.iter().find(|release| {
        let hours = release.first.saturating_sub(MARGIN)..=release.last.saturating_add(MARGIN);
        Some(release.architecture) == architecture && hours.contains(&time_date_stamp)
    })
}

/// The day of Unix seconds, `2008-01-19`.
pub fn day(seconds: u32) -> String {
    time::OffsetDateTime::from_unix_timestamp(i64::from(seconds))
        .map_or_else(|_| seconds.to_string(), |time| time.date().to_string())
}

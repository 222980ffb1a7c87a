//! FILETIME, the time of Windows: units of 100 ns since 1601-01-01 UTC.

/// Seconds from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH: i64 = 11_644_473_600;
/// FILETIME units in a second.
const SECOND: u64 = 10_000_000;

/// Seconds since 1970-01-01 UTC of a FILETIME.
pub fn unix_from_filetime(filetime: u64) -> Option<i64> {
    i64::try_from(filetime / SECOND)
        .ok()?
        .checked_sub(UNIX_EPOCH)
}

/// The FILETIME of seconds since 1970-01-01 UTC; `None` before 1601.
pub fn filetime_from_unix(seconds: i64) -> Option<u64> {
    let since = seconds.checked_add(UNIX_EPOCH)?;
    u64::try_from(since).ok()?.checked_mul(SECOND)
}

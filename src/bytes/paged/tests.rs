//! Reads through pages and windows give the bytes of the source, and keep bounded what they hold.

use std::sync::atomic::Ordering;

use super::cache::{IN_USE, PAGES, WINDOW_BYTES};
use super::*;

fn source(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8).collect()
}

/// Longer than what is read whole.
const LONG: usize = WHOLE as usize;

#[test]
fn reads_across_prefix_and_pages_give_the_source_bytes() {
    let bytes = source(LONG + 3 * PAGE + 17);
    let reader = PagedReader::open(&bytes).unwrap();
    for (at, len) in [
        (0, 16),
        (PREFIX - 5, 10),
        (PREFIX + PAGE - 3, PAGE),
        (1, PREFIX + PAGE),
    ] {
        let mut buf = vec![0; len];
        reader.read_exact_at(at as u64, &mut buf).unwrap();
        assert_eq!(buf, bytes[at..at + len]);
    }
}

#[test]
fn a_read_past_the_end_is_an_error_and_allocates_nothing() {
    let bytes = source(100);
    let reader = PagedReader::open(&bytes).unwrap();
    assert!(matches!(
        reader.read_vec(90, 11),
        Err(ReadError::PastEnd { .. })
    ));
    assert!(matches!(
        reader.read_vec(0, u64::MAX),
        Err(ReadError::PastEnd { .. })
    ));
    assert!(matches!(
        reader.read_vec(u64::MAX, 2),
        Err(ReadError::PastEnd { .. })
    ));
}

#[test]
fn the_cache_stays_bounded_over_a_long_source() {
    let bytes = source(LONG + (PAGES + 40) * PAGE);
    let reader = PagedReader::open(&bytes).unwrap();
    for page in 0..PAGES + 40 {
        let at = PREFIX + page * PAGE;
        let mut buf = [0; 8];
        reader.read_exact_at(at as u64, &mut buf).unwrap();
        assert_eq!(buf, bytes[at..at + 8]);
    }
    assert_eq!(reader.cache.borrow().pages.len(), PAGES);
}

#[test]
fn a_window_is_as_long_as_what_comes_while_a_read_waits() {
    let ms = Duration::from_millis;
    // Local: 4 KiB come at once.
    assert_eq!(
        piece(Duration::from_micros(40), Duration::from_micros(3)),
        PAGE
    );
    // 5 ms away, and 192 KiB take 3.5 ms more: half of it may be chance.
    let long = ms(5) + Duration::from_micros(3500);
    assert!((900_000..1_000_000).contains(&piece(long, ms(5))));
    // A slow line: what is read anyway, and no more.
    assert_eq!(piece(ms(1000), ms(5)), PREFIX);
    // Nothing but waiting.
    assert_eq!(piece(ms(5), ms(5)), WINDOW);
}

#[test]
fn windows_give_the_source_bytes_and_their_room_back() {
    let bytes = source(3 * PREFIX + 12_345);
    let before = IN_USE.load(Ordering::Relaxed);
    for piece in [PREFIX, WINDOW] {
        let mut reader = PagedReader::open(&bytes).unwrap();
        reader.read_tail().unwrap();
        assert_eq!(reader.last(TAIL), &bytes[bytes.len() - TAIL..]);
        reader.piece = piece;
        for (at, len) in [
            (PREFIX - 3, 10),
            (PREFIX + 5, PAGE),
            (2 * PREFIX - 1, 2),
            (3 * PREFIX + 12_000, 345),
            (3 * PREFIX - 100, 12_445),
            (PREFIX, 2 * PREFIX),
        ] {
            let mut buf = vec![0; len];
            reader.read_exact_at(at as u64, &mut buf).unwrap();
            assert!(buf == bytes[at..at + len], "{len} bytes at {at}");
        }
        assert!(reader.cache.borrow().windows.len() <= WINDOWS);
    }
    // Others may read meanwhile, and give back as well.
    assert!(IN_USE.load(Ordering::Relaxed) <= before + WINDOW_BYTES);
}

//! How many workers a scan has: more while most of their time is waiting and the rate still rises, fewer when it does
//! not. Decided by what is measured alone: the same on every system and for every kind of disk or server.

use std::thread::available_parallelism;
use std::time::Duration;

/// How many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// So many.
    Fixed(usize),
    /// As many as pay off, and never more than this.
    Auto(usize),
}

impl Jobs {
    /// Most workers where nobody says otherwise: what they hold stays below some hundred MiB.
    pub const MOST: usize = 128;
}

impl Default for Jobs {
    fn default() -> Jobs {
        Jobs::Auto(Jobs::MOST)
    }
}

/// What was seen since the last sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Time since then.
    pub time: Duration,
    /// How long the workers waited for the system, all together.
    pub waited: Duration,
    /// System calls that came back.
    pub calls: u64,
    /// There is more work than workers.
    pub has_more: bool,
}

/// Shortest time that is judged by.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest time that is waited for [`ENOUGH`] calls.
const LONGEST: Duration = Duration::from_secs(2);
/// Calls of each worker that a rate is judged by.
const ENOUGH: u64 = 4;
/// Share of the workers' time beyond which they mostly wait, and below which they mostly compute.
const WAITING: f64 = 0.5;
const COMPUTING: f64 = 0.25;
/// What twice the workers have to bring at least.
const RISE: f64 = 1.15;
/// Samples for which a number is kept before another one is tried.
const HOLD: u32 = 30;

/// The number of workers, from sample to sample.
#[derive(Debug)]
pub struct Crew {
    least: usize,
    most: usize,
    now: usize,
    gathered: Sample,
    /// The number before the last change, and the calls a second it made.
    before: Option<(usize, f64)>,
    hold: u32,
}

impl Crew {
    /// To begin with, as many as processors.
    pub fn new(jobs: Jobs) -> Crew {
        let processors = available_parallelism().map_or(1, usize::from);
        let (least, most) = match jobs {
            Jobs::Fixed(n) => (n.max(1), n.max(1)),
            Jobs::Auto(most) => (processors.min(most).max(1), most.max(1)),
        };
        Crew {
            least,
            most,
            now: least,
            gathered: Sample::default(),
            before: None,
            hold: 0,
        }
    }

    /// Workers there should be.
    #[cfg(test)]
    fn size(&self) -> usize {
        self.now
    }

    /// Takes a sample and gives the workers there should be from here on.
    pub fn take(&mut self, sample: Sample) -> usize {
        let all = &mut self.gathered;
        all.time += sample.time;
        all.waited += sample.waited;
        all.calls += sample.calls;
        all.has_more = sample.has_more;
        let enough = all.calls >= ENOUGH.saturating_mul(self.now as u64);
        if self.least == self.most || all.time < SHORTEST || !(enough || all.time >= LONGEST) {
            return self.now;
        }
        let seen = std::mem::take(all);
        let seconds = seen.time.as_secs_f64();
        let waiting = seen.waited.as_secs_f64() / (seconds * self.now as f64);
        self.decide(waiting, seen.calls as f64 / seconds, seen.has_more);
        self.now
    }

    fn decide(&mut self, waiting: f64, rate: f64, has_more: bool) {
        // The last change is judged by what it brought.
        if let Some((size, before)) = self.before.take() {
            let grew = self.now > size;
            let worth = match grew {
                true => rate >= before * RISE,
                // Fewer do as well.
                false => rate >= before / RISE.sqrt(),
            };
            if !worth {
                self.now = size;
                self.hold = HOLD;
                return;
            }
            if !grew {
                self.hold = HOLD;
            }
        }
        if self.hold > 0 {
            self.hold -= 1;
            return;
        }
        let next = if waiting > WAITING && has_more && self.now < self.most {
            self.now.saturating_mul(2).min(self.most)
        } else if waiting < COMPUTING && self.now > self.least {
            (self.now / 2).max(self.least)
        } else if waiting > WAITING && self.now > self.least {
            // As many as allowed, or no more work than this: as good with fewer?
            (self.now - self.now / 4).max(self.least)
        } else {
            return;
        };
        self.before = Some((self.now, rate));
        self.now = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers of a made-up server: each call takes `wait`, and no more than `most` calls a second come back;
    /// between two calls a worker computes for `compute` on one of two processors.
    fn settle(crew: &mut Crew, wait: f64, most: f64, compute: f64) -> usize {
        for _ in 0..400 {
            let n = crew.size() as f64;
            let computed = if compute > 0.0 {
                2.0 / compute
            } else {
                f64::INFINITY
            };
            let rate = (n / (wait + compute)).min(most).min(computed);
            // What a worker does not compute or queue for a processor, it waits.
            let busy = rate * compute / n;
            let queued = match rate >= computed * 0.999 {
                true => 1.0 - busy - rate * wait / n,
                false => 0.0,
            };
            let waited = (1.0 - busy - queued).max(0.0);
            crew.take(Sample {
                time: Duration::from_millis(100),
                waited: Duration::from_secs_f64(waited * n * 0.1),
                calls: (rate * 0.1) as u64,
                has_more: true,
            });
        }
        crew.size()
    }

    fn of_two(most: usize) -> Crew {
        Crew {
            least: 2,
            now: 2,
            ..Crew::new(Jobs::Auto(most))
        }
    }

    #[test]
    fn a_server_that_is_far_away_gets_as_many_as_allowed_and_soon() {
        let mut crew = of_two(128);
        for _ in 0..8 {
            let n = crew.size() as u64;
            crew.take(Sample {
                time: Duration::from_millis(100),
                waited: Duration::from_millis(95 * n),
                calls: 20 * n,
                has_more: true,
            });
        }
        assert_eq!(crew.size(), 128);
        assert!(settle(&mut of_two(64), 0.005, 1e9, 0.0001) >= 48);
    }

    #[test]
    fn a_disk_that_gives_no_more_keeps_a_few() {
        // 100 calls a second of 10 ms each: one worker is enough.
        let size = settle(&mut of_two(128), 0.01, 100.0, 0.0);
        assert!(size <= 4, "{size}");
        // A server that serves 8 at once.
        let size = settle(&mut of_two(128), 0.005, 1600.0, 0.0);
        assert!((8..=32).contains(&size), "{size}");
    }

    #[test]
    fn work_that_computes_keeps_the_processors_and_shrinks_to_them() {
        assert_eq!(settle(&mut of_two(128), 0.00002, 1e9, 0.0003), 2);
        let mut crew = of_two(128);
        crew.now = 64;
        // A server that came near.
        let size = settle(&mut crew, 0.00002, 1e9, 0.0003);
        assert!(size <= 4, "{size}");
    }

    #[test]
    fn a_fixed_number_stays() {
        let mut crew = Crew::new(Jobs::Fixed(8));
        assert_eq!(settle(&mut crew, 0.005, 1e9, 0.0), 8);
        assert_eq!(settle(&mut Crew::new(Jobs::Auto(1)), 0.005, 1e9, 0.0), 1);
    }
}

//! The work one dump may cost: every loop over counts that come from a file spends from it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How many spends pass between two looks at the clock.
const CLOCK_INTERVAL: u64 = 256;

/// Steps and time left for one dump. Spending is cooperative: a loop that is refused ends
/// and says what it left out.
///
/// The step limit alone makes a report independent of the machine's speed; the deadline is a
/// safety net for dead mounts and hostile input and is off unless asked for.
#[derive(Debug)]
pub struct Budget {
    steps_left: Cell<u64>,
    until_clock: Cell<u64>,
    deadline: Option<Instant>,
    reached: Cell<u8>,
}

/// What was bounded, so that a report says that it may lack something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The time for one dump.
    Time,
    /// The work for one dump.
    Steps,
    /// How many of one thing are looked at.
    Candidates,
    /// The text of one dump.
    Text,
}

impl Limit {
    const ALL: [Limit; 4] = [Limit::Time, Limit::Steps, Limit::Candidates, Limit::Text];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The budget is spent: the loop that asked must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The step limit was reached.
    #[error("the work limit for one dump was reached")]
    Steps,
    /// The deadline has passed.
    #[error("the time limit for one dump was reached")]
    Time,
}

impl Budget {
    /// Steps that no sane dump comes near: two seconds of work at most, whatever a dump holds. A step is about
    /// a tenth of a microsecond; what costs more spends more.
    pub const DEFAULT_STEPS: u64 = 20_000_000;

    /// A budget of `steps` loop steps and, if given, `time` from now.
    pub fn new(steps: u64, time: Option<Duration>) -> Budget {
        Budget {
            steps_left: Cell::new(steps),
            until_clock: Cell::new(CLOCK_INTERVAL),
            deadline: time.and_then(|t| Instant::now().checked_add(t)),
            reached: Cell::new(0),
        }
    }

    /// When the time is up, where a limit was set.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Remembers that something was left out because of `limit`.
    pub fn reach(&self, limit: Limit) {
        self.reached.set(self.reached.get() | limit.bit());
    }

    /// The limits that were reached.
    pub fn reached(&self) -> Vec<Limit> {
        let reached = self.reached.get();
        let mut limits = Limit::ALL.to_vec();
        limits.retain(|limit| reached & limit.bit() != 0);
        limits
    }

    /// Takes `steps` from what is left.
    ///
    /// # Errors
    /// [`Exhausted`] when the limit of steps or of time is reached; nothing more is granted then.
    pub fn spend(&self, steps: u64) -> Result<(), Exhausted> {
        let Some(left) = self.steps_left.get().checked_sub(steps) else {
            self.steps_left.set(0);
            // What is refused because the time was up says so already.
            if self.reached.get() & Limit::Time.bit() == 0 {
                self.reach(Limit::Steps);
            }
            return Err(Exhausted::Steps);
        };
        self.steps_left.set(left);
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        match self.until_clock.get().checked_sub(steps) {
            Some(rest) => self.until_clock.set(rest),
            None => {
                self.until_clock.set(CLOCK_INTERVAL);
                if Instant::now() >= deadline {
                    self.steps_left.set(0);
                    self.reach(Limit::Time);
                    return Err(Exhausted::Time);
                }
            }
        }
        Ok(())
    }

    /// Steps not spent yet.
    #[cfg_attr(not(feature = "internals"), expect(dead_code))]
    pub fn steps_left(&self) -> u64 {
        self.steps_left.get()
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(Budget::DEFAULT_STEPS, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_grants_nothing_more() {
        let budget = Budget::new(10, None);
        assert_eq!(budget.spend(10), Ok(()));
        assert_eq!(budget.spend(1), Err(Exhausted::Steps));
        assert_eq!(budget.spend(1), Err(Exhausted::Steps));
    }

    #[test]
    fn a_deadline_in_the_past_stops_a_long_loop() {
        let budget = Budget::new(u64::MAX, Some(Duration::ZERO));
        let steps = (0..CLOCK_INTERVAL * 2)
            .take_while(|_| budget.spend(1).is_ok())
            .count();
        assert!(steps as u64 <= CLOCK_INTERVAL);
        assert_eq!(budget.steps_left(), 0);
    }
}

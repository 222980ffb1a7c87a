//! What is wrong with a file, as a bounded list.

pub use crate::facts::Damage;

/// More findings than this say nothing new about a file.
const MOST: usize = 64;

/// The findings of one file in the order found. Bounded: a file damaged everywhere costs no
/// more memory than one damaged in a few places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damages {
    list: Vec<Damage>,
    dropped: usize,
}

impl Damages {
    /// Adds a finding.
    pub fn note(&mut self, what: impl Into<String>, offset: Option<u64>) {
        if self.list.len() < MOST {
            let what = what.into();
            self.list.push(Damage { what, offset });
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The findings; a last entry counts those left out.
    pub fn into_vec(self) -> Vec<Damage> {
        let mut list = self.list;
        if self.dropped > 0 {
            list.push(Damage {
                what: format!("{} more findings left out", self.dropped),
                offset: None,
            });
        }
        list
    }
}

//! One value: what it was made from, and a distance from that.

use std::rc::Rc;

use super::STACK;

/// Loads through loads that are told apart.
const DEEPEST: u8 = 12;

/// Sums of sums that are told apart: each has two parts to compare.
const DEEPEST_SUM: u8 = 5;

/// What a value was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::code) enum Origin {
    /// What a register held at the start, by number.
    Given(usize),
    /// What memory held at a place.
    At(Rc<Value>),
    /// Made at an instruction, in a register: by a call, or by arithmetic that is not followed.
    Made(u32, usize),
    /// One of several values, where paths meet, in a register.
    Joined(u32, usize),
    /// A value and so many times another.
    Sum(Rc<Value>, Rc<Value>, u32),
}

/// A pointer-wide value: an origin and a distance from it. Without an origin it is a constant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::code) struct Value {
    pub origin: Option<Origin>,
    pub plus: i64,
    pub(super) depth: u8,
}

impl Value {
    pub const ZERO: Value = Value::constant(0);

    pub const fn constant(plus: i64) -> Value {
        Value {
            origin: None,
            plus,
            depth: 0,
        }
    }

    pub(super) fn of(origin: Origin) -> Value {
        Value {
            origin: Some(origin),
            plus: 0,
            depth: 0,
        }
    }

    pub fn plus(&self, distance: i64) -> Value {
        Value {
            plus: self.plus.wrapping_add(distance),
            ..self.clone()
        }
    }

    /// What memory holds there; `None` for the end of a long chain.
    pub fn loaded(&self) -> Option<Value> {
        (self.depth < DEEPEST).then(|| Value {
            origin: Some(Origin::At(Rc::new(self.clone()))),
            plus: 0,
            depth: self.depth + 1,
        })
    }

    /// An address on the function's own stack.
    pub fn on_stack(&self) -> bool {
        self.origin == Some(Origin::Given(STACK))
    }

    /// So many times another value behind this one; `None` for the end of a long chain.
    pub(super) fn and(&self, index: &Value, scale: u32) -> Option<Value> {
        let depth = self.depth.max(index.depth);
        let base = |value: &Value| Value {
            plus: 0,
            ..value.clone()
        };
        let by = index.plus.wrapping_mul(i64::from(scale));
        let mut pair = (base(self), base(index));
        if scale == 1 && pair.1 < pair.0 {
            pair = (pair.1, pair.0);
        }
        (depth < DEEPEST_SUM).then(|| Value {
            origin: Some(Origin::Sum(Rc::new(pair.0), Rc::new(pair.1), scale)),
            plus: self.plus.wrapping_add(by),
            depth: depth + 1,
        })
    }

    /// It is a distance from another value, or was loaded by way of it.
    pub fn comes_from(&self, other: &Value) -> bool {
        if other.origin.is_some() && self.origin == other.origin {
            return true;
        }
        match &self.origin {
            Some(Origin::At(place)) => place.comes_from(other),
            Some(Origin::Sum(base, index, _)) => base.comes_from(other) || index.comes_from(other),
            _ => false,
        }
    }

    /// How far it lies behind another value of the same origin.
    pub fn behind(&self, other: &Value) -> Option<i64> {
        (self.origin == other.origin).then(|| self.plus.wrapping_sub(other.plus))
    }
}

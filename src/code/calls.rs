//! Which functions a function calls, and whether an address belongs to it: a wrapper around timer
//! code is timer code itself, whatever its name, or without one.

use iced_x86::Instruction;

use super::CodeSource;
use super::flow::{self, State, Target};
use crate::bytes::Budget;

/// No knowledge is needed along a path.
#[derive(Clone, PartialEq)]
struct Nothing;

impl State for Nothing {
    fn join(&mut self, _: &Self, _: u32) {}
    fn call(&mut self, _: u32, _: &Target) {}
    fn step(&mut self, _: u32, _: &Instruction) {}
}

/// True when the function at `entry` calls at least one function, every one of them in this module
/// and by a name that `wanted` accepts (all its names). `None` when it cannot be read whole.
pub fn only_calls(
    code: &dyn CodeSource,
    entry: u32,
    budget: &Budget,
    wanted: &dyn Fn(&[String]) -> bool,
) -> Option<bool> {
    let (mut calls, mut others) = (0u32, 0u32);
    let reading = flow::read(code, entry, Nothing, budget, &mut |_, target, _| {
        let fits = matches!(target, Target::Own(rva) if wanted(&code.names_at(*rva)));
        calls += u32::from(fits);
        others += u32::from(!fits);
    })?;
    reading.whole.then_some(calls > 0 && others == 0)
}

/// True when control gets from the start of the function at `entry` to `at` without leaving it: a
/// name near an address is the name of its function then.
pub fn reaches(code: &dyn CodeSource, entry: u32, at: u32, budget: &Budget) -> bool {
    flow::read(code, entry, Nothing, budget, &mut |_, _, _| {})
        .is_some_and(|reading| reading.places.binary_search(&at).is_ok())
}

/// The functions of the same module that the function at `entry` calls, ascending.
pub fn called(code: &dyn CodeSource, entry: u32, budget: &Budget) -> Vec<u32> {
    let mut found = std::collections::BTreeSet::new();
    flow::read(code, entry, Nothing, budget, &mut |_, target, _| {
        if let Target::Own(rva) = target {
            found.insert(*rva);
        }
    });
    found.into_iter().collect()
}

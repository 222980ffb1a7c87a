//! The command line: the contract of its output, its pages and its refusals.

#[path = "../support/mod.rs"]
mod support;

mod bad_inputs;
mod collection;
mod contract;
mod fixtures;
mod html;
mod kb;
mod manners;
mod readme;
mod recipes;
mod same_everywhere;
mod screen;
mod start_up;
mod terminal;

//! Faults and call stacks, against other unwinders, real dumps and executed crashes.

#[path = "../support/mod.rs"]
mod support;

mod fault_real_dumps;
mod fault_rules;
mod ia64;
mod lab_stacks;
mod null_calls;
mod unwind_chain;
mod unwind_hostile;
mod unwind_walk_x64;
mod unwind_walk_x86;
mod unwind_x64;
mod unwind_x64_oracle;
mod unwind_x86_oracle;

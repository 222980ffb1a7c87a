//! Reading dumps of every kind: real ones, damaged ones, user-mode ones; how much is read.

#[path = "../support/mod.rs"]
mod support;

mod corpus;
mod cut_off;
mod faults;
mod platforms;
mod real_dumps;
mod robustness;
mod source;
mod user_fixtures;
mod user_memory;
mod user_real;
mod user_robust;
mod work;

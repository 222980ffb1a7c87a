//! IA-64: one step from a function's registers to its caller's, by the image's unwind descriptors
//! and the register stack in memory.
//!
//! Facts: Intel's software conventions guide (chapters 8 to 11, appendix B); the layout of `.pdata`
//! and `UNWIND_INFO` as real images have it (`docs/stacks.md`).

mod bundle;
pub mod descriptors;
mod rules;
mod spills;
mod step;
mod unwind_info;

pub use crate::machine::ia64::register_stack;
pub use bundle::holds_call;
pub use rules::{Executed, rules};
pub use step::{
    FunctionRules, Position, Rule, Step, StepError, function_rules, leaf, outward, preserved,
    saved_at, step,
};
pub use unwind_info::UnwindInfo;

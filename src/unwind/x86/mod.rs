//! x86: what a PDB says about a frame, evaluated.
//!
//! Facts: the published PDB format (FPO and `FrameData` records) and Breakpad's description of
//! their program strings.

mod program;

pub use program::{Inputs, evaluate};

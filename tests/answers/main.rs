//! What the program answers: rules over facts written by hand, and the built program on fixtures and the lab's sample.

#[path = "../support/mod.rs"]
mod support;

mod actions;
mod cause;
mod code_check;
mod fixtures;
mod hung_guest;
mod inventory;
mod knowledge_files;
mod lab_corpus;
mod look_alikes;
mod match_rules;
mod proof;
mod published_traces;
mod releases;
mod unknown_names;
mod verdicts_page;

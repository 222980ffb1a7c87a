//! Facts written by hand, for the unit tests of observers: what a test does not name is unknown.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::Evidence;
use crate::facts::{CrashFacts, Module, Modules, SymbolState};

/// Bytes of every module.
const SIZE: u32 = 0x10_0000;

/// A crash of build 6001 on two processors with these modules (file name, base). Every field in
/// `told` replaces the field of its name; those of `dump` one by one.
pub(super) fn crash(modules: &[(&str, u64)], told: Value) -> CrashFacts {
    let mut facts = json!({
        "dump": { "format": "kernel-triage", "dump_type": 4, "architecture": "x64", "pointer": 8,
                  "pae": null, "processors": 2, "writer": null, "crash_time": null, "uptime": null,
                  "triage_options": null, "call_stack_size": null, "overflowed": null, "tagged": null,
                  "bytes_declared": null, "bytes_present": 0, "physical_memory": null, "damage": [] },
        "system": { "build": 6001, "service_pack": 1, "product": null, "checked_build": null,
                    "build_lab": null, "machine": null },
        "process": null, "thread": null, "bugcheck": null, "exception": null, "header_context": null,
        "fault": { "ip": null, "name": null, "source": null, "candidates": 0, "address": null,
                   "access": null, "irql": null, "context": null, "instruction": null,
                   "instruction_kind": null, "effective_address": null, "registers": [] },
        "bucket": null, "stack": null, "unloaded": []
    });
    let modules: Vec<Module> = modules
        .iter()
        .map(|(name, base)| module(name, *base))
        .collect();
    facts["modules"] = serde_json::to_value(Modules::from(modules)).unwrap();
    let Value::Object(told) = told else {
        panic!("an object");
    };
    for (field, value) in told {
        match (field.as_str(), value) {
            ("dump", Value::Object(parts)) => {
                parts
                    .into_iter()
                    .for_each(|(part, value)| facts["dump"][part] = value);
            }
            (field, value) => facts[field] = value,
        }
    }
    serde_json::from_value(facts).unwrap()
}

fn module(name: &str, base: u64) -> Module {
    Module {
        name: Some(name.to_owned()),
        base,
        size: SIZE,
        symbols: SymbolState::Loaded,
        ..Module::default()
    }
}

/// The id of evidence that an observer gave.
pub(super) fn id(evidence: &Evidence) -> &'static str {
    match evidence.id {
        Cow::Borrowed(id) => id,
        Cow::Owned(_) => panic!("{}: of a rule file", evidence.id),
    }
}

//! Facts of a crash written by hand, for observers and rules that need no dump.

#![allow(dead_code)] // each integration test takes the part it needs

use std::borrow::Cow;

use kbtriage::evidence::Evidence;
use kbtriage::facts::CrashFacts;
use kbtriage::facts::{Module, Modules, SymbolState, VersionClaim, VersionSource};
use serde_json::{Value, json};

/// Bytes of every module.
const SIZE: u64 = 0x10_0000;

/// A crash in the making: a 0xD1 at IRQL 2 on an x64 build 6001 with two processors.
pub struct Crash {
    pub json: Value,
}

impl Default for Crash {
    fn default() -> Self {
        Crash::new()
    }
}

impl Crash {
    pub fn new() -> Crash {
        let modules = [
            "nt",
            "tcpip.sys",
            "netio.sys",
            "ndis.sys",
            "afd.sys",
            "fwpkclnt.sys",
            "acmefilter.sys",
            "symtdi.sys",
        ];
        let modules: Vec<Value> = modules
            .iter()
            .zip(1u64..)
            .map(|(name, n)| {
                json!({ "name": name, "path": null, "base": n * SIZE, "size": SIZE,
                        "time_date_stamp": 0x4791_9120, "checksum": null, "version": null,
                        "pdb": null, "symbols": "loaded" })
            })
            .collect();
        let mut crash = Crash {
            json: json!({
                "dump": { "format": "kernel-triage", "dump_type": 4, "architecture": "x64", "pointer": 8,
                          "pae": null, "processors": 2, "writer": null, "crash_time": 128_610_000_000_000_000u64,
                          "uptime": 36_000_000_000u64, "triage_options": null, "call_stack_size": null,
                          "overflowed": null, "tagged": null, "bytes_declared": null, "bytes_present": 0,
                          "physical_memory": null, "damage": [] },
                "system": { "build": 6001, "service_pack": 1, "product": "server", "checked_build": null,
                            "build_lab": null, "machine": null },
                "process": null, "thread": null,
                "bugcheck": { "raw_code": 0xD1, "parameters": [8, 2, 1, 0] },
                "exception": null, "header_context": null,
                "fault": { "ip": null, "name": null, "source": "trap-frame", "candidates": 1, "address": 8,
                           "access": "write", "irql": 2, "context": "dpc", "instruction": null,
                           "instruction_kind": null, "effective_address": null, "registers": [] },
                "bucket": null,
                "stack": { "processor": 0, "frames": [], "faulting_activity": 0, "complete": true,
                           "stopped_because": null },
                "modules": modules, "unloaded": []
            }),
        };
        crash.json["bugcheck"]["parameters"][3] = json!(0);
        crash
    }

    /// Of another Windows, with the drivers of its release: those of Service Pack 1 would contradict it.
    pub fn build(mut self, build: u32) -> Crash {
        const SERVICE_PACK_1: u32 = 0x4791_9120;
        self.json["system"]["build"] = json!(build);
        let linked = match build {
            6000 => 0x4549_B6C6u32,
            6001 => SERVICE_PACK_1,
            6002 | 6003 => 0x49E0_237F,
            // Service Pack 2 of Server 2003, February 2007.
            ..6000 => 0x45D6_9AB4,
            7600..=9600 => 0x4A5B_C270,
            _ => return self,
        };
        for module in self.json["modules"].as_array_mut().unwrap() {
            if module["time_date_stamp"] == json!(SERVICE_PACK_1) {
                module["time_date_stamp"] = json!(linked);
            }
        }
        self
    }

    pub fn code(mut self, code: u32) -> Crash {
        self.json["bugcheck"]["raw_code"] = json!(code);
        self
    }

    pub fn set(mut self, pointer: &str, value: Value) -> Crash {
        *self
            .json
            .pointer_mut(pointer)
            .expect("a field of the facts") = value;
        self
    }

    fn base(&self, file: &str) -> u64 {
        let own = |module: &&Value| {
            module["name"]
                .as_str()
                .is_some_and(|name| name.split('.').next() == Some(file))
        };
        self.json["modules"]
            .as_array()
            .unwrap()
            .iter()
            .find(own)
            .unwrap()["base"]
            .as_u64()
            .unwrap()
    }

    /// Sets a field of one module.
    pub fn module(mut self, file: &str, field: &str, value: Value) -> Crash {
        for module in self.json["modules"].as_array_mut().unwrap() {
            if module["name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(file))
            {
                module[field] = value.clone();
            }
        }
        self
    }

    /// Version of one module, from an image.
    pub fn version(self, file: &str, version: [u16; 4]) -> Crash {
        let version = version.map(|part| part.to_string()).join(".");
        let claim = json!({ "version": version, "branch_tag": null, "source": "image" });
        self.module(file, "version", claim)
    }

    /// The certain frames, innermost first, as `module!name`, or `module` alone without a name.
    pub fn stack(mut self, functions: &[&str]) -> Crash {
        let frames: Vec<Value> = functions
            .iter()
            .zip(1u64..)
            .map(|(function, n)| {
                let (module, name) = match function.split_once('!') {
                    Some((module, name)) => (module, Some(name)),
                    None => (*function, None),
                };
                let name = name.map(|symbol| {
                    json!({ "symbol": symbol, "displacement": 4, "kind": "exact", "aliases": [], "line": null })
                });
                json!({ "ip": self.base(module) + n, "sp": null, "trust": "unwind-info",
                        "boundary": null, "name": name })
            })
            .collect();
        self.json["fault"]["ip"] = frames[0]["ip"].clone();
        self.json["fault"]["name"] = frames[0]["name"].clone();
        self.json["bugcheck"]["parameters"][3] = frames[0]["ip"].clone();
        self.json["stack"]["faulting_activity"] = json!(frames.len());
        self.json["stack"]["frames"] = Value::from(frames);
        self
    }

    pub fn facts(self) -> CrashFacts {
        let mut json = self.json;
        // Stored facts hold the modules in a packed form.
        let list = json["modules"].take();
        let modules: Vec<Module> = list.as_array().unwrap().iter().map(module).collect();
        json["modules"] = serde_json::to_value(Modules::from(modules)).expect("packed modules");
        serde_json::from_value(json).expect("facts")
    }
}

fn module(value: &Value) -> Module {
    let number = |field: &str| value[field].as_u64().unwrap();
    let version = value["version"]["version"]
        .as_str()
        .map(|text| VersionClaim {
            version: text.parse().unwrap(),
            branch_tag: None,
            source: VersionSource::Image,
        });
    Module {
        name: value["name"].as_str().map(str::to_owned),
        path: None,
        base: number("base"),
        size: number("size") as u32,
        time_date_stamp: number("time_date_stamp") as u32,
        version,
        symbols: match value["symbols"].as_str() {
            Some("missing") => SymbolState::Missing,
            _ => SymbolState::Loaded,
        },
        ..Module::default()
    }
}

/// The id of evidence that an observer gave.
pub fn id(evidence: &Evidence) -> &'static str {
    match evidence.id {
        Cow::Borrowed(id) => id,
        Cow::Owned(_) => panic!("{}: of a rule file", evidence.id),
    }
}

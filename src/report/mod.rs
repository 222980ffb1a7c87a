//! The report: the serialised model of the JSON contract and its renderings.
//!
//! Facts and decisions come in, records go out. Renderings escape whatever text came from a dump.

mod answers;
mod build;
pub mod counted;
pub mod escape;
pub mod html;
pub mod json;
mod memory;
pub mod model;
pub mod notes;
pub mod records;
pub mod rows;
pub mod summary;
pub mod table;
pub mod text;
mod values;

pub use build::{Answer, AnswerOf, Input, build, failed, format_name};
pub use model::{Report, SCHEMA_VERSION, Status};
pub use values::{Code, Hex, rfc3339_from_filetime, rfc3339_from_unix, unix_from_rfc3339};

/// A kind of record that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One dump, everything.
    Report,
    /// One dump, as scans write it.
    Summary,
    /// What a machine's dumps say together.
    Machine,
    /// The closing record of a scan.
    Scan,
}

/// The JSON Schema of a report, generated from the types.
pub fn schema() -> serde_json::Value {
    schema_of(Kind::Report)
}

/// The JSON Schema of a record, generated from the types.
pub fn schema_of(kind: Kind) -> serde_json::Value {
    let (mut schema, name) = match kind {
        Kind::Report => (schemars::schema_for!(Report).to_value(), "report"),
        Kind::Summary => (
            schemars::schema_for!(summary::Summary).to_value(),
            "summary",
        ),
        Kind::Machine => (
            schemars::schema_for!(records::MachineRecord).to_value(),
            "machine record",
        ),
        Kind::Scan => (
            schemars::schema_for!(records::ScanRecord).to_value(),
            "scan record",
        ),
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "title".to_owned(),
            format!("kbtriage {name}, schema version {SCHEMA_VERSION}").into(),
        );
    }
    schema
}

//! The report: the serialised model of the JSON contract and its renderings.
//!
//! Facts and decisions come in, records go out. Renderings escape whatever text came from a dump.

mod answers;
pub(crate) mod believed;
mod build;
mod cause;
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

pub use build::{Answer, AnswerOf, Input, build, failed};
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
    match kind {
        Kind::Report => schema_for::<Report>("report"),
        Kind::Summary => schema_for::<summary::Summary>("summary"),
        Kind::Machine => schema_for::<records::MachineRecord>("machine record"),
        Kind::Scan => schema_for::<records::ScanRecord>("scan record"),
    }
}

/// The JSON Schema of what is written of `T`: a field that is always there is required, whether it may be `null` or
/// not.
pub fn schema_for<T: schemars::JsonSchema>(name: &str) -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), format!("kbtriage {name}").into());
        object.insert(
            "$comment".to_owned(),
            format!("schema_version {SCHEMA_VERSION}").into(),
        );
    }
    schema
}

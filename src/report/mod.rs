//! The report: the serialised model of the JSON contract and its renderings.
//!
//! Facts and decisions come in, records go out. Renderings escape whatever text came from a dump.

mod build;
pub mod escape;
pub mod json;
mod memory;
pub mod model;
pub mod records;
pub mod summary;
pub mod table;
pub mod text;
mod values;

pub use build::{Answer, Input, build, failed, format_name};
pub use model::{Report, SCHEMA_VERSION, Status};
pub use values::{Code, Hex, rfc3339_from_filetime, rfc3339_from_unix, unix_from_rfc3339};

/// The JSON Schema of a report, generated from the types.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "title".to_owned(),
            format!("kbtriage report, schema version {SCHEMA_VERSION}").into(),
        );
    }
    schema
}

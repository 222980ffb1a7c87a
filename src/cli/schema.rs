//! The JSON Schemas of the records that the program writes: committed files, derived from the types of the
//! records by the tests (feature `schema`), so that the program itself need not know how.

use clap::ValueEnum;

/// Records that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Record {
    /// One dump, everything
    Report,
    /// One dump, as scan writes it
    Summary,
    /// What a machine's dumps say together
    Machine,
    /// The closing record of a scan
    Scan,
    /// Crashes that group together, as fleet buckets writes them
    #[cfg(feature = "store")]
    Bucket,
    /// The symbol files a dump needs, as symbols check writes them
    Symbols,
    /// A file or version against the article, as kb check writes it
    FileCheck,
}

impl Record {
    /// The schema as it is printed: JSON and a line feed.
    pub fn schema(self) -> &'static str {
        match self {
            Record::Report => include_str!("../../docs/report.schema.json"),
            Record::Summary => include_str!("../../docs/schemas/summary.schema.json"),
            Record::Machine => include_str!("../../docs/schemas/machine.schema.json"),
            Record::Scan => include_str!("../../docs/schemas/scan.schema.json"),
            #[cfg(feature = "store")]
            Record::Bucket => include_str!("../../docs/schemas/bucket.schema.json"),
            Record::Symbols => include_str!("../../docs/schemas/symbols.schema.json"),
            Record::FileCheck => include_str!("../../docs/schemas/file-check.schema.json"),
        }
    }

    /// The schema of what is written, from the types of the record: a field that is always there is required,
    /// whether it may be `null` or not.
    #[cfg(feature = "schema")]
    pub fn derived(self) -> serde_json::Value {
        use crate::report::{Report, records, summary};
        match self {
            Record::Report => derived::<Report>("report"),
            Record::Summary => derived::<summary::Summary>("summary"),
            Record::Machine => derived::<records::MachineRecord>("machine record"),
            Record::Scan => derived::<records::ScanRecord>("scan record"),
            #[cfg(feature = "store")]
            Record::Bucket => derived::<crate::fleet::BucketRow>("bucket record"),
            Record::Symbols => derived::<super::symbols::files::DumpRecord>("symbols record"),
            Record::FileCheck => derived::<super::kb::FileCheck>("file-check record"),
        }
    }
}

#[cfg(feature = "schema")]
fn derived<T: schemars::JsonSchema>(name: &str) -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), format!("kbtriage {name}").into());
        object.insert(
            "$comment".to_owned(),
            format!("schema_version {}", crate::report::SCHEMA_VERSION).into(),
        );
    }
    schema
}

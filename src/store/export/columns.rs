//! One month's crashes as a Parquet file: the columns that questions about a fleet ask for. Written with the library
//! that the format's own project keeps; nothing is compressed, repeated texts are written once (dictionaries).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{
    SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter,
};
use parquet::schema::parser::parse_message_type;

use super::{ExportError, Month};
use crate::knowledge::hotfix::KB943650;
use crate::report::summary::Summary;
use crate::report::unix_from_rfc3339;

/// The columns, in the order of [`Row`]'s fields. Times are UTC.
const SCHEMA: &str = "
message crash {
    REQUIRED BINARY path (UTF8);
    OPTIONAL BINARY machine (UTF8);
    OPTIONAL BINARY crash_id (UTF8);
    OPTIONAL INT64 crash_time (TIMESTAMP(MILLIS,true));
    OPTIONAL BINARY format (UTF8);
    OPTIONAL INT32 build;
    OPTIONAL BINARY stop_code (UTF8);
    REQUIRED BOOLEAN live_report;
    OPTIONAL BINARY verdict (UTF8);
    OPTIONAL BINARY match (UTF8);
    OPTIONAL BINARY applicability (UTF8);
    OPTIONAL BINARY bucket (UTF8);
    OPTIONAL BINARY tcpip_version (UTF8);
    OPTIONAL INT64 first_seen (TIMESTAMP(MILLIS,true));
    OPTIONAL INT64 last_seen (TIMESTAMP(MILLIS,true));
}";

/// What is written of one record.
struct Row {
    path: String,
    machine: Option<String>,
    crash_id: Option<String>,
    crash_time: Option<i64>,
    format: Option<String>,
    build: Option<i32>,
    stop_code: Option<String>,
    live_report: bool,
    verdict: Option<String>,
    matching: Option<String>,
    applicability: Option<String>,
    bucket: Option<String>,
    tcpip_version: Option<String>,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
}

impl Row {
    fn of(summary: &Summary) -> Row {
        let hotfix = summary.hotfix.as_ref();
        let dump = summary.dump.as_ref();
        let millis = |time: &str| unix_from_rfc3339(time)?.checked_mul(1000);
        let decides = |name: &String| name.eq_ignore_ascii_case(KB943650.decides);
        let tcpip = summary
            .modules
            .iter()
            .find(|m| m.name.as_ref().is_some_and(decides));
        let seen = summary.seen.as_ref();
        Row {
            path: summary.source.path.clone(),
            machine: summary.machine.as_ref().map(|machine| machine.name.clone()),
            crash_id: summary.crash_id.clone(),
            crash_time: dump.and_then(|dump| millis(dump.crash_time.as_deref()?)),
            format: dump.map(|dump| dump.format.clone()),
            build: summary
                .system
                .as_ref()
                .and_then(|system| i32::try_from(system.build?).ok()),
            stop_code: summary
                .bugcheck
                .as_ref()
                .map(|bugcheck| bugcheck.code.0.clone()),
            live_report: summary.is_live(),
            verdict: hotfix.map(|hotfix| hotfix.verdict.as_str().to_owned()),
            matching: hotfix.map(|hotfix| hotfix.matching.status.as_str().to_owned()),
            applicability: hotfix.map(|h| h.applicability.status.as_str().to_owned()),
            bucket: summary.bucket.as_ref().map(|bucket| bucket.key.clone()),
            tcpip_version: tcpip.and_then(|module| module.version.clone()),
            first_seen: seen.and_then(|seen| millis(&seen.first)),
            last_seen: seen.and_then(|seen| millis(&seen.last)),
        }
    }
}

/// The file of one month.
pub struct Columns {
    writer: SerializedFileWriter<File>,
    rows: Vec<Row>,
}

impl Columns {
    pub fn new(path: &Path) -> Result<Columns, ExportError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_created_by("kbtriage".to_owned());
        let writer = SerializedFileWriter::new(
            File::create_new(path)?,
            schema,
            Arc::new(properties.build()),
        )?;
        Ok(Columns {
            writer,
            rows: Vec::new(),
        })
    }
}

impl Month for Columns {
    fn add(&mut self, summary: &Summary, _: &str) -> Result<(), ExportError> {
        self.rows.push(Row::of(summary));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let text = |text: &Option<String>| text.as_deref().map(ByteArray::from);
        let mut whole = self.writer.next_row_group()?;
        let group = &mut whole;
        let paths: Vec<ByteArray> = rows.iter().map(|r| r.path.as_str().into()).collect();
        column::<ByteArrayType>(group, &paths, None)?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.machine))?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.crash_id))?;
        optional::<Int64Type>(group, &rows, |row| row.crash_time)?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.format))?;
        optional::<Int32Type>(group, &rows, |row| row.build)?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.stop_code))?;
        let live: Vec<bool> = rows.iter().map(|row| row.live_report).collect();
        column::<BoolType>(group, &live, None)?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.verdict))?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.matching))?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.applicability))?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.bucket))?;
        optional::<ByteArrayType>(group, &rows, |row| text(&row.tcpip_version))?;
        optional::<Int64Type>(group, &rows, |row| row.first_seen)?;
        optional::<Int64Type>(group, &rows, |row| row.last_seen)?;
        whole.close()?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), ExportError> {
        self.flush()?;
        self.writer.finish()?;
        Ok(())
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, File>;

/// Writes the next column, which may have no value in a row: there its level is 0.
fn optional<T: DataType>(
    group: &mut Group<'_>,
    rows: &[Row],
    value: impl Fn(&Row) -> Option<T::T>,
) -> Result<(), ExportError> {
    let values: Vec<Option<T::T>> = rows.iter().map(value).collect();
    let levels: Vec<i16> = values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    column::<T>(group, &values, Some(&levels))
}

fn column<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ExportError> {
    let next: Option<SerializedColumnWriter<'_>> = group.next_column()?;
    let Some(mut next) = next else {
        return Ok(());
    };
    next.typed::<T>().write_batch(values, levels, None)?;
    Ok(next.close()?)
}

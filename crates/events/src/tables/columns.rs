//! Typed columns in and out of Parquet files, and the atomic write. Knows no table by name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, Float64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use types::Timestamp;

use super::batches::{Batches, guarded};
use crate::EventsError;

const ROWS_PER_BATCH: usize = 256; // of at most 4 MiB each: a text column ends at 2 GiB
const ROWS_PER_GROUP: usize = 1 << 17; // a writer holds a row group in memory, encoded
const BYTES_PER_GROUP: usize = 64 << 20;
const ROWS_READ: usize = 8192;
const BYTES_READ: usize = 16 << 20;

/// Builds a batch column by column.
#[derive(Default)]
pub(crate) struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn push(mut self, name: &str, nullable: bool, array: ArrayRef) -> Self {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(array);
        self
    }

    pub(crate) fn text<T: AsRef<str>>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        self.push(name, false, Arc::new(StringArray::from_iter_values(values)))
    }

    pub(crate) fn opt_text<T: AsRef<str>>(
        self,
        name: &str,
        values: impl Iterator<Item = Option<T>>,
    ) -> Self {
        self.push(name, true, Arc::new(values.collect::<StringArray>()))
    }

    pub(crate) fn count(self, name: &str, values: impl Iterator<Item = u64>) -> Self {
        self.push(name, false, Arc::new(UInt64Array::from_iter_values(values)))
    }

    pub(crate) fn opt_count(self, name: &str, values: impl Iterator<Item = Option<u64>>) -> Self {
        self.push(name, true, Arc::new(values.collect::<UInt64Array>()))
    }

    pub(crate) fn opt_float(self, name: &str, values: impl Iterator<Item = Option<f64>>) -> Self {
        self.push(name, true, Arc::new(values.collect::<Float64Array>()))
    }

    pub(crate) fn time(self, name: &str, values: impl Iterator<Item = Timestamp>) -> Self {
        let array = TimestampMillisecondArray::from_iter_values(values.map(|t| t.0));
        self.push(name, false, Arc::new(array.with_timezone("UTC")))
    }

    pub(crate) fn opt_time(
        self,
        name: &str,
        values: impl Iterator<Item = Option<Timestamp>>,
    ) -> Self {
        let array: TimestampMillisecondArray = values.map(|t| t.map(|t| t.0)).collect();
        self.push(name, true, Arc::new(array.with_timezone("UTC")))
    }

    pub(crate) fn batch(self) -> RecordBatch {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
            .expect("columns come from one slice, so they are equally long and of their own type")
    }
}

/// One batch of a file, by column name; errors name file and column.
pub(crate) struct Batch<'a> {
    pub(crate) path: &'a Path,
    pub(crate) batch: &'a RecordBatch,
}

impl<'a> Batch<'a> {
    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// The column as text; null where the file has null.
    pub(crate) fn text(&self, name: &str) -> Result<Text, EventsError> {
        let array = self.cast(name, &DataType::Utf8)?;
        let array = array.as_any().downcast_ref::<StringArray>().expect("just cast to Utf8");
        Ok(Text { path: self.path.to_owned(), name: name.to_owned(), array: array.clone() })
    }

    pub(crate) fn count(&self, name: &str) -> Result<Numbers<UInt64Type>, EventsError> {
        self.numbers(name, &DataType::UInt64)
    }

    pub(crate) fn float(&self, name: &str) -> Result<Numbers<Float64Type>, EventsError> {
        self.numbers(name, &DataType::Float64)
    }

    /// A time column in milliseconds.
    pub(crate) fn time(&self, name: &str) -> Result<Numbers<Int64Type>, EventsError> {
        let stored = self.column(name)?.data_type().clone();
        if matches!(stored, DataType::Int64) {
            return self.numbers(name, &DataType::Int64);
        }
        let millis = self.cast(name, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        let array = millis
            .as_any()
            .downcast_ref::<PrimitiveArray<TimestampMillisecondType>>()
            .expect("just cast to milliseconds");
        Ok(Numbers {
            path: self.path.to_owned(),
            name: name.to_owned(),
            array: array.reinterpret_cast::<Int64Type>(),
        })
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        name: &str,
        to: &DataType,
    ) -> Result<Numbers<T>, EventsError> {
        let array = self.cast(name, to)?;
        let array = array.as_any().downcast_ref::<PrimitiveArray<T>>().expect("just cast to it");
        Ok(Numbers { path: self.path.to_owned(), name: name.to_owned(), array: array.clone() })
    }

    /// The column as it was read.
    pub(crate) fn column(&self, name: &str) -> Result<&'a ArrayRef, EventsError> {
        self.batch.column_by_name(name).ok_or_else(|| EventsError::Table {
            path: self.path.to_owned(),
            column: name.to_owned(),
            detail: "is missing".to_owned(),
        })
    }

    fn cast(&self, name: &str, to: &DataType) -> Result<ArrayRef, EventsError> {
        let column = self.column(name)?;
        if column.data_type() == to {
            return Ok(Arc::clone(column));
        }
        let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
        arrow_cast::cast_with_options(column, to, &options).map_err(|e| EventsError::Table {
            path: self.path.to_owned(),
            column: name.to_owned(),
            detail: format!("expected {to}, got {}: {e}", column.data_type()),
        })
    }
}

/// A text column.
pub(crate) struct Text {
    path: PathBuf,
    name: String,
    array: StringArray,
}

impl Text {
    pub(crate) fn opt(&self, row: usize) -> Option<&str> {
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    pub(crate) fn opt_owned(&self, row: usize) -> Option<String> {
        self.opt(row).map(str::to_owned)
    }

    pub(crate) fn get(&self, row: usize) -> Result<&str, EventsError> {
        self.opt(row).ok_or_else(|| null(&self.path, &self.name, row))
    }

    /// Reads the value as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        row: usize,
    ) -> Result<T, EventsError> {
        serde_json::from_str(self.get(row)?).map_err(|e| EventsError::Table {
            path: self.path.clone(),
            column: self.name.clone(),
            detail: format!("row {row} is not the JSON expected: {e}"),
        })
    }
}

/// A column of numbers.
pub(crate) struct Numbers<T: ArrowPrimitiveType> {
    path: PathBuf,
    name: String,
    array: PrimitiveArray<T>,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    pub(crate) fn opt(&self, row: usize) -> Option<T::Native> {
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    pub(crate) fn get(&self, row: usize) -> Result<T::Native, EventsError> {
        self.opt(row).ok_or_else(|| null(&self.path, &self.name, row))
    }
}

fn null(path: &Path, column: &str, row: usize) -> EventsError {
    EventsError::Table {
        path: path.to_owned(),
        column: column.to_owned(),
        detail: format!("row {row} is null, but a value is required"),
    }
}

/// JSON text of a value that always serialises.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("our types have string keys and no failing serializer")
}

/// A Parquet file being written beside its final place; [`ParquetFile::finish`] moves it there.
pub(crate) struct ParquetFile {
    path: PathBuf,
    partial: PathBuf,
    writer: ArrowWriter<File>,
}

impl ParquetFile {
    pub(crate) fn create(path: &Path, schema: Arc<Schema>) -> Result<Self, EventsError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(EventsError::io("create", folder))?;
        }
        let partial = path.with_extension("parquet.partial");
        let file = File::create(&partial).map_err(EventsError::io("create", &partial))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
            .set_max_row_group_bytes(Some(BYTES_PER_GROUP))
            .set_created_by("recgpt".to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, schema, Some(properties))
            .map_err(EventsError::parquet(&partial))?;
        Ok(Self { path: path.to_owned(), partial, writer })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), EventsError> {
        self.writer.write(batch).map_err(EventsError::parquet(&self.partial))
    }

    /// Writes the footer, syncs, and renames into place.
    pub(crate) fn finish(self) -> Result<(), EventsError> {
        let file = self.writer.into_inner().map_err(EventsError::parquet(&self.partial))?;
        file.sync_all().map_err(EventsError::io("sync", &self.partial))?;
        fs::rename(&self.partial, &self.path).map_err(EventsError::io("rename", &self.partial))?;
        sync_folder(&self.path)
    }
}

/// Makes a rename durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), EventsError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let handle = File::open(folder).map_err(EventsError::io("open", folder))?;
    handle.sync_all().map_err(EventsError::io("sync", folder))
}

/// Writes text beside its final place, syncs, and renames into place.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), EventsError> {
    use std::io::Write as _;
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).map_err(EventsError::io("create", &partial))?;
    file.write_all(text.as_bytes()).map_err(EventsError::io("write", &partial))?;
    file.sync_all().map_err(EventsError::io("sync", &partial))?;
    fs::rename(&partial, path).map_err(EventsError::io("rename", &partial))?;
    sync_folder(path)
}

/// Writes a whole table atomically, batch by batch.
pub(crate) fn write_table<T>(
    path: &Path,
    rows: &[T],
    batch_of: impl Fn(&[T]) -> RecordBatch,
) -> Result<(), EventsError> {
    let mut file = ParquetFile::create(path, batch_of(&[]).schema())?;
    for chunk in rows.chunks(ROWS_PER_BATCH) {
        file.write(&batch_of(chunk))?;
    }
    file.finish()
}

/// Hands over a file batch by batch.
pub(crate) fn read_table<E: From<EventsError>>(
    path: &Path,
    each: &mut dyn FnMut(&Batch<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for batch in open_table(path)? {
        each(&Batch { path, batch: &batch? })?;
    }
    Ok(())
}

/// As [`read_table`], of some columns alone; one that is missing is an error of whoever asks for it.
pub(crate) fn read_columns(
    path: &Path,
    columns: &[&str],
    each: &mut dyn FnMut(&Batch<'_>) -> Result<(), EventsError>,
) -> Result<(), EventsError> {
    let builder = builder_of(path)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    for batch in Batches::new(path, builder.with_projection(mask))? {
        each(&Batch { path, batch: &batch? })?;
    }
    Ok(())
}

/// The batches of a file; few rows each where rows are long.
pub(crate) fn open_table(path: &Path) -> Result<Batches, EventsError> {
    let builder = builder_of(path)?;
    let rows = rows_in_budget(builder.metadata());
    Batches::new(path, builder.with_batch_size(rows))
}

/// Rows of this file that may be read at once, by the longest of its row groups' mean rows.
///
/// # Errors
/// [`EventsError`] when the file is missing or truncated.
pub fn rows_per_batch(path: &Path) -> Result<usize, EventsError> {
    Ok(rows_in_budget(builder_of(path)?.metadata()))
}

pub(crate) fn builder_of(
    path: &Path,
) -> Result<ParquetRecordBatchReaderBuilder<File>, EventsError> {
    let file = File::open(path).map_err(EventsError::io("open", path))?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))
}

fn rows_in_budget(metadata: &ParquetMetaData) -> usize {
    // Bytes of texts as they will be, not as a dictionary has them: one long text may fill many rows.
    let bytes_per_row = metadata.row_groups().iter().map(|group| {
        let texts = |c: &ColumnChunkMetaData| c.unencoded_byte_array_data_bytes();
        let bytes: i64 =
            group.columns().iter().map(|c| texts(c).unwrap_or(c.uncompressed_size())).sum();
        usize::try_from(bytes / group.num_rows().max(1)).unwrap_or(0)
    });
    let longest = bytes_per_row.max().unwrap_or(0).max(1);
    (BYTES_READ / longest).clamp(16, ROWS_READ)
}

//! Batches to standard output as a table, CSV or JSON, one after the other: no answer is held whole.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context as _, Result, anyhow};
use arrow_json::ArrayWriter;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use unicode_width::UnicodeWidthStr as _;

use super::Query;
use super::refusal::explained;
use crate::cli::SqlFormat;
use crate::failure::Usage;
use crate::terminal::shown;

/// Characters of a cell in a table; other formats give values whole.
const CELL: usize = 60;

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    rows: usize,
    cut: bool,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.rows == 1 { "row" } else { "rows" };
        write!(f, "{} {noun}", self.rows)?;
        if self.cut {
            write!(f, "; long values are cut, `--format csv` and `--format json` give them whole")?;
        }
        Ok(())
    }
}

/// Writes all rows; ends early and well where nobody reads them any more.
///
/// # Errors
/// What the query meets on the way, or a value that the format has no form for.
pub(super) async fn write(
    mut rows: SendableRecordBatchStream,
    format: SqlFormat,
    query: &Query<'_>,
) -> Result<Written> {
    let schema = rows.schema();
    let mut out = io::stdout().lock();
    let mut written = Written::default();
    let mut encoder = Encoder::new(format, &schema)?;
    // The columns are named also where no row follows.
    let mut text = encoder.encode(&RecordBatch::new_empty(schema), &mut written)?;
    while delivered(out.write_all(&text))? {
        let Some(batch) = rows.next().await else {
            delivered(out.write_all(&encoder.end()?).and_then(|()| out.flush()))?;
            break;
        };
        let batch = batch.map_err(|e| explained(&e, query))?;
        text = encoder.encode(&batch, &mut written)?;
    }
    Ok(written)
}

/// Whether there still is a reader: `head` closes the pipe when it has seen enough.
fn delivered(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(e).context("writing to standard output"),
    }
}

enum Encoder {
    Table(TableText),
    Csv { headed: bool },
    Json(ArrayWriter<Vec<u8>>),
}

impl Encoder {
    fn new(format: SqlFormat, schema: &Schema) -> Result<Self> {
        Ok(match format {
            SqlFormat::Table => Self::Table(TableText::new(schema)),
            SqlFormat::Csv => Self::Csv { headed: false },
            SqlFormat::Json => {
                distinct_names(schema)?;
                let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
                Self::Json(builder.build(Vec::new()))
            }
        })
    }

    fn encode(&mut self, batch: &RecordBatch, written: &mut Written) -> Result<Vec<u8>> {
        written.rows += batch.num_rows();
        match self {
            Self::Table(table) => Ok(table.encode(batch, written)?),
            Self::Csv { headed } => {
                let header = !std::mem::replace(headed, true);
                let mut text = Vec::new();
                let builder = arrow_csv::WriterBuilder::new().with_header(header);
                builder.build(&mut text).write(batch).map_err(no_form)?;
                Ok(text)
            }
            Self::Json(writer) => {
                writer.write(batch).map_err(no_form)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    fn end(&mut self) -> Result<Vec<u8>> {
        let writer = match self {
            Self::Json(writer) => writer,
            Self::Table(table) => return Ok(table.end()),
            Self::Csv { .. } => return Ok(Vec::new()),
        };
        writer.finish().map_err(no_form)?;
        let mut text = std::mem::take(writer.get_mut());
        text.push(b'\n');
        Ok(text)
    }
}

fn no_form(error: ArrowError) -> anyhow::Error {
    anyhow!(Usage(format!("{error}; choose another --format, or cast the column to text")))
}

/// An object has each of its keys once.
fn distinct_names(schema: &Schema) -> Result<()> {
    let mut names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(anyhow!(Usage(format!(
            "two columns are called {:?}; name one of them with AS",
            pair[0]
        )))),
        None => Ok(()),
    }
}

/// Rows under columns that are as wide as what has been seen so far.
struct TableText {
    widths: Vec<usize>,
    /// Numbers stand on the right.
    right: Vec<bool>,
    names: Option<Vec<String>>,
}

impl TableText {
    fn new(schema: &Schema) -> Self {
        let names: Vec<String> = schema.fields().iter().map(|f| shown(f.name(), CELL)).collect();
        let right = schema.fields().iter().map(|f| f.data_type().is_numeric()).collect();
        Self { widths: names.iter().map(|n| n.width()).collect(), right, names: Some(names) }
    }

    fn encode(
        &mut self,
        batch: &RecordBatch,
        written: &mut Written,
    ) -> Result<Vec<u8>, ArrowError> {
        let options = FormatOptions::default().with_null("-");
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<_, _>>()?;
        let mut rows = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let mut cells = Vec::with_capacity(columns.len());
            for (column, width) in columns.iter().zip(&mut self.widths) {
                let value = column.value(row).try_to_string()?;
                written.cut |= value.chars().nth(CELL).is_some();
                let cell = shown(&value, CELL);
                *width = cell.width().max(*width);
                cells.push(cell);
            }
            rows.push(cells);
        }
        let mut text = String::new();
        // The names wait for the first rows, whose widths they take.
        if batch.num_rows() > 0
            && let Some(names) = self.names.take()
        {
            self.head(&names, &mut text);
        }
        for cells in &rows {
            self.line(cells, &mut text);
        }
        Ok(text.into_bytes())
    }

    /// The names alone, where there was no row.
    fn end(&mut self) -> Vec<u8> {
        let mut text = String::new();
        if let Some(names) = self.names.take() {
            self.head(&names, &mut text);
        }
        text.into_bytes()
    }

    fn head(&self, names: &[String], text: &mut String) {
        self.line(names, text);
        let rules: Vec<String> = self.widths.iter().map(|&width| "─".repeat(width)).collect();
        self.line(&rules, text);
    }

    fn line(&self, cells: &[String], text: &mut String) {
        let mut line = String::new();
        for ((cell, &width), &right) in cells.iter().zip(&self.widths).zip(&self.right) {
            let gap = " ".repeat(width.saturating_sub(cell.width()));
            let (before, behind) = if right { (gap.as_str(), "") } else { ("", gap.as_str()) };
            line.extend([before, cell, behind, "  "]);
        }
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
}

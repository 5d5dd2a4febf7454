//! Which tables a workspace has, which step makes each, and their registration with the query engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::TableReference;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::resolve::resolve_table_references;
use events::EventStore;
use events::tables::rows_per_batch;
use url::Url;

use super::refusal::does_not_parse;
use crate::failure::Usage;
use crate::steps::digest::DIGESTS;
use crate::steps::mine::INTERESTS;
use crate::steps::tag::TAGS;
use crate::steps::{Step, import};
use crate::workspace::Workspace;

/// A table that a query may name.
struct Known {
    name: &'static str,
    /// The step that makes it.
    step: Step,
    /// Its file in the workspace; none for the event store.
    file: Option<&'static str>,
}

const KNOWN: [Known; 8] = [
    Known { name: "events", step: Step::Import, file: None },
    Known { name: "items", step: Step::Import, file: Some(import::ITEMS) },
    Known { name: "users", step: Step::Import, file: Some(import::USERS) },
    Known { name: "taxonomy", step: Step::Import, file: Some(import::TAXONOMY) },
    Known { name: "quarantine", step: Step::Import, file: Some(import::QUARANTINE) },
    Known { name: "digests", step: Step::Digest, file: Some(DIGESTS) },
    Known { name: "interests", step: Step::Mine, file: Some(INTERESTS) },
    Known { name: "tags", step: Step::Tag, file: Some(TAGS) },
];

/// Functions of the engine that stand where a table may.
const FUNCTIONS: [&str; 2] = ["generate_series", "range"];

/// A table that a query names, found in the workspace.
pub(super) struct Table {
    name: &'static str,
    files: Vec<PathBuf>,
    /// The columns where they are fixed; else those of the file.
    schema: Option<Schema>,
    /// Rows that may be held at once: texts of a digest are long.
    pub(super) rows_per_batch: usize,
}

/// The tables that a statement names; all that are there where it asks for the list of tables.
///
/// # Errors
/// [`Usage`] for a table that no workspace has or that is not made yet.
pub(super) fn named_in(statement: &Statement, ws: &Workspace) -> Result<Vec<Table>> {
    let (names, _) = resolve_table_references(statement, true).map_err(|e| does_not_parse(&e))?;
    if names.iter().any(|name| name.schema() == Some("information_schema")) {
        let made = KNOWN.iter().filter(|known| known.path(ws).exists());
        return made.map(|known| known.find(ws)).collect();
    }
    let mut tables: Vec<Table> = Vec::new();
    for name in names.iter().filter(|name| !FUNCTIONS.contains(&name.to_string().as_str())) {
        let table = known(name)?.find(ws)?;
        if tables.iter().all(|other| other.name != table.name) {
            tables.push(table);
        }
    }
    Ok(tables)
}

fn known(name: &TableReference) -> Result<&'static Known> {
    let home = name.schema().is_none_or(|s| s == "public")
        && name.catalog().is_none_or(|c| c == "datafusion");
    KNOWN.iter().find(|known| home && known.name == name.table()).ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        anyhow!(Usage(format!("no table {:?}; there are {}", name.to_string(), names.join(", "))))
    })
}

impl Known {
    fn path(&self, ws: &Workspace) -> PathBuf {
        ws.path(self.file.unwrap_or("events/manifest.json"))
    }

    fn find(&self, ws: &Workspace) -> Result<Table> {
        if !self.path(ws).exists() {
            let (name, step) = (self.name, self.step.name());
            let made_by = if self.step == Step::Import {
                "recgpt import --config FILE".to_owned()
            } else {
                format!("recgpt {step} --workspace {}", ws.root().display())
            };
            let text =
                format!("the table {name} is not made yet; the step {step} makes it: `{made_by}`");
            return Err(anyhow!(Usage(text)));
        }
        let (files, schema) = match self.file {
            Some(file) => (vec![ws.path(file)], None),
            None => (event_files(ws)?, Some(nullable(&EventStore::schema()))),
        };
        let mut rows = files.iter().map(|file| rows_per_batch(file));
        let rows = rows.try_fold(usize::MAX, |least, rows| rows.map(|rows| rows.min(least)))?;
        let rows_per_batch = if files.is_empty() { 1 } else { rows };
        Ok(Table { name: self.name, files, schema, rows_per_batch })
    }
}

fn event_files(ws: &Workspace) -> Result<Vec<PathBuf>> {
    let store = EventStore::open(&ws.path("events"))?;
    let mut files = Vec::new();
    for bucket in 0..store.n_buckets() {
        files.extend(store.parts(bucket)?);
    }
    Ok(files)
}

/// Another engine that wrote the store may call every column nullable; texts as views are not copied.
fn nullable(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| {
        let text = *field.data_type() == DataType::Utf8;
        let data_type = if text { DataType::Utf8View } else { field.data_type().clone() };
        Field::new(field.name(), data_type, true)
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

impl Table {
    /// Makes the table known to a session under its name.
    pub(super) async fn register(self, session: &SessionContext) -> Result<()> {
        let fault = || format!("opening the table {}", self.name);
        let urls: Vec<ListingTableUrl> =
            self.files.iter().map(|file| url_of(file)).collect::<Result<_>>()?;
        let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
        let schema = match (self.schema, urls.first()) {
            (Some(schema), _) => Arc::new(schema),
            (None, Some(url)) => {
                options.infer_schema(&session.state(), url).await.with_context(fault)?
            }
            (None, None) => Arc::new(Schema::empty()),
        };
        let config = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(options)
            .with_schema(schema);
        let table = ListingTable::try_new(config).with_context(fault)?;
        session.register_table(self.name, Arc::new(table)).with_context(fault)?;
        Ok(())
    }
}

/// A path as it is: `*`, `?` and `[` in it are no pattern.
fn url_of(file: &Path) -> Result<ListingTableUrl> {
    let file = std::path::absolute(file)?;
    let url = Url::from_file_path(&file).map_err(|()| anyhow!("{}: no URL", file.display()))?;
    Ok(ListingTableUrl::try_new(url, None)?)
}

//! Raw files behind URLs: `s3://`, `gs://`, `az://`, `http(s)://` and `file://`, through the
//! `object_store` crate, which takes credentials and endpoints from the environment under the names
//! that each cloud uses (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...).
//!
//! Bytes are handed on as they come; a Parquet file is read row group by row group. Only reads.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use ::parquet::arrow::ParquetRecordBatchStreamBuilder;
use ::parquet::arrow::arrow_reader::ArrowReaderOptions;
use ::parquet::arrow::async_reader::AsyncFileReader;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use bytes::{Buf as _, Bytes};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use tokio::runtime::Runtime;

use super::config::fault;
use super::files::is_raw_file;
use super::input::FileStat;
use super::parquet::Table;
use crate::EventsError;

/// Schemes with a listing, so that patterns and folders have a meaning.
const LISTED: [&str; 7] = ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];
const PATTERN: [char; 3] = ['*', '?', '['];

/// A URL in its parts; the key is as it stands in the URL, percent signs and all.
struct Address<'a> {
    text: &'a str,
    scheme: &'a str,
    /// `s3://bucket`
    root: &'a str,
    key: &'a str,
}

/// An object of a store.
struct Object {
    store: Arc<dyn ObjectStore>,
    key: Key,
}

/// The files behind a URL, each as a URL without pattern; of `file://` as paths.
pub(super) fn expand(section: &str, url: &Path) -> Result<Vec<PathBuf>, EventsError> {
    let refuse = |detail: String| fault(&format!("import.{section}.files"), detail);
    let address = Address::new(url)?;
    if address.scheme == "file" {
        return super::files::expand_files(section, &[local(&address)?]);
    }
    if !LISTED.contains(&address.scheme) {
        // A folder or a pattern would need a listing, which plain HTTP does not have.
        if address.key.ends_with('/') || address.key.contains(['*', '?', '[', '#']) {
            return Err(refuse(format!(
                "{}: name one file, without `?` and `#`; HTTP has no listing of folders",
                address.text
            )));
        }
        return Ok(vec![url.to_owned()]);
    }
    let folder = address.key.is_empty() || address.key.ends_with('/');
    if !folder && !address.key.contains(PATTERN) {
        return Ok(vec![url.to_owned()]);
    }
    let pattern = match folder {
        true => None,
        false => {
            Some(glob::Pattern::new(&decoded(address.key)).map_err(|e| refuse(e.to_string()))?)
        }
    };
    let before = address.key.find(PATTERN).map_or(address.key, |end| &address.key[..end]);
    let prefix = before.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let prefix =
        Key::from_url_path(prefix).map_err(|e| refuse(format!("{}: {e}", address.text)))?;
    let mut keys = list(&address, url, &prefix)?;
    keys.retain(|key| match &pattern {
        Some(pattern) => pattern.matches_with(key, OPTIONS),
        None => is_raw_file(below(key, prefix.as_ref())),
    });
    keys.sort();
    Ok(keys.iter().map(|key| format!("{}/{}", address.root, encoded(key)).into()).collect())
}

/// As patterns of local files are matched.
const OPTIONS: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

fn below<'a>(key: &'a str, prefix: &str) -> &'a str {
    key.strip_prefix(prefix).unwrap_or(key).trim_start_matches('/')
}

fn list(address: &Address<'_>, url: &Path, prefix: &Key) -> Result<Vec<String>, EventsError> {
    let store = store_of(address, url)?;
    let prefix = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
    let keys = store.list(prefix).map_ok(|meta| meta.location.to_string()).try_collect();
    runtime(url)?.block_on(keys).map_err(|e| EventsError::io("list", url)(e.into()))
}

/// Size and time of change.
pub(super) fn stat(url: &Path) -> Result<FileStat, EventsError> {
    let object = match Place::of(url)? {
        Place::Local(path) => return super::input::stat(&path),
        Place::Remote(object) => object,
    };
    let meta = runtime(url)?.block_on(object.store.head(&object.key));
    let meta = meta.map_err(|e| EventsError::io("open", url)(e.into()))?;
    let modified = meta.last_modified.timestamp_nanos_opt().and_then(|n| u64::try_from(n).ok());
    Ok(FileStat { bytes: meta.size, modified: modified.unwrap_or(0) })
}

/// The bytes of an object from its beginning, as they come.
pub(super) fn reader(url: &Path) -> Result<Box<dyn Read>, EventsError> {
    let object = match Place::of(url)? {
        Place::Local(path) => return super::input::reader(&path),
        Place::Remote(object) => object,
    };
    let runtime = runtime(url)?;
    let got = runtime.block_on(object.store.get(&object.key));
    let got = got.map_err(|e| EventsError::io("open", url)(e.into()))?;
    Ok(Box::new(Download { runtime, chunks: got.into_stream(), open: Bytes::new() }))
}

struct Download {
    runtime: &'static Runtime,
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    open: Bytes,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.open.has_remaining() {
            match self.runtime.block_on(self.chunks.next()) {
                Some(chunk) => self.open = chunk?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.open.remaining());
        self.open.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// A Parquet file; a row group's columns are fetched when its first row is asked for.
pub(super) fn table(url: &Path, limit: Option<usize>) -> Result<Table, EventsError> {
    let object = match Place::of(url)? {
        Place::Local(path) => return super::parquet::open(&path, limit),
        Place::Remote(object) => object,
    };
    let runtime = runtime(url)?;
    let fault = EventsError::parquet(url);
    let bytes = stat(url)?.bytes;
    let reader = Pages { object, bytes };
    let builder = runtime.block_on(ParquetRecordBatchStreamBuilder::new(reader)).map_err(&fault)?;
    let n_rows = builder.metadata().file_metadata().num_rows();
    let schema = Arc::clone(builder.schema());
    let builder = builder.with_batch_size(Table::BATCH).with_limit(limit.unwrap_or(usize::MAX));
    let mut batches = builder.build().map_err(&fault)?;
    let url = url.to_owned();
    let next = move || {
        let batch = runtime.block_on(batches.next())?;
        Some(batch.map_err(EventsError::parquet(&url)))
    };
    Ok(Table {
        schema,
        n_rows: u64::try_from(n_rows).unwrap_or(0),
        bytes,
        batches: Box::new(std::iter::from_fn(next)),
    })
}

/// Fetches pieces of a Parquet file.
struct Pages {
    object: Object,
    /// Size of the file.
    bytes: u64,
}

fn unfetched(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Pages {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.object.store.get_range(&self.object.key, range).map_err(unfetched).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let Object { store, key } = &self.object;
        async move { store.get_ranges(key, &ranges).await.map_err(unfetched) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let bytes = self.bytes;
        async move {
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}

/// Where a URL leads.
enum Place {
    Local(PathBuf),
    Remote(Object),
}

impl Place {
    fn of(url: &Path) -> Result<Self, EventsError> {
        let address = Address::new(url)?;
        if address.scheme == "file" {
            return local(&address).map(Self::Local);
        }
        let key = Key::from_url_path(address.key).map_err(|e| unreadable(address.text, e))?;
        Ok(Self::Remote(Object { store: store_of(&address, url)?, key }))
    }
}

impl<'a> Address<'a> {
    fn new(url: &'a Path) -> Result<Self, EventsError> {
        let text = url.to_str().unwrap_or_default();
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| unreadable(text, "it has no scheme"))?;
        if !(LISTED.contains(&scheme) || ["file", "http", "https"].contains(&scheme)) {
            return Err(unreadable(text, "there are s3, gs, az, http, https and file"));
        }
        let host = rest.find('/').unwrap_or(rest.len());
        let root = &text[..scheme.len() + 3 + host];
        let key = rest[host..].trim_start_matches('/');
        Ok(Self { text, scheme, root, key })
    }
}

fn unreadable(url: &str, why: impl std::fmt::Display) -> EventsError {
    fault("files", format!("{url} is no URL that can be read: {why}"))
}

fn local(address: &Address<'_>) -> Result<PathBuf, EventsError> {
    match address.root {
        "file://" | "file://localhost" => Ok(PathBuf::from(format!("/{}", decoded(address.key)))),
        _ => Err(unreadable(address.text, "a file's URL begins with file:///")),
    }
}

/// One client for each bucket or host; connections are kept.
fn store_of(address: &Address<'_>, url: &Path) -> Result<Arc<dyn ObjectStore>, EventsError> {
    static STORES: LazyLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> =
        LazyLock::new(Mutex::default);
    let mut stores = STORES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(store) = stores.get(address.root) {
        return Ok(Arc::clone(store));
    }
    let store = build(address).map_err(|e| EventsError::io("open", url)(e.into()))?;
    stores.insert(address.root.to_owned(), Arc::clone(&store));
    Ok(store)
}

fn build(address: &Address<'_>) -> object_store::Result<Arc<dyn ObjectStore>> {
    let root = address.root;
    Ok(match address.scheme {
        "s3" | "s3a" => {
            Arc::new(AmazonS3Builder::from_env().with_url(root).with_retry(retry()).build()?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(root);
            Arc::new(builder.with_retry(retry()).build()?)
        }
        "http" | "https" => {
            let options = ClientOptions::new().with_allow_http(address.scheme == "http");
            let builder = HttpBuilder::new().with_url(root).with_client_options(options);
            Arc::new(builder.with_retry(retry()).build()?)
        }
        _ => {
            Arc::new(MicrosoftAzureBuilder::from_env().with_url(root).with_retry(retry()).build()?)
        }
    })
}

/// A server that is away for longer is an error.
fn retry() -> RetryConfig {
    RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() }
}

/// The threads of all connections; kept until the program ends.
fn runtime(url: &Path) -> Result<&'static Runtime, EventsError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let made = made.map_err(EventsError::io("open", url))?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// A key as a URL writes it, so that no character is taken for a pattern again.
fn encoded(key: &str) -> String {
    let mut text = String::new();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            b'/' | b'-' | b'_' | b'.' | b'~' | b'=' | b'+' | b',' | b'@' | b':' => {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// The key that a URL writes.
fn decoded(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

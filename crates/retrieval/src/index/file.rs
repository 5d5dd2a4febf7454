//! The index on disk: one safetensors file, written whole or not at all.
//!
//! ```text
//! index/vectors.safetensors
//!   metadata      format = recgpt.index, version = 2, checksum = XXH3 of all tensors, in hex
//!   item_vectors  F32 [items, dim]
//!   removed       U32 [removed items]
//!   centroids     F32 [lists, dim]     only with inverted lists
//!   list_of       U32 [items]          only with inverted lists
//!   effort        F32 [1]              only with inverted lists
//! ```
//!
//! Vectors in eight bits are not in the file: they are made again in less time than reading them takes.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use xxhash_rust::xxh3::Xxh3;

use super::exact::ExactIndex;
use super::lists::Lists;
use crate::RetrievalError;
use crate::store;

/// Raised with every change of the layout.
pub(crate) const VERSION: u32 = 2;

const FORMAT: &str = "recgpt.index";
const NAME: &str = "vectors.safetensors";

/// Vectors, and the lists with how far a search in them goes.
type Loaded = (ExactIndex, Option<(Lists, f32)>);

/// A tensor on its way to the file.
type Part<'a> = (&'static str, Dtype, Vec<usize>, &'a [u8]);

pub(super) fn save(
    dir: &Path,
    vectors: &ExactIndex,
    lists: Option<(&Lists, f32)>,
) -> Result<(), RetrievalError> {
    let path = dir.join(NAME);
    let removed = vectors.removed();
    let list_of = lists.map(|(lists, _)| lists.list_of()).unwrap_or_default();
    let (n, dim) = (vectors.len(), vectors.dim());
    let mut parts: Vec<Part<'_>> = vec![
        ("item_vectors", Dtype::F32, vec![n, dim], bytemuck::cast_slice(vectors.vectors())),
        ("removed", Dtype::U32, vec![removed.len()], bytemuck::cast_slice(&removed)),
    ];
    let effort = lists.map_or(0.0, |(_, effort)| effort).to_le_bytes();
    if let Some((lists, _)) = lists {
        let centroids = bytemuck::cast_slice(lists.centroids());
        parts.push(("centroids", Dtype::F32, vec![lists.len(), dim], centroids));
        parts.push(("list_of", Dtype::U32, vec![n], bytemuck::cast_slice(&list_of)));
        parts.push(("effort", Dtype::F32, vec![1], &effort));
    }
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("version".to_owned(), VERSION.to_string()),
        ("checksum".to_owned(), checksum(parts.iter().map(|part| (part.0, part.3)))),
    ]);
    let bad = |e: safetensors::SafeTensorError| broken(&path, format!("cannot be encoded: {e}"));
    let views = parts
        .into_iter()
        .map(|(name, dtype, shape, data)| {
            Ok((name, TensorView::new(dtype, shape, data).map_err(bad)?))
        })
        .collect::<Result<Vec<_>, RetrievalError>>()?;
    store::write_through(&path, |temporary| {
        safetensors::serialize_to_file(views, Some(metadata), temporary)
            .map_err(std::io::Error::other)
    })
}

/// Vectors and lists of the file in `dir`.
pub(super) fn load(dir: &Path) -> Result<Loaded, RetrievalError> {
    let path = dir.join(NAME);
    let bytes =
        std::fs::read(&path).map_err(|source| RetrievalError::Io { path: path.clone(), source })?;
    let bad = |detail: String| broken(&path, detail);
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|e| bad(format!("is damaged: {e}")))?;
    let stated = header.metadata().clone().unwrap_or_default();
    let stated = |key: &str| stated.get(key).cloned().unwrap_or_default();
    if stated("format") != FORMAT || stated("version") != VERSION.to_string() {
        return Err(bad(format!(
            "is {} version {}, expected {FORMAT} version {VERSION}",
            or_none(stated("format")),
            or_none(stated("version"))
        )));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(format!("is damaged: {e}")))?;
    let mut parts: Vec<(String, TensorView<'_>)> = file.tensors();
    parts.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name));
    let found = checksum(parts.iter().map(|(name, view)| (name.as_str(), view.data())));
    if found != stated("checksum") {
        return Err(bad(format!("is damaged: checksum {found}, expected {}", stated("checksum"))));
    }
    assemble(&path, &parts.into_iter().collect())
}

/// The order in which tensors count for the checksum.
const ORDER: [&str; 5] = ["item_vectors", "removed", "centroids", "list_of", "effort"];

fn or_none(text: String) -> String {
    if text.is_empty() { "of no stated".to_owned() } else { text }
}

fn broken(path: &Path, detail: String) -> RetrievalError {
    RetrievalError::Index { path: path.to_owned(), detail }
}

fn checksum<'a>(parts: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Xxh3::new();
    for (name, data) in parts {
        hash.update(name.as_bytes());
        hash.update(data);
    }
    format!("{:016x}", hash.digest())
}

fn assemble(
    path: &Path,
    parts: &HashMap<String, TensorView<'_>>,
) -> Result<Loaded, RetrievalError> {
    let bad = |detail: String| broken(path, detail);
    let part = |name: &str, dtype: Dtype| match parts.get(name) {
        None => Err(bad(format!("has no tensor {name}"))),
        Some(view) if view.dtype() != dtype => {
            Err(bad(format!("{name} is {:?}, expected {dtype:?}", view.dtype())))
        }
        Some(view) => Ok(view),
    };
    let vectors = part("item_vectors", Dtype::F32)?;
    let [_, dim] = vectors.shape()[..] else {
        let shape = vectors.shape();
        return Err(bad(format!("item_vectors has shape {shape:?}, expected [items, dim]")));
    };
    let mut exact = ExactIndex::new(floats(vectors.data()), dim)?;
    for row in numbers(part("removed", Dtype::U32)?.data()) {
        if !exact.remove(types::ItemId(row)) {
            let n = exact.len();
            return Err(bad(format!("removed names item {row} twice or beyond the {n} items")));
        }
    }
    if !parts.contains_key("centroids") {
        return Ok((exact, None));
    }
    let centroids = part("centroids", Dtype::F32)?;
    let list_of = numbers(part("list_of", Dtype::U32)?.data());
    let n_lists = centroids.shape().first().copied().unwrap_or(0);
    if centroids.shape() != [n_lists, dim] || n_lists == 0 {
        let shape = centroids.shape();
        return Err(bad(format!("centroids has shape {shape:?}, expected [lists, {dim}]")));
    }
    if list_of.len() != exact.len() || list_of.iter().any(|&list| list as usize >= n_lists) {
        return Err(bad(format!("list_of does not name one of {n_lists} lists for every item")));
    }
    let effort = floats(part("effort", Dtype::F32)?.data()).first().copied().unwrap_or(f32::NAN);
    let centroids = floats(centroids.data());
    if !effort.is_finite() || centroids.iter().any(|x| !x.is_finite()) {
        return Err(bad("has centroids or an effort that are no finite numbers".to_owned()));
    }
    let lists = Lists::from_parts(&exact, centroids, &list_of);
    Ok((exact, Some((lists, effort))))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

//! The vectors of all items, ready to be searched.

use anyhow::Result;
use retrieval::{IndexKind, ItemIndex, Towers};

use super::Context;
use super::train::TOWERS;

/// Item vectors that stand for queries when inverted lists are tuned, and what is wanted of them.
const TUNING: usize = 500;
const K: usize = 100;
const RECALL: f32 = 0.99;

pub(crate) fn run(ctx: &Context) -> Result<String> {
    let towers = Towers::load(&ctx.ws.path(TOWERS))?;
    let (vectors, dim) = (towers.item_vectors(), towers.dim());
    let mut index = ItemIndex::build(vectors.to_vec(), dim, IndexKind::Auto)?;
    let stride = (index.len() / TUNING).max(1);
    let queries: Vec<f32> = vectors.chunks(dim).step_by(stride).flatten().copied().collect();
    let recall = index.tune(&queries, K, RECALL);
    index.save(&ctx.ws.path_for_writing("index/vectors.safetensors")?.with_file_name(""))?;
    let kind = match index.n_lists() {
        0 => "exact scan".to_owned(),
        n => format!("{n} inverted lists, recall@{K} {recall:.3}"),
    };
    Ok(format!("{} items in {dim} dimensions, {kind}", index.len()))
}

//! The vectors of all items, ready to be searched.

use anyhow::Result;
use retrieval::{ExactIndex, Towers};

use super::Context;
use super::train::TOWERS;

pub(crate) fn run(ctx: &Context) -> Result<String> {
    let towers = Towers::load(&ctx.ws.path(TOWERS))?;
    let index = ExactIndex::new(towers.item_vectors().to_vec(), towers.dim())?;
    index.save(&ctx.ws.path_for_writing("index/vectors.safetensors")?.with_file_name(""))?;
    Ok(format!("{} items in {} dimensions, exact scan", index.len(), index.dim()))
}

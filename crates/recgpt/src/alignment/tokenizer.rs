//! The tokenizer of an alignment: that of the weights it goes on from, or a new one.

use std::path::Path;

use align::train_tokenizer;
use anyhow::{Context, Result};
use lm::{Tokenizer, write_whole};

use super::Recipe;
use super::folder::Folder;
use super::samples::shared_samples;
use crate::steps::worlds::{WorldPlan, world_samples};

pub(super) fn tokenizer(
    recipe: &Recipe,
    folder: &Folder,
    from: Option<&Path>,
    data: Option<&Path>,
) -> Result<Tokenizer> {
    let path = folder.path("tokenizer.json");
    if !path.exists() {
        let json = match from {
            Some(dir) => std::fs::read(dir.join("tokenizer.json"))
                .with_context(|| format!("reading the tokenizer in {}", dir.display()))?,
            None => new_tokenizer(recipe, data)?,
        };
        write_whole(&path, &json)?;
    }
    Ok(Tokenizer::load(&path)?)
}

/// From a few worlds and the shared texts.
fn new_tokenizer(recipe: &Recipe, data: Option<&Path>) -> Result<Vec<u8>> {
    let words = |text: &str| text.split_whitespace().count() * 4 / 3;
    let worlds = recipe.base.worlds.worlds.min(4);
    let plan =
        WorldPlan { worlds, cuts: 1, reasons: 4, judged: 0, cleaned: false, ..recipe.base.worlds };
    let mut samples = world_samples(&plan, &words, &|_, _| {})?;
    samples.extend(shared_samples(data)?);
    let mut texts: Vec<&str> =
        samples.iter().flat_map(|s| &s.segments).map(|s| s.text.as_str()).collect();
    let uci = uci_titles(data)?;
    texts.extend(uci.iter().map(String::as_str));
    Ok(train_tokenizer(texts, recipe.vocab_size)?)
}

/// Titles of the UCI shop (CC BY 4.0), lower case as digests write them.
pub(super) fn uci_titles(data: Option<&Path>) -> Result<Vec<String>> {
    let Some(data) = data else { return Ok(Vec::new()) };
    let mut config = events::ImportConfig {
        preset: events::import::Preset::UciOnlineRetail,
        ..events::ImportConfig::default()
    };
    config.events.files = vec![data.join("uci_online_retail/events_until_2011-09.csv")];
    let items = events::import_items(&config, &|_, _| {})?.items;
    Ok(items.into_iter().map(|item| item.title.to_lowercase()).collect())
}

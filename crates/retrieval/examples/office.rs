//! Trains the towers on Amazon Office and prints recall and NDCG at 10 under leave-one-out, by the
//! protocol of the floors in the shared data's README.
//!
//! Arguments: settings of `TowerConfig` as `key=value`; `--without-words` blanks the catalogue;
//! `--without-validation` keeps the last item but one out of training too; `--validation` ends every
//! history one item earlier, so that the figures are of the last item but one and may choose settings;
//! `--verbose` prints every epoch.

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::io::Write as _;

use common::LeaveOneOut;
use retrieval::{TowerConfig, train_towers};
use types::{Catalogue, Item, Taxonomy};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, settings): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let flag = |name: &str| flags.iter().any(|flag| flag == name);
    let mut config = serde_json::to_value(TowerConfig::default())?;
    for setting in &settings {
        let (key, value) = setting.split_once('=').ok_or("a setting is key=value")?;
        config[key] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    let config: TowerConfig = serde_json::from_value(config)?;
    let Some(mut set) = LeaveOneOut::office() else { return Ok(()) };
    if flag("--validation") {
        set = one_earlier(&set);
    }
    if flag("--without-words") {
        let blank = |i: &Item| Item { item_id: i.item_id.clone(), ..Item::default() };
        set.catalogue = Catalogue::new(set.catalogue.items().iter().map(blank).collect())?;
    }
    let training =
        if flag("--without-validation") { set.without_validation() } else { set.before.clone() };
    let taxonomy = Taxonomy::default();
    let start = std::time::Instant::now();
    let (towers, curve) = train_towers(&set.tower_data(&taxonomy, &training), &config, &|_, _| {})?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    for p in curve.epochs.iter().filter(|p| p.epoch == curve.best_epoch || flag("--verbose")) {
        writeln!(
            out,
            "epoch {} col {:.3} tag {:.3} validation ndcg {:.4} recall@20 {:.4} temperature {:.3}",
            p.epoch,
            p.loss_col,
            p.loss_tag,
            p.validation_ndcg,
            p.validation_recall_at_20,
            p.temperature
        )?;
    }
    let (recall, ndcg) = set.figures(&set.user_tower_lists(&towers));
    let (best, epochs) = (curve.best_epoch, curve.epochs.len());
    writeln!(
        out,
        "R@10 {recall:.4} NDCG@10 {ndcg:.4}, epoch {best} of {epochs} kept, {seconds:.0} s"
    )?;
    Ok(())
}

/// The set as it was before the last item of every user.
fn one_earlier(set: &LeaveOneOut) -> LeaveOneOut {
    let last = set.histories().iter().filter_map(|h| h.last()).map(|i| i.item).collect();
    LeaveOneOut { catalogue: set.catalogue.clone(), before: set.without_validation(), last }
}

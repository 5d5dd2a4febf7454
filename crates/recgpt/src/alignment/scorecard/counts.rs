//! A baseline of mining without a language model: which interests the categories of a digest speak for,
//! by counts over other worlds.

use align::{InterestCounts, acts_by_category};
use types::Digest;

use crate::settings::IntentSettings;
use crate::steps::worlds::TrainingWorld;

/// The interests that the different texts of the digest speak for most, as many as mining keeps.
pub(crate) fn counted(
    counts: &InterestCounts,
    world: &TrainingWorld,
    digest: &Digest,
) -> Vec<String> {
    let category_of = |text: &str| world.category_of_text(text);
    let acts = acts_by_category(digest, world.world.taxonomy(), &category_of);
    let ranked = counts.rank(&acts).into_iter();
    ranked.take(IntentSettings::default().min_interests).map(|(text, _)| text.to_owned()).collect()
}

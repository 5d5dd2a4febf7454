//! Interests with the labels that a world's truth gives them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;
use types::{Digest, Interest, InterestSource, InterestStage, UserTruth, normalise_text};

use super::{JudgeWorld, Labelled};
use crate::support::supports;
use crate::truth::MIN_STRENGTH;

/// Cases of each kind.
const TRUE: usize = 6;
const PLAUSIBLE: usize = 5;
const OTHERS: usize = 3;
const NECESSITIES: usize = 2;

pub(super) fn cases(
    world: &JudgeWorld<'_>,
    digest: &Digest,
    truth: &UserTruth,
    rng: &mut Pcg64Mcg,
) -> Vec<Labelled<Interest>> {
    let acts = acts(world, digest);
    let ranked = world.counts().rank(&borrowed(&acts));
    let held = |name: &str| holds(truth, digest, name);
    let own: Vec<&str> =
        truth.interests.iter().map(|i| i.text.as_str()).filter(|name| held(name)).collect();
    let plausible: Vec<&str> =
        ranked.iter().map(|(name, _)| *name).filter(|name| !held(name)).take(15).collect();
    let others: Vec<&str> = (0..OTHERS)
        .filter_map(|_| world.truths.choose(rng)?.interests.choose(rng))
        .map(|i| i.text.as_str())
        .filter(|name| !held(name))
        .collect();
    let necessities = necessities(world, &acts);
    let mut names: Vec<String> = own.sample(rng, TRUE).map(|n| (*n).to_owned()).collect();
    names.extend(plausible.sample(rng, PLAUSIBLE).map(|n| (*n).to_owned()));
    names.extend(others.into_iter().map(str::to_owned));
    names.extend(necessities.sample(rng, NECESSITIES).cloned());
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(normalise_text(name)));
    let case = |name: String| Labelled {
        labels: labels(world, digest, truth, &name),
        subject: Interest {
            id: String::new(),
            text: name,
            stage: InterestStage::Long,
            source: InterestSource::Listed,
            reason: String::new(),
            evidence: Vec::new(),
        },
    };
    names.into_iter().map(case).collect()
}

/// Willingness, then reasonableness. An interest that the user holds is strongly supported where the
/// digest's acts speak for it ([`MIN_STRENGTH`]), weakly elsewhere; one that they do not hold is weakly
/// supported where acts would explain it.
pub(super) fn labels(
    world: &JudgeWorld<'_>,
    digest: &Digest,
    truth: &UserTruth,
    name: &str,
) -> Vec<&'static str> {
    let acts = acts(world, digest);
    if necessities(world, &acts).iter().any(|n| normalise_text(n) == normalise_text(name)) {
        return vec!["necessity", "strong"];
    }
    let ranked = world.counts().rank(&borrowed(&acts));
    let strengths: HashMap<&str, f64> = ranked.into_iter().collect();
    let strength = strengths.get(name).copied().unwrap_or(0.0);
    let reasonableness = match (holds(truth, digest, name), strength >= MIN_STRENGTH) {
        (true, true) => "strong",
        (true, false) | (false, true) => "weak",
        (false, false) => "none",
    };
    vec!["spontaneity", reasonableness]
}

fn holds(truth: &UserTruth, digest: &Digest, name: &str) -> bool {
    let now = digest.now;
    let key = normalise_text(name);
    truth.interests.iter().any(|i| {
        normalise_text(&i.text) == key && i.from <= now && i.until.is_none_or(|until| until > now)
    })
}

/// Different texts by the path of their category.
fn acts(world: &JudgeWorld<'_>, digest: &Digest) -> BTreeMap<String, BTreeSet<String>> {
    let mut acts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for support in supports(digest, world.shop.category_of_core) {
        let path = world.shop.taxonomy.path(support.category);
        acts.entry(path.to_owned()).or_default().insert(support.text.to_owned());
    }
    acts
}

fn borrowed(acts: &BTreeMap<String, BTreeSet<String>>) -> Vec<(&str, usize)> {
    acts.iter().map(|(path, texts)| (path.as_str(), texts.len())).collect()
}

/// Names of categories acted in that no interest of anyone reaches into: what people need.
fn necessities(world: &JudgeWorld<'_>, acts: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let unwanted = acts.keys().filter(|path| world.counts().is_unwanted(path));
    unwanted.map(|path| path.rsplit(" > ").next().unwrap_or(path).to_lowercase()).collect()
}

//! Interests with the labels that a world's truth gives them.

use std::collections::BTreeSet;

use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;
use types::{Digest, Interest, InterestSource, InterestStage, UserTruth, normalise_text};

use super::{JudgeWorld, Labelled};
use crate::acts::acts_by_category;
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
    let evidence = Evidence::new(world, digest);
    let held = |name: &str| holds(truth, digest, name);
    let own: Vec<&str> =
        truth.interests.iter().map(|i| i.text.as_str()).filter(|name| held(name)).collect();
    let plausible: Vec<&str> =
        evidence.ranked.iter().map(|(name, _)| *name).filter(|name| !held(name)).take(15).collect();
    let others: Vec<&str> = (0..OTHERS)
        .filter_map(|_| world.truths.choose(rng)?.interests.choose(rng))
        .map(|i| i.text.as_str())
        .filter(|name| !held(name))
        .collect();
    let mut names: Vec<String> = own.sample(rng, TRUE).map(|n| (*n).to_owned()).collect();
    names.extend(plausible.sample(rng, PLAUSIBLE).map(|n| (*n).to_owned()));
    names.extend(others.into_iter().map(str::to_owned));
    names.extend(evidence.necessities.sample(rng, NECESSITIES).cloned());
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(normalise_text(name)));
    let case = |name: String| Labelled {
        labels: evidence.labels(digest, truth, &name),
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

/// What the acts of a digest say.
pub(super) struct Evidence<'a> {
    /// Interests with the strength of their support, strongest first.
    ranked: Vec<(&'a str, f64)>,
    /// Names of categories acted in that no interest of anyone reaches into: what people need.
    necessities: Vec<String>,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(world: &'a JudgeWorld<'_>, digest: &Digest) -> Self {
        let acts = acts_by_category(digest, world.shop.taxonomy, world.shop.category_of_core);
        let unwanted = acts.iter().filter(|(path, _)| world.counts().is_unwanted(path));
        let name = |path: &str| path.rsplit(" > ").next().unwrap_or(path).to_lowercase();
        Self {
            ranked: world.counts().rank(&acts),
            necessities: unwanted.map(|(path, _)| name(path)).collect(),
        }
    }

    /// Willingness, then reasonableness. An interest that the user holds is strongly supported where the
    /// digest's acts speak for it ([`MIN_STRENGTH`]), weakly elsewhere; one that they do not hold is weakly
    /// supported where acts would explain it.
    pub(super) fn labels(
        &self,
        digest: &Digest,
        truth: &UserTruth,
        name: &str,
    ) -> Vec<&'static str> {
        if self.necessities.iter().any(|n| normalise_text(n) == normalise_text(name)) {
            return vec!["necessity", "strong"];
        }
        let strength = self.ranked.iter().find(|(known, _)| *known == name).map_or(0.0, |r| r.1);
        let reasonableness = match (holds(truth, digest, name), strength >= MIN_STRENGTH) {
            (true, true) => "strong",
            (true, false) | (false, true) => "weak",
            (false, false) => "none",
        };
        vec!["spontaneity", reasonableness]
    }
}

fn holds(truth: &UserTruth, digest: &Digest, name: &str) -> bool {
    let now = digest.now;
    let key = normalise_text(name);
    truth.interests.iter().any(|i| {
        normalise_text(&i.text) == key && i.from <= now && i.until.is_none_or(|until| until > now)
    })
}

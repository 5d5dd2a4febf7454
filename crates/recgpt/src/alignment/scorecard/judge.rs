//! The judge against the truth: on generated defects, and on what the model itself has written.

use std::collections::BTreeMap;

use align::Labelled;
use anyhow::Result;
use eval::{JudgeReport, Verdict, best_threshold};
use intent::{PassProbability, Rubric, Subjects, criterion_probabilities};
use lm::LanguageModel;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use types::{Digest, Interest, InterestProfile, Tag, User, UserTruth};

use crate::steps::worlds::TrainingWorld;

/// Users of a world whose outputs are judged.
pub(super) const JUDGED_USERS: usize = 30;

/// Tags of one user that are judged.
const JUDGED_TAGS: usize = 16;

/// Everything about the judge; `interests` and `tags` are over generated cases and own outputs together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct JudgeCard {
    pub(crate) interests: JudgeReport,
    pub(crate) tags: JudgeReport,
    /// On generated cases: good outputs and defects of every kind.
    pub(crate) generated_interests: JudgeReport,
    pub(crate) generated_tags: JudgeReport,
    /// On the model's own outputs, labelled by the truth.
    pub(crate) own_interests: JudgeReport,
    pub(crate) own_tags: JudgeReport,
    /// Each criterion alone, over generated cases and own outputs together.
    #[serde(default)]
    pub(crate) criteria: BTreeMap<String, JudgeReport>,
}

/// Verdicts of all users so far, on interests and on tags.
#[derive(Debug, Default)]
pub(super) struct Verdicts([KindVerdicts; 2]);

/// Verdicts on one kind of output.
#[derive(Debug, Default)]
struct KindVerdicts {
    generated: Vec<Verdict>,
    own: Vec<Verdict>,
    /// On every criterion, by its name.
    each: BTreeMap<String, Vec<Verdict>>,
}

/// From which probability on outputs pass.
#[derive(Debug)]
pub(super) struct Thresholds {
    all: [f64; 2],
    each: BTreeMap<String, f64>,
}

/// One user with what the model wrote about them.
pub(super) struct Judged<'a> {
    pub(super) user: &'a User,
    pub(super) digest: &'a Digest,
    pub(super) truth: &'a UserTruth,
    pub(super) profile: &'a InterestProfile,
    pub(super) tags: &'a [Tag],
}

impl Verdicts {
    /// Judges generated cases and own outputs of one user.
    pub(super) fn add(
        &mut self,
        model: &dyn LanguageModel,
        world: &TrainingWorld,
        judged: &Judged<'_>,
        seed: u64,
    ) -> Result<()> {
        let category_of = |text: &str| world.category_of_text(text);
        let judge = world.judge_world(world.truth_shop(&category_of));
        let Judged { user, digest, truth, profile, tags } = judged;
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let [interests, of_tags] = &mut self.0;
        let cases = judge.interest_cases(digest, truth, &mut rng);
        let own = judge.label_interests(digest, truth, &profile.interests);
        let p = |cases: &[Labelled<Interest>]| {
            let subjects: Vec<Interest> = cases.iter().map(|c| c.subject.clone()).collect();
            criterion_probabilities(model, (user, digest), Subjects::Interests(&subjects))
        };
        interests.add([(&cases, p(&cases)?), (&own, p(&own)?)], Rubric::interests());
        let cases = judge.tag_cases(digest, truth, &mut rng);
        let own = judge.label_tags(digest, truth, &tags[..tags.len().min(JUDGED_TAGS)]);
        let p = |cases: &[Labelled<Tag>]| {
            let subjects: Vec<Tag> = cases.iter().map(|c| c.subject.clone()).collect();
            criterion_probabilities(model, (user, digest), Subjects::Tags(&subjects))
        };
        of_tags.add([(&cases, p(&cases)?), (&own, p(&own)?)], Rubric::tags());
        Ok(())
    }

    /// Where outputs pass so that F1 on these verdicts is largest; of whole outputs, among the thresholds
    /// that are right in `min_accuracy` of them.
    pub(super) fn thresholds(&self, min_accuracy: f64) -> Thresholds {
        let [interests, tags] = &self.0;
        let all = [interests, tags].map(|kind| best_threshold(&kind.both(), min_accuracy));
        let each = interests.each.iter().chain(&tags.each);
        Thresholds {
            all,
            each: each.map(|(name, v)| (name.clone(), best_threshold(v, 0.0))).collect(),
        }
    }

    /// The judge with thresholds that other verdicts gave.
    pub(super) fn card(&self, thresholds: &Thresholds) -> JudgeCard {
        let ([interests, tags], [of_interests, of_tags]) = (&self.0, thresholds.all);
        let each = interests.each.iter().chain(&tags.each);
        let criterion = |(name, verdicts): (&String, &Vec<Verdict>)| {
            let threshold = thresholds.each.get(name).copied().unwrap_or(0.5);
            (name.clone(), JudgeReport::new(verdicts, threshold))
        };
        JudgeCard {
            interests: JudgeReport::new(&interests.both(), of_interests),
            tags: JudgeReport::new(&tags.both(), of_tags),
            generated_interests: JudgeReport::new(&interests.generated, of_interests),
            generated_tags: JudgeReport::new(&tags.generated, of_tags),
            own_interests: JudgeReport::new(&interests.own, of_interests),
            own_tags: JudgeReport::new(&tags.own, of_tags),
            criteria: each.map(criterion).collect(),
        }
    }
}

impl KindVerdicts {
    /// Adds generated cases, then own outputs, with the judge's probabilities of each.
    fn add<T>(&mut self, parts: [(&Vec<Labelled<T>>, Vec<PassProbability>); 2], rubric: &Rubric) {
        for (into, (cases, p)) in [&mut self.generated, &mut self.own].into_iter().zip(parts) {
            for (case, p) in cases.iter().zip(p) {
                into.push(Verdict { p: p.all, passes: case.passes(rubric) });
                let each = rubric.criteria.iter().zip(p.each).zip(case.passes_each(rubric));
                for ((criterion, p), passes) in each {
                    let of_criterion = self.each.entry(criterion.name.clone()).or_default();
                    of_criterion.push(Verdict { p, passes });
                }
            }
        }
    }

    fn both(&self) -> Vec<Verdict> {
        [&self.generated[..], &self.own].concat()
    }
}

//! The judge against the truth: on generated defects, and on what the model itself has written.

use align::Labelled;
use anyhow::Result;
use eval::{JudgeReport, Verdict, best_threshold};
use intent::{Rubric, Subjects, pass_probabilities};
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
}

/// Verdicts of all users so far.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    generated: [Vec<Verdict>; 2],
    own: [Vec<Verdict>; 2],
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
        let cases = judge.interest_cases(digest, truth, &mut rng);
        self.generated[0].extend(interests(model, (user, digest), &cases)?);
        let cases = judge.tag_cases(digest, truth, &mut rng);
        self.generated[1].extend(of_tags(model, (user, digest), &cases)?);
        let own = judge.label_interests(digest, truth, &profile.interests);
        self.own[0].extend(interests(model, (user, digest), &own)?);
        let own = judge.label_tags(digest, truth, &tags[..tags.len().min(JUDGED_TAGS)]);
        self.own[1].extend(of_tags(model, (user, digest), &own)?);
        Ok(())
    }

    /// From which probability on interests, and tags, pass: where F1 on these verdicts is largest.
    pub(super) fn thresholds(&self) -> [f64; 2] {
        [0, 1].map(|i| best_threshold(&self.both(i)))
    }

    /// The judge with thresholds that other verdicts gave.
    pub(super) fn card(&self, thresholds: [f64; 2]) -> JudgeCard {
        let report = |verdicts: &[Verdict], i: usize| JudgeReport::new(verdicts, thresholds[i]);
        JudgeCard {
            interests: report(&self.both(0), 0),
            tags: report(&self.both(1), 1),
            generated_interests: report(&self.generated[0], 0),
            generated_tags: report(&self.generated[1], 1),
            own_interests: report(&self.own[0], 0),
            own_tags: report(&self.own[1], 1),
        }
    }

    fn both(&self, i: usize) -> Vec<Verdict> {
        [&self.generated[i][..], &self.own[i]].concat()
    }
}

fn interests(
    model: &dyn LanguageModel,
    person: (&User, &Digest),
    cases: &[Labelled<Interest>],
) -> Result<Vec<Verdict>> {
    let subjects: Vec<Interest> = cases.iter().map(|c| c.subject.clone()).collect();
    let p = pass_probabilities(model, person, Subjects::Interests(&subjects))?;
    Ok(verdicts(&p, cases, Rubric::interests()))
}

fn of_tags(
    model: &dyn LanguageModel,
    person: (&User, &Digest),
    cases: &[Labelled<Tag>],
) -> Result<Vec<Verdict>> {
    let subjects: Vec<Tag> = cases.iter().map(|c| c.subject.clone()).collect();
    let p = pass_probabilities(model, person, Subjects::Tags(&subjects))?;
    Ok(verdicts(&p, cases, Rubric::tags()))
}

fn verdicts<T>(p: &[f64], cases: &[Labelled<T>], rubric: &Rubric) -> Vec<Verdict> {
    let of = |(p, case): (&f64, &Labelled<T>)| Verdict { p: *p, passes: case.passes(rubric) };
    p.iter().zip(cases).map(of).collect()
}

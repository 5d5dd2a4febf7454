//! Cleaning of a teacher's answers: keep or reject, with a reason for every rejection.
//!
//! Bad interests and bad tags are dropped first and the rest is kept; then the whole sample is judged.
//! Any teacher's answers are read the same way: those of a batch of a large model, and those of an
//! embedded teacher, whose samples are parsed as an answer would be.

mod audience;
mod ground;
mod interests;
mod report;
mod tags;

use std::collections::BTreeSet;

use intent::{
    MineOutcome, ParseIssue, TAGS_PER_USER, TagLexicon, TagOutcome, TagRules, TagToCategory,
    check_tags, parse_interests, parse_tags,
};
use lm::PromptStyle;
use types::{ConstraintBreach, Digest, InterestProfile, Judgement, Tag, TokenCounter, User};

pub use self::report::{CleaningLevel, CleaningReport, LevelCount, RejectReason, Rejection};
use crate::sample::{Sample, Segment};
use crate::truth::mine_tag_sample;

/// A teacher's answer about one user, as the parsers and the constraints left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeacherAnswer {
    /// Interests with evidence.
    pub profile: InterestProfile,
    /// What was wrong with the answer that held the interests.
    pub interest_issues: Vec<ParseIssue>,
    /// Tags that hold the constraints.
    pub tags: Vec<Tag>,
    /// Tags that do not.
    pub breaches: Vec<ConstraintBreach>,
    /// What was wrong with the answer that held the tags.
    pub tag_issues: Vec<ParseIssue>,
}

/// One user's answer with what it was made of.
#[derive(Clone, Copy)]
pub struct Taught<'a> {
    /// Who.
    pub user: &'a User,
    /// What the teacher read.
    pub digest: &'a Digest,
    /// What it answered.
    pub answer: &'a TeacherAnswer,
    /// Verdicts on interests and tags, of any users; none where nobody judged.
    pub judgements: &'a [Judgement],
}

/// What a sample must have.
pub struct CleaningRules<'a> {
    /// Fewest interests left.
    pub min_interests: usize,
    /// Fewest tags left.
    pub min_tags: usize,
    /// Fewest categories of the tags left; tags without a category count for none.
    pub min_categories: usize,
    /// Fewest actions behind an interest: one act on one text is one.
    pub min_actions: usize,
    /// Evidence of one behaviour within so many days is a burst.
    pub burst_days: u16,
    /// Longest sample in tokens.
    pub window: usize,
    /// Counts tokens as the model to be trained does.
    pub count: &'a TokenCounter<'a>,
}

/// An answer that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanAnswer {
    /// Row of the answer among those given.
    pub row: usize,
    /// The interests left.
    pub profile: InterestProfile,
    /// The tags left.
    pub tags: Vec<Tag>,
    /// Both as a sample of mining and tagging.
    pub sample: Sample,
}

/// What cleaning came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Answers that were kept, in the order given.
    pub kept: Vec<CleanAnswer>,
    /// Everything that was rejected, answer by answer.
    pub rejections: Vec<Rejection>,
    /// The counts.
    pub report: CleaningReport,
}

impl TeacherAnswer {
    /// The answers of a batch; `mined` and `tagged` are of the same user.
    #[must_use]
    pub fn from_batches(mined: MineOutcome, tagged: TagOutcome) -> Self {
        Self {
            profile: mined.profile,
            interest_issues: mined.issues,
            tags: tagged.tags,
            breaches: tagged.breaches,
            tag_issues: tagged.issues,
        }
    }

    /// Reads a sample of mining and tagging as inference reads an answer: for the samples of
    /// [`crate::samples_from_truth`], [`crate::shop_samples`] and [`crate::incremental_samples`].
    #[must_use]
    pub fn from_sample(
        sample: &Sample,
        digest: &Digest,
        (lexicon, categories): (&TagLexicon, Option<&TagToCategory>),
    ) -> Self {
        let style = PromptStyle::Terse;
        let mut answers = sample.segments.iter().filter(|s| s.loss).map(|s| s.text.as_str());
        let (interests, interest_issues) =
            parse_interests(style, answers.next().unwrap_or_default(), digest, &[]);
        let (proposed, tag_issues) =
            parse_tags(style, answers.next().unwrap_or_default(), &lexicon.cores);
        let rules = TagRules::new(digest, &interests, lexicon, categories);
        let (tags, breaches) = check_tags(proposed, &rules);
        let (user_id, now) = (digest.user_id.clone(), digest.now);
        let profile = InterestProfile { user_id, now, interests };
        Self { profile, interest_issues, tags, breaches, tag_issues }
    }
}

impl<'a> CleaningRules<'a> {
    /// Three interests of two actions each, and the published 50 tags over 8 categories.
    #[must_use]
    pub fn new(window: usize, count: &'a TokenCounter<'a>) -> Self {
        let (min_tags, min_categories) = TAGS_PER_USER;
        let (min_interests, min_actions, burst_days) = (3, 2, 3);
        Self { min_interests, min_tags, min_categories, min_actions, burst_days, window, count }
    }
}

/// Cleans answers; each becomes at most one sample.
#[must_use]
pub fn clean(answers: &[Taught<'_>], rules: &CleaningRules<'_>) -> Cleaned {
    let mut out =
        Cleaned { kept: Vec::new(), rejections: Vec::new(), report: CleaningReport::default() };
    for (row, taught) in answers.iter().enumerate() {
        let first = out.rejections.len();
        let sample = clean_one(row, taught, rules, &mut out);
        out.report.level(CleaningLevel::Sample).seen += 1;
        match sample {
            Ok(clean) => {
                out.report.level(CleaningLevel::Sample).kept += 1;
                out.kept.push(clean);
            }
            Err((reason, detail)) => {
                let user_id = &taught.user.user_id;
                let level = CleaningLevel::Sample;
                out.rejections.push(Rejection::new((user_id, level), user_id, reason, detail));
            }
        }
        out.report.count(&out.rejections[first..]);
    }
    out
}

fn clean_one(
    row: usize,
    taught: &Taught<'_>,
    rules: &CleaningRules<'_>,
    out: &mut Cleaned,
) -> Result<CleanAnswer, (RejectReason, String)> {
    let interests = interests::keep(taught, rules, out);
    let tags = tags::keep(taught, &interests, out);
    if taught.answer.profile.interests.is_empty() && taught.answer.tags.is_empty() {
        return Err((RejectReason::NoAnswer, String::new()));
    }
    let enough = |n: usize, least: usize, reason: RejectReason| {
        if n < least { Err((reason, format!("{n}, {least} wanted"))) } else { Ok(()) }
    };
    enough(interests.len(), rules.min_interests, RejectReason::TooFewInterests)?;
    enough(tags.len(), rules.min_tags, RejectReason::TooFewTags)?;
    let categories: BTreeSet<_> = tags.iter().filter_map(|tag| tag.category).collect();
    enough(categories.len(), rules.min_categories, RejectReason::TooFewCategories)?;
    let profile = InterestProfile { interests, ..taught.answer.profile.clone() };
    let sample = mine_tag_sample("mine_tag", taught.user, taught.digest, &profile, &tags);
    // One more token ends every answer.
    let length = |s: &Segment| (rules.count)(&s.text) + usize::from(s.loss);
    let n_tokens: usize = sample.segments.iter().map(length).sum();
    if n_tokens > rules.window {
        return Err((RejectReason::TooLong, format!("{n_tokens} tokens of {}", rules.window)));
    }
    Ok(CleanAnswer { row, profile, tags, sample })
}

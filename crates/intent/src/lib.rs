//! What a user wants, in words: prompts and strict parsers around a language model.
//!
//! Digest -> interests with evidence -> tags under five constraints -> one-line reasons. Knows no
//! files, no towers and no training; what a model writes is data that may be wrong, so parsers return
//! what is good and list what is not, and repair nothing silently.

mod clean;
mod issue;
mod lexicon;
mod stems;

mod prompt;
mod schema;

mod evidence;
mod json;
mod parse;
pub mod terse;

mod category;
mod constraints;
mod reason;
mod tag_text;

mod associations;
mod batch;
mod judge;
mod room;
mod votes;

pub use crate::associations::{association_question, write_association};
pub use crate::batch::{
    BatchOptions, MineInput, MineOutcome, TagInput, TagOutcome, mine_batch, tag_batch,
};
pub use crate::category::{CategoryModelError, TagToCategory};
pub use crate::clean::plain;
pub use crate::constraints::{TagLexicon, TagRules, check_tags, season_of};
pub use crate::evidence::QuoteIndex;
pub use crate::issue::{ParseIssue, ParseIssueKind};
pub use crate::judge::{
    CriterionRubric, JudgeInput, JudgeOptions, JudgedUser, Label, PassProbability, Rubric,
    Subjects, criterion_probabilities, judge_batch, judge_questions, judge_request, parse_verdicts,
    pass_probabilities, passes, subjects_per_request, write_verdict,
};
pub use crate::parse::{parse_interests, parse_tags};
pub use crate::prompt::{Lang, TAGS_PER_USER, mine_request, reason_request, tag_request};
pub use crate::reason::{
    MAX_REASON_WORDS, Reason, ReasonInput, ReasonIssue, parse_reason, template_reason,
};
pub use crate::schema::{
    grounded_interests_grammar, grounded_tags_grammar, interests_grammar, interests_schema,
    reason_schema, tags_grammar, tags_schema, verdicts_schema,
};
pub use crate::stems::{stem_key, stems};
pub use crate::tag_text::{CoreWords, split_tag};

//! The judge: which interests and tags of a model are good enough to be taught or shown.
//!
//! Criteria and labels are data ([`Rubric`]). Large models read them in prose; the built-in model has
//! learnt them and reads a terse question ([`InterestQuestion`], [`TagQuestion`]). Evidence that the
//! history does not hold is found in code. An output is kept only when it passes all criteria.

mod history;
mod rubric;

mod question;
mod request;

mod parse;
mod score;

mod batch;

pub use self::batch::{JudgeInput, JudgeOptions, JudgedSubject, JudgedUser, judge_batch};
pub use self::parse::{Asked, parse_judgements, passes, write_labels};
pub use self::question::{
    HallucinatedEvidence, InterestQuestion, Questions, TAGS_PER_QUESTION, TagContext, TagQuestion,
};
pub use self::request::{
    JudgeSubject, interest_prompt, judge_request, judgements_grammar, judgements_schema, tag_prompt,
};
pub use self::rubric::{Bilingual, CriterionRubric, LabelRubric, Rubric, RubricError};
pub use self::score::pass_probabilities;

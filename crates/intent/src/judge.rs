//! Judging interests and tags by rubrics (RECGPT.md 1.1, 1.2, 1.5): what a judge is asked, and what its
//! answer says.
//!
//! A large model reads the rubrics in prose and answers in JSON about many subjects. The built-in model is
//! asked about one subject at a time, right behind the prompt of mining, whose keys and values a
//! serving engine has kept, and answers with the codes of the labels.

mod batch;
mod probability;
mod rubric;

use lm::{Prompt, PromptStyle, Request};
use serde_json::Value;
use types::{Digest, Interest, Judge, Judgement, Tag, User};

pub use self::batch::{JudgeInput, JudgeOptions, JudgedUser, judge_batch};
pub use self::probability::{PassProbability, criterion_probabilities, pass_probabilities};
pub use self::rubric::{CriterionRubric, Label, Rubric};
use crate::clean::plain;
use crate::evidence::QuoteIndex;
use crate::issue::{ParseIssue, ParseIssueKind};
use crate::json::elements;
use crate::prompt::{Lang, judge_values, mine_request, render, request};
use crate::schema::verdicts_schema;
use crate::terse::quotes;

/// Most subjects of one request in prose.
const SUBJECTS_IN_PROSE: usize = 16;

/// Most subjects of one request in this style.
#[must_use]
pub fn subjects_per_request(style: PromptStyle) -> usize {
    match style {
        PromptStyle::Terse => 1,
        PromptStyle::Prose => SUBJECTS_IN_PROSE,
    }
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub enum Subjects<'a> {
    /// Interests, by willingness and reasonableness.
    Interests(&'a [Interest]),
    /// Tags, by relevance, consistency, specificity and validity.
    Tags(&'a [Tag]),
}

impl Subjects<'_> {
    /// By which rubric.
    #[must_use]
    pub fn rubric(&self) -> &'static Rubric {
        match self {
            Self::Interests(_) => Rubric::interests(),
            Self::Tags(_) => Rubric::tags(),
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Interests(interests) => interests.len(),
            Self::Tags(tags) => tags.len(),
        }
    }

    /// Whether there is nothing to judge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One line per subject for a large model: an interest with its reason, a tag with its interest.
    #[must_use]
    pub fn described(&self) -> Vec<String> {
        match self {
            Self::Interests(interests) => {
                let line =
                    |i: &Interest| format!("{}, because: {}", plain(&i.text), plain(&i.reason));
                interests.iter().map(line).collect()
            }
            Self::Tags(_) => self.lines(),
        }
    }

    /// One line per subject: an interest, a tag with its interest.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Interests(interests) => interests.iter().map(|i| plain(&i.text)).collect(),
            Self::Tags(tags) => {
                tags.iter().map(|t| format!("{}: {}", plain(&t.interest), plain(&t.text))).collect()
            }
        }
    }

    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Interests(interests) => interests.iter().map(|i| i.text.as_str()).collect(),
            Self::Tags(tags) => tags.iter().map(|t| t.text.as_str()).collect(),
        }
    }
}

/// Asks for a label on every criterion of every subject; at most [`subjects_per_request`] of them.
#[must_use]
pub fn judge_request(
    style: PromptStyle,
    lang: Lang,
    (user, digest): (&User, &Digest),
    subjects: Subjects<'_>,
) -> Request {
    let rubric = subjects.rubric();
    let prompt = match style {
        PromptStyle::Terse => terse_prompt(lang, user, digest, subjects),
        PromptStyle::Prose => {
            render("judge", style, lang, &judge_values(user, digest, rubric, &subjects))
        }
    };
    let (schema, grammar) = (verdicts_schema(rubric), verdict_grammar(rubric));
    let n = subjects.len();
    // A code, its space, and what ends the answer.
    let max_tokens = match style {
        PromptStyle::Terse => rubric.criteria.len() * 3 + 4,
        PromptStyle::Prose => n * rubric.criteria.len() * 24 + 64,
    };
    request(style, prompt, max_tokens, schema, grammar)
}

fn terse_prompt(lang: Lang, user: &User, digest: &Digest, subjects: Subjects<'_>) -> Prompt {
    let mine = mine_request(PromptStyle::Terse, lang, user, digest, &[], 0).prompt.user;
    Prompt::user(format!("{mine}{}", judge_questions(subjects).concat()))
}

/// What the built-in judge is asked about each subject, behind the terse prompt of mining.
#[must_use]
pub fn judge_questions(subjects: Subjects<'_>) -> Vec<String> {
    let what = match subjects {
        Subjects::Interests(_) => "interest",
        Subjects::Tags(_) => "tag",
    };
    let question = |line: &String| format!("<|query|>judge {what}: {line}\n<|answer|>");
    subjects.lines().iter().map(question).collect()
}

/// The answer of the built-in judge that says these labels of one subject: `f s`, their codes in the order of
/// the criteria.
#[must_use]
pub fn write_verdict(rubric: &Rubric, labels: &[&str]) -> String {
    let named = rubric.criteria.iter().zip(labels);
    let codes = named.map(|(criterion, name)| {
        criterion.labels.iter().find(|l| l.name == **name).map_or("?", |l| &l.code)
    });
    codes.collect::<Vec<_>>().join(" ")
}

/// `[fd] [swnh]`: a code for every criterion.
fn verdict_grammar(rubric: &Rubric) -> String {
    let codes = |c: &CriterionRubric| {
        let codes: String = c.labels.iter().map(|l| l.code.as_str()).collect();
        format!("[{codes}]")
    };
    let codes: Vec<String> = rubric.criteria.iter().map(codes).collect();
    format!("start: /{}/\n", codes.join(" "))
}

/// Reads an answer: a judgement per subject and criterion. A subject whose labels are missing or unknown
/// has no judgements and an issue; an interest whose quotes the digest does not hold is hallucinated,
/// whatever the judge says.
#[must_use]
pub fn parse_verdicts(
    style: PromptStyle,
    text: &str,
    digest: &Digest,
    subjects: Subjects<'_>,
    judge: &Judge,
) -> (Vec<Judgement>, Vec<ParseIssue>) {
    let rubric = subjects.rubric();
    let (groups, mut issues) = match style {
        PromptStyle::Terse => (vec![terse_group(rubric, text)], Vec::new()),
        PromptStyle::Prose => prose_groups(rubric, text),
    };
    let (index, texts) = (QuoteIndex::new(digest), subjects.texts());
    let mut judgements = Vec::new();
    for (row, subject) in texts.iter().enumerate() {
        let Some(Some(mut labels)) = groups.get(row).cloned() else {
            issues.push(ParseIssue::new(row + 1, ParseIssueKind::Malformed, subject));
            continue;
        };
        if let Subjects::Interests(interests) = subjects
            && let [_, reasonableness] = &mut labels[..]
            && let Some(hallucinated) = rubric.label("reasonableness", "hallucinated")
            && is_hallucinated(&interests[row], &index)
        {
            *reasonableness = hallucinated;
        }
        judgements.extend(rubric.criteria.iter().zip(labels).map(|(criterion, label)| Judgement {
            user_id: digest.user_id.clone(),
            subject: (*subject).to_owned(),
            criterion: criterion.criterion,
            label: label.name.clone(),
            passes: label.passes,
            judge: judge.clone(),
        }));
    }
    if groups.len() > texts.len() {
        issues.push(ParseIssue::new(texts.len() + 1, ParseIssueKind::Malformed, text));
    }
    (judgements, issues)
}

/// Whether an output passes: there are judgements, and every one of them passes.
#[must_use]
pub fn passes(judgements: &[Judgement]) -> bool {
    !judgements.is_empty() && judgements.iter().all(|j| j.passes)
}

/// No events behind it, or a quote that the digest does not hold.
fn is_hallucinated(interest: &Interest, index: &QuoteIndex<'_>) -> bool {
    interest.evidence.is_empty()
        || quotes(&interest.reason).iter().any(|quote| index.lines(quote).is_empty())
}

type Labels = Option<Vec<&'static Label>>;

fn terse_group(rubric: &'static Rubric, text: &str) -> Labels {
    let codes: Vec<&str> = text.split_whitespace().collect();
    let found = rubric.criteria.iter().zip(&codes);
    let labels: Option<Vec<&Label>> =
        found.map(|(c, code)| c.labels.iter().find(|l| l.code == **code)).collect();
    labels.filter(|_| codes.len() == rubric.criteria.len())
}

fn prose_groups(rubric: &'static Rubric, text: &str) -> (Vec<Labels>, Vec<ParseIssue>) {
    let (verdicts, issues) = elements(text, "verdicts");
    let group = |verdict: &Value| {
        let label = |c: &'static CriterionRubric| {
            let name = verdict.get(&c.name)?.as_str()?;
            c.labels.iter().find(|l| l.name == name)
        };
        rubric.criteria.iter().map(label).collect()
    };
    (verdicts.iter().map(group).collect(), issues)
}

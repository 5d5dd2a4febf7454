//! Requests to a judge: terse questions to the built-in one, rubrics in prose to large ones.

use lm::{Prompt, PromptStyle, Request};
use minijinja::{Value, context};
use serde_json::json;
use types::{Digest, Interest, Tag, User};

use crate::clean::plain;
use crate::judge::question::{InterestQuestion, TagContext, TagQuestion};
use crate::judge::rubric::{Bilingual, Rubric};
use crate::prompt::{Lang, about, render, request, stage_name};
use crate::schema::{escaped, object};

/// What is judged: one interest, or a few tags of one interest, together with what the built-in judge
/// is told of it.
#[derive(Debug, Clone, Copy)]
pub enum JudgeSubject<'a> {
    /// One interest.
    Interest(&'a Interest, &'a InterestQuestion),
    /// Tags; their rationales are for large models.
    Tags(&'a [&'a Tag], &'a TagQuestion),
}

impl JudgeSubject<'_> {
    /// The rubric of its kind.
    #[must_use]
    pub fn rubric(&self) -> &'static Rubric {
        match self {
            Self::Interest(..) => Rubric::interest(),
            Self::Tags(..) => Rubric::tag(),
        }
    }

    /// Texts of what is judged, one per row of the answer.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Interest(interest, _) => vec![&interest.text],
            Self::Tags(tags, _) => tags.iter().map(|tag| tag.text.as_str()).collect(),
        }
    }
}

/// Asks for all criteria of a subject in one answer.
#[must_use]
pub fn judge_request(
    style: PromptStyle,
    lang: Lang,
    (user, digest): (&User, &Digest),
    subject: &JudgeSubject<'_>,
    max_tokens: usize,
) -> Request {
    let (rubric, n_rows) = (subject.rubric(), subject.texts().len());
    let prompt = match (style, subject) {
        (PromptStyle::Terse, JudgeSubject::Interest(_, question)) => interest_prompt(question),
        (PromptStyle::Terse, JudgeSubject::Tags(_, question)) => tag_prompt(question),
        (PromptStyle::Prose, JudgeSubject::Interest(interest, question)) => {
            let values = context! {
                text => plain(&interest.text),
                stage => stage_name(interest.stage),
                reason => plain(&interest.reason),
                quotes => question.quotes.clone(),
                criteria => criteria(rubric, lang),
                ..about(user, digest)
            };
            render("judge_interest", style, lang, &values)
        }
        (PromptStyle::Prose, JudgeSubject::Tags(tags, question)) => {
            let rows = tags.iter().map(|tag| {
                context! { text => plain(&tag.text), rationale => plain(&tag.rationale) }
            });
            let values = context! {
                interest => question.context.interest.clone(),
                interests => question.context.interests.clone(),
                tags => rows.collect::<Vec<Value>>(),
                criteria => criteria(rubric, lang),
                ..about(user, digest)
            };
            render("judge_tag", style, lang, &values)
        }
    };
    let grammar = judgements_grammar(rubric, n_rows);
    request(style, prompt, max_tokens, judgements_schema(rubric), grammar)
}

/// The terse prompt about an interest.
#[must_use]
pub fn interest_prompt(question: &InterestQuestion) -> Prompt {
    let values = context! {
        about => question.about.clone(),
        others => question.others.clone(),
        text => question.text.clone(),
        stage => stage_name(question.stage),
        quotes => question.quotes.clone(),
    };
    render("judge_interest", PromptStyle::Terse, Lang::En, &values)
}

/// The terse prompt about tags.
#[must_use]
pub fn tag_prompt(question: &TagQuestion) -> Prompt {
    let TagContext { month, about, interests, history, interest } = &question.context;
    let values = context! {
        month => month.clone(),
        about => about.clone(),
        interests => interests.clone(),
        history => history.clone(),
        interest => interest.clone(),
        tags => question.tags.iter().map(|tag| plain(tag)).collect::<Vec<String>>(),
    };
    render("judge_tag", PromptStyle::Terse, Lang::En, &values)
}

/// Schema of `{"judgements": [{row, why, criterion: label, ...}]}`.
#[must_use]
pub fn judgements_schema(rubric: &Rubric) -> serde_json::Value {
    let mut properties = serde_json::Map::new();
    properties.insert("row".to_owned(), json!({"type": "integer"}));
    properties.insert("why".to_owned(), json!({"type": "string"}));
    for criterion in &rubric.criteria {
        let labels: Vec<&str> = criterion.labels.iter().map(|l| l.name.as_str()).collect();
        let name = criterion.name.as_str().to_owned();
        properties.insert(name, json!({"type": "string", "enum": labels}));
    }
    let element = object(&serde_json::Value::Object(properties));
    object(&json!({"judgements": {"type": "array", "items": element}}))
}

/// Lark grammar of exactly `n_rows` lines with one label per criterion: `y y n y`. Labels that code
/// decides are not among them.
#[must_use]
pub fn judgements_grammar(rubric: &Rubric, n_rows: usize) -> String {
    let labels = rubric.criteria.iter().map(|criterion| {
        let labels: Vec<&str> = criterion.asked().map(|l| l.terse()).collect();
        format!("({})", labels.join("|"))
    });
    let separator = escaped(&rubric.separator);
    let line = labels.collect::<Vec<_>>().join(&separator);
    let rows = vec!["LINE"; n_rows.max(1)].join(" BREAK ");
    format!("start: {rows}\nLINE: /{line}/\nBREAK: /\\n/\n")
}

/// The rubric as templates read it.
fn criteria(rubric: &Rubric, lang: Lang) -> Vec<Value> {
    let texts = |all: &[Bilingual]| all.iter().map(|t| t.get(lang).to_owned()).collect::<Vec<_>>();
    let criterion = |c: &crate::judge::rubric::CriterionRubric| {
        let labels = c.labels.iter().map(|label| {
            context! {
                name => label.name.clone(),
                passes => label.passes,
                definition => label.definition.get(lang),
                positive => texts(&label.positive),
                negative => texts(&label.negative),
            }
        });
        context! {
            name => c.name.as_str(),
            definition => c.definition.get(lang),
            labels => labels.collect::<Vec<Value>>(),
        }
    };
    rubric.criteria.iter().map(criterion).collect()
}

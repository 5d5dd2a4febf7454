//! Requests to a language model, rendered from the templates in `prompts/`.
//!
//! The same functions serve and make training data, so both see the same bytes.

use std::sync::LazyLock;

use lm::{Constraint, Prompt, PromptStyle, Request};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};
use serde::{Deserialize, Serialize};
use types::{Digest, InterestProfile, InterestStage, Season, Timestamp, User};

use crate::clean::{plain, plain_lines};
use crate::evidence::texts;
use crate::judge::{Rubric, Subjects};
use crate::reason::{MAX_REASON_WORDS, ReasonInput};
use crate::{schema, terse};

/// Tags that a user needs at least, and over how many categories (RECGPT.md 1.2).
pub const TAGS_PER_USER: (usize, usize) = (50, 8);

/// Texts that a grammar offers as quotes, the most recent lines first.
const MOST_QUOTES: usize = 120;

/// Recent texts that a terse prompt shows, newest first; the freshness check knows them all.
const TERSE_RECENT: usize = 24;

/// Language of the prompts in prose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

/// Asks for the interests of one user.
///
/// `pool` holds the listed interests; a terse prompt does not show it, the built-in model knows its
/// own. The built-in answer is read by [`crate::parse_interests`].
#[must_use]
pub fn mine_request(
    style: PromptStyle,
    lang: Lang,
    user: &User,
    digest: &Digest,
    pool: &[String],
    max_tokens: usize,
) -> Request {
    let pool: Vec<String> = pool.iter().map(|text| plain(text)).collect();
    let values = context! {
        pool,
        ..about(user, digest)
    };
    let prompt = render("mine", style, lang, &values);
    let grammar = schema::grounded_interests_grammar(&quotable(digest));
    request(style, prompt, max_tokens, schema::interests_schema(), grammar)
}

/// Items and queries of the lines, in their order, none twice: what an interest can be supported by.
pub(crate) fn quotable(digest: &Digest) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut quotes = Vec::new();
    for line in &digest.lines {
        for text in texts(line).map(plain) {
            if !text.is_empty() && seen.insert(text.clone()) {
                quotes.push(text);
            }
        }
    }
    quotes.truncate(MOST_QUOTES);
    quotes
}

/// Asks for tags that serve the interests of `profile`. A terse prompt continues the mining prompt and
/// its answer, so that the model's work on them can be shared.
#[must_use]
pub fn tag_request(
    style: PromptStyle,
    lang: Lang,
    user: &User,
    digest: &Digest,
    profile: &InterestProfile,
    max_tokens: usize,
) -> Request {
    let recent: Vec<String> = digest.recent.iter().map(|text| plain(text)).collect();
    let values = match style {
        PromptStyle::Terse => context! {
            mine_prompt => mine_request(style, lang, user, digest, &[], 0).prompt.user,
            interests => terse::write_interests(&profile.interests),
            recent => recent.into_iter().take(TERSE_RECENT).collect::<Vec<String>>(),
        },
        PromptStyle::Prose => context! {
            interests => profile.interests.iter().map(|i| context! {
                text => plain(&i.text),
                stage => stage_name(i.stage),
                reason => plain(&i.reason),
            }).collect::<Vec<Value>>(),
            recent,
            min_tags => TAGS_PER_USER.0,
            min_categories => TAGS_PER_USER.1,
            ..about(user, digest)
        },
    };
    let prompt = render("tag", style, lang, &values);
    let mut names: Vec<String> = profile.interests.iter().map(|i| plain(&i.text)).collect();
    names.dedup();
    let grammar = schema::grounded_tags_grammar(&names);
    let mut request = request(style, prompt, max_tokens, schema::tags_schema(), grammar);
    request.distinct = (style == PromptStyle::Terse).then(|| terse::TAGS.clone());
    request
}

/// Asks for one line that says why an item serves an interest.
#[must_use]
pub fn reason_request(
    style: PromptStyle,
    lang: Lang,
    input: &ReasonInput<'_>,
    max_tokens: usize,
) -> Request {
    let values = context! {
        interest => plain(input.interest),
        rationale => plain(input.rationale),
        title => plain(input.title),
        max_words => MAX_REASON_WORDS - 2,
        ..moment(input.now)
    };
    let prompt = render("reason", style, lang, &values);
    let mut request = request(style, prompt, max_tokens, schema::reason_schema(), String::new());
    if style == PromptStyle::Terse {
        request.constraint = None;
        request.stop = vec!["\n".to_owned()];
    }
    request
}

/// `long` or `short`.
pub(crate) fn stage_name(stage: InterestStage) -> &'static str {
    match stage {
        InterestStage::Long => "long",
        InterestStage::Short => "short",
    }
}

pub(crate) fn request(
    style: PromptStyle,
    prompt: Prompt,
    max_tokens: usize,
    schema: serde_json::Value,
    grammar: String,
) -> Request {
    let constraint = match style {
        PromptStyle::Prose => Constraint::JsonSchema(schema),
        PromptStyle::Terse => Constraint::Lark(grammar),
    };
    Request { constraint: Some(constraint), ..Request::greedy(prompt, max_tokens) }
}

/// What a judge of prose is shown.
pub(crate) fn judge_values(
    user: &User,
    digest: &Digest,
    rubric: &Rubric,
    subjects: &Subjects<'_>,
) -> Value {
    let criteria: Vec<Value> = rubric
        .criteria
        .iter()
        .map(|c| {
            let labels: Vec<Value> = c
                .labels
                .iter()
                .map(|l| {
                    context! {
                        name => l.name.clone(),
                        definition => l.definition.clone(),
                        positive => l.positive.clone(),
                        negative => l.negative.clone(),
                    }
                })
                .collect();
            context! { name => c.name.clone(), definition => c.definition.clone(), labels }
        })
        .collect();
    context! {
        criteria,
        subjects => subjects.described(),
        ..about(user, digest)
    }
}

/// The user, the lines of the digest, and its date.
fn about(user: &User, digest: &Digest) -> Value {
    let attributes: Vec<(String, String)> =
        user.attributes.iter().map(|(n, v)| (plain(n), plain(v))).collect();
    let values: Vec<String> = attributes
        .iter()
        .map(|(_, value)| plain(&value.replace(',', " ")))
        .filter(|value| !value.is_empty())
        .collect();
    let attributes: Vec<Vec<String>> = attributes.into_iter().map(|(n, v)| vec![n, v]).collect();
    context! {
        attributes,
        attribute_values => values,
        lines => plain_lines(digest),
        ..moment(digest.now)
    }
}

fn moment(now: Timestamp) -> Value {
    let date = now.date();
    let season = now.season();
    let season_zh = match season {
        Season::Spring => "春季",
        Season::Summer => "夏季",
        Season::Autumn => "秋季",
        Season::Winter => "冬季",
    };
    context! {
        date => date.to_string(),
        month => format!("{:04}-{:02}", date.year(), date.month()),
        season => season.as_str(),
        season_zh,
    }
}

/// Separates the system message from the user message in a template of prose; no rendered value can
/// hold it, since none holds a line break.
const USER_MARK: &str = "\n=== user ===\n";

pub(crate) fn render(task: &str, style: PromptStyle, lang: Lang, values: &Value) -> Prompt {
    let suffix = match (style, lang) {
        (PromptStyle::Terse, _) => "terse",
        (PromptStyle::Prose, Lang::En) => "prose_en",
        (PromptStyle::Prose, Lang::Zh) => "prose_zh",
    };
    let text = TEMPLATES
        .get_template(&format!("{task}_{suffix}"))
        .and_then(|template| template.render(values))
        .expect("embedded templates render every context: a test renders each");
    match text.split_once(USER_MARK) {
        Some((system, user)) => {
            Prompt { system: Some(system.to_owned()), user: user.trim_end().to_owned() }
        }
        None => Prompt::user(text),
    }
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.expect("the usual delimiters of Jinja are valid"));
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let sources = [
        ("mine_terse", include_str!("../prompts/mine_terse.j2")),
        ("mine_prose_en", include_str!("../prompts/mine_prose_en.j2")),
        ("mine_prose_zh", include_str!("../prompts/mine_prose_zh.j2")),
        ("tag_terse", include_str!("../prompts/tag_terse.j2")),
        ("tag_prose_en", include_str!("../prompts/tag_prose_en.j2")),
        ("tag_prose_zh", include_str!("../prompts/tag_prose_zh.j2")),
        ("reason_terse", include_str!("../prompts/reason_terse.j2")),
        ("reason_prose_en", include_str!("../prompts/reason_prose_en.j2")),
        ("reason_prose_zh", include_str!("../prompts/reason_prose_zh.j2")),
        ("judge_prose_en", include_str!("../prompts/judge_prose_en.j2")),
        ("judge_prose_zh", include_str!("../prompts/judge_prose_zh.j2")),
    ];
    for (name, source) in sources {
        env.add_template(name, source).expect("embedded templates parse: a test renders each");
    }
    env
});

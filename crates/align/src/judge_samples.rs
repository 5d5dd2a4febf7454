//! Cases as training samples of the terse form, and cases put to a judge.

use intent::judge::{
    Asked, InterestQuestion, JudgedSubject, Rubric, TAGS_PER_QUESTION, TagContext, TagQuestion,
    interest_prompt, judgements_grammar, parse_judgements, pass_probabilities, tag_prompt,
    write_labels,
};
use lm::{Constraint, LanguageModel, LmError, Prompt, PromptStyle, Request};
use types::{Criterion, Judge, Judgement};

use crate::defects::{CaseSubject, JudgeCase};
use crate::sample::Sample;

/// Samples of the tasks `judge_interest` and `judge_tag`, with the very prompts of inference. Tags that
/// follow each other and have the same context share a sample, at most [`TAGS_PER_QUESTION`] of them.
/// Cases that code decides are left out: no model is asked about them.
#[must_use]
pub fn samples_from_cases(cases: &[JudgeCase]) -> Vec<Sample> {
    let sample = |ask: Ask<'_>| {
        let lines = ask.rows.iter().map(|&row| answer(&cases[row])).collect::<Option<Vec<_>>>()?;
        Some(Sample::new(ask.task, ask.prompt.user, lines.join("\n")))
    };
    asks(cases).into_iter().filter_map(sample).collect()
}

/// Puts cases to a judge in the terse form; outcome `i` belongs to case `i`. With `probabilities` the
/// model also scores the labels.
///
/// # Errors
/// The first failure of the model.
pub fn judge_cases(
    model: &dyn LanguageModel,
    cases: &[JudgeCase],
    max_tokens: usize,
    probabilities: bool,
) -> Result<Vec<JudgedSubject>, LmError> {
    let judge = Judge::Model(model.name().to_owned());
    let mut judged: Vec<JudgedSubject> = cases.iter().map(|case| by_code(case, &judge)).collect();
    let asks = asks(cases);
    let request = |ask: &Ask<'_>| {
        let grammar = judgements_grammar(ask.rubric, ask.rows.len());
        let constraint = Some(Constraint::Lark(grammar));
        Request { constraint, ..Request::greedy(ask.prompt.clone(), max_tokens) }
    };
    let requests: Vec<Request> = asks.iter().map(request).collect();
    for (ask, reply) in asks.iter().zip(model.generate(&requests)) {
        let texts: Vec<&str> = ask.rows.iter().map(|&row| text(&cases[row])).collect();
        let user_id = &cases[ask.rows[0]].user_id;
        let asked = Asked { user_id, subjects: &texts, judge: &judge };
        let (rows, _) = parse_judgements(PromptStyle::Terse, &reply?.text, ask.rubric, &asked);
        let known = match probabilities {
            true => pass_probabilities(model, &ask.prompt, ask.rubric, &rows)?,
            false => vec![Vec::new(); rows.len()],
        };
        for ((&row, judgements), known) in ask.rows.iter().zip(rows).zip(known) {
            judged[row].judgements = judgements;
            judged[row].probabilities = known;
        }
    }
    Ok(judged)
}

/// One prompt, and the cases that its answer is about.
struct Ask<'a> {
    task: &'static str,
    rubric: &'a Rubric,
    prompt: Prompt,
    rows: Vec<usize>,
}

fn asks(cases: &[JudgeCase]) -> Vec<Ask<'_>> {
    let mut asks = Vec::new();
    let mut row = 0;
    while row < cases.len() {
        match &cases[row].subject {
            CaseSubject::Interest { question: Some(question), .. } => {
                asks.push(interest_ask(question, row));
                row += 1;
            }
            CaseSubject::Interest { question: None, .. } => row += 1,
            CaseSubject::Tag { context, .. } => {
                let n_alike = cases[row..].iter().take_while(|c| has_context(c, context)).count();
                let rows: Vec<usize> = (row..row + n_alike.min(TAGS_PER_QUESTION)).collect();
                row += rows.len();
                let tags = rows.iter().map(|&row| text(&cases[row]).to_owned()).collect();
                let prompt = tag_prompt(&TagQuestion { context: context.clone(), tags });
                asks.push(Ask { task: "judge_tag", rubric: Rubric::tag(), prompt, rows });
            }
        }
    }
    asks
}

fn interest_ask(question: &InterestQuestion, row: usize) -> Ask<'static> {
    let (prompt, rubric) = (interest_prompt(question), Rubric::interest());
    Ask { task: "judge_interest", rubric, prompt, rows: vec![row] }
}

fn has_context(case: &JudgeCase, wanted: &TagContext) -> bool {
    match &case.subject {
        CaseSubject::Tag { context, .. } => context == wanted,
        CaseSubject::Interest { .. } => false,
    }
}

/// What is judged, in words.
fn text(case: &JudgeCase) -> &str {
    match &case.subject {
        CaseSubject::Interest { interest, .. } => &interest.text,
        CaseSubject::Tag { tag, .. } => tag,
    }
}

fn answer(case: &JudgeCase) -> Option<String> {
    let labels: Vec<&str> = case.labels.iter().map(|(_, label)| label.as_str()).collect();
    write_labels(case.rubric(), &labels)
}

/// The verdict of code: none, except about evidence that does not exist.
fn by_code(case: &JudgeCase, judge: &Judge) -> JudgedSubject {
    let mut judged = JudgedSubject {
        text: text(case).to_owned(),
        judgements: Vec::new(),
        probabilities: Vec::new(),
    };
    if matches!(case.subject, CaseSubject::Interest { question: None, .. }) {
        judged.judgements.push(Judgement {
            user_id: case.user_id.clone(),
            subject: judged.text.clone(),
            criterion: Criterion::Reasonableness,
            label: "hallucinated".to_owned(),
            passes: false,
            judge: judge.clone(),
        });
    }
    judged
}

//! Which of four intentions explains that two products were bought: answered by likelihood.
//!
//! The score of an option is how much likelier the model finds its words after the two products than
//! after none: `ln p(option | products) - ln p(option)` (domain-conditional pointwise mutual
//! information, Holtzman et al. 2021), which takes the options' own frequency out.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use lm::{LanguageModel, Prompt};
use rayon::prelude::*;
use serde::Deserialize;

const FILE: &str = "purchase_intention/QA_fullInfo_task1.jsonl";

#[derive(Debug, Deserialize)]
struct Question {
    item_a_name: String,
    item_b_name: String,
    options: BTreeMap<String, String>,
    gold_ind: String,
}

/// Share of questions answered rightly (chance is a quarter), of all or of about `asked` spread over the file; none
/// where the file is not there.
///
/// # Errors
/// When the file holds something else, with its line, or the model gives no likelihoods.
pub(crate) fn intention_accuracy(
    model: &dyn LanguageModel,
    data: &Path,
    asked: Option<usize>,
) -> Result<Option<f64>> {
    let path = data.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let questions: Vec<Question> = text
        .lines()
        .enumerate()
        .map(|(i, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}, line {}", path.display(), i + 1))
        })
        .collect::<Result<_>>()?;
    let every = asked.map_or(1, |asked| questions.len().div_ceil(asked.max(1)).max(1));
    let questions: Vec<Question> = questions.into_iter().step_by(every).collect();
    let is_right = |question: &Question| {
        anyhow::Ok(answer(model, question)?.as_deref() == Some(&question.gold_ind))
    };
    let answered: Vec<bool> = questions.par_iter().map(is_right).collect::<Result<_>>()?;
    let right = answered.iter().filter(|is_right| **is_right).count();
    Ok((!questions.is_empty()).then(|| right as f64 / questions.len() as f64))
}

/// The letter of the likeliest option.
fn answer(model: &dyn LanguageModel, question: &Question) -> Result<Option<String>> {
    let texts: Vec<String> = question.options.values().map(|o| claim(o)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let [a, b] = [&question.item_a_name, &question.item_b_name].map(|name| product(name));
    let asked = model.score(&Prompt::user(bought(&format!("{a};{b}"))), &texts)?;
    let alone = model.score(&Prompt::user(bought("")), &texts)?;
    let gains = asked.iter().zip(&alone).map(|(asked, alone)| asked - alone);
    let best = gains.zip(question.options.keys()).max_by(|x, y| x.0.total_cmp(&y.0));
    Ok(best.map(|(_, letter)| letter.clone()))
}

fn bought(products: &str) -> String {
    format!("<|query|>interests: {products}\n<|answer|>")
}

/// The first words of a product's name; the rest of such names lists sizes and colours.
fn product(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().take(12).collect();
    intent::plain(&words.join(" ")).to_lowercase()
}

/// What an option says beyond "because they both are".
fn claim(option: &str) -> String {
    let said = option.trim().trim_end_matches('.').trim_start_matches("because ");
    intent::plain(said).to_lowercase()
}

//! Rubrics as data.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use types::Criterion;

/// The criteria of one kind of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    /// In the order in which a judge answers.
    #[serde(rename = "criterion")]
    pub criteria: Vec<CriterionRubric>,
}

/// One criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Written")]
pub struct CriterionRubric {
    /// Which.
    pub criterion: Criterion,
    /// Its name in answers.
    pub name: String,
    /// The question.
    pub definition: String,
    /// The possible answers.
    pub labels: Vec<Label>,
}

/// One possible answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Its name in answers of large models.
    pub name: String,
    /// Its letter in answers of the built-in model.
    pub code: String,
    /// Whether it passes.
    pub passes: bool,
    /// What it means.
    pub definition: String,
    /// Cases that have this label.
    pub positive: Vec<String>,
    /// Cases that have not.
    pub negative: Vec<String>,
}

/// A criterion as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    definition: String,
    label: Vec<Label>,
}

impl TryFrom<Written> for CriterionRubric {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, definition, label: labels } = written;
        let criterion = serde_json::from_value(serde_json::Value::String(name.clone()))
            .map_err(|e| format!("criterion {name:?}: {e}"))?;
        if !labels.iter().any(|l| l.passes) || labels.iter().all(|l| l.passes) {
            return Err(format!("criterion {name:?}: needs labels that pass and labels that fail"));
        }
        if let Some(label) = labels.iter().find(|l| l.code.chars().count() != 1) {
            return Err(format!("label {:?}: its code must be one letter", label.name));
        }
        Ok(Self { criterion, name, definition, labels })
    }
}

impl Rubric {
    /// Reads a rubric in TOML.
    ///
    /// # Errors
    /// What is wrong with the text, with line and column where they are known.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Of interests.
    #[must_use]
    pub fn interests() -> &'static Self {
        &INTERESTS
    }

    /// Of tags.
    #[must_use]
    pub fn tags() -> &'static Self {
        &TAGS
    }

    /// A label of a criterion, by their names.
    #[must_use]
    pub fn label(&self, criterion: &str, label: &str) -> Option<&Label> {
        let criterion = self.criteria.iter().find(|c| c.name == criterion)?;
        criterion.labels.iter().find(|l| l.name == label)
    }
}

static INTERESTS: LazyLock<Rubric> = LazyLock::new(|| {
    Rubric::parse(include_str!("../../rubrics/interest.toml"))
        .expect("the embedded rubric parses: a test reads it")
});
static TAGS: LazyLock<Rubric> = LazyLock::new(|| {
    Rubric::parse(include_str!("../../rubrics/tag.toml"))
        .expect("the embedded rubric parses: a test reads it")
});

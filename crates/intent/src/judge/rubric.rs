//! Rubrics: what is judged and with which labels, as data.

use std::sync::LazyLock;

use serde::Deserialize;
use types::Criterion;

use crate::prompt::Lang;

/// The criteria of one kind of subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    /// Stands between the labels of one subject in a terse answer.
    pub separator: String,
    /// In the order in which they are judged.
    #[serde(rename = "criterion")]
    pub criteria: Vec<CriterionRubric>,
}

/// One criterion and its labels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriterionRubric {
    /// Which criterion.
    pub name: Criterion,
    /// What it asks.
    pub definition: Bilingual,
    /// What can be answered.
    #[serde(rename = "label")]
    pub labels: Vec<LabelRubric>,
}

/// One label of a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRubric {
    /// The label in answers and in [`types::Judgement`]s.
    pub name: String,
    /// The label in terse answers, where it is shorter.
    #[serde(default)]
    pub terse: Option<String>,
    /// Whether a subject with this label passes the criterion.
    pub passes: bool,
    /// Decided by code: the built-in model is never asked to answer it.
    #[serde(default)]
    pub by_code: bool,
    /// When it holds.
    pub definition: Bilingual,
    /// Subjects that carry the label.
    #[serde(default)]
    pub positive: Vec<Bilingual>,
    /// Subjects that look like it and do not carry it.
    #[serde(default)]
    pub negative: Vec<Bilingual>,
}

/// A text in the two languages of the prompts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bilingual {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

/// Why a rubric is refused.
#[derive(Debug, thiserror::Error)]
pub enum RubricError {
    /// No TOML of this shape.
    #[error("rubric {rubric:?}: {source}")]
    Toml {
        /// Name of the rubric.
        rubric: String,
        /// The parser's words, with line and column.
        source: Box<toml::de::Error>,
    },
    /// No criterion at all.
    #[error("rubric {rubric:?} has no criterion")]
    NoCriterion {
        /// Name of the rubric.
        rubric: String,
    },
    /// A criterion stands twice.
    #[error("rubric {rubric:?} has {criterion:?} twice")]
    DuplicateCriterion {
        /// Name of the rubric.
        rubric: String,
        /// Which criterion.
        criterion: Criterion,
    },
    /// A criterion that cannot pass, or cannot fail.
    #[error("rubric {rubric:?}, {criterion:?}: no label that {missing}")]
    OneSided {
        /// Name of the rubric.
        rubric: String,
        /// Which criterion.
        criterion: Criterion,
        /// `passes` or `fails`.
        missing: &'static str,
    },
    /// A label is empty, stands twice, or would not read back.
    #[error("rubric {rubric:?}, {criterion:?}, label {label:?}: {problem}")]
    Label {
        /// Name of the rubric.
        rubric: String,
        /// Which criterion.
        criterion: Criterion,
        /// The label.
        label: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Rubric {
    /// Reads and checks a rubric in TOML; `rubric` names it in errors.
    ///
    /// # Errors
    /// [`RubricError`] for whatever would make answers unreadable or undecided.
    pub fn parse(rubric: &str, text: &str) -> Result<Self, RubricError> {
        let parsed: Self = toml::from_str(text).map_err(|source| RubricError::Toml {
            rubric: rubric.to_owned(),
            source: Box::new(source),
        })?;
        parsed.check(rubric)?;
        Ok(parsed)
    }

    /// Willingness and reasonableness of a mined interest.
    #[must_use]
    pub fn interest() -> &'static Self {
        static RUBRIC: LazyLock<Rubric> = LazyLock::new(|| {
            Rubric::parse("interest", include_str!("../../rubrics/interest.toml"))
                .expect("the embedded rubric is valid: a test reads it")
        });
        &RUBRIC
    }

    /// Relevance, consistency, specificity and validity of a tag.
    #[must_use]
    pub fn tag() -> &'static Self {
        static RUBRIC: LazyLock<Rubric> = LazyLock::new(|| {
            Rubric::parse("tag", include_str!("../../rubrics/tag.toml"))
                .expect("the embedded rubric is valid: a test reads it")
        });
        &RUBRIC
    }

    /// The criterion of a name, if the rubric has it.
    #[must_use]
    pub fn criterion(&self, criterion: Criterion) -> Option<&CriterionRubric> {
        self.criteria.iter().find(|c| c.name == criterion)
    }

    fn check(&self, rubric: &str) -> Result<(), RubricError> {
        let rubric = rubric.to_owned();
        if self.criteria.is_empty() {
            return Err(RubricError::NoCriterion { rubric });
        }
        for (row, criterion) in self.criteria.iter().enumerate() {
            let name = criterion.name;
            if self.criteria[..row].iter().any(|c| c.name == name) {
                return Err(RubricError::DuplicateCriterion { rubric, criterion: name });
            }
            for (missing, wanted) in [("passes", true), ("fails", false)] {
                // The model itself must be able to answer both ways.
                if !criterion.asked().any(|l| l.passes == wanted) {
                    return Err(RubricError::OneSided { rubric, criterion: name, missing });
                }
            }
            for row in 0..criterion.labels.len() {
                if let Some(problem) = criterion.problem(row, &self.separator) {
                    let label = criterion.labels[row].name.clone();
                    return Err(RubricError::Label { rubric, criterion: name, label, problem });
                }
            }
        }
        Ok(())
    }
}

impl CriterionRubric {
    /// Labels that a model is asked for, those decided by code left out.
    pub fn asked(&self) -> impl Iterator<Item = &LabelRubric> {
        self.labels.iter().filter(|label| !label.by_code)
    }

    /// The label of a name.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&LabelRubric> {
        self.labels.iter().find(|label| label.name == name)
    }

    /// The label that a terse answer means.
    #[must_use]
    pub fn terse_label(&self, written: &str) -> Option<&LabelRubric> {
        self.asked().find(|label| label.terse() == written)
    }

    fn problem(&self, row: usize, separator: &str) -> Option<&'static str> {
        let label = &self.labels[row];
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
        let earlier = &self.labels[..row];
        if !is_word(&label.name) || !is_word(label.terse()) {
            Some("labels are words of lower-case letters")
        } else if separator.is_empty() || separator.contains('\n') {
            Some("the separator must be something on one line")
        } else if earlier.iter().any(|l| l.name == label.name || l.terse() == label.terse()) {
            Some("it stands twice")
        } else if label.positive.is_empty() || label.negative.is_empty() {
            Some("it needs a positive and a negative example")
        } else {
            None
        }
    }
}

impl LabelRubric {
    /// How a terse answer writes it.
    #[must_use]
    pub fn terse(&self) -> &str {
        self.terse.as_deref().unwrap_or(&self.name)
    }
}

impl Bilingual {
    /// The text of one language.
    #[must_use]
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Zh => &self.zh,
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Criterion;

    use super::Rubric;

    #[test]
    fn the_embedded_rubrics_hold_the_published_criteria() {
        let shown = |rubric: &Rubric| -> Vec<String> {
            let labels = |c: &super::CriterionRubric| {
                let mark = |l: &super::LabelRubric| {
                    format!("{}{}", if l.passes { "+" } else { "-" }, l.name)
                };
                c.labels.iter().map(mark).collect::<Vec<_>>().join(" ")
            };
            rubric.criteria.iter().map(|c| format!("{} {}", c.name.as_str(), labels(c))).collect()
        };
        assert_eq!(
            shown(Rubric::interest()),
            [
                "willingness +spontaneity -necessity",
                "reasonableness +strong -weak -none -hallucinated"
            ]
        );
        let tags = ["relevance", "consistency", "specificity", "validity"];
        assert_eq!(shown(Rubric::tag()), tags.map(|c| format!("{c} +yes -no")));
        let reasonable = Rubric::interest().criterion(Criterion::Reasonableness).unwrap();
        assert!(reasonable.terse_label("hallucinated").is_none(), "decided by code");
        assert!(reasonable.terse_label("weak").is_some());
    }

    #[test]
    fn bad_rubrics_are_refused_with_their_names() {
        let text = |name: &str| format!("{{en=\"{name}\",zh=\"{name}\"}}");
        let label = |name: &str, passes: bool| {
            let (d, examples) = (text("d"), format!("[{}]", text("e")));
            format!(
                "[[criterion.label]]\nname=\"{name}\"\npasses={passes}\ndefinition={d}\n\
                 positive={examples}\nnegative={examples}\n"
            )
        };
        let criterion = |labels: &[String]| {
            let head = format!("[[criterion]]\nname=\"relevance\"\ndefinition={}\n", text("d"));
            head + &labels.concat()
        };
        let check = |body: String, want: &str| {
            let got = Rubric::parse("mine", &format!("separator=\" \"\n{body}"));
            let got = got.map_or_else(|error| error.to_string(), |_| "fine".to_owned());
            assert!(got.contains(want), "{got:?} without {want:?}");
        };
        let (yes, no) = (label("yes", true), label("no", false));
        let fine = criterion(&[yes.clone(), no.clone()]);
        check(fine.clone(), "fine");
        check("criterion = []".to_owned(), "\"mine\" has no criterion");
        check(fine.repeat(2), "Relevance twice");
        check(criterion(std::slice::from_ref(&yes)), "no label that fails");
        check(criterion(std::slice::from_ref(&no)), "no label that passes");
        check(criterion(&[yes.clone(), no.clone(), no.clone()]), "\"no\": it stands twice");
        check(criterion(&[yes.clone(), label("so so", false)]), "lower-case");
        check(fine.replace(&format!("negative=[{}]", text("e")), ""), "negative example");
        check(fine.replace("relevance", "beauty"), "unknown variant");
        check(fine.replace("passes=true", "passes=true\nweight=1"), "unknown field");
    }
}

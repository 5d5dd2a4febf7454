//! `intent/interests.parquet`, `tags.parquet`, `explanations.parquet`.
//!
//! Interests and tags are one row each, so any engine can query them. What a parser or a constraint
//! refused stands as JSON in the first row of the user; a user without a result keeps one row with
//! an empty (null) text, so that nobody vanishes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use types::{
    CategoryId, ConstraintBreach, Interest, InterestProfile, InterestSource, InterestStage, Tag,
    Timestamp,
};

use super::columns::{Columns, json, read_table, write_table};
use crate::EventsError;

/// What mining gave for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInterests {
    /// The interests.
    pub profile: InterestProfile,
    /// What the parser could not use, in words.
    pub issues: Vec<String>,
}

/// What tag prediction gave for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTags {
    /// Whose.
    pub user_id: String,
    /// The cut-off of the digest that was read.
    pub now: Timestamp,
    /// Tags that hold all constraints, likeliest first.
    pub tags: Vec<Tag>,
    /// What a constraint refused.
    pub breaches: Vec<ConstraintBreach>,
    /// What the parser could not use, in words.
    pub issues: Vec<String>,
}

/// Why one item for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// For whom.
    pub user_id: String,
    /// Which item.
    pub item_id: String,
    /// The interest that it serves.
    pub interest: String,
    /// The tag that found it; empty when the user tower did.
    pub tag: String,
    /// The line that is shown.
    pub text: String,
    /// Who wrote it.
    pub model: String,
}

/// Writes interests, one row each.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_interests(path: &Path, users: &[UserInterests]) -> Result<(), EventsError> {
    let rows: Vec<(&UserInterests, Option<&Interest>, bool)> = users
        .iter()
        .flat_map(|u| one_or_more(&u.profile.interests).map(move |(i, first)| (u, i, first)))
        .collect();
    write_table(path, &rows, |rows| {
        Columns::default()
            .text("user_id", rows.iter().map(|(u, _, _)| &u.profile.user_id))
            .time("now", rows.iter().map(|(u, _, _)| u.profile.now))
            .opt_text("interest_id", rows.iter().map(|(_, i, _)| i.map(|i| &i.id)))
            .opt_text("text", rows.iter().map(|(_, i, _)| i.map(|i| &i.text)))
            .opt_text("stage", rows.iter().map(|(_, i, _)| i.map(|i| stage_name(i.stage))))
            .opt_text("source", rows.iter().map(|(_, i, _)| i.map(|i| source_name(i.source))))
            .opt_text("reason", rows.iter().map(|(_, i, _)| i.map(|i| &i.reason)))
            .opt_text("evidence", rows.iter().map(|(_, i, _)| i.map(|i| json(&i.evidence))))
            .opt_text("issues", rows.iter().map(|(u, _, first)| first.then(|| json(&u.issues))))
            .batch()
    })
}

/// Reads what [`write_interests`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_interests(path: &Path) -> Result<Vec<UserInterests>, EventsError> {
    let mut users: Vec<UserInterests> = Vec::new();
    read_table(path, &mut |batch| {
        let (user, now) = (batch.text("user_id")?, batch.time("now")?);
        let (id, text) = (batch.text("interest_id")?, batch.text("text")?);
        let (stage, source) = (batch.text("stage")?, batch.text("source")?);
        let (reason, evidence) = (batch.text("reason")?, batch.text("evidence")?);
        let issues = batch.text("issues")?;
        for row in 0..batch.len() {
            if issues.opt(row).is_some() {
                let profile = InterestProfile {
                    user_id: user.get(row)?.to_owned(),
                    now: Timestamp(now.get(row)?),
                    interests: Vec::new(),
                };
                users.push(UserInterests { profile, issues: issues.json(row)? });
            }
            let Some(id) = id.opt_owned(row) else { continue };
            let last = users.last_mut().ok_or_else(|| no_first_row(path, user.opt(row)))?;
            last.profile.interests.push(Interest {
                id,
                text: text.get(row)?.to_owned(),
                stage: if stage.get(row)? == stage_name(InterestStage::Short) {
                    InterestStage::Short
                } else {
                    InterestStage::Long
                },
                source: if source.get(row)? == source_name(InterestSource::Extended) {
                    InterestSource::Extended
                } else {
                    InterestSource::Listed
                },
                reason: reason.get(row)?.to_owned(),
                evidence: evidence.json(row)?,
            });
        }
        Ok(())
    })?;
    Ok(users)
}

/// Writes tags, one row each.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_tags(path: &Path, users: &[UserTags]) -> Result<(), EventsError> {
    let rows: Vec<(&UserTags, Option<&Tag>, bool)> = users
        .iter()
        .flat_map(|u| one_or_more(&u.tags).map(move |(t, first)| (u, t, first)))
        .collect();
    write_table(path, &rows, |rows| {
        let category = |t: &Tag| t.category.map(|c| u64::from(c.0));
        Columns::default()
            .text("user_id", rows.iter().map(|(u, _, _)| &u.user_id))
            .time("now", rows.iter().map(|(u, _, _)| u.now))
            .opt_text("text", rows.iter().map(|(_, t, _)| t.map(|t| &t.text)))
            .opt_text("modifiers", rows.iter().map(|(_, t, _)| t.map(|t| json(&t.modifiers))))
            .opt_text("core", rows.iter().map(|(_, t, _)| t.map(|t| &t.core)))
            .opt_text("interest", rows.iter().map(|(_, t, _)| t.map(|t| &t.interest)))
            .opt_text("rationale", rows.iter().map(|(_, t, _)| t.map(|t| &t.rationale)))
            .opt_count("category", rows.iter().map(|(_, t, _)| t.and_then(category)))
            .opt_text("breaches", rows.iter().map(|(u, _, first)| first.then(|| json(&u.breaches))))
            .opt_text("issues", rows.iter().map(|(u, _, first)| first.then(|| json(&u.issues))))
            .batch()
    })
}

/// Reads what [`write_tags`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_tags(path: &Path) -> Result<Vec<UserTags>, EventsError> {
    let mut users: Vec<UserTags> = Vec::new();
    read_table(path, &mut |batch| {
        let (user, now, text) = (batch.text("user_id")?, batch.time("now")?, batch.text("text")?);
        let (modifiers, core) = (batch.text("modifiers")?, batch.text("core")?);
        let (interest, rationale) = (batch.text("interest")?, batch.text("rationale")?);
        let category = batch.count("category")?;
        let (breaches, issues) = (batch.text("breaches")?, batch.text("issues")?);
        for row in 0..batch.len() {
            if issues.opt(row).is_some() {
                users.push(UserTags {
                    user_id: user.get(row)?.to_owned(),
                    now: Timestamp(now.get(row)?),
                    tags: Vec::new(),
                    breaches: breaches.json(row)?,
                    issues: issues.json(row)?,
                });
            }
            let Some(text) = text.opt_owned(row) else { continue };
            let last = users.last_mut().ok_or_else(|| no_first_row(path, user.opt(row)))?;
            last.tags.push(Tag {
                text,
                modifiers: modifiers.json(row)?,
                core: core.get(row)?.to_owned(),
                interest: interest.get(row)?.to_owned(),
                rationale: rationale.get(row)?.to_owned(),
                category: category.opt(row).and_then(|n| u32::try_from(n).ok()).map(CategoryId),
            });
        }
        Ok(())
    })?;
    Ok(users)
}

/// Writes explanations.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_explanations(path: &Path, rows: &[Explanation]) -> Result<(), EventsError> {
    write_table(path, rows, |rows| {
        Columns::default()
            .text("user_id", rows.iter().map(|e| &e.user_id))
            .text("item_id", rows.iter().map(|e| &e.item_id))
            .text("interest", rows.iter().map(|e| &e.interest))
            .text("tag", rows.iter().map(|e| &e.tag))
            .text("text", rows.iter().map(|e| &e.text))
            .text("model", rows.iter().map(|e| &e.model))
            .batch()
    })
}

/// Reads what [`write_explanations`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_explanations(path: &Path) -> Result<Vec<Explanation>, EventsError> {
    let mut rows = Vec::new();
    read_table(path, &mut |batch| {
        let (user, item) = (batch.text("user_id")?, batch.text("item_id")?);
        let (interest, tag) = (batch.text("interest")?, batch.text("tag")?);
        let (text, model) = (batch.text("text")?, batch.text("model")?);
        for row in 0..batch.len() {
            rows.push(Explanation {
                user_id: user.get(row)?.to_owned(),
                item_id: item.get(row)?.to_owned(),
                interest: interest.get(row)?.to_owned(),
                tag: tag.get(row)?.to_owned(),
                text: text.get(row)?.to_owned(),
                model: model.get(row)?.to_owned(),
            });
        }
        Ok(())
    })?;
    Ok(rows)
}

/// Every value with whether it is the first; one `None` for an empty list.
fn one_or_more<T>(values: &[T]) -> impl Iterator<Item = (Option<&T>, bool)> {
    let n = values.len().max(1);
    (0..n).map(|idx| (values.get(idx), idx == 0))
}

fn no_first_row(path: &Path, user: Option<&str>) -> EventsError {
    EventsError::Table {
        path: path.to_owned(),
        column: "issues".to_owned(),
        detail: format!("user {user:?} has no first row with issues"),
    }
}

fn stage_name(stage: InterestStage) -> &'static str {
    match stage {
        InterestStage::Long => "long",
        InterestStage::Short => "short",
    }
}

fn source_name(source: InterestSource) -> &'static str {
    match source {
        InterestSource::Listed => "listed",
        InterestSource::Extended => "extended",
    }
}

#[cfg(test)]
mod tests {
    use types::{
        CategoryId, ConstraintBreach, Interest, InterestProfile, InterestSource, InterestStage,
        Tag, TagConstraint, Timestamp,
    };

    use super::{
        Explanation, UserInterests, UserTags, read_explanations, read_interests, read_tags,
        write_explanations, write_interests, write_tags,
    };

    fn text(value: &str) -> String {
        value.to_owned()
    }

    #[test]
    fn explanations_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let explanation = Explanation {
            user_id: text("u"),
            item_id: text("i"),
            interest: text("hiking"),
            tag: String::new(),
            text: text("why"),
            model: text("m"),
        };
        let path = dir.path().join("intent/explanations.parquet");
        write_explanations(&path, std::slice::from_ref(&explanation)).unwrap();
        assert_eq!(read_explanations(&path).unwrap(), [explanation]);
    }

    #[test]
    fn interests_and_tags_come_back_even_where_there_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let interest = |n: usize, stage, source| Interest {
            id: format!("interest_{n:02}"),
            text: text("hiking"),
            stage,
            source,
            reason: text("boots"),
            evidence: vec![text("e1"), text("e2")],
        };
        let user = |id: &str, interests, issues| UserInterests {
            profile: InterestProfile { user_id: text(id), now: Timestamp(7), interests },
            issues,
        };
        let users = [
            user("a", vec![], vec![text("line 1: nonsense")]),
            user(
                "b",
                vec![
                    interest(1, InterestStage::Long, InterestSource::Extended),
                    interest(2, InterestStage::Short, InterestSource::Listed),
                ],
                vec![],
            ),
            user("c", vec![], vec![]),
        ];
        let path = dir.path().join("interests.parquet");
        write_interests(&path, &users).unwrap();
        assert_eq!(read_interests(&path).unwrap(), users);

        let tag = |category| Tag {
            text: text("warm boots"),
            modifiers: vec![text("warm")],
            core: text("boots"),
            interest: text("hiking"),
            rationale: text("winter"),
            category,
        };
        let breach = ConstraintBreach {
            tag: text("things"),
            constraint: TagConstraint::SemanticPrecision,
            detail: text("vague"),
        };
        let user = |id: &str, tags, breaches, issues| UserTags {
            user_id: text(id),
            now: Timestamp(7),
            tags,
            breaches,
            issues,
        };
        let users = [
            user("a", vec![tag(None), tag(Some(CategoryId(3)))], vec![breach], vec![]),
            user("b", vec![], vec![], vec![text("empty")]),
        ];
        let path = dir.path().join("tags.parquet");
        write_tags(&path, &users).unwrap();
        assert_eq!(read_tags(&path).unwrap(), users);
    }
}

//! Which tags of an answer hold.

use std::collections::HashSet;

use intent::ParseIssueKind;
use types::{Criterion, Interest, Judgement, Tag, TagConstraint, normalise_text};

use super::report::{CleaningLevel, RejectReason, Rejection};
use super::{Cleaned, Taught};

/// Criteria that tags are judged by.
const CRITERIA: [Criterion; 4] =
    [Criterion::Relevance, Criterion::Consistency, Criterion::Specificity, Criterion::Validity];

/// The tags that serve a kept interest and that no judge refuses; what the constraints and the parser
/// already refused is counted with the reason for it.
pub(super) fn keep(taught: &Taught<'_>, interests: &[Interest], out: &mut Cleaned) -> Vec<Tag> {
    let user_id = taught.user.user_id.as_str();
    let mut faults = breached(taught);
    let listed: HashSet<String> = interests.iter().map(|i| normalise_text(&i.text)).collect();
    let mut kept: Vec<Tag> = Vec::new();
    for tag in &taught.answer.tags {
        if !listed.contains(&normalise_text(&tag.interest)) {
            faults.push((&tag.text, RejectReason::InterestRejected, tag.interest.clone()));
        } else if let Some(label) = refused(taught.judgements, (user_id, &tag.text), &CRITERIA) {
            faults.push((&tag.text, RejectReason::RefusedByJudge, label));
        } else {
            kept.push(tag.clone());
        }
    }
    let level = out.report.level(CleaningLevel::Tag);
    level.seen += kept.len() + faults.len();
    level.kept += kept.len();
    let rejection = |(text, reason, detail): (&str, RejectReason, String)| {
        Rejection::new((user_id, CleaningLevel::Tag), text, reason, detail)
    };
    out.rejections.extend(faults.into_iter().map(rejection));
    kept
}

/// Tags that the constraints refused, and lines that no tag could be read from. Breaches of the whole
/// list name no tag: the sample is judged by what is left.
fn breached<'a>(taught: &Taught<'a>) -> Vec<(&'a str, RejectReason, String)> {
    let breaches = taught.answer.breaches.iter().filter(|breach| !breach.tag.is_empty());
    let breaches = breaches.map(|breach| {
        let reason = match breach.constraint {
            TagConstraint::InterestConsistency => RejectReason::ForeignInterest,
            TagConstraint::Diversity => RejectReason::Duplicate,
            TagConstraint::SemanticPrecision => RejectReason::Imprecise,
            TagConstraint::Freshness => RejectReason::RecentlyBought,
            TagConstraint::Season => RejectReason::Unseasonable,
        };
        (breach.tag.as_str(), reason, breach.detail.clone())
    });
    let issues = taught.answer.tag_issues.iter().filter_map(|issue| {
        let reason = match issue.kind {
            ParseIssueKind::NoModifier => RejectReason::Imprecise,
            ParseIssueKind::Duplicate => RejectReason::Duplicate,
            ParseIssueKind::Malformed
            | ParseIssueKind::BrokenJson
            | ParseIssueKind::UnknownStage
            | ParseIssueKind::NoEvidence
            | ParseIssueKind::HallucinatedEvidence
            | ParseIssueKind::QuoteWithoutEvents => RejectReason::Malformed,
            ParseIssueKind::Empty | ParseIssueKind::AroundJson => return None,
        };
        Some((issue.text.as_str(), reason, format!("{:?}", issue.kind)))
    });
    breaches.chain(issues).collect()
}

/// The criterion and label of the first verdict that does not pass, of all that judge this text of this
/// user by one of the criteria. All must pass.
pub(super) fn refused(
    judgements: &[Judgement],
    (user_id, text): (&str, &str),
    criteria: &[Criterion],
) -> Option<String> {
    let subject = normalise_text(text);
    let fails = |j: &&Judgement| {
        !j.passes
            && j.user_id == user_id
            && criteria.contains(&j.criterion)
            && normalise_text(&j.subject) == subject
    };
    judgements.iter().find(fails).map(|j| format!("{:?}: {}", j.criterion, j.label))
}

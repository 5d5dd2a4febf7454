//! Which interests of an answer hold.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use intent::{ParseIssueKind, QuoteIndex, plain, stem_key, stems, terse};
use types::{Criterion, DigestContext, EventType, Interest, TimeBucket, User};

use super::audience::is_for_another;
use super::report::{CleaningLevel, RejectReason, Rejection};
use super::tags::refused;
use super::{Cleaned, CleaningRules, Taught};
use crate::scope::evidence_texts;

/// Criteria that interests are judged by.
const CRITERIA: [Criterion; 2] = [Criterion::Willingness, Criterion::Reasonableness];

/// Stems of necessities, one phrase each.
static NECESSITIES: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let lines = include_str!("necessity_words.txt").lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(stems).collect()
});

/// The interests that hold; what the parser already refused is counted with the reason for it.
pub(super) fn keep(
    taught: &Taught<'_>,
    rules: &CleaningRules<'_>,
    out: &mut Cleaned,
) -> Vec<Interest> {
    count_issues(taught, out);
    let mut seen: HashSet<String> = HashSet::new();
    let mut kept = Vec::new();
    for interest in &taught.answer.profile.interests {
        let verdict = if seen.insert(stem_key(&interest.text)) {
            fault(interest, taught, rules)
        } else {
            Some((RejectReason::Duplicate, String::new()))
        };
        let level = out.report.level(CleaningLevel::Interest);
        level.seen += 1;
        level.kept += usize::from(verdict.is_none());
        match verdict {
            None => kept.push(interest.clone()),
            Some((reason, detail)) => {
                let of = (taught.user.user_id.as_str(), CleaningLevel::Interest);
                out.rejections.push(Rejection::new(of, &interest.text, reason, detail));
            }
        }
    }
    kept
}

/// Faults of the answer that left no interest behind, and evidence that was cited and not found.
fn count_issues(taught: &Taught<'_>, out: &mut Cleaned) {
    let reasons = taught.answer.profile.interests.iter().map(|interest| &interest.reason);
    let n_quotes: usize = reasons.map(|reason| terse::quotes(reason).len()).sum();
    let quotes = out.report.level(CleaningLevel::Quote);
    (quotes.seen, quotes.kept) = (quotes.seen + n_quotes, quotes.kept + n_quotes);
    for issue in &taught.answer.interest_issues {
        use CleaningLevel::{Interest, Quote};
        let (level, reason) = match issue.kind {
            ParseIssueKind::HallucinatedEvidence => (Quote, RejectReason::HallucinatedEvidence),
            ParseIssueKind::QuoteWithoutEvents => (Quote, RejectReason::NoEvents),
            ParseIssueKind::NoEvidence => (Interest, RejectReason::HallucinatedEvidence),
            ParseIssueKind::Duplicate => (Interest, RejectReason::Duplicate),
            ParseIssueKind::Malformed
            | ParseIssueKind::UnknownStage
            | ParseIssueKind::BrokenJson => (Interest, RejectReason::Malformed),
            ParseIssueKind::Empty | ParseIssueKind::AroundJson | ParseIssueKind::NoModifier => {
                continue;
            }
        };
        out.report.level(level).seen += 1;
        let of = (taught.user.user_id.as_str(), level);
        out.rejections.push(Rejection::new(of, &issue.text, reason, format!("{:?}", issue.kind)));
    }
}

/// The first reason against an interest.
fn fault(
    interest: &Interest,
    taught: &Taught<'_>,
    rules: &CleaningRules<'_>,
) -> Option<(RejectReason, String)> {
    let texts = evidence_texts(interest, taught.digest);
    let acts = acts(&texts, taught);
    if acts.is_empty() {
        return Some((RejectReason::HallucinatedEvidence, interest.evidence.join(" ")));
    }
    let shown = || texts.join("; ");
    if texts.iter().all(|text| is_necessity(text)) {
        return Some((RejectReason::Necessity, shown()));
    }
    if is_gift(&texts, &acts, taught.user) {
        return Some((RejectReason::Gift, shown()));
    }
    if acts.len() < rules.min_actions {
        return Some((RejectReason::OneAction, shown()));
    }
    if is_burst(&acts, rules.burst_days) {
        return Some((RejectReason::Burst, shown()));
    }
    let subject = (taught.user.user_id.as_str(), interest.text.as_str());
    refused(taught.judgements, subject, &CRITERIA)
        .map(|label| (RejectReason::RefusedByJudge, label))
}

/// One behaviour on one text at one time.
type Act = (TimeBucket, EventType);

/// Every act on the texts. On a line that holds the text as an item every behaviour is one on it; where
/// the text is only a query of the line, its searches are.
fn acts(texts: &[String], taught: &Taught<'_>) -> Vec<Act> {
    let index = QuoteIndex::new(taught.digest);
    let mut acts = Vec::new();
    for text in texts {
        for &row in index.lines(text) {
            let line = &taught.digest.lines[row];
            let is_item = line.items.iter().any(|item| stem_key(&plain(item)) == stem_key(text));
            let of_context = |context: &DigestContext| {
                let on_it = |query: &Option<String>| {
                    let query = query.as_deref().map(|query| stem_key(&plain(query)));
                    is_item || query.is_some_and(|query| query == stem_key(text))
                };
                let behaviours = context.behaviours.iter().filter(|(_, query)| on_it(query));
                behaviours.map(|(act, _)| (context.bucket, *act)).collect::<Vec<Act>>()
            };
            acts.extend(line.contexts.iter().flat_map(of_context));
        }
    }
    acts
}

/// All acts of one kind within so many days of the last month.
fn is_burst(acts: &[Act], days: u16) -> bool {
    let kinds: BTreeSet<EventType> = acts.iter().map(|(_, kind)| *kind).collect();
    let when: Option<Vec<u16>> = acts
        .iter()
        .map(|(bucket, _)| match bucket {
            TimeBucket::Day(n) => Some(*n),
            TimeBucket::Month(_)
            | TimeBucket::Year(_)
            | TimeBucket::CalendarYear(_)
            | TimeBucket::CalendarMonth(..)
            | TimeBucket::CalendarDay(..) => None,
        })
        .collect();
    let span = when.and_then(|when| Some(when.iter().max()? - when.iter().min()?));
    kinds.len() == 1 && span.is_some_and(|span| span < days)
}

/// Bought at one time only, and all of it for someone else.
fn is_gift(texts: &[String], acts: &[Act], user: &User) -> bool {
    let bought: BTreeSet<TimeBucket> =
        acts.iter().filter(|(_, act)| *act == EventType::Purchase).map(|(at, _)| *at).collect();
    bought.len() == 1 && texts.iter().all(|text| is_for_another(text, user))
}

fn is_necessity(text: &str) -> bool {
    let text = stems(text);
    NECESSITIES.iter().any(|phrase| text.windows(phrase.len()).any(|run| run == phrase.as_slice()))
}

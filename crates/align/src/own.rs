//! A model's own answer as a sample: learnt where its judge passed it, read everywhere.
//!
//! An answer of what passed alone would be shorter, and teach to stop early.

use std::collections::HashSet;

use intent::plain;
use types::{Digest, InterestProfile, Tag, User};

use crate::sample::{RejectedPart, Sample};
use crate::truth::mine_tag_sample;

/// The answer about a user with the parts marked that do not `pass`: an interest's line; a tag; the line of tags
/// of which none passes. A tag is out with its interest.
#[must_use]
pub fn own_sample(
    (user, digest): (&User, &Digest),
    (profile, tags): (&InterestProfile, &[Tag]),
    (interests_pass, tags_pass): (&[bool], &[bool]),
) -> Sample {
    let mut sample = mine_tag_sample("own", user, digest, profile, tags);
    let interests: HashSet<String> =
        passing(&profile.interests, interests_pass).map(|interest| plain(&interest.text)).collect();
    let tags: HashSet<String> = passing(tags, tags_pass)
        .filter(|tag| interests.contains(&plain(&tag.interest)))
        .map(|tag| plain(&tag.text))
        .collect();
    let mut answers = (0..sample.segments.len()).filter(|&row| sample.segments[row].loss);
    let (of_interests, of_tags) = (answers.next(), answers.next());
    let mut rejected = Vec::new();
    if let Some(row) = of_interests {
        rejected.extend(lines(&sample.segments[row].text).filter_map(|(at, line)| {
            let name = line.split('|').nth(1).unwrap_or_default();
            let bytes = at..at + line.len();
            (!interests.contains(name)).then_some(RejectedPart { segment: row, bytes })
        }));
    }
    if let Some(row) = of_tags {
        for (at, line) in lines(&sample.segments[row].text) {
            let parts = rejected_tags(line, &tags).into_iter();
            rejected.extend(
                parts.map(|(from, to)| RejectedPart { segment: row, bytes: at + from..at + to }),
            );
        }
    }
    sample.rejected = rejected;
    sample
}

fn passing<'a, T>(all: &'a [T], pass: &'a [bool]) -> impl Iterator<Item = &'a T> {
    all.iter().zip(pass).filter(|(_, pass)| **pass).map(|(one, _)| one)
}

/// Lines with their ends, and where each begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        at += line.len();
        (at - line.len(), line)
    })
}

/// Bytes of a line `interest|rationale|tag;tag` that are not learnt: the tags that are not among `tags`, with the
/// mark before or behind them, or everything.
fn rejected_tags(line: &str, tags: &HashSet<String>) -> Vec<(usize, usize)> {
    let listed = line.rsplit('|').next().unwrap_or_default();
    let mut at = line.len() - listed.len();
    let mut rejected = Vec::new();
    let mut n_learnt = 0;
    for tag in listed.split_inclusive([';', '\n']) {
        match tags.contains(tag.trim_end_matches([';', '\n'])) {
            true => n_learnt += 1,
            false => rejected.push((at, at + tag.len())),
        }
        at += tag.len();
    }
    if n_learnt == 0 { vec![(0, line.len())] } else { rejected }
}

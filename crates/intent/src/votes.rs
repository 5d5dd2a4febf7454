//! Several answers about one user become one profile.

use std::collections::{HashMap, HashSet};

use types::{Digest, Interest, InterestSource, normalise_text};

use crate::associations::Evidence;
use crate::evidence::QuoteIndex;
use crate::terse::interest_id;

/// The interests of all answers so far, none twice, in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    /// With the number of answers that name it.
    found: Vec<(Interest, usize)>,
}

impl Votes {
    /// Counts one answer, which names no interest twice. The first answer's evidence stays.
    pub(crate) fn add(&mut self, answer: Vec<Interest>) {
        for interest in answer {
            let text = normalise_text(&interest.text);
            match self.found.iter_mut().find(|(known, _)| normalise_text(&known.text) == text) {
                Some((_, votes)) => *votes += 1,
                None => self.found.push((interest, 1)),
            }
        }
    }

    /// Different interests so far.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// All of them in order of first appearance, numbered anew.
    pub(crate) fn all(self) -> Vec<Interest> {
        let found = self.found.into_iter().enumerate();
        found.map(|(row, (i, _))| Interest { id: interest_id(row), ..i }).collect()
    }

    /// The `most` interests that have the most evidence: the share of the answers that name them
    /// (self-consistency, Wang et al., arXiv 2203.11171) and the strength of what single texts say. One that no
    /// answer names needs several texts. They come in the order of what they quote, numbered anew.
    pub(crate) fn winners(
        self,
        most: usize,
        (digest, said, rounds): (&Digest, Vec<Evidence>, usize),
    ) -> Vec<Interest> {
        let index = QuoteIndex::new(digest);
        let strengths: HashMap<String, f64> =
            said.iter().map(|e| (normalise_text(&e.interest), e.strength)).collect();
        let mut ranked: Vec<(f64, Interest)> = Vec::new();
        let mut known: HashSet<String> = HashSet::new();
        for (interest, votes) in self.found {
            let key = normalise_text(&interest.text);
            let strength = strengths.get(&key).copied().unwrap_or(0.0);
            ranked.push((strength + votes as f64 / rounds.max(1) as f64, interest));
            known.insert(key);
        }
        let unnamed = said.into_iter().filter(|e| {
            e.texts.len() >= UNNAMED_TEXTS && !known.contains(&normalise_text(&e.interest))
        });
        ranked.extend(unnamed.map(|evidence| (evidence.strength, supported(&evidence, &index))));
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: first named, first kept
        ranked.truncate(most);
        let mut interests: Vec<Interest> = ranked.into_iter().map(|(_, i)| i).collect();
        let place = |i: &Interest| {
            crate::terse::quotes(&i.reason).iter().filter_map(|q| index.place(q)).min()
        };
        interests.sort_by_cached_key(|i| (place(i).is_none(), place(i)));
        let numbered = interests.into_iter().enumerate();
        numbered.map(|(row, i)| Interest { id: interest_id(row), ..i }).collect()
    }
}

/// Texts that must speak for an interest that no answer names.
const UNNAMED_TEXTS: usize = 2;

/// Texts that it quotes.
const QUOTED: usize = 2;

/// An interest that stands on texts alone.
fn supported(evidence: &Evidence, index: &QuoteIndex<'_>) -> Interest {
    let texts: Vec<&str> = evidence.texts.iter().take(QUOTED).map(String::as_str).collect();
    let all = evidence.texts.iter().flat_map(|text| index.lines(text).iter().copied());
    let lines: Vec<usize> = texts.iter().flat_map(|t| index.lines(t).iter().copied()).collect();
    Interest {
        id: String::new(),
        text: evidence.interest.clone(),
        stage: index.stage(&all.collect::<Vec<_>>()),
        source: InterestSource::Extended,
        reason: index.reason(&texts),
        evidence: index.evidence(&lines),
    }
}

#[cfg(test)]
mod tests {
    use types::{Digest, DigestTokens, Interest, InterestSource, InterestStage, Timestamp};

    use super::{Evidence, Votes};

    fn winners(answers: &[&[&str]], said: &[(&str, f64, usize)], most: usize) -> Vec<String> {
        let interest = |text: &&str| Interest {
            id: String::new(),
            text: (*text).to_owned(),
            stage: InterestStage::Long,
            source: InterestSource::Extended,
            reason: String::new(),
            evidence: vec![],
        };
        let mut votes = Votes::default();
        for answer in answers {
            votes.add(answer.iter().map(interest).collect());
        }
        let evidence = |(interest, strength, n): &(&str, f64, usize)| Evidence {
            interest: (*interest).to_owned(),
            strength: *strength,
            texts: vec![String::new(); *n],
        };
        let digest = Digest {
            user_id: String::new(),
            now: Timestamp(0),
            lines: vec![],
            recent: vec![],
            tokens: DigestTokens::default(),
            n_events: 0,
            n_dropped_behaviour: 0,
            n_dropped_budget: 0,
            n_lines_sequence: 0,
        };
        let said = said.iter().map(evidence).collect();
        let winners = votes.winners(most, (&digest, said, answers.len()));
        winners.into_iter().map(|i| i.text).collect()
    }

    #[test]
    fn votes_and_texts_add_up() {
        let answers: [&[&str]; 3] = [&["a", "b", "c"], &["B", "d", "c"], &["d", "e", "b"]];
        assert_eq!(winners(&answers, &[], 3), ["b", "c", "d"]);
        assert_eq!(winners(&answers, &[("A", 0.5, 1), ("e", 2.0, 4)], 3), ["e", "b", "a"]);
    }

    #[test]
    fn what_no_answer_names_needs_several_texts() {
        assert_eq!(winners(&[&["a"]], &[("x", 3.0, 1), ("y", 2.0, 2)], 9), ["y", "a"]);
    }
}

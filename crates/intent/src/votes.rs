//! Several answers about one user become one profile.

use types::{Interest, normalise_text};

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

    /// The `most` interests that the most answers name (self-consistency, Wang et al., arXiv
    /// 2203.11171), in order of first appearance, which also breaks ties; numbered anew.
    pub(crate) fn winners(self, most: usize) -> Vec<Interest> {
        let mut ranked: Vec<(usize, (Interest, usize))> =
            self.found.into_iter().enumerate().collect();
        ranked.sort_by_key(|(_, (_, votes))| std::cmp::Reverse(*votes)); // stable
        ranked.truncate(most);
        ranked.sort_by_key(|(first, _)| *first);
        let interests = ranked.into_iter().map(|(_, (interest, _))| interest);
        interests.enumerate().map(|(row, i)| Interest { id: interest_id(row), ..i }).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{Interest, InterestSource, InterestStage};

    use super::Votes;

    #[test]
    fn the_most_named_interests_win_and_keep_their_order() {
        let interest = |text: &str| Interest {
            id: String::new(),
            text: text.to_owned(),
            stage: InterestStage::Long,
            source: InterestSource::Extended,
            reason: String::new(),
            evidence: vec![],
        };
        let mut votes = Votes::default();
        for answer in [["a", "b", "c"], ["B", "d", "c"], ["d", "e", "b"]] {
            votes.add(answer.map(interest).to_vec());
        }
        assert_eq!(votes.len(), 5);
        let winners: Vec<(String, String)> =
            votes.winners(3).into_iter().map(|i| (i.id, i.text)).collect();
        let expect = [("interest_01", "b"), ("interest_02", "c"), ("interest_03", "d")];
        assert_eq!(winners, expect.map(|(id, text)| (id.to_owned(), text.to_owned())));
    }
}

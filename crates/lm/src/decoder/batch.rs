//! Several token sequences in one row, side by side and blind to each other.

use nn::Segment;

/// A packed row: sequences one after another, with the weight of each token as a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PackedBatch {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Where each sequence begins; ascending, the first is 0.
    pub starts: Vec<usize>,
    /// Where branches begin: continuations of their sequence's beginning that do not see each other; ascending.
    pub branches: Vec<usize>,
    /// `weights[i]`: how much the loss of predicting token `i` counts; 0 at every start.
    pub weights: Vec<f32>,
}

impl PackedBatch {
    /// Adds a sequence; `weights` is as long, and its first entry does not count.
    pub fn push(&mut self, tokens: &[u32], weights: impl IntoIterator<Item = f32>) {
        self.starts.push(self.tokens.len());
        self.tokens.extend_from_slice(tokens);
        self.weights.extend(weights);
        assert_eq!(self.tokens.len(), self.weights.len(), "a weight for each token");
        if let (Some(&start), false) = (self.starts.last(), tokens.is_empty()) {
            self.weights[start] = 0.0;
        }
    }

    /// Adds a sequence that branches at some of its tokens. What is said of a branch's first token is never
    /// a target: no branch but the first stands behind the token that it continues.
    pub fn push_branched(
        &mut self,
        (tokens, branches): (&[u32], &[usize]),
        weights: impl IntoIterator<Item = f32>,
    ) {
        let start = self.tokens.len();
        self.push(tokens, weights);
        for branch in branches.iter().map(|branch| start + branch) {
            self.weights[branch] = 0.0;
            self.branches.push(branch);
        }
    }

    /// The sequences.
    pub fn segments(&self) -> Vec<Segment> {
        let ends = self.starts.iter().skip(1).copied().chain([self.tokens.len()]);
        let mut branches = self.branches.iter().copied().peekable();
        let segment = |(&start, end): (&usize, usize)| Segment {
            rows: start..end,
            branches: std::iter::from_fn(|| branches.next_if(|branch| *branch < end)).collect(),
        };
        self.starts.iter().zip(ends).map(segment).collect()
    }

    /// The position of each token in its own sequence.
    pub fn positions(&self) -> Vec<u32> {
        self.segments().iter().flat_map(Segment::positions).collect()
    }

    /// Rows whose next token is a target: `(row, target, weight)`.
    pub(super) fn targets(&self) -> impl Iterator<Item = (usize, u32, f32)> {
        let rows = self.tokens.iter().zip(&self.weights).enumerate().skip(1);
        rows.filter(|(_, (_, weight))| **weight != 0.0).map(|(i, (&t, &w))| (i - 1, t, w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_keep_their_bounds() {
        let mut batch = PackedBatch::default();
        batch.push(&[5, 6, 7], [1.0, 0.0, 1.0]);
        batch.push(&[8, 9], [1.0, 0.5]);
        batch.push_branched((&[1, 2, 3, 4, 5], &[1, 3]), [1.0; 5]);
        let branched = Segment { rows: 5..10, branches: vec![6, 8] };
        assert_eq!(batch.segments(), [(0..3).into(), (3..5).into(), branched]);
        assert_eq!(batch.positions(), [0, 1, 2, 0, 1, 0, 1, 2, 1, 2]);
        let targets = [(1, 7, 1.0), (3, 9, 0.5), (6, 3, 1.0), (8, 5, 1.0)];
        assert_eq!(batch.targets().collect::<Vec<_>>(), targets);
    }
}

//! A sequence within a packed row, and what its tokens see of each other.

use std::ops::Range;

/// The rows of one sequence. Behind a common beginning it may branch: several continuations side by side,
/// of which each sees the beginning and itself, as if it stood alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// All of its rows.
    pub rows: Range<usize>,
    /// Rows at which branches begin, ascending; empty for a plain sequence.
    pub branches: Vec<usize>,
}

impl Segment {
    /// The place of every row in its sequence: those of a branch go on from the common beginning.
    pub fn positions(&self) -> impl Iterator<Item = u32> {
        self.rows.clone().map(|row| (row - self.rows.start - self.hidden_from(row).len()) as u32)
    }

    /// The rows before `row` that it does not see: the branches before its own.
    pub(crate) fn hidden_from(&self, row: usize) -> Range<usize> {
        let Some(&first) = self.branches.first() else { return row..row };
        let own = self.branches.partition_point(|&start| start <= row);
        if own == 0 { row..row } else { first..self.branches[own - 1] }
    }
}

impl From<Range<usize>> for Segment {
    fn from(rows: Range<usize>) -> Self {
        Self { rows, branches: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::Segment;

    #[test]
    fn branches_go_on_from_the_common_beginning() {
        let positions = |s: &Segment| s.positions().collect::<Vec<_>>();
        assert_eq!(positions(&Segment::from(3..6)), [0, 1, 2]);
        let branched = Segment { rows: 10..18, branches: vec![13, 15] };
        assert_eq!(positions(&branched), [0, 1, 2, 3, 4, 3, 4, 5]);
        assert!(branched.hidden_from(12).is_empty() && branched.hidden_from(14).is_empty());
        assert_eq!(branched.hidden_from(17), 13..15);
    }
}

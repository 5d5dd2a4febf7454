//! Sums of embedding rows ("bags"), and the sparse gradient that reaches only the touched rows.
//!
//! Knows nothing of what a row stands for; the optimiser is [`SparseAdam`](crate::SparseAdam).

use rayon::prelude::*;

use crate::{Buffers, vectorised};

/// Weighted lists of rows in compressed form: bag `i` holds `rows[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bags {
    offsets: Vec<u32>,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Default for Bags {
    fn default() -> Self {
        Self { offsets: vec![0], rows: Vec::new(), weights: Vec::new() }
    }
}

/// The gradient of a table in which only `rows` are not zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SparseGrad {
    /// Touched rows, ascending, none twice.
    pub rows: Vec<u32>,
    /// Their gradients, `[rows.len(), dim]`.
    pub grads: Vec<f32>,
}

impl Bags {
    /// Number of bags.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no bag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one row to the bag that is being written.
    pub fn push(&mut self, row: u32, weight: f32) {
        self.rows.push(row);
        self.weights.push(weight);
    }

    /// Ends the bag that is being written.
    pub fn close(&mut self) {
        self.offsets.push(self.rows.len() as u32);
    }

    /// Rows and weights of one bag.
    #[must_use]
    pub fn bag(&self, idx: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[idx] as usize..self.offsets[idx + 1] as usize;
        (&self.rows[range.clone()], &self.weights[range])
    }

    /// Offsets (one more than there are bags), rows and weights of all bags.
    #[must_use]
    pub fn parts(&self) -> (&[u32], &[u32], &[f32]) {
        (&self.offsets, &self.rows, &self.weights)
    }

    /// `out[i] = sum_j weight_ij * table[row_ij]` for `table[n, dim]`, `out[len, dim]`.
    pub fn sum(&self, table: &[f32], dim: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.len() * dim, "out is [bags, dim]");
        out.par_chunks_mut(dim).with_min_len(16).enumerate().for_each(|(idx, out)| {
            let (rows, weights) = self.bag(idx);
            vectorised(
                #[inline(always)]
                || {
                    out.fill(0.0);
                    for (&row, &weight) in rows.iter().zip(weights) {
                        let from = row as usize * dim;
                        add_scaled(out, &table[from..from + dim], weight);
                    }
                },
            );
        });
    }

    /// Gradient of [`Bags::sum`] with respect to the table, for `d_out[len, dim]`: every touched row
    /// sums its uses in the order of the bags, so the result does not depend on threads. A shorter `d_out`
    /// is of the first bags: the others send nothing back.
    ///
    /// # Panics
    /// When `d_out` is longer than all bags.
    #[must_use]
    pub fn backward(&self, d_out: &[f32], dim: usize, buffers: &mut Buffers) -> SparseGrad {
        assert!(d_out.len() <= self.len() * dim, "d_out is [bags, dim]");
        let uses = self.by_row(d_out.len() / dim);
        let groups: Vec<&[Use]> = uses.chunk_by(|a, b| a.row == b.row).collect();
        let mut grads = buffers.zeros(groups.len() * dim);
        grads.par_chunks_mut(dim).with_min_len(16).zip(&groups).for_each(|(grad, group)| {
            vectorised(
                #[inline(always)]
                || {
                    for used in *group {
                        let from = used.bag as usize * dim;
                        add_scaled(grad, &d_out[from..from + dim], used.weight);
                    }
                },
            );
        });
        SparseGrad { rows: groups.iter().map(|g| g[0].row).collect(), grads }
    }

    /// [`Bags::backward`] for a small table of which most rows are touched: adds to `d_table[n, dim]`.
    ///
    /// # Panics
    /// When shapes disagree or a row lies outside the table.
    pub fn backward_into(&self, d_out: &[f32], dim: usize, d_table: &mut [f32]) {
        assert_eq!(d_out.len(), self.len() * dim, "d_out is [bags, dim]");
        let uses = self.by_row(self.len());
        let mut starts = vec![0usize; d_table.len() / dim + 1];
        uses.iter().for_each(|used| starts[used.row as usize + 1] += 1);
        (1..starts.len()).for_each(|row| starts[row] += starts[row - 1]);
        d_table.par_chunks_mut(dim).with_min_len(16).enumerate().for_each(|(row, grad)| {
            vectorised(
                #[inline(always)]
                || {
                    for used in &uses[starts[row]..starts[row + 1]] {
                        let from = used.bag as usize * dim;
                        add_scaled(grad, &d_out[from..from + dim], used.weight);
                    }
                },
            );
        });
    }

    /// All uses by the first `n` bags, by row, those of one row in the order of the bags: a radix sort,
    /// whose time goes with the uses and not with the rows of the table.
    fn by_row(&self, n: usize) -> Vec<Use> {
        let mut uses = Vec::with_capacity(self.rows.len());
        for bag in 0..n {
            let (rows, weights) = self.bag(bag);
            let of_bag = rows.iter().zip(weights);
            uses.extend(of_bag.map(|(&row, &weight)| Use { row, bag: bag as u32, weight }));
        }
        let largest = uses.iter().map(|used| used.row).max().unwrap_or(0);
        let mut other = vec![Use::default(); uses.len()];
        for shift in (0..u32::BITS).step_by(DIGIT as usize) {
            if largest >> shift == 0 {
                break;
            }
            sort_by_digit(&uses, &mut other, shift);
            std::mem::swap(&mut uses, &mut other);
        }
        uses
    }
}

/// Bits of the row that one pass of the sort looks at.
const DIGIT: u32 = 11;

/// `from` by one digit of the row, equal ones in their order.
fn sort_by_digit(from: &[Use], into: &mut [Use], shift: u32) {
    let digit = |used: &Use| (used.row >> shift) as usize & ((1 << DIGIT) - 1);
    let mut next = [0usize; (1 << DIGIT) + 1];
    from.iter().for_each(|used| next[digit(used) + 1] += 1);
    (0..1 << DIGIT).for_each(|value| next[value + 1] += next[value]);
    for used in from {
        let place = &mut next[digit(used)];
        into[*place] = *used;
        *place += 1;
    }
}

/// One row in one bag.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    row: u32,
    bag: u32,
    weight: f32,
}

/// `out += weight * x`; for use inside [`vectorised`].
#[inline(always)]
fn add_scaled(out: &mut [f32], x: &[f32], weight: f32) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o += weight * x);
}

#[cfg(test)]
mod tests {
    use super::{Bags, SparseGrad};
    use crate::Buffers;

    fn two_bags() -> Bags {
        let mut bags = Bags::default();
        bags.push(2, 1.0);
        bags.push(0, 0.5);
        bags.close();
        bags.close(); // an empty bag
        bags.push(2, 2.0);
        bags.push(2, 1.0);
        bags.close();
        bags
    }

    #[test]
    fn rows_far_apart_are_sorted_and_keep_the_order_of_their_bags() {
        let mut bags = Bags::default();
        let rows = [1 << 23, 3, 2_047, 2_048, 1 << 23, 4_194_305, 0, 3];
        for (bag, row) in (0..).zip(rows) {
            bags.push(row, bag as f32);
            bags.close();
        }
        let got: Vec<(u32, u32)> = bags.by_row(bags.len()).iter().map(|u| (u.row, u.bag)).collect();
        let mut want: Vec<(u32, u32)> = rows.into_iter().zip(0..).collect();
        want.sort_unstable();
        assert_eq!(got, want);
    }

    #[test]
    fn bags_sum_rows_and_give_the_gradient_to_touched_rows_only() {
        let table = [1.0, 10.0, 7.0, 7.0, 2.0, 20.0, 9.0, 9.0]; // [4, 2]
        let bags = two_bags();
        let mut out = vec![f32::NAN; 6];
        bags.sum(&table, 2, &mut out);
        assert_eq!(out, [2.5, 25.0, 0.0, 0.0, 6.0, 60.0]);
        let grad = bags.backward(&[1.0, 2.0, 5.0, 5.0, 0.5, 0.25], 2, &mut Buffers::default());
        // row 0: 0.5 * (1, 2); row 2: 1 * (1, 2) + 3 * (0.5, 0.25)
        assert_eq!(grad, SparseGrad { rows: vec![0, 2], grads: vec![0.5, 1.0, 2.5, 2.75] });
        let first = bags.backward(&[1.0, 2.0], 2, &mut Buffers::default());
        assert_eq!(first, SparseGrad { rows: vec![0, 2], grads: vec![0.5, 1.0, 1.0, 2.0] });
        let mut whole = [1.0; 8];
        bags.backward_into(&[1.0, 2.0, 5.0, 5.0, 0.5, 0.25], 2, &mut whole);
        assert_eq!(whole, [1.5, 2.0, 1.0, 1.0, 3.5, 3.75, 1.0, 1.0]);
    }
}

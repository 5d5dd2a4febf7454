//! The order of the samples: shuffled per epoch, packed into rows with little left empty.

use std::collections::VecDeque;

use lm::PackedBatch;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use xxhash_rust::xxh3::Xxh3;

use crate::sample::TokenSample;

/// Samples that are packed together: enough to fill rows, few enough to stay in shuffled order.
const WINDOW: usize = 256;

/// An endless stream of rows (indices of samples), a function of the lengths and the seed.
pub(super) struct RowStream {
    lens: Vec<usize>,
    row_tokens: usize,
    seed: u64,
    epoch: u64,
    rows: VecDeque<Vec<usize>>,
}

impl RowStream {
    /// A stream over samples of these lengths; there is at least one.
    pub(super) fn new(lens: Vec<usize>, row_tokens: usize, seed: u64) -> Self {
        Self { lens, row_tokens, seed, epoch: 0, rows: VecDeque::new() }
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Vec<usize> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return row;
            }
            self.rows = self.rows_of_epoch(self.epoch).into();
            self.epoch += 1;
        }
    }

    /// Goes forward as if `n` rows had been taken.
    pub(super) fn skip_rows(&mut self, n: usize) {
        for _ in 0..n {
            self.next();
        }
    }

    /// The rows of one pass: shuffled, packed by first-fit decreasing within windows, shuffled again.
    pub(super) fn rows_of_epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed ^ (epoch << 32));
        let mut order: Vec<usize> = (0..self.lens.len()).collect();
        order.shuffle(&mut rng);
        let mut rows = Vec::new();
        for window in order.chunks(WINDOW) {
            let mut packed = self.first_fit(window);
            packed.shuffle(&mut rng);
            rows.append(&mut packed);
        }
        rows
    }

    fn first_fit(&self, window: &[usize]) -> Vec<Vec<usize>> {
        let mut longest_first = window.to_vec();
        longest_first.sort_by_key(|&i| std::cmp::Reverse(self.lens[i]));
        let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
        for i in longest_first {
            let len = self.lens[i];
            match rows.iter_mut().find(|(used, _)| used + len <= self.row_tokens) {
                Some((used, row)) => {
                    *used += len;
                    row.push(i);
                }
                None => rows.push((len, vec![i])),
            }
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// The samples of a row, side by side.
pub(super) fn pack(samples: &[TokenSample], row: &[usize]) -> PackedBatch {
    let mut batch = PackedBatch::default();
    for &i in row {
        let weights = samples[i].loss.iter().map(|&is_target| f32::from(u8::from(is_target)));
        batch.push_branched((&samples[i].tokens, &samples[i].branches), weights);
    }
    batch
}

/// All samples in their order, each in the current row or the next.
pub(super) fn pack_in_order(samples: &[TokenSample], row_tokens: usize) -> Vec<PackedBatch> {
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut used = usize::MAX;
    for (i, sample) in samples.iter().enumerate() {
        let len = sample.tokens.len();
        match rows.last_mut() {
            Some(row) if used + len <= row_tokens => {
                used += len;
                row.push(i);
            }
            _ => {
                used = len;
                rows.push(vec![i]);
            }
        }
    }
    rows.iter().map(|row| pack(samples, row)).collect()
}

/// A hash of all samples, to tell whether a run continues on the same ones.
pub(super) fn fingerprint(samples: &[TokenSample]) -> u64 {
    let mut hash = Xxh3::new();
    for sample in samples {
        hash.update(&(sample.tokens.len() as u64).to_le_bytes());
        sample.tokens.iter().for_each(|token| hash.update(&token.to_le_bytes()));
        sample.loss.iter().for_each(|&is_target| hash.update(&[u8::from(is_target)]));
        sample.branches.iter().for_each(|&at| hash.update(&(at as u64).to_le_bytes()));
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> RowStream {
        RowStream::new((0..1000).map(|i| 20 + i * 37 % 500).collect(), 1024, seed)
    }

    #[test]
    fn an_epoch_holds_every_sample_once_in_nearly_full_rows() {
        let stream = stream(4);
        let rows = stream.rows_of_epoch(0);
        let mut seen: Vec<usize> = rows.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        let used = |row: &Vec<usize>| row.iter().map(|&i| stream.lens[i]).sum::<usize>();
        assert!(rows.iter().all(|row| used(row) <= 1024));
        let total: usize = rows.iter().map(used).sum();
        let fill = total as f64 / (rows.len() * 1024) as f64;
        assert!(fill > 0.97, "rows are {fill} full");
    }

    #[test]
    fn the_order_is_a_function_of_seed_and_epoch() {
        assert_eq!(stream(4).rows_of_epoch(1), stream(4).rows_of_epoch(1));
        assert_ne!(stream(4).rows_of_epoch(1), stream(4).rows_of_epoch(2));
        assert_ne!(stream(4).rows_of_epoch(1), stream(5).rows_of_epoch(1));
    }

    #[test]
    fn skipping_is_taking() {
        let (mut taken, mut skipped) = (stream(1), stream(1));
        let n = taken.rows_of_epoch(0).len() + 3;
        for _ in 0..n {
            taken.next();
        }
        skipped.skip_rows(n);
        assert_eq!(taken.next(), skipped.next());
    }

    #[test]
    fn a_sample_longer_than_a_row_stands_alone() {
        let stream = RowStream::new(vec![5, 30, 5], 10, 0);
        let mut rows = stream.rows_of_epoch(0);
        rows.iter_mut().for_each(|row| row.sort_unstable());
        rows.sort_unstable();
        assert_eq!(rows, [vec![0, 2], vec![1]]);
    }
}

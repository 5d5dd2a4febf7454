//! Rows of codes, and their products with queries.

use std::ops::Range;

use super::{GROUP, Int8Query, Line, OFFSET, ROWS};
#[cfg(target_arch = "x86_64")]
use super::{avx2, vnni};

/// A code of zero, everywhere.
const ZEROS: Line = Line([OFFSET; ROWS * GROUP]);

/// Rows of codes with their scales, by blocks of sixteen: codes `4 i..4 i + 4` of all rows of a block lie
/// together, the last block is filled up with zeros.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Int8Rows {
    dim: usize,
    lines: Vec<Line>, // [blocks, groups]
    scales: Vec<f32>,
}

impl Int8Rows {
    /// Rows of a block; ranges of rows begin at multiples of it.
    pub const BLOCK: usize = ROWS;

    /// No rows of `dim` codes.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self { dim, ..Self::default() }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Scales of all rows.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&self.lines[..]) + size_of_val(&self.scales[..])
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When there are not `dim` codes.
    pub fn push(&mut self, codes: &[i8], scale: f32) {
        if self.len().is_multiple_of(ROWS) {
            self.lines.resize(self.lines.len() + self.groups(), ZEROS);
        }
        self.scales.push(scale);
        self.set(self.len() - 1, codes, scale);
    }

    /// Gives a row other codes.
    ///
    /// # Panics
    /// When there is no such row, or there are not `dim` codes.
    pub fn set(&mut self, row: usize, codes: &[i8], scale: f32) {
        assert_eq!(codes.len(), self.dim, "rows have dim codes");
        self.scales[row] = scale;
        for (line, codes) in self.lines_of(row).zip(codes.chunks(GROUP)) {
            for (at, code) in line.iter_mut().zip(codes) {
                *at = code.cast_unsigned() ^ OFFSET;
            }
        }
    }

    /// Moves the last row to `row` and drops the last.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        self.scales.swap_remove(row);
        let last = self.len();
        let moved: Vec<[u8; GROUP]> =
            self.lines_of(last).map(|at| std::mem::replace(at, [OFFSET; GROUP])).collect();
        if row != last {
            self.lines_of(row).zip(moved).for_each(|(at, codes)| *at = codes);
        }
        if last.is_multiple_of(ROWS) {
            self.lines.truncate(last / ROWS * self.groups());
        }
    }

    /// Adds the rows of another.
    ///
    /// # Panics
    /// When the last block here is not full, or the other has rows of another length.
    pub fn append(&mut self, other: Self) {
        assert!(self.len().is_multiple_of(ROWS), "rows are added behind a full block");
        assert_eq!(self.dim, other.dim, "rows are equally long");
        self.lines.extend(other.lines);
        self.scales.extend(other.scales);
    }

    /// `out[q, i] = codes[rows.start + i] . numbers[q]`, where `out` has [`Self::padded`] numbers per
    /// query: those behind `rows.len()` have no meaning.
    ///
    /// # Panics
    /// When `rows` does not begin with a block or ends behind the last row, a query has not `dim`
    /// numbers, or `out` has another length.
    pub fn dots<Q: AsRef<Int8Query>>(&self, rows: Range<usize>, queries: &[&Q], out: &mut [i32]) {
        let width = Self::padded(rows.len());
        assert!(rows.start.is_multiple_of(ROWS) && rows.end <= self.len(), "rows are whole blocks");
        assert_eq!(out.len(), queries.len() * width, "out is [queries, padded rows]");
        let groups = self.groups();
        let fits = |query: &&Q| query.as_ref().numbers.len() == groups * GROUP;
        assert!(queries.iter().all(fits), "queries have dim numbers");
        let lines = &self.lines[rows.start / ROWS * groups..][..width / ROWS * groups];
        if groups == 0 || width == 0 {
            out.fill(0);
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if vnni::available() {
            #[expect(unsafe_code, reason = "called where the processor has the instructions")]
            // SAFETY: it has them; the slices have the lengths that were checked above.
            unsafe {
                vnni::dots(lines, groups, queries, out);
            }
            return;
        }
        for (query, out) in queries.iter().zip(out.chunks_exact_mut(width)) {
            for (block, out) in lines.chunks_exact(groups).zip(out.chunks_exact_mut(ROWS)) {
                dots_of_block(block, &query.as_ref().numbers, out);
            }
        }
    }

    /// `n` rows with the rest of their last block.
    #[must_use]
    pub fn padded(n: usize) -> usize {
        n.next_multiple_of(ROWS)
    }

    fn groups(&self) -> usize {
        self.dim.div_ceil(GROUP)
    }

    /// The codes of one row.
    fn lines_of(&mut self, row: usize) -> impl Iterator<Item = &mut [u8; GROUP]> {
        let groups = self.groups();
        let block = &mut self.lines[row / ROWS * groups..][..groups];
        block.iter_mut().map(move |line| &mut line.0.as_chunks_mut().0[row % ROWS])
    }
}

/// The sums of one block with one query.
fn dots_of_block(block: &[Line], numbers: &[i16], out: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "called where the processor has the instructions")]
        // SAFETY: it has them; `numbers` has four numbers per line, and `out` sixteen places.
        unsafe {
            avx2::dots(block, numbers, out);
        }
        return;
    }
    portable(block, numbers, out);
}

fn portable(block: &[Line], numbers: &[i16], out: &mut [i32]) {
    out.fill(0);
    for (line, numbers) in block.iter().zip(numbers.chunks_exact(GROUP)) {
        for (out, codes) in out.iter_mut().zip(line.0.chunks_exact(GROUP)) {
            let products = codes.iter().zip(numbers).map(|(&code, &number)| {
                i32::from((code ^ OFFSET).cast_signed()) * i32::from(number)
            });
            *out += products.sum::<i32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::int8_encode;

    /// Codes `[rows, dim]` and the rows of them.
    fn random_rows(rows: usize, dim: usize, seed: u64) -> (Vec<Vec<i8>>, Int8Rows) {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            ((state >> 40) as i32 % 128) as i8 * if state >> 63 == 0 { 1 } else { -1 }
        };
        let codes: Vec<Vec<i8>> = (0..rows).map(|_| (0..dim).map(|_| next()).collect()).collect();
        let mut packed = Int8Rows::new(dim);
        codes.iter().for_each(|codes| packed.push(codes, 1.0));
        (codes, packed)
    }

    fn random_queries(n: usize, dim: usize, fine: bool) -> Vec<Int8Query> {
        let query = |q: usize| -> Vec<f32> {
            (0..dim).map(|i| ((i * (q + 3) + q) as f32 * 0.37).sin()).collect()
        };
        let make = if fine { Int8Query::fine } else { Int8Query::coarse };
        (0..n).map(|q| make(&query(q))).collect()
    }

    /// The sums by definition.
    fn sums(codes: &[Vec<i8>], query: &Int8Query) -> Vec<i32> {
        let product = |(&c, &n): (&i8, &i16)| i32::from(c) * i32::from(n);
        codes.iter().map(|codes| codes.iter().zip(query.numbers()).map(product).sum()).collect()
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_plain_sums(
            rows in 0usize..150, dim in 1usize..70, n in 0usize..20, fine: bool, seed: u64,
        ) {
            let (codes, packed) = random_rows(rows, dim, seed);
            let queries = random_queries(n, dim, fine);
            let width = Int8Rows::padded(rows);
            let mut all = vec![7; n * width];
            packed.dots(0..rows, &queries.iter().collect::<Vec<_>>(), &mut all);
            for (q, query) in queries.iter().enumerate() {
                let want = sums(&codes, query);
                prop_assert_eq!(&all[q * width..][..rows], &want[..]);
                let (mut native, mut plain) = (vec![7; width], vec![7; width]);
                let groups = packed.groups();
                for (block, lines) in packed.lines.chunks(groups).enumerate() {
                    let places = block * ROWS..(block + 1) * ROWS;
                    dots_of_block(lines, &query.numbers, &mut native[places.clone()]);
                    portable(lines, &query.numbers, &mut plain[places]);
                }
                prop_assert_eq!(&native[..rows], &want[..]);
                prop_assert_eq!(&plain[..rows], &want[..]);
            }
        }

        #[test]
        fn rows_come_change_and_go(steps in prop::collection::vec((0u8..4, 0usize..64), 0..80)) {
            let dim = 6;
            let (mut codes, _) = random_rows(0, dim, 1);
            let mut packed = Int8Rows::new(dim);
            for (i, (kind, at)) in (1u64..).zip(steps) {
                let new = random_rows(1, dim, i * 77).0.remove(0);
                match kind {
                    0 | 1 => {
                        packed.push(&new, 1.0);
                        codes.push(new);
                    }
                    2 if at < codes.len() => {
                        packed.set(at, &new, 1.0);
                        codes[at] = new;
                    }
                    3 if at < codes.len() => {
                        packed.swap_remove(at);
                        codes.swap_remove(at);
                    }
                    _ => {}
                }
                let mut fresh = Int8Rows::new(dim);
                codes.iter().for_each(|codes| fresh.push(codes, 1.0));
                prop_assert_eq!(&packed, &fresh);
            }
        }
    }

    #[test]
    fn codes_lie_within_half_a_step_and_sums_never_overflow() {
        for dim in [1, 16, 256, 300, 4096] {
            let vector: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
            let mut codes = vec![1i8; dim];
            let scale = int8_encode(&vector, &mut codes);
            for (x, &code) in vector.iter().zip(&codes) {
                assert!((x - scale * f32::from(code)).abs() <= scale * 0.5001, "dim {dim}");
            }
            let mut full = Int8Rows::new(dim);
            full.push(&vec![127; dim], 1.0);
            full.push(&vec![-127; dim], 1.0);
            for query in [Int8Query::fine(&vec![1.0; dim]), Int8Query::coarse(&vec![1.0; dim])] {
                let mut out = [0; ROWS];
                full.dots(0..2, &[&query], &mut out);
                let want = 127.0 * dim as f32;
                let near = |sum: i32, want: f32| {
                    (sum as f32 * query.scale() - want).abs() < 1e-3 * want.abs()
                };
                assert!(near(out[0], want) && near(out[1], -want), "dim {dim}: {:?}", &out[..2]);
            }
        }
        assert_eq!(int8_encode(&[0.0; 4], &mut [0i8; 4]), 0.0);
        assert_eq!(Int8Query::fine(&[0.0; 4]).scale(), 0.0);
    }
}

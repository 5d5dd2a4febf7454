//! Matrix products of a training step in single or mixed precision, with their buffers.
//!
//! In mixed precision both factors are rounded to bfloat16 (nearest even) while they are packed, and
//! multiplied and added up in single precision by the tile unit (AMX). An element is added up in an
//! order that depends on its inner size only, so that results have the same bits whatever the other
//! sizes and the threads. Numbers below 1.2e-38 count as zero. Without a tile unit everything runs in
//! single precision. `vdpbf16ps` of AVX-512 is no substitute: on the Xeon where this was measured it
//! starts every second cycle, 60 GMAC/s against 122 of multiply-adds in single precision on one core.

#[cfg(target_arch = "x86_64")]
mod tiles;

use crate::matmul::{Mat, MatMut, gemm};
use crate::precision::Precision;

/// Products of one precision; keep one per thread, for it holds the buffers.
#[derive(Clone, Debug, Default)]
pub struct Products {
    asked: Precision,
    left: Vec<u32>,
    /// Buffers of right factors that were given back.
    spare: Vec<Vec<u32>>,
}

/// A right factor `[k, n]`, ready for many products.
#[derive(Clone)]
pub struct Right<'a> {
    matrix: Mat<'a>,
    /// Tiles of pairs; empty in single precision.
    tiles: Vec<u32>,
}

impl Products {
    /// Products of a precision, which is single precision where the processor lacks the other.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        Self { asked: precision, ..Self::default() }
    }

    /// The precision that was asked for.
    pub fn precision(&self) -> Precision {
        self.asked
    }

    /// `out = a @ b`, or `out += a @ b` with `add`.
    pub fn gemm(&mut self, out: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, add: bool) {
        let right = self.right(b);
        self.times(out, a, &right, add);
        self.give(right);
    }

    /// `out[m, n] = a[m, k] @ b[k, n]`, or `+=` with `add`.
    pub fn nn(
        &mut self,
        out: &mut [f32],
        a: &[f32],
        b: &[f32],
        (m, k, n): (usize, usize, usize),
        add: bool,
    ) {
        self.gemm(MatMut::new(out, m, n), Mat::new(a, m, k), Mat::new(b, k, n), add);
    }

    /// `out[m, n] = a[m, k] @ b[n, k]^T`, or `+=` with `add`.
    pub fn nt(
        &mut self,
        out: &mut [f32],
        a: &[f32],
        b: &[f32],
        (m, k, n): (usize, usize, usize),
        add: bool,
    ) {
        self.gemm(MatMut::new(out, m, n), Mat::new(a, m, k), Mat::new(b, n, k).t(), add);
    }

    /// `out[m, n] = a[k, m]^T @ b[k, n]`, or `+=` with `add`.
    pub fn tn(
        &mut self,
        out: &mut [f32],
        a: &[f32],
        b: &[f32],
        (m, k, n): (usize, usize, usize),
        add: bool,
    ) {
        self.gemm(MatMut::new(out, m, n), Mat::new(a, k, m).t(), Mat::new(b, k, n), add);
    }

    /// Prepares a right factor; [`Self::give`] it back after the last product.
    #[must_use]
    pub fn right<'a>(&mut self, matrix: Mat<'a>) -> Right<'a> {
        let mut tiles = Vec::new();
        match self.asked.here() {
            Precision::F32 => {}
            Precision::Bf16 => {
                tiles = self.spare.pop().unwrap_or_default();
                round_right(matrix, &mut tiles);
            }
        }
        Right { matrix, tiles }
    }

    /// As [`Self::gemm`], by the first rows and columns of a prepared factor, as many as `a` and `out`
    /// ask for.
    pub fn times(&mut self, out: MatMut<'_>, a: Mat<'_>, right: &Right<'_>, add: bool) {
        assert_eq!(a.rows(), out.rows(), "a and out have the same rows");
        assert!(out.cols() <= right.matrix.cols(), "the right factor has the columns of out");
        assert!(a.cols() <= right.matrix.rows(), "the right factor has the inner size of a");
        if out.rows() == 0 || out.cols() == 0 {
            return;
        }
        if right.tiles.is_empty() || a.cols() == 0 {
            let b = right.matrix.first(a.cols(), out.cols());
            gemm(out, a, b, if add { 1.0 } else { 0.0 });
        } else {
            times_bf16(out, a, right, add, &mut self.left);
        }
    }

    /// Keeps the buffer of a factor for later ones.
    pub fn give(&mut self, right: Right<'_>) {
        if right.tiles.capacity() > 0 {
            self.spare.push(right.tiles);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use self::tiles::has_tiles;
#[cfg(target_arch = "x86_64")]
use self::tiles::{round_right, times as times_bf16};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn has_tiles() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn round_right(_: Mat<'_>, _: &mut Vec<u32>) {}

#[cfg(not(target_arch = "x86_64"))]
fn times_bf16(out: MatMut<'_>, a: Mat<'_>, right: &Right<'_>, add: bool, _: &mut [u32]) {
    gemm(out, a, right.matrix.first(a.cols(), out.cols()), if add { 1.0 } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::matmul::transpose;
    use crate::testing::wave;

    /// Which factors lie transposed.
    const LAYOUTS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

    /// The product of rounded factors in double precision, and the sum of its terms' magnitudes.
    fn by_definition(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<(f64, f64)> {
        let round = |x: f32| f64::from(bf16::from_f32(x).to_f32());
        let term = |r: usize, c: usize, i: usize| round(a[r * k + i]) * round(b[i * n + c]);
        let element = |at: usize| {
            let terms = (0..k).map(|i| term(at / n, at % n, i));
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        (0..m * n).map(element).collect()
    }

    fn turned(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        let mut into = vec![0.0; x.len()];
        transpose(x, rows, cols, &mut into);
        into
    }

    /// `a[m, k] @ b[k, n]` in mixed precision from factors that lie as `layout` says.
    fn product(
        (a, b): (&[f32], &[f32]),
        (m, k, n): (usize, usize, usize),
        (a_turned, b_turned): (bool, bool),
        before: Option<&[f32]>,
    ) -> Vec<f32> {
        let mut out = before.map_or_else(|| vec![f32::NAN; m * n], <[f32]>::to_vec);
        let (a_t, b_t) = (turned(a, m, k), turned(b, k, n));
        let a = if a_turned { Mat::new(&a_t, k, m).t() } else { Mat::new(a, m, k) };
        let b = if b_turned { Mat::new(&b_t, n, k).t() } else { Mat::new(b, k, n) };
        Products::new(Precision::Bf16).gemm(MatMut::new(&mut out, m, n), a, b, before.is_some());
        out
    }

    proptest! {
        #[test]
        fn products_are_those_of_rounded_factors(
            m in 1usize..70, k in 1usize..70, n in 1usize..70, add: bool, step in 0.1f32..3.0,
        ) {
            let (a, b, before) = (wave(m * k, step), wave(k * n, 0.37), wave(m * n, 0.9));
            let want = by_definition(&a, &b, (m, k, n));
            // Without the instructions the factors are not rounded.
            let unit = if Precision::of_machine() == Precision::Bf16 { 1e-6 } else { 8e-3 };
            for layout in LAYOUTS {
                let got = product((&a, &b), (m, k, n), layout, add.then_some(&before));
                for (i, (&got, (want, size))) in got.iter().zip(&want).enumerate() {
                    let want = want + if add { f64::from(before[i]) } else { 0.0 };
                    let far = (f64::from(got) - want).abs();
                    prop_assert!(far <= unit * (size + 1.0), "{got}, not {want}: {layout:?} at {i}");
                }
            }
        }
    }

    #[test]
    fn an_element_has_the_same_bits_in_every_layout_and_beside_any_others() {
        if Precision::of_machine() != Precision::Bf16 {
            return;
        }
        let (m, k, n) = (45, 531, 67);
        let (a, b) = (wave(m * k, 0.7), wave(k * n, 0.31));
        let want = product((&a, &b), (m, k, n), LAYOUTS[0], None);
        for layout in LAYOUTS {
            assert!(product((&a, &b), (m, k, n), layout, None) == want, "{layout:?}");
            for row in [0, 7, 44] {
                let alone = product((&a[row * k..][..k], &b), (1, k, n), layout, None);
                assert!(alone == want[row * n..][..n], "row {row} of {layout:?}");
            }
        }
    }

    #[test]
    fn strides_leave_the_gaps_alone() {
        // [[1, 2], [3, 4]] inside rows of 3, times itself, into rows of 4.
        let a = [1.0, 2.0, 9.0, 3.0, 4.0];
        for precision in [Precision::F32, Precision::Bf16] {
            let (mut out, mut products) = ([-1.0; 6], Products::new(precision));
            let view = Mat::strided(&a, 2, 2, 3);
            products.gemm(MatMut::strided(&mut out, 2, 2, 4), view, view, false);
            assert_eq!(out, [7.0, 10.0, -1.0, -1.0, 15.0, 22.0]);
            let mut turned = [-1.0; 6];
            products.gemm(MatMut::strided(&mut turned, 2, 2, 4), view.t(), view.t(), false);
            assert_eq!(turned, [7.0, 15.0, -1.0, -1.0, 10.0, 22.0]);
        }
    }

    #[test]
    fn a_prepared_factor_serves_many_products_of_any_precision() {
        let (m, k, n) = (9, 20, 35);
        let (a, b) = (wave(m * k, 0.7), wave(k * n, 0.31));
        for precision in [Precision::F32, Precision::Bf16] {
            let mut products = Products::new(precision);
            let (mut once, mut parts) = (vec![0.0; m * n], vec![0.0; m * n]);
            products.nn(&mut once, &a, &b, (m, k, n), false);
            let right = products.right(Mat::new(&b, k, n));
            for r in 0..m {
                let row = MatMut::new(&mut parts[r * n..][..n], 1, n);
                products.times(row, Mat::new(&a[r * k..][..k], 1, k), &right, false);
            }
            products.give(right);
            for (once, part) in once.iter().zip(&parts) {
                assert!((once - part).abs() < 1e-5, "{once} is not {part} in {precision:?}");
            }
        }
    }
}

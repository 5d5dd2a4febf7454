//! Matrix products on row-major slices, single-threaded: callers split work by data.
//!
//! The `gemm` crate picks AVX-512, AVX2 or scalar kernels at run time, so a default build is fast.

use gemm::Parallelism;

/// A read-only matrix over a slice, addressed by strides; `t()` transposes it without copying.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// `data` as `[rows, cols]`, rows adjacent.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `data` as `[rows, cols]` whose rows begin `row_stride` numbers apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check_fits(data.len(), rows, cols, row_stride);
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose `[cols, rows]`.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    pub(crate) fn cols(self) -> usize {
        self.cols
    }

    /// Whether the numbers of a row are adjacent; if not, those of a column are.
    pub(crate) fn unit_cols(self) -> bool {
        self.col_stride == 1
    }

    /// The first rows and columns.
    pub(crate) fn first(self, rows: usize, cols: usize) -> Self {
        assert!(rows <= self.rows && cols <= self.cols, "no more than there are");
        Self { rows, cols, ..self }
    }

    /// A row whose numbers are adjacent.
    pub(crate) fn row(self, row: usize) -> &'a [f32] {
        debug_assert!(self.unit_cols() && row < self.rows, "row {row} is one slice");
        &self.data[row * self.row_stride..][..self.cols]
    }
}

/// A writable matrix over a slice whose rows begin `row_stride` numbers apart.
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// `data` as `[rows, cols]`, rows adjacent.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `data` as `[rows, cols]` whose rows begin `row_stride` numbers apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check_fits(data.len(), rows, cols, row_stride);
        Self { data, rows, cols, row_stride }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// All that follows from an element on.
    pub(crate) fn from(&mut self, row: usize, col: usize) -> &mut [f32] {
        &mut self.data[row * self.row_stride + col..]
    }

    /// Up to `n` numbers of a row from column `from` on.
    pub(crate) fn row(&mut self, row: usize, from: usize, n: usize) -> &mut [f32] {
        let n = n.min(self.cols - from);
        &mut self.data[row * self.row_stride + from..][..n]
    }
}

/// `out = beta * out + a @ b`; with `beta` 0 the old numbers in `out` are not read.
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
pub fn gemm(out: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, beta: f32) {
    assert_eq!(a.rows, out.rows, "a and out have the same rows");
    assert_eq!(b.cols, out.cols, "b and out have the same columns");
    assert_eq!(a.cols, b.rows, "the inner sizes agree");
    if out.rows == 0 || out.cols == 0 {
        return;
    }
    let stride = |s: usize| s as isize;
    // SAFETY: `Mat` and `MatMut` checked on construction that their strides address only numbers
    // of their slices, the shapes agree, and `out` is borrowed mutably, so nothing aliases it.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.data.as_mut_ptr(),
            1,
            stride(out.row_stride),
            beta != 0.0,
            a.data.as_ptr(),
            stride(a.col_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.col_stride),
            stride(b.row_stride),
            beta,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `out[m, n] = beta * out + a[m, k] @ b[k, n]`.
pub fn gemm_nn(out: &mut [f32], a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), beta: f32) {
    check_lengths(out, a, b, (m, k, n));
    gemm(MatMut::new(out, m, n), Mat::new(a, m, k), Mat::new(b, k, n), beta);
}

/// Least rows and most inner length for which `gemm` computes every element by one chain of fused
/// multiply-adds along `k`, whatever the other sizes; beside them it changes the order of the sum.
const CHAIN_ROWS: usize = 4;
const CHAIN_K: usize = 512;

/// As [`gemm_nn`], but every row of `out` has the same bits however many rows there are, so that one
/// token decoded alone, in a batch, or in a prompt gives equal results.
pub fn gemm_rowwise(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    (m, k, n): (usize, usize, usize),
    beta: f32,
) {
    check_lengths(out, a, b, (m, k, n));
    if m < CHAIN_ROWS && m > 0 {
        let (mut padded_out, mut padded_a) = (vec![0.0; CHAIN_ROWS * n], vec![0.0; CHAIN_ROWS * k]);
        padded_out[..m * n].copy_from_slice(out);
        padded_a[..m * k].copy_from_slice(a);
        gemm_rowwise(&mut padded_out, &padded_a, b, (CHAIN_ROWS, k, n), beta);
        out.copy_from_slice(&padded_out[..m * n]);
        return;
    }
    for from in (0..k).step_by(CHAIN_K) {
        let part = CHAIN_K.min(k - from);
        let beta = if from == 0 { beta } else { 1.0 };
        let a = Mat::strided(&a[from..], m, part, k);
        gemm(MatMut::new(out, m, n), a, Mat::new(&b[from * n..][..part * n], part, n), beta);
    }
}

/// `out[m, n] = beta * out + a[m, k] @ b[n, k]^T`.
pub fn gemm_nt(out: &mut [f32], a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), beta: f32) {
    check_lengths(out, a, b, (m, k, n));
    gemm(MatMut::new(out, m, n), Mat::new(a, m, k), Mat::new(b, n, k).t(), beta);
}

/// `out[m, n] = beta * out + a[k, m]^T @ b[k, n]`.
pub fn gemm_tn(out: &mut [f32], a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), beta: f32) {
    check_lengths(out, a, b, (m, k, n));
    gemm(MatMut::new(out, m, n), Mat::new(a, k, m).t(), Mat::new(b, k, n), beta);
}

/// Writes `from[rows, cols]` as `into[cols, rows]`, by tiles that stay in the nearest cache.
pub fn transpose(from: &[f32], rows: usize, cols: usize, into: &mut [f32]) {
    assert_eq!(from.len(), rows * cols, "from is [rows, cols]");
    assert_eq!(into.len(), from.len(), "into is [cols, rows]");
    transpose_strided(from, cols, (rows, cols), into);
}

/// As [`transpose`], for rows that begin `stride` numbers apart.
pub(crate) fn transpose_strided(
    from: &[f32],
    stride: usize,
    (rows, cols): (usize, usize),
    into: &mut [f32],
) {
    const TILE: usize = 16;
    for r0 in (0..rows).step_by(TILE) {
        for c in 0..cols {
            for r in r0..(r0 + TILE).min(rows) {
                into[c * rows + r] = from[r * stride + c];
            }
        }
    }
}

fn check_lengths(out: &[f32], a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) {
    assert_eq!(out.len(), m * n, "out is [m, n]");
    assert_eq!(a.len(), m * k, "a holds m * k numbers");
    assert_eq!(b.len(), k * n, "b holds k * n numbers");
}

fn check_fits(len: usize, rows: usize, cols: usize, row_stride: usize) {
    assert!(cols <= row_stride || rows <= 1, "rows of {cols} overlap at stride {row_stride}");
    let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
    assert!(len >= needed, "[{rows}, {cols}] at stride {row_stride} needs {needed}, got {len}");
}

#[cfg(test)]
mod tests {
    use super::{Mat, MatMut, gemm, gemm_nn, gemm_nt, gemm_tn};

    fn transpose(a: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        let mut into = vec![0.0; a.len()];
        super::transpose(a, rows, cols, &mut into);
        assert_eq!(into[rows], a[1]);
        into
    }

    #[test]
    fn rows_have_the_same_bits_however_many_there_are() {
        for (k, n) in [(64, 64), (256, 128), (512, 300), (700, 33)] {
            let m = 70;
            let a: Vec<f32> = (0..m * k).map(|i| (i as f32).sin()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.7).cos()).collect();
            let begin: Vec<f32> = (0..m * n).map(|i| (i as f32 * 0.3).sin()).collect();
            let rows = |range: std::ops::Range<usize>| {
                let mut out = begin[range.start * n..range.end * n].to_vec();
                let a = &a[range.start * k..range.end * k];
                super::gemm_rowwise(&mut out, a, &b, (range.len(), k, n), 1.0);
                out
            };
            let want = rows(0..m);
            for range in [0..1, 1..2, 5..7, 66..69, 30..34, 11..28, 0..65] {
                let got = rows(range.clone());
                assert!(got == want[range.start * n..range.end * n], "{range:?} of {k} x {n}");
            }
        }
    }

    #[test]
    fn all_layouts_agree_with_the_sum_by_hand() {
        let (m, k, n) = (3, 4, 5);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32).cos()).collect();
        let at = |r: usize, c: usize| (0..k).map(|i| a[r * k + i] * b[i * n + c]).sum::<f32>();
        let want: Vec<f32> = (0..m).flat_map(|r| (0..n).map(move |c| at(r, c))).collect();
        let check = |got: &[f32], scale: f32| {
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w * scale).abs() < 1e-5, "{g} is not {w} * {scale}");
            }
        };
        let mut out = vec![0.0; m * n];
        gemm_nn(&mut out, &a, &b, (m, k, n), 0.0);
        check(&out, 1.0);
        gemm_nt(&mut out, &a, &transpose(&b, k, n), (m, k, n), 1.0);
        check(&out, 2.0);
        gemm_tn(&mut out, &transpose(&a, m, k), &b, (m, k, n), 0.5);
        check(&out, 2.0);
    }

    #[test]
    fn strides_leave_the_gaps_alone() {
        // [[1, 2], [3, 4]] inside rows of 3, times itself, into rows of 4.
        let a = [1.0, 2.0, 9.0, 3.0, 4.0];
        let mut out = [-1.0; 6];
        let view = Mat::strided(&a, 2, 2, 3);
        gemm(MatMut::strided(&mut out, 2, 2, 4), view, view, 0.0);
        assert_eq!(out, [7.0, 10.0, -1.0, -1.0, 15.0, 22.0]);
    }

    #[test]
    #[should_panic(expected = "needs 5, got 4")]
    fn a_slice_too_short_is_refused() {
        let _view = Mat::strided(&[0.0; 4], 2, 2, 3);
    }
}

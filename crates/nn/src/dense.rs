//! Products split over threads, affine layers and row normalisation, with their gradients.
//!
//! Every output block is written by exactly one task of a fixed size, so results do not depend on
//! the number of threads. Holds no parameters: layers are functions over slices.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::matmul::{gemm_nn, gemm_nt};

/// Rows of the output that one task computes.
const BLOCK: usize = 128;

/// `out[m, n] = beta * out + a[m, k] @ b[n, k]^T`, over threads by rows of `out`.
pub fn par_gemm_nt(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    (m, k, n): (usize, usize, usize),
    beta: f32,
) {
    assert_eq!((out.len(), a.len(), b.len()), (m * n, m * k, n * k), "out [m,n], a [m,k], b [n,k]");
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(BLOCK * n).enumerate().for_each(|(block, out)| {
        let rows = out.len() / n;
        let from = block * BLOCK * k;
        gemm_nt(out, &a[from..from + rows * k], b, (rows, k, n), beta);
    });
}

/// `out[m, n] = beta * out + a[m, k] @ b[k, n]`, over threads by rows of `out`.
pub fn par_gemm_nn(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    (m, k, n): (usize, usize, usize),
    beta: f32,
) {
    assert_eq!((out.len(), a.len(), b.len()), (m * n, m * k, k * n), "out [m,n], a [m,k], b [k,n]");
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(BLOCK * n).enumerate().for_each(|(block, out)| {
        let rows = out.len() / n;
        let from = block * BLOCK * k;
        gemm_nn(out, &a[from..from + rows * k], b, (rows, k, n), beta);
    });
}

/// `out[m, n] = beta * out + a[k, m]^T @ b[k, n]`, over threads by rows of `out` (columns of `a`).
pub fn par_gemm_tn(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    (m, k, n): (usize, usize, usize),
    beta: f32,
) {
    assert_eq!((out.len(), a.len(), b.len()), (m * n, k * m, k * n), "out [m,n], a [k,m], b [k,n]");
    if out.is_empty() || k == 0 {
        out.iter_mut().for_each(|o| *o *= beta);
        return;
    }
    out.par_chunks_mut(BLOCK * n).enumerate().for_each(|(block, out)| {
        tn_block(out, (a, m, block * BLOCK), b, k, beta);
    });
}

/// `out[rows, n] = beta * out + a[k, m][:, first..first + rows]^T @ b[k, n]`.
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
fn tn_block(
    out: &mut [f32],
    (a, m, first): (&[f32], usize, usize),
    b: &[f32],
    k: usize,
    beta: f32,
) {
    let n = b.len() / k;
    let rows = out.len() / n;
    assert!(first + rows <= m && a.len() == k * m, "the columns lie inside a");
    assert!(out.len() == rows * n && b.len() == k * n, "out is [rows, n] and b is [k, n]");
    // SAFETY: the asserts bound every address: `a` is read at row stride m from column `first` for
    // `rows` columns, `b` and `out` are dense; `out` is borrowed mutably, so nothing aliases it.
    unsafe {
        gemm::gemm(
            rows,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            beta != 0.0,
            a.as_ptr().add(first),
            m as isize,
            1,
            b.as_ptr(),
            1,
            n as isize,
            beta,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `y[rows, n_out] = x[rows, n_in] @ w[n_out, n_in]^T + b[n_out]`.
pub fn affine(y: &mut [f32], x: &[f32], w: &[f32], b: &[f32]) {
    let n_out = b.len();
    let (n_in, rows) = (w.len() / n_out, y.len() / n_out);
    par_gemm_nt(y, x, w, (rows, n_in, n_out), 0.0);
    y.par_chunks_mut(n_out).for_each(|row| row.iter_mut().zip(b).for_each(|(y, b)| *y += b));
}

/// Gradients of [`affine`] for `dy[rows, n_out]`: adds to `dw[n_out, n_in]` and `db[n_out]`,
/// overwrites `dx[rows, n_in]`.
pub fn affine_backward(
    dx: &mut [f32],
    (dw, db): (&mut [f32], &mut [f32]),
    dy: &[f32],
    x: &[f32],
    w: &[f32],
) {
    let n_out = db.len();
    let (n_in, rows) = (w.len() / n_out, dy.len() / n_out);
    par_gemm_nn(dx, dy, w, (rows, n_out, n_in), 0.0);
    par_gemm_tn(dw, dy, x, (n_out, rows, n_in), 1.0);
    for row in dy.chunks_exact(n_out) {
        db.iter_mut().zip(row).for_each(|(db, dy)| *db += dy);
    }
}

/// `max(x, 0)` in place.
pub fn relu(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
}

/// Gradient of [`relu`] in place: `dy` is kept where the output `y` is positive.
pub fn relu_backward(dy: &mut [f32], y: &[f32]) {
    dy.iter_mut().zip(y).for_each(|(dy, y)| *dy = if *y > 0.0 { *dy } else { 0.0 });
}

/// Divides every row of `x[rows, dim]` by its length and returns `1 / length` per row; rows shorter
/// than 1e-6 stay as they are (inverse length 1).
pub fn l2_normalise(x: &mut [f32], dim: usize) -> Vec<f32> {
    x.par_chunks_mut(dim)
        .map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            let inverse = if length < 1e-6 { 1.0 } else { 1.0 / length };
            row.iter_mut().for_each(|x| *x *= inverse);
            inverse
        })
        .collect()
}

/// Gradient of [`l2_normalise`] in place: `dx = (dy - (dy . y) y) / length` with the normalised
/// rows `y[rows, dim]` and the inverse lengths that the forward pass returned.
pub fn l2_normalise_backward(dy: &mut [f32], y: &[f32], inverse: &[f32], dim: usize) {
    dy.par_chunks_mut(dim).zip(y.par_chunks(dim)).zip(inverse).for_each(|((dy, y), inverse)| {
        let along: f32 = dy.iter().zip(y).map(|(d, y)| d * y).sum();
        dy.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - along * y) * inverse);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, phase: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 1.7 + phase).sin()).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Central differences of `f` at `x` against `grad`.
    fn check_gradient(x: &[f32], grad: &[f32], f: &dyn Fn(&[f32]) -> f32) {
        for i in 0..x.len() {
            let at = |step: f32| {
                let mut x = x.to_vec();
                x[i] += step;
                f(&x)
            };
            let want = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((grad[i] - want).abs() < 2e-3, "d/dx[{i}] = {}, measured {want}", grad[i]);
        }
    }

    #[test]
    fn split_products_equal_the_sum_by_hand() {
        let (m, k, n) = (300, 7, 5);
        let (a, b) = (numbers(m * k, 0.0), numbers(k * n, 1.0));
        let at: Vec<f32> = (0..k * m).map(|i| a[(i % m) * k + i / m]).collect();
        let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        let want: Vec<f32> =
            (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect();
        let check = |name: &str, out: &[f32]| {
            for (o, w) in out.iter().zip(&want) {
                assert!((o - w).abs() < 1e-5, "{name}: {o} is not {w}");
            }
        };
        let mut out = vec![f32::NAN; m * n];
        par_gemm_nn(&mut out, &a, &b, (m, k, n), 0.0);
        check("nn", &out);
        par_gemm_nt(&mut out, &a, &bt, (m, k, n), 0.0);
        check("nt", &out);
        par_gemm_tn(&mut out, &at, &b, (m, k, n), 0.0);
        check("tn", &out);
    }

    #[test]
    fn affine_relu_gradients_equal_finite_differences() {
        let (rows, n_in, n_out) = (3, 4, 5);
        let (x, w, b) =
            (numbers(rows * n_in, 0.3), numbers(n_out * n_in, 0.9), numbers(n_out, 2.0));
        let up = numbers(rows * n_out, 4.0);
        let loss = |x: &[f32], w: &[f32], b: &[f32]| {
            let mut y = vec![0.0; rows * n_out];
            affine(&mut y, x, w, b);
            relu(&mut y);
            dot(&y, &up)
        };
        let mut y = vec![0.0; rows * n_out];
        affine(&mut y, &x, &w, &b);
        relu(&mut y);
        let mut dy = up.clone();
        relu_backward(&mut dy, &y);
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        affine_backward(&mut dx, (&mut dw, &mut db), &dy, &x, &w);
        check_gradient(&x, &dx, &|x| loss(x, &w, &b));
        check_gradient(&w, &dw, &|w| loss(&x, w, &b));
        check_gradient(&b, &db, &|b| loss(&x, &w, b));
    }

    #[test]
    fn normalisation_gives_unit_rows_and_its_gradient() {
        let (x, up) = (numbers(6, 0.5), numbers(6, 3.0));
        let mut y = x.clone();
        let inverse = l2_normalise(&mut y, 3);
        assert!((dot(&y[..3], &y[..3]) - 1.0).abs() < 1e-6);
        let mut dx = up.clone();
        l2_normalise_backward(&mut dx, &y, &inverse, 3);
        check_gradient(&x, &dx, &|x| {
            let mut y = x.to_vec();
            l2_normalise(&mut y, 3);
            dot(&y, &up)
        });
        let mut zero = vec![0.0; 3];
        assert_eq!(l2_normalise(&mut zero, 3), [1.0]);
        assert_eq!(zero, [0.0; 3]);
    }
}

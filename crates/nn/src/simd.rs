//! Plain loops compiled for the widest vectors of the machine, chosen at run time.
//!
//! A default x86-64 build knows only SSE2; `vectorised` runs a closure in a copy compiled for
//! AVX2 or AVX-512 when the machine has it. Sums run over sixteen fixed lanes, so that they are the
//! same for every vector width.

/// The number of partial sums that a reduction keeps.
const LANES: usize = 16;

/// Runs `body` compiled for the best instruction set of this machine.
#[inline(always)]
pub fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(Body(body))
}

/// Carries a closure through the dispatch; a plain closure would not always be inlined there.
struct Body<F>(F);

impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Body<F> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        (self.0)()
    }
}

/// `e^x` within 2e-7 relative for `x` in `[-87, 88]`, clamped outside; branch-free (Cephes `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer that then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4; // ln 2 in two parts: the first product is exact
    let r = r + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_65;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

/// Sum of `f(a[i], b[i])` over sixteen lanes; call it inside [`vectorised`].
#[inline(always)]
fn reduce2(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], a[i], b[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = f(lanes[i], a, b);
    }
    fold(lanes)
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut eight = [0.0f32; 8];
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    let four = [eight[0] + eight[4], eight[1] + eight[5], eight[2] + eight[6], eight[3] + eight[7]];
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Dot product for use inside [`vectorised`].
#[inline(always)]
pub(crate) fn dot_inline(a: &[f32], b: &[f32]) -> f32 {
    reduce2(a, b, |sum, a, b| sum + a * b)
}

/// Largest number (negative infinity for none) for use inside [`vectorised`].
#[inline(always)]
pub(crate) fn max_inline(a: &[f32]) -> f32 {
    largest_inline(a, |x| x)
}

/// Largest magnitude (0 for none) for use inside [`vectorised`].
#[inline(always)]
pub(crate) fn max_abs_inline(a: &[f32]) -> f32 {
    largest_inline(a, f32::abs).max(0.0)
}

#[inline(always)]
fn largest_inline(a: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    let larger = |x: f32, y: f32| if y > x { y } else { x };
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], of(chunk[i]));
        }
    }
    let of_rest = rest.iter().map(|&x| of(x));
    lanes.into_iter().chain(of_rest).fold(f32::NEG_INFINITY, larger)
}

/// Replaces `row` by `e^(x - shift)` and returns the sum; for use inside [`vectorised`].
#[inline(always)]
pub(crate) fn exp_shifted_inline(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    for (i, x) in chunks.into_remainder().iter_mut().enumerate() {
        *x = exp(*x - shift);
        lanes[i] += *x;
    }
    fold(lanes)
}

/// Dot product of two slices of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot of equal lengths");
    vectorised(
        #[inline(always)]
        || dot_inline(a, b),
    )
}

/// `y += alpha * x`.
pub fn axpy(y: &mut [f32], alpha: f32, x: &[f32]) {
    assert_eq!(y.len(), x.len(), "axpy of equal lengths");
    vectorised(
        #[inline(always)]
        || {
            for (y, &x) in y.iter_mut().zip(x) {
                *y += alpha * x;
            }
        },
    );
}

/// `y *= alpha`.
pub fn scale(y: &mut [f32], alpha: f32) {
    vectorised(
        #[inline(always)]
        || {
            for y in y.iter_mut() {
                *y *= alpha;
            }
        },
    );
}

/// Sum of squares in double precision over blocks, so that millions of terms keep their digits.
pub fn square_norm(a: &[f32]) -> f64 {
    vectorised(
        #[inline(always)]
        || a.chunks(1024).map(|c| f64::from(dot_inline(c, c))).sum(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_exact_one_everywhere() {
        let worst = (-87_000..88_000)
            .map(|i| i as f32 / 1000.0)
            .map(|x| {
                let exact = f64::from(x).exp();
                (f64::from(exp(x)) - exact).abs() / exact
            })
            .fold(0.0, f64::max);
        assert!(worst < 1e-6, "relative error {worst}");
        assert!(exp(-1000.0) < 1e-37 && exp(1000.0).is_finite());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn reductions_agree_with_the_plain_loop_at_every_length() {
        for n in 0..50 {
            let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 0.3).cos()).collect();
            let want: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - want).abs() < 1e-5);
            assert_eq!(max_inline(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(max_abs_inline(&a), a.iter().fold(0.0, |most, x| x.abs().max(most)));
            let mut y = b.clone();
            axpy(&mut y, 2.0, &a);
            scale(&mut y, 0.5);
            for i in 0..n {
                assert!((y[i] - (b[i] / 2.0 + a[i])).abs() < 1e-6);
            }
            let mut e = a.clone();
            let sum = exp_shifted_inline(&mut e, 1.0);
            let want: f32 = a.iter().map(|x| (x - 1.0).exp()).sum();
            assert!((sum - want).abs() < 1e-5);
        }
        assert_eq!(square_norm(&[3.0, 4.0]), 25.0);
    }
}

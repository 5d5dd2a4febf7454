//! Helpers of the gradient tests.

/// Deterministic numbers in `[-1, 1]`.
pub(crate) fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step + step).sin()).collect()
}

/// Holds every entry of `gradient` at `at` against the central difference of `loss`.
pub(crate) fn assert_gradient(at: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    let h = 1e-2f32;
    for i in 0..at.len() {
        let mut moved = at.to_vec();
        moved[i] = at[i] + h;
        let up = loss(&moved);
        moved[i] = at[i] - h;
        let down = loss(&moved);
        let want = (up - down) / f64::from(2.0 * h);
        let got = f64::from(gradient[i]);
        assert!((got - want).abs() < 2e-3 * (1.0 + want.abs()), "entry {i}: {got} is not {want}");
    }
}

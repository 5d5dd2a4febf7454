//! The few of many scores that reach a floor.

/// Calls `found` with every place and score that reaches the floor, which rises to what `found` returns.
pub(crate) fn reaching(scores: &[f32], mut floor: f32, mut found: impl FnMut(usize, f32) -> f32) {
    const LOOK: usize = 128;
    nn::vectorised(
        #[inline(always)]
        || {
            for (block, scores) in scores.chunks(LOOK).enumerate() {
                // a sum without branches, over eight numbers at a time
                let n: u32 = scores.iter().map(|&score| u32::from(score >= floor)).sum();
                if n > 0 {
                    for (at, &score) in scores.iter().enumerate() {
                        if score >= floor {
                            floor = found(block * LOOK + at, score);
                        }
                    }
                }
            }
        },
    );
}

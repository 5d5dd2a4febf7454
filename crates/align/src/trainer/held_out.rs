//! Losses on samples that are not trained on.

use lm::{Decoder, LossStats, Tape};
use nn::Precision;
use rayon::prelude::*;

use super::packing::pack_in_order;
use crate::sample::TokenSample;

/// Parts that may run at the same time; the sum depends on it, not on the threads.
const PARTS: usize = 4;

/// Mean loss over the targets of the samples, packed into rows of `row_tokens`; none without samples.
pub(crate) fn mean_loss(
    decoder: &Decoder,
    samples: &[TokenSample],
    row_tokens: usize,
    precision: Precision,
) -> Option<f64> {
    if samples.is_empty() {
        return None;
    }
    let rows = pack_in_order(samples, row_tokens);
    let part = |i: usize| {
        let (mut stats, mut tape) = (LossStats::default(), Tape::new(precision));
        for batch in rows.iter().skip(i).step_by(PARTS) {
            stats.add(decoder.loss(batch, &mut tape));
        }
        stats
    };
    let parts: Vec<LossStats> = (0..PARTS).into_par_iter().map(part).collect();
    let mut stats = LossStats::default();
    parts.into_iter().for_each(|part| stats.add(part));
    Some(stats.mean())
}

//! The true scores of a few items out of many: dot products in single precision, eight rows at a time, so
//! that the memory of eight is under way at once.

use types::ItemId;

use super::shortlist::Estimate;

/// Rows that go together, and partial sums of each.
const ROWS: usize = 8;
const LANES: usize = 8;

/// Scores of `entries` with `query` over `vectors[_, query.len()]`. A score has the same bits whatever goes
/// beside it.
pub(super) fn rescore(entries: &[Estimate], query: &[f32], vectors: &[f32]) -> Vec<(ItemId, f32)> {
    let dim = query.len();
    let mut found = Vec::with_capacity(entries.len());
    for (at, group) in entries.chunks(ROWS).enumerate() {
        let next = entries.iter().skip((at + 1) * ROWS).take(ROWS);
        next.for_each(|entry| fetch(&vectors[entry.item.idx() * dim..][..dim]));
        let rows: [&[f32]; ROWS] = std::array::from_fn(|place| {
            let entry = group.get(place).unwrap_or(&group[0]);
            &vectors[entry.item.idx() * dim..][..dim]
        });
        let scores = dots(query, rows);
        found.extend(group.iter().zip(scores).map(|(entry, score)| (entry.item, score + 0.0)));
    }
    found
}

/// Has the memory of a row on its way before it is read.
#[inline]
fn fetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "the instruction takes a pointer")]
        // SAFETY: a prefetch reads nothing that the program sees and never faults; every x86-64 has it.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

/// The dot product of one row, as [`rescore`] computes it.
#[cfg(test)]
pub(super) fn dot(query: &[f32], row: &[f32]) -> f32 {
    dots(query, [row; ROWS])[0]
}

fn dots(query: &[f32], rows: [&[f32]; ROWS]) -> [f32; ROWS] {
    nn::vectorised(
        #[inline(always)]
        || {
            let n = query.len();
            let rows = rows.map(|row| &row[..n]);
            let mut sums = [[0.0f32; LANES]; ROWS];
            let whole = n / LANES * LANES;
            for at in (0..whole).step_by(LANES) {
                let q = &query[at..at + LANES];
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = &row[at..at + LANES];
                    for lane in 0..LANES {
                        sum[lane] += q[lane] * x[lane];
                    }
                }
            }
            for at in whole..n {
                for (sum, row) in sums.iter_mut().zip(rows) {
                    sum[at - whole] += query[at] * row[at];
                }
            }
            sums.map(|s| ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])))
        },
    )
}

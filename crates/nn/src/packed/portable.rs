//! Products of packed weights without bfloat16 instructions: panels widened to single precision, then
//! multiplied as plain matrices.

use std::ops::Range;

use half::bf16;

use super::{Input, Numbers, Output, PANEL, PackedMatrix};
use crate::fp8::Fp8;
use crate::matmul::gemm_rowwise;
use crate::simd::vectorised;

/// Panels that are widened together.
const GROUP: usize = 4;

/// Computes the columns of `panels`.
pub(super) fn run(w: &PackedMatrix, input: &Input<'_>, panels: Range<usize>, mut out: Output) {
    let (mut wide, mut sums) = (Vec::new(), Vec::new());
    for first in panels.clone().step_by(GROUP) {
        let group = first..(first + GROUP).min(panels.end);
        let n = group.len() * PANEL;
        wide.resize(w.n_in * n, 0.0);
        for (at, panel) in group.clone().enumerate() {
            widen(w, panel, &mut wide[at * PANEL..], n);
        }
        sums.resize(input.rows * n, 0.0);
        gemm_rowwise(&mut sums, input.x, &wide, (input.rows, w.n_in, n), 0.0);
        for (row, sums) in sums.chunks_exact(n).enumerate() {
            for (panel, sums) in group.clone().zip(sums.chunks_exact(PANEL)) {
                let add = out.add;
                for (o, sum) in out.columns(row, panel).iter_mut().zip(sums) {
                    *o = if add { *o + sum } else { *sum };
                }
            }
        }
    }
}

/// Writes a panel as `[n_in, PANEL]` numbers, scales applied, into rows that begin `stride` apart.
fn widen(w: &PackedMatrix, panel: usize, into: &mut [f32], stride: usize) {
    let pairs = w.n_in.div_ceil(2);
    let from = panel * pairs * 2 * PANEL..(panel + 1) * pairs * 2 * PANEL;
    match &w.numbers {
        Numbers::F32(_) => unreachable!("single precision is not packed"),
        Numbers::Bf16(numbers) => {
            for (i, pair) in numbers[from].chunks_exact(2 * PANEL).enumerate() {
                let wide: [f32; 2 * PANEL] = std::array::from_fn(|at| {
                    bf16::from_bits(pair[at % PANEL * 2 + at / PANEL]).to_f32()
                });
                write_pair(&wide, i, w.n_in, into, stride);
            }
        }
        Numbers::Fp8(codes, scales) => vectorised(
            #[inline(always)]
            || {
                let scales = &scales[panel * PANEL..][..PANEL];
                for (i, pair) in codes[from].chunks_exact(2 * PANEL).enumerate() {
                    let mut numbers = [0.0f32; 2 * PANEL];
                    for (x, &bits) in numbers.iter_mut().zip(pair) {
                        *x = Fp8::from_bits(bits).widen();
                    }
                    // See `place_fp8`: a sixteen holds four channels of each half, two numbers each.
                    let wide: [f32; 2 * PANEL] = std::array::from_fn(|at| {
                        let (second, channel) = (at / PANEL, at % PANEL);
                        let (half, lane, j) = (channel / 16, channel % 16 / 4, channel % 4);
                        numbers[lane * 16 + half * 8 + j * 2 + second] * scales[channel]
                    });
                    write_pair(&wide, i, w.n_in, into, stride);
                }
            },
        ),
    }
}

/// Writes the rows `2 * pair` and, where there is one, `2 * pair + 1`.
#[inline(always)]
fn write_pair(wide: &[f32], pair: usize, n_in: usize, into: &mut [f32], stride: usize) {
    for (row, numbers) in (2 * pair..n_in).zip(wide.chunks_exact(PANEL)) {
        into[row * stride..][..PANEL].copy_from_slice(numbers);
    }
}

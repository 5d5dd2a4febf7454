//! Rounds factors to bfloat16 and packs them as pairs along the inner size: `low | high << 16`, zero
//! beyond its end.

use std::arch::x86_64::{
    __m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_si512, _mm512_maskz_loadu_ps,
    _mm512_permutexvar_epi16, _mm512_storeu_si512,
};
use std::mem::transmute;

use super::lanes;
use crate::matmul::Mat;

/// `x[rows, inner]` with adjacent inner numbers, as `[rows, pairs]`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn rows(x: Mat<'_>, into: &mut [u32]) {
    let pairs = x.cols().div_ceil(2);
    for (row, into) in (0..x.rows()).zip(into.chunks_exact_mut(pairs.max(1))) {
        let row = x.row(row);
        for (numbers, into) in row.chunks(32).zip(into.chunks_mut(16)) {
            let both = round(numbers);
            match <&mut [u32; 16]>::try_from(&mut *into) {
                // SAFETY: sixteen pairs are written.
                Ok(into) => unsafe { _mm512_storeu_si512(into.as_mut_ptr().cast(), both) },
                Err(_) => into.copy_from_slice(&in_memory(both)[..into.len()]),
            }
        }
    }
}

/// `x[columns, inner]` with adjacent columns, as `[blocks, pairs, W]` of `W` columns each.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn interleave<const W: usize>(x: Mat<'_>, into: &mut [u32]) {
    let (x, pairs) = (x.t(), x.cols().div_ceil(2)); // rows of x are inner numbers now
    // Number i of the first row comes to 2 i, of the second to 2 i + 1.
    let order: [u16; 32] = std::array::from_fn(|at| (at / 2 + at % 2 * 16) as u16);
    // SAFETY: 64 bytes are read of an array that holds them.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    for pair in 0..pairs {
        let first = x.row(2 * pair);
        let second = if 2 * pair + 1 < x.rows() { x.row(2 * pair + 1) } else { &[] };
        for at in (0..x.cols()).step_by(16) {
            let both = round_both(&first[at..], second.get(at..).unwrap_or_default());
            let both = _mm512_permutexvar_epi16(order, both);
            let to = (at / W * pairs + pair) * W + at % W;
            let to: &mut [u32] = &mut into[to..to + 16];
            // SAFETY: sixteen pairs are written.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), both) };
        }
    }
}

/// `x[columns, inner]` with adjacent inner numbers, as `[blocks, pairs, W]` of `W` columns each.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn turn<const W: usize>(x: Mat<'_>, into: &mut [u32]) {
    let pairs = x.cols().div_ceil(2);
    let mut tile = [[0u32; 16]; 16]; // [columns, pairs]
    for column in (0..x.rows()).step_by(16) {
        let n_columns = 16.min(x.rows() - column);
        for pair in (0..pairs).step_by(16) {
            for (c, tile) in tile[..n_columns].iter_mut().enumerate() {
                let row = &x.row(column + c)[2 * pair..];
                *tile = in_memory(round(&row[..row.len().min(32)]));
            }
            let at = (column / W * pairs + pair) * W + column % W;
            for p in 0..16.min(pairs - pair) {
                let to: &mut [u32] = &mut into[at + p * W..][..16];
                for (to, tile) in to.iter_mut().zip(&tile) {
                    *to = tile[p];
                }
            }
        }
    }
}

/// Up to 32 adjacent numbers as pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn round(numbers: &[f32]) -> __m512i {
    round_both(numbers, numbers.get(16..).unwrap_or_default())
}

/// Up to sixteen numbers of each slice: those of the first, then those of the second.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn round_both(first: &[f32], second: &[f32]) -> __m512i {
    // SAFETY: the masks keep reads within the slices; the result is 512 bits of which any are numbers.
    unsafe {
        let first = _mm512_maskz_loadu_ps(lanes(first.len()), first.as_ptr());
        let second = _mm512_maskz_loadu_ps(lanes(second.len()), second.as_ptr());
        transmute(_mm512_cvtne2ps_pbh(second, first))
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn in_memory(x: __m512i) -> [u32; 16] {
    // SAFETY: both are 512 bits of which any are numbers.
    unsafe { transmute::<__m512i, [u32; 16]>(x) }
}

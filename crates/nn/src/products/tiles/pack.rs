//! Rounds factors to bfloat16 and packs them as tiles of pairs along the inner size, `low | high << 16`,
//! zero beyond its end. Rows beyond the last one hold anything.

use std::arch::x86_64::{
    __m512i, _mm512_cvtne2ps_pbh, _mm512_maskz_loadu_ps, _mm512_permutex2var_epi32,
    _mm512_permutexvar_epi16, _mm512_setzero_si512, _mm512_storeu_si512,
};
use std::mem::transmute;

use super::{TILE, TILE_LEN};
use crate::matmul::Mat;

/// What the sixteen lines of a tile are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// A row of the factor each, as the left one has them.
    Rows,
    /// A pair of inner numbers each, as the right one has them.
    Pairs,
}

/// A tile in registers.
type Tile = [__m512i; TILE];

/// Packs `x[rows, inner]` as `[rows / 16, inner / 32]` tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn tiles(x: Mat<'_>, lines: Lines, into: &mut [u32]) {
    let (rows, steps) = (x.rows().div_ceil(TILE), x.cols().div_ceil(2 * TILE));
    let (turn, order) = (Turn::new(), interleaving());
    // Both orders read the numbers as they lie in memory.
    if x.unit_cols() {
        for row in 0..rows {
            for step in 0..steps {
                let into = &mut into[(row * steps + step) * TILE_LEN..][..TILE_LEN];
                match lines {
                    Lines::Rows => store(&rows_of(x, row, step), into),
                    Lines::Pairs => store(&turn.tile(rows_of(x, row, step)), into),
                }
            }
        }
    } else {
        for step in 0..steps {
            for row in 0..rows {
                let into = &mut into[(row * steps + step) * TILE_LEN..][..TILE_LEN];
                match lines {
                    Lines::Pairs => store(&pairs_of(x.t(), row, step, order), into),
                    Lines::Rows => store(&turn.tile(pairs_of(x.t(), row, step, order)), into),
                }
            }
        }
    }
}

/// A tile whose lines are rows of `x[rows, inner]`, of which inner numbers are adjacent.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn rows_of(x: Mat<'_>, row: usize, step: usize) -> Tile {
    let mut tile = [_mm512_setzero_si512(); TILE];
    for (line, numbers) in tile.iter_mut().enumerate() {
        // No early end of the loop, or the tile would not stay in registers.
        let all = if row * TILE + line < x.rows() { x.row(row * TILE + line) } else { &[] };
        let from = all.get(step * 2 * TILE..).unwrap_or_default();
        *numbers = round(from, from.get(TILE..).unwrap_or_default());
    }
    tile
}

/// A tile whose lines are pairs of rows of `x[inner, rows]`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn pairs_of(x: Mat<'_>, row: usize, step: usize, order: __m512i) -> Tile {
    let mut tile = [_mm512_setzero_si512(); TILE];
    let numbers = |i: usize| {
        let all = if i < x.rows() { x.row(i) } else { &[] };
        all.get(row * TILE..).unwrap_or_default()
    };
    for (line, pair) in tile.iter_mut().enumerate() {
        let i = 2 * (step * TILE + line);
        *pair = _mm512_permutexvar_epi16(order, round(numbers(i), numbers(i + 1)));
    }
    tile
}

/// The order that brings number `i` of a first sixteen to `2 i` and of a second to `2 i + 1`.
#[target_feature(enable = "avx512f")]
fn interleaving() -> __m512i {
    let order: [u16; 2 * TILE] = std::array::from_fn(|at| (at / 2 + at % 2 * TILE) as u16);
    // SAFETY: both are 512 bits of which any are numbers.
    unsafe { transmute::<[u16; 2 * TILE], __m512i>(order) }
}

/// Up to sixteen numbers of each slice in bfloat16: those of the first, then those of the second.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn round(first: &[f32], second: &[f32]) -> __m512i {
    let lanes = |n: usize| if n >= TILE { u16::MAX } else { (1 << n) - 1 };
    // SAFETY: the masks keep reads within the slices; the result is 512 bits of which any are numbers.
    unsafe {
        let first = _mm512_maskz_loadu_ps(lanes(first.len()), first.as_ptr());
        let second = _mm512_maskz_loadu_ps(lanes(second.len()), second.as_ptr());
        transmute(_mm512_cvtne2ps_pbh(second, first))
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(tile: &Tile, into: &mut [u32]) {
    for (line, into) in tile.iter().zip(into.as_chunks_mut::<TILE>().0) {
        // SAFETY: sixteen pairs are written.
        unsafe { _mm512_storeu_si512(into.as_mut_ptr().cast(), *line) }
    }
}

/// Turns tiles: blocks of 1, 2, 4 and 8 change their places across the diagonal.
struct Turn([[__m512i; 2]; 4]);

impl Turn {
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        Self([1, 2, 4, 8].map(|block| {
            // Entries `TILE..` stand for those of the second line.
            let first = |at: usize| if at & block == 0 { at } else { at - block + TILE };
            let second = |at: usize| if at & block == 0 { at + block } else { at + TILE };
            let order = |of: &dyn Fn(usize) -> usize| {
                let order: [u32; TILE] = std::array::from_fn(|at| of(at) as u32);
                // SAFETY: both are 512 bits of which any are numbers.
                unsafe { transmute::<[u32; TILE], __m512i>(order) }
            };
            [order(&first), order(&second)]
        }))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn tile(&self, mut tile: Tile) -> Tile {
        for (bit, [first, second]) in self.0.iter().enumerate() {
            for line in 0..TILE {
                let other = line | 1 << bit;
                if line != other {
                    let (a, b) = (tile[line], tile[other]);
                    tile[line] = _mm512_permutex2var_epi32(a, *first, b);
                    tile[other] = _mm512_permutex2var_epi32(a, *second, b);
                }
            }
        }
        tile
    }
}

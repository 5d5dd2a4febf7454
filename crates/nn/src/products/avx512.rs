//! Mixed-precision products with AVX-512: pairs of bfloat16 numbers multiplied and added in single
//! precision (`vdpbf16ps`), a tile of up to 12 rows and 32 columns at a time.
#![expect(unsafe_code, reason = "vector instructions read and write through pointers")]

mod pack;

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::mem::transmute;

use super::Right;
use crate::matmul::{Mat, MatMut};

/// Columns of a panel of the right factor: two vectors of sums.
pub(super) const PANEL: usize = 32;

/// Rows of a block of a left factor that lies transposed: one vector of pairs.
const BLOCK: usize = 16;

/// Most rows of a tile: with two vectors each their sums stay in registers.
const ROWS: usize = 12;

/// Packs a right factor `[k, n]` into `[panels, pairs, PANEL]` pairs.
pub(super) fn round_right(b: Mat<'_>, panels: &mut Vec<u32>) {
    panels.resize(b.rows().div_ceil(2) * b.cols().next_multiple_of(PANEL), 0);
    // SAFETY: products in bfloat16 are chosen only where the processor has the instructions, and
    // `panels` holds all pairs.
    unsafe {
        match b.unit_cols() {
            true => pack::interleave::<PANEL>(b.t(), panels),
            false => pack::turn::<PANEL>(b.t(), panels),
        }
    }
}

/// `out = a @ right`, or `out += a @ right` with `add`; `left` is a buffer.
pub(super) fn times(
    out: MatMut<'_>,
    a: Mat<'_>,
    right: &Right<'_>,
    add: bool,
    left: &mut Vec<u32>,
) {
    let b = right.matrix;
    assert_eq!(a.rows(), out.rows(), "a and out have the same rows");
    assert_eq!(b.cols(), out.cols(), "b and out have the same columns");
    assert_eq!(a.cols(), b.rows(), "the inner sizes agree");
    let pairs = a.cols().div_ceil(2);
    // The last tile ends no later than the next multiple of 4, or of 8 in blocks; what lies beyond the
    // last row is multiplied and not stored.
    left.resize(a.rows().next_multiple_of(BLOCK) * pairs, 0);
    // SAFETY: as above; `left` and the panels hold the pairs of all tiles, and `out` was checked against
    // both factors.
    unsafe {
        match a.unit_cols() {
            true => {
                pack::rows(a, left);
                Call { out, left, panels: &right.panels, pairs, add }.run::<false>();
            }
            false => {
                pack::interleave::<BLOCK>(a, left);
                Call { out, left, panels: &right.panels, pairs, add }.run::<true>();
            }
        }
    }
}

/// One product under way. The left factor lies as `[rows, pairs]`, or, `BLOCKED`, as
/// `[blocks, pairs, BLOCK]`.
struct Call<'a> {
    out: MatMut<'a>,
    left: &'a [u32],
    panels: &'a [u32],
    pairs: usize,
    add: bool,
}

impl Call<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn run<const BLOCKED: bool>(mut self) {
        for panel in 0..self.out.cols().div_ceil(PANEL) {
            let mut row = 0;
            while row < self.out.rows() {
                // SAFETY: tiles begin at rows and panels that exist; their pairs are in the buffers.
                row += unsafe {
                    match self.out.rows() - row {
                        9.. if !BLOCKED => self.tile::<BLOCKED, ROWS>(row, panel),
                        5.. => self.tile::<BLOCKED, 8>(row, panel),
                        _ if BLOCKED => self.tile::<BLOCKED, 8>(row, panel),
                        _ => self.tile::<BLOCKED, 4>(row, panel),
                    }
                };
            }
        }
    }

    /// The tile of `M` rows from `row` on and the columns of `panel`; returns `M`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn tile<const BLOCKED: bool, const M: usize>(
        &mut self,
        row: usize,
        panel: usize,
    ) -> usize {
        let (x, row_step, pair_step) = match BLOCKED {
            true => (row / BLOCK * BLOCK * self.pairs + row % BLOCK, 1, BLOCK),
            false => (row * self.pairs, self.pairs, 1),
        };
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        // SAFETY: the buffers hold the pairs of the tile.
        unsafe {
            let (mut x, mut w) =
                (self.left.as_ptr().add(x), self.panels.as_ptr().add(panel * self.pairs * PANEL));
            for _ in 0..self.pairs {
                let low = as_pairs(_mm512_loadu_si512(w.cast()));
                let high = as_pairs(_mm512_loadu_si512(w.add(16).cast()));
                for (r, [first, second]) in sums.iter_mut().enumerate() {
                    let both = *x.add(r * row_step);
                    let both = as_pairs(_mm512_set1_epi32(both.cast_signed()));
                    *first = _mm512_dpbf16_ps(*first, low, both);
                    *second = _mm512_dpbf16_ps(*second, high, both);
                }
                (x, w) = (x.add(pair_step), w.add(PANEL));
            }
        }
        let end = self.out.rows().min(row + M);
        for (row, sums) in (row..end).zip(&sums) {
            self.store(row, panel, sums);
        }
        M
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    fn store(&mut self, row: usize, panel: usize, sums: &[__m512; 2]) {
        let add = self.add;
        let columns = self.out.row(row, panel * PANEL, PANEL);
        for (half, &sums) in sums.iter().enumerate() {
            let mask = lanes(columns.len().saturating_sub(half * 16));
            let at = columns.as_mut_ptr().wrapping_add(half * 16);
            // SAFETY: the mask keeps reads and writes within `columns`.
            unsafe {
                let sums = match add {
                    true => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), sums),
                    false => sums,
                };
                _mm512_mask_storeu_ps(at, mask, sums);
            }
        }
    }
}

/// The mask of the first `n` of sixteen lanes.
fn lanes(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn as_pairs(x: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits of which any are numbers.
    unsafe { transmute::<__m512i, __m512bh>(x) }
}

//! Products of packed weights with AVX-512: pairs of bfloat16 numbers multiplied and added in single
//! precision (`vdpbf16ps`), FP8 widened by two look-ups of a byte (`vpermi2b`).
#![expect(unsafe_code, reason = "vector instructions read and write through pointers")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi8,
    _mm512_unpacklo_epi8,
};
use std::mem::transmute;
use std::ops::Range;
use std::sync::LazyLock;

use half::bf16;

use super::{Input, Numbers, Output, PANEL, PackedMatrix};
use crate::fp8::Fp8;

/// Most rows that go together: twice as many sums stay in registers.
const ROWS: usize = 12;

/// `x[rows, n_in]` as `[rows, pairs]`, each two numbers in bfloat16.
pub(super) fn round_pairs(x: &[f32], n_in: usize) -> Vec<u32> {
    let pairs = n_in.div_ceil(2);
    let mut into = vec![0u32; x.len() / n_in * pairs];
    // SAFETY: this kernel is chosen only where the processor has the instructions.
    unsafe { round_rows(x, n_in, &mut into) };
    into
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round_rows(x: &[f32], n_in: usize, into: &mut [u32]) {
    for (row, into) in x.chunks_exact(n_in).zip(into.chunks_exact_mut(n_in.div_ceil(2))) {
        let whole = n_in / 32 * 32;
        for (from, into) in row[..whole].chunks_exact(32).zip(into.chunks_exact_mut(16)) {
            // SAFETY: `from` holds 32 numbers, `into` 16.
            unsafe {
                let (low, high) =
                    (_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16)));
                let both: __m512bh = _mm512_cvtne2ps_pbh(high, low);
                _mm512_storeu_si512(into.as_mut_ptr().cast(), transmute::<__m512bh, __m512i>(both));
            }
        }
        for (from, into) in row[whole..].chunks(2).zip(&mut into[whole / 2..]) {
            let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
            *into = bits(from[0]) | bits(from.get(1).copied().unwrap_or(0.0)) << 16;
        }
    }
}

/// Computes the columns of `panels`.
pub(super) fn run(w: &PackedMatrix, input: &Input<'_>, panels: Range<usize>, out: Output) {
    // SAFETY: this kernel is chosen only where the processor has the instructions, and `place` put the
    // numbers of every panel where the loops read them.
    unsafe { run_panels(w, input, panels, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
unsafe fn run_panels(w: &PackedMatrix, input: &Input<'_>, panels: Range<usize>, out: Output) {
    let call = Call { w, input, out, pairs: w.n_in.div_ceil(2), table: Table::new() };
    let mut first = panels.start;
    // SAFETY: `first..first + n` stays within `panels`, whose numbers exist.
    unsafe {
        if input.rows > ROWS {
            let mut scratch = vec![0u16; call.pairs * 2 * PANEL];
            for panel in panels {
                call.many_rows(panel, &mut scratch);
            }
            return;
        }
        while first < panels.end {
            let n = panels.end - first;
            first += match input.rows {
                1 if n >= 4 => call.few_rows::<1, 4>(first),
                2 if n >= 4 => call.few_rows::<2, 4>(first),
                3 if n >= 3 => call.few_rows::<3, 3>(first),
                4 if n >= 2 => call.few_rows::<4, 2>(first),
                5 if n >= 2 => call.few_rows::<5, 2>(first),
                6 if n >= 2 => call.few_rows::<6, 2>(first),
                1 => call.few_rows::<1, 1>(first),
                2 => call.few_rows::<2, 1>(first),
                3 => call.few_rows::<3, 1>(first),
                4 => call.few_rows::<4, 1>(first),
                5 => call.few_rows::<5, 1>(first),
                6 => call.few_rows::<6, 1>(first),
                7 => call.few_rows::<7, 1>(first),
                8 => call.few_rows::<8, 1>(first),
                9 => call.few_rows::<9, 1>(first),
                10 => call.few_rows::<10, 1>(first),
                11 => call.few_rows::<11, 1>(first),
                _ => call.few_rows::<12, 1>(first),
            };
        }
    }
}

/// One product under way.
struct Call<'a> {
    w: &'a PackedMatrix,
    input: &'a Input<'a>,
    out: Output,
    pairs: usize,
    table: Table,
}

/// By panel, row and half.
type Sums<const M: usize, const P: usize> = [[[__m512; 2]; M]; P];

impl Call<'_> {
    /// All `M` rows times `P` panels from `first` on; returns `P`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    #[inline]
    unsafe fn few_rows<const M: usize, const P: usize>(&self, first: usize) -> usize {
        // SAFETY: the caller names panels that exist; each holds `pairs * 64` numbers.
        unsafe {
            let x = self.input.pairs.as_ptr();
            let panel = |p: usize| (first + p) * self.pairs * 2 * PANEL;
            let sums = match &self.w.numbers {
                Numbers::Fp8(codes, _) => {
                    let at: [*const u8; P] = std::array::from_fn(|p| codes.as_ptr().add(panel(p)));
                    self.sums::<M, P>(x, |p, pair| self.table.widen(at[p].add(pair * 64)))
                }
                Numbers::Bf16(numbers) => {
                    let at: [*const u16; P] =
                        std::array::from_fn(|p| numbers.as_ptr().add(panel(p)));
                    self.sums::<M, P>(x, |p, pair| load_pair(at[p].add(pair * 64)))
                }
                Numbers::F32(_) => unreachable!("single precision has its own kernel"),
            };
            for (p, sums) in sums.iter().enumerate() {
                for (r, sums) in sums.iter().enumerate() {
                    self.store(r, first + p, sums);
                }
            }
        }
        P
    }

    /// Any number of rows times one panel, which is widened once.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    unsafe fn many_rows(&self, panel: usize, scratch: &mut [u16]) {
        // SAFETY: the caller names a panel that exists; `scratch` has its size; blocks of rows stay
        // within `rows`.
        unsafe {
            let weights = match &self.w.numbers {
                Numbers::Fp8(codes, _) => {
                    let from = codes.as_ptr().add(panel * self.pairs * 64);
                    for pair in 0..self.pairs {
                        let into = scratch.as_mut_ptr().add(pair * 64);
                        for (half, numbers) in
                            self.table.widen(from.add(pair * 64)).into_iter().enumerate()
                        {
                            let numbers = transmute::<__m512bh, __m512i>(numbers);
                            _mm512_storeu_si512(into.add(half * 32).cast(), numbers);
                        }
                    }
                    scratch.as_ptr()
                }
                Numbers::Bf16(numbers) => numbers.as_ptr().add(panel * self.pairs * 64),
                Numbers::F32(_) => unreachable!("single precision has its own kernel"),
            };
            let mut row = 0;
            while row < self.input.rows {
                row += match self.input.rows - row {
                    1 => self.block::<1>(row, panel, weights),
                    2 => self.block::<2>(row, panel, weights),
                    3 => self.block::<3>(row, panel, weights),
                    4 | 5 => self.block::<4>(row, panel, weights),
                    6..12 => self.block::<6>(row, panel, weights),
                    _ => self.block::<ROWS>(row, panel, weights),
                };
            }
        }
    }

    /// `M` rows from `row` on times one widened panel; returns `M`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    #[inline]
    unsafe fn block<const M: usize>(&self, row: usize, panel: usize, weights: *const u16) -> usize {
        // SAFETY: as in `many_rows`.
        unsafe {
            let x = self.input.pairs.as_ptr().add(row * self.pairs);
            let sums = self.sums::<M, 1>(x, |_, pair| load_pair(weights.add(pair * 64)));
            for (r, sums) in sums[0].iter().enumerate() {
                self.store(row + r, panel, sums);
            }
        }
        M
    }

    /// The sums of `M` rows at `x` times `P` panels; `weights(panel, pair)` gives both halves of a pair.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    #[inline]
    unsafe fn sums<const M: usize, const P: usize>(
        &self,
        x: *const u32,
        weights: impl Fn(usize, usize) -> [__m512bh; 2],
    ) -> Sums<M, P> {
        let mut sums = [[[_mm512_setzero_ps(); 2]; M]; P];
        for pair in 0..self.pairs {
            for (p, sums) in sums.iter_mut().enumerate() {
                let [low, high] = weights(p, pair);
                for (r, [first, second]) in sums.iter_mut().enumerate() {
                    // SAFETY: `x` has `M` rows of `pairs`.
                    let both = unsafe { *x.add(r * self.pairs + pair) };
                    let both = _mm512_set1_epi32(both.cast_signed());
                    // SAFETY: both are 512 bits of which any are numbers.
                    let both = unsafe { transmute::<__m512i, __m512bh>(both) };
                    *first = _mm512_dpbf16_ps(*first, low, both);
                    *second = _mm512_dpbf16_ps(*second, high, both);
                }
            }
        }
        sums
    }

    /// Writes the sums of one row and panel, times the scales of the channels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    #[inline]
    unsafe fn store(&self, row: usize, panel: usize, sums: &[__m512; 2]) {
        let (mut out, add) = (self.out, self.out.add);
        let columns = out.columns(row, panel);
        for (half, sums) in sums.iter().enumerate() {
            let n = columns.len().saturating_sub(half * 16).min(16);
            let mask = ((1u32 << n) - 1) as u16;
            // SAFETY: the mask keeps reads and writes within `columns`; scales come in whole panels.
            unsafe {
                let at = columns.as_mut_ptr().wrapping_add(half * 16);
                let before = match add {
                    true => _mm512_maskz_loadu_ps(mask, at),
                    false => _mm512_setzero_ps(),
                };
                let after = match &self.w.numbers {
                    Numbers::Fp8(_, scales) => {
                        let scale = _mm512_loadu_ps(scales.as_ptr().add(panel * PANEL + half * 16));
                        _mm512_fmadd_ps(*sums, scale, before)
                    }
                    Numbers::Bf16(_) | Numbers::F32(_) => _mm512_add_ps(*sums, before),
                };
                _mm512_mask_storeu_ps(at, mask, after);
            }
        }
    }
}

/// Both halves of one pair of inner numbers in a bfloat16 panel.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn load_pair(at: *const u16) -> [__m512bh; 2] {
    // SAFETY: the caller points to 64 numbers.
    unsafe {
        let (low, high) = (_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(32).cast()));
        [transmute::<__m512i, __m512bh>(low), transmute::<__m512i, __m512bh>(high)]
    }
}

/// The lower and the upper byte of the bfloat16 number of each of the 128 magnitudes of FP8.
static BYTES: LazyLock<[[[u8; 64]; 2]; 2]> = LazyLock::new(|| {
    let number = |code: usize| bf16::from_f32(Fp8::from_bits(code as u8).to_f32());
    [0, 1].map(|byte| {
        [0, 64].map(|from| std::array::from_fn(|i| number(from + i).to_bits().to_le_bytes()[byte]))
    })
});

/// [`BYTES`] in registers.
struct Table {
    low: [__m512i; 2],
    high: [__m512i; 2],
}

impl Table {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new() -> Self {
        // SAFETY: 64 bytes are read, of arrays that hold them.
        let load = |bytes: &[u8; 64]| unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        let [low, high] = &*BYTES;
        Self { low: [load(&low[0]), load(&low[1])], high: [load(&high[0]), load(&high[1])] }
    }

    /// Both halves of one pair in an FP8 panel, 64 codes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bf16")]
    #[inline]
    unsafe fn widen(&self, at: *const u8) -> [__m512bh; 2] {
        // SAFETY: the caller points to 64 codes.
        let codes = unsafe { _mm512_loadu_si512(at.cast()) };
        let low = _mm512_permutex2var_epi8(self.low[0], codes, self.low[1]);
        let high = _mm512_permutex2var_epi8(self.high[0], codes, self.high[1]);
        // high | (codes & 0x80)
        let high = _mm512_ternarylogic_epi32::<0xf8>(high, codes, _mm512_set1_epi8(-128));
        // SAFETY: both are 512 bits of which any are numbers.
        unsafe {
            [
                transmute::<__m512i, __m512bh>(_mm512_unpacklo_epi8(low, high)),
                transmute::<__m512i, __m512bh>(_mm512_unpackhi_epi8(low, high)),
            ]
        }
    }
}

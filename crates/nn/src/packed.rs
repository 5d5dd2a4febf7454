//! Weights packed for inference: `x @ w` from matrices in FP8, bfloat16 or single precision.
//!
//! Sixteen output channels lie side by side for each pair of inner numbers, two such halves to a panel,
//! so that one vector instruction serves sixteen channels and a panel is read from end to end. Every
//! element of a product is one chain of fused operations along the inner size, so a row has the same
//! bits however many rows go together. Where the machine has AVX-512 with bfloat16, the inputs are
//! rounded to bfloat16 and FP8 is widened by table look-up on the way; elsewhere panels are widened to
//! single precision.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use half::bf16;
use rayon::prelude::*;

use crate::fp8::{E4M3_MAX, Fp8};
use crate::matmul::{gemm_rowwise, transpose};

/// Output channels of a panel.
const PANEL: usize = 32;

/// Multiply-adds below which a product stays on one thread.
const PARALLEL_WORK: usize = 1 << 22;

/// How packed weights store their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// Single precision: the numbers of training.
    F32,
    /// Upper half of single precision.
    Bf16,
    /// E4M3 with one scale per output channel.
    Fp8,
}

/// Which instructions compute products of packed weights on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// AVX-512 with bfloat16 dot products; inputs are rounded to bfloat16.
    Avx512Bf16,
    /// Plain loops on the widest vectors there are, in single precision.
    Portable,
}

impl Kernel {
    /// The kernel that weights of a format run on here: a matter of the processor, not of timing, so
    /// that one machine always gives the same bits.
    pub fn of_machine(format: WeightFormat) -> Self {
        if format != WeightFormat::F32 && has_bf16() { Self::Avx512Bf16 } else { Self::Portable }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    false
}

/// A matrix `[n_out, n_in]` packed for `x[rows, n_in] @ w^T`.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    n_in: usize,
    n_out: usize,
    numbers: Numbers,
    kernel: Kernel,
}

/// Panels, each `[pairs, 2 halves, 16 channels, 2]`: see [`place`].
#[derive(Clone, Debug)]
enum Numbers {
    /// Not packed: `[n_in, n_out]`.
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    /// Codes, and a scale per channel (whole panels of them).
    Fp8(Vec<u8>, Vec<f32>),
}

impl PackedMatrix {
    /// Packs `w[n_out, n_in]`.
    pub fn new(w: &[f32], (n_out, n_in): (usize, usize), format: WeightFormat) -> Self {
        assert_eq!(w.len(), n_out * n_in, "w is [n_out, n_in]");
        let n_channels = n_out.next_multiple_of(PANEL);
        let numbers = match format {
            WeightFormat::F32 => {
                let mut turned = vec![0.0; w.len()];
                transpose(w, n_out, n_in, &mut turned);
                Numbers::F32(turned)
            }
            WeightFormat::Bf16 => {
                let mut panels = vec![0; n_channels * n_in.next_multiple_of(2)];
                each(n_out, n_in, |o, i| {
                    panels[place(o, i, n_in)] = bf16::from_f32(w[o * n_in + i]).to_bits();
                });
                Numbers::Bf16(panels)
            }
            WeightFormat::Fp8 => {
                let (codes, scales) = quantize_fp8(w, n_in);
                return Self::from_fp8(&codes, &scales, (n_out, n_in));
            }
        };
        Self { n_in, n_out, numbers, kernel: Kernel::of_machine(format) }
    }

    /// Packs a matrix that is stored as FP8 codes `[n_out, n_in]` with a scale per output channel.
    pub fn from_fp8(codes: &[u8], scales: &[f32], (n_out, n_in): (usize, usize)) -> Self {
        assert_eq!(codes.len(), n_out * n_in, "codes are [n_out, n_in]");
        assert_eq!(scales.len(), n_out, "a scale per output channel");
        let n_channels = n_out.next_multiple_of(PANEL);
        let mut panels = vec![0; n_channels * n_in.next_multiple_of(2)];
        each(n_out, n_in, |o, i| panels[place_fp8(o, i, n_in)] = codes[o * n_in + i]);
        let mut padded = vec![1.0; n_channels];
        padded[..n_out].copy_from_slice(scales);
        let kernel = Kernel::of_machine(WeightFormat::Fp8);
        Self { n_in, n_out, numbers: Numbers::Fp8(panels, padded), kernel }
    }

    /// Bytes that a product reads of it.
    pub fn n_bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F32(turned) => size_of_val(&turned[..]),
            Numbers::Bf16(panels) => size_of_val(&panels[..]),
            Numbers::Fp8(panels, scales) => panels.len() + size_of_val(&scales[..]),
        }
    }

    /// Row `o` of the matrix, widened: an entry of an embedding table.
    pub fn row(&self, o: usize, into: &mut [f32]) {
        assert!(
            o < self.n_out && into.len() == self.n_in,
            "row {o} of [{}, {}]",
            self.n_out,
            self.n_in
        );
        for (i, x) in into.iter_mut().enumerate() {
            *x = match &self.numbers {
                Numbers::F32(turned) => turned[i * self.n_out + o],
                Numbers::Bf16(panels) => bf16::from_bits(panels[place(o, i, self.n_in)]).to_f32(),
                Numbers::Fp8(panels, scales) => {
                    Fp8::from_bits(panels[place_fp8(o, i, self.n_in)]).to_f32() * scales[o]
                }
            };
        }
    }

    /// Writes (or, with `add`, adds) `x[rows, n_in] @ w^T` to `out[rows, n_out]`; `parallel` lets large
    /// products use the threads of the current pool, which changes no bit.
    pub fn product(&self, x: &[f32], out: &mut [f32], add: bool, parallel: bool) {
        let rows = x.len() / self.n_in;
        assert_eq!(x.len(), rows * self.n_in, "x is [rows, n_in]");
        assert_eq!(out.len(), rows * self.n_out, "out is [rows, n_out]");
        if rows == 0 {
            return;
        }
        if let Numbers::F32(turned) = &self.numbers {
            let beta = if add { 1.0 } else { 0.0 };
            gemm_rowwise(out, x, turned, (rows, self.n_in, self.n_out), beta);
            return;
        }
        let input = Input::new(x, rows, self);
        let n_panels = self.n_out.div_ceil(PANEL);
        let work = rows * self.n_in * self.n_out;
        let out = Output { start: out.as_mut_ptr(), n_out: self.n_out, add };
        if !parallel || work < PARALLEL_WORK {
            self.panels(&input, 0..n_panels, out);
            return;
        }
        let n_parts = rayon::current_num_threads();
        let share = n_panels.div_ceil(n_parts);
        (0..n_parts).into_par_iter().for_each(|part| {
            let panels = (part * share).min(n_panels)..((part + 1) * share).min(n_panels);
            // Parts write different columns of `out`.
            self.panels(&input, panels, out);
        });
    }

    fn panels(&self, input: &Input<'_>, panels: std::ops::Range<usize>, out: Output) {
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Bf16 => avx512::run(self, input, panels, out),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512Bf16 => portable::run(self, input, panels, out),
            Kernel::Portable => portable::run(self, input, panels, out),
        }
    }
}

/// The inputs of a product as its kernel reads them.
struct Input<'a> {
    rows: usize,
    /// `[rows, n_in]`.
    x: &'a [f32],
    /// `[rows, pairs]`, two numbers in bfloat16 each; for [`Kernel::Avx512Bf16`] only.
    pairs: Vec<u32>,
}

impl<'a> Input<'a> {
    fn new(x: &'a [f32], rows: usize, w: &PackedMatrix) -> Self {
        let pairs = match w.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Bf16 => avx512::round_pairs(x, w.n_in),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512Bf16 => Vec::new(),
            Kernel::Portable => Vec::new(),
        };
        Self { rows, x, pairs }
    }
}

/// The columns of `out[rows, n_out]`, which several threads write, each its own.
#[derive(Clone, Copy)]
struct Output {
    start: *mut f32,
    n_out: usize,
    add: bool,
}

#[expect(unsafe_code, reason = "columns of one matrix are written by several threads")]
// SAFETY: `PackedMatrix::product` gives every part its own panels, that is its own columns.
unsafe impl Send for Output {}
#[expect(unsafe_code, reason = "columns of one matrix are written by several threads")]
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Columns of one row of one panel: at most `PANEL`.
    #[expect(unsafe_code, reason = "columns of one matrix are written by several threads")]
    #[inline(always)]
    fn columns(&mut self, row: usize, panel: usize) -> &mut [f32] {
        let n = PANEL.min(self.n_out - panel * PANEL);
        // SAFETY: `product` checked that `out` holds `rows * n_out` numbers, rows come from there, and
        // no other part has this panel.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(row * self.n_out + panel * PANEL), n)
        }
    }
}

/// Codes of E4M3 for `w[n_out, n_in]` and the scale of each output channel, by which the largest number
/// of a channel becomes the largest of the format.
pub fn quantize_fp8(w: &[f32], n_in: usize) -> (Vec<u8>, Vec<f32>) {
    let scale = |row: &[f32]| {
        let max = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        if max > 0.0 { max / E4M3_MAX } else { 1.0 }
    };
    let scales: Vec<f32> = w.chunks_exact(n_in).map(scale).collect();
    let codes = w
        .chunks_exact(n_in)
        .zip(&scales)
        .flat_map(|(row, scale)| row.iter().map(move |x| Fp8::from_f32(x / scale).to_bits()));
    (codes.collect(), scales)
}

fn each(n_out: usize, n_in: usize, mut f: impl FnMut(usize, usize)) {
    for o in 0..n_out {
        for i in 0..n_in {
            f(o, i);
        }
    }
}

/// Where bfloat16 panels hold output `o`, input `i`.
fn place(o: usize, i: usize, n_in: usize) -> usize {
    let pair = o / PANEL * n_in.div_ceil(2) + i / 2;
    pair * 2 * PANEL + o % PANEL * 2 + i % 2
}

/// Where FP8 panels hold output `o`, input `i`: within the 64 bytes of a pair in the order that
/// interleaving the bytes of each sixteen (`vpunpck`) turns into that of [`place`].
fn place_fp8(o: usize, i: usize, n_in: usize) -> usize {
    let at = place(o, i, n_in);
    let (pair, within) = (at / (2 * PANEL), at % (2 * PANEL));
    let (half, j) = (within / PANEL, within % PANEL);
    pair * 2 * PANEL + j / 8 * 16 + half * 8 + j % 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::wave;

    fn matrix(n_out: usize, n_in: usize, format: WeightFormat, kernel: Kernel) -> PackedMatrix {
        let w = wave(n_out * n_in, 0.37);
        PackedMatrix { kernel, ..PackedMatrix::new(&w, (n_out, n_in), format) }
    }

    fn kernels(format: WeightFormat) -> Vec<Kernel> {
        let machine = Kernel::of_machine(format);
        if machine == Kernel::Portable { vec![machine] } else { vec![Kernel::Portable, machine] }
    }

    const FORMATS: [WeightFormat; 3] = [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Fp8];

    /// The definition over the widened numbers.
    fn by_definition(w: &PackedMatrix, x: &[f32]) -> Vec<f32> {
        let mut row = vec![0.0; w.n_in];
        let mut out = Vec::new();
        for x in x.chunks_exact(w.n_in) {
            for o in 0..w.n_out {
                w.row(o, &mut row);
                out.push(
                    row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>(),
                );
            }
        }
        out.into_iter().map(|x| x as f32).collect()
    }

    #[test]
    fn products_follow_the_definition() {
        for format in FORMATS {
            for kernel in kernels(format) {
                for (rows, n_in, n_out) in [(1, 64, 32), (3, 7, 5), (14, 33, 100), (40, 256, 70)] {
                    let w = matrix(n_out, n_in, format, kernel);
                    // Numbers that bfloat16 holds, so that only the sums are rounded.
                    let x: Vec<f32> = wave(rows * n_in, 0.7)
                        .iter()
                        .map(|x| bf16::from_f32(*x).to_f32())
                        .collect();
                    let want = by_definition(&w, &x);
                    let mut out = vec![1.0; rows * n_out];
                    w.product(&x, &mut out, true, false);
                    for (g, w) in out.iter().zip(&want) {
                        let same = (g - 1.0 - w).abs() < 1e-4 * n_in as f32;
                        assert!(
                            same,
                            "{format:?} {kernel:?} {rows} rows of {n_in} x {n_out}: {g} is not 1 + {w}"
                        );
                    }
                    w.product(&x, &mut out, false, false);
                    assert!((out[0] - want[0]).abs() < 1e-4 * n_in as f32);
                }
            }
        }
    }

    #[test]
    fn rows_have_the_same_bits_however_many_there_are() {
        for format in FORMATS {
            for kernel in kernels(format) {
                for (n_in, n_out) in [(64, 64), (250, 130), (33, 300)] {
                    let (w, m) = (matrix(n_out, n_in, format, kernel), 70);
                    let x = wave(m * n_in, 0.7);
                    let rows = |range: std::ops::Range<usize>, parallel| {
                        let mut out = vec![0.5; range.len() * n_out];
                        w.product(
                            &x[range.start * n_in..range.end * n_in],
                            &mut out,
                            true,
                            parallel,
                        );
                        out
                    };
                    let want = rows(0..m, true);
                    for range in [0..1, 1..2, 5..7, 66..69, 30..34, 11..28, 0..65, 3..15, 2..15] {
                        let got = rows(range.clone(), false);
                        let want = &want[range.start * n_out..range.end * n_out];
                        assert!(got == want, "{format:?} {kernel:?} {range:?} of {n_in} x {n_out}");
                    }
                }
            }
        }
    }

    #[test]
    fn parts_on_several_threads_give_the_same_bits() {
        let w = matrix(300, 256, WeightFormat::Fp8, Kernel::of_machine(WeightFormat::Fp8));
        let x = wave(80 * 256, 0.3);
        let run = |parallel| {
            let mut out = vec![0.0; 80 * 300];
            w.product(&x, &mut out, false, parallel);
            out
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert!(pool.install(|| run(true)) == run(false));
    }

    #[test]
    fn rounding_to_fp8_is_by_channel() {
        // The second channel is a thousand times smaller and keeps its digits all the same.
        let w: Vec<f32> = wave(40, 0.9)
            .iter()
            .enumerate()
            .map(|(i, x)| if i < 20 { *x } else { x * 1e-3 })
            .collect();
        let packed = PackedMatrix::new(&w, (2, 20), WeightFormat::Fp8);
        for (o, want) in w.chunks_exact(20).enumerate() {
            let mut row = vec![0.0; 20];
            packed.row(o, &mut row);
            let max = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (got, want) in row.iter().zip(want) {
                assert!(
                    (got - want).abs() <= 0.0626 * want.abs() + 1e-5 * max,
                    "{got} is not {want}"
                );
            }
        }
        let (codes, scales) = ([0x38, 0xb8, 0x7e, 0], [2.0, 0.5]);
        let stored = PackedMatrix::from_fp8(&codes, &scales, (2, 2));
        let mut out = vec![0.0; 2];
        stored.product(&[1.0, 1.0], &mut out, false, false);
        assert_eq!(out, [0.0, 224.0]);
    }

    #[test]
    fn bytes_are_those_of_the_format() {
        let bytes = |format| PackedMatrix::new(&[0.0; 64 * 10], (64, 10), format).n_bytes();
        assert_eq!(FORMATS.map(bytes), [2560, 1280, 640 + 256]);
    }
}

//! Mixed-precision products on the tile unit of x86 processors (AMX): `tdpbf16ps` multiplies sixteen
//! rows by sixteen columns over 32 inner numbers.
//!
//! The compiler has no stable functions for these instructions, so they stand here in assembly; nothing
//! else in a program uses the registers. Linux lends them to a process that asks (`arch_prctl`).
#![expect(unsafe_code, reason = "tile instructions read and write through pointers")]

mod pack;

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

use super::Right;
use crate::matmul::{Mat, MatMut};

/// Rows and columns of a tile, and pairs along its inner size.
const TILE: usize = 16;

/// Pairs or sums of a tile.
const TILE_LEN: usize = TILE * TILE;

/// Rows and columns of the sums that stay in registers: two by two tiles.
const BLOCK: usize = 2 * TILE;

/// Tiles along the inner size that go together: two columns of them stay in the nearest cache.
const STEPS: usize = 16;

/// Whether the processor has the tile unit and the system lends it.
pub(crate) fn has_tiles() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        let rounds = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        // Leaf 7 exists on all processors with AVX-512.
        let multiplies = rounds && {
            let features = __cpuid_count(7, 0).edx;
            features & AMX_BF16 != 0 && features & AMX_TILE != 0
        };
        multiplies && ask_for_tiles()
    });
    *HAS
}

/// Asks Linux for the use of the tile registers in all threads; systems before 5.16 refuse.
#[cfg(target_os = "linux")]
fn ask_for_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILE_DATA: i64 = 18;
    let refused: i64;
    // SAFETY: the call takes two numbers, touches no memory of this process, and the system overwrites
    // only the registers named here.
    unsafe {
        asm!(
            "syscall",
            inout("rax") ARCH_PRCTL => refused,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    refused == 0
}

#[cfg(not(target_os = "linux"))]
fn ask_for_tiles() -> bool {
    false
}

/// Packs a right factor `[k, n]` as `[n / 16, k / 32]` tiles of `[pairs, columns]`.
pub(super) fn round_right(b: Mat<'_>, tiles: &mut Vec<u32>) {
    tiles.resize(n_tiles(b.cols(), b.rows()) * TILE_LEN, 0);
    // SAFETY: tiles are used only where the processor can round to bfloat16.
    unsafe { pack::tiles(b.t(), pack::Lines::Pairs, tiles) }
}

/// `out = a @ right`, or `out += a @ right` with `add`, over the first rows and columns of `right`;
/// `left` is a buffer.
pub(super) fn times(
    mut out: MatMut<'_>,
    a: Mat<'_>,
    right: &Right<'_>,
    add: bool,
    left: &mut Vec<u32>,
) {
    left.resize(n_tiles(a.rows(), a.cols()) * TILE_LEN, 0);
    // SAFETY: tiles are used only where the processor can round to bfloat16.
    unsafe { pack::tiles(a, pack::Lines::Rows, left) }
    let steps = a.cols().div_ceil(2 * TILE);
    let right_steps = right.matrix.rows().div_ceil(2 * TILE);
    assert!(steps <= right_steps && steps > 0, "the inner sizes agree");
    let mut edge = [0.0f32; BLOCK * BLOCK];
    let (n_rows, n_cols) = (out.rows(), out.cols());
    configure();
    for step in (0..steps).step_by(STEPS) {
        let add = add || step > 0;
        let mut block = |row: usize, col: usize| {
            let a = &left[(row / TILE * steps + step) * TILE_LEN..];
            let b = &right.tiles[(col / TILE * right_steps + step) * TILE_LEN..];
            let factors =
                Factors { a, b, steps: STEPS.min(steps - step), apart: [steps, right_steps] };
            factors.to(&mut out, (row, col), &mut edge, add);
        };
        // The larger factor is read once and the smaller one stays in a near cache.
        let (rows, cols) = ((0..n_rows).step_by(BLOCK), (0..n_cols).step_by(BLOCK));
        if n_rows >= n_cols {
            rows.for_each(|row| cols.clone().for_each(|col| block(row, col)));
        } else {
            cols.for_each(|col| rows.clone().for_each(|row| block(row, col)));
        }
    }
    release();
}

/// Tiles of a factor with `n` rows or columns, an even number of them, over an inner size of `k`.
fn n_tiles(n: usize, k: usize) -> usize {
    n.next_multiple_of(BLOCK) / TILE * k.div_ceil(2 * TILE)
}

/// What a block of sums is computed from: two rows of tiles and two columns of them.
struct Factors<'a> {
    a: &'a [u32],
    b: &'a [u32],
    /// Tiles along the inner size.
    steps: usize,
    /// Tiles between the rows of the left factor, and between the columns of the right one.
    apart: [usize; 2],
}

impl Factors<'_> {
    /// Writes or adds to the block of `out` at a row and column, by way of `edge` where it is not whole.
    fn to(&self, out: &mut MatMut<'_>, (row, col): (usize, usize), edge: &mut [f32], add: bool) {
        let (n_rows, n_cols) = (BLOCK.min(out.rows() - row), BLOCK.min(out.cols() - col));
        if n_rows == BLOCK && n_cols == BLOCK {
            let stride = out.row_stride();
            return self.block(out.from(row, col), stride, add);
        }
        for r in 0..n_rows {
            edge[r * BLOCK..][..n_cols].copy_from_slice(out.row(row + r, col, n_cols));
        }
        self.block(edge, BLOCK, add);
        for r in 0..n_rows {
            out.row(row + r, col, n_cols).copy_from_slice(&edge[r * BLOCK..][..n_cols]);
        }
    }

    /// Writes or adds to a block of sums whose rows begin `stride` numbers apart.
    fn block(&self, out: &mut [f32], stride: usize, add: bool) {
        assert!(out.len() >= (BLOCK - 1) * stride + BLOCK, "a whole block of sums");
        let [a_apart, b_apart] = self.apart.map(|n_tiles| n_tiles * TILE_LEN);
        assert!(self.a.len() >= a_apart + self.steps * TILE_LEN, "two rows of tiles");
        assert!(self.b.len() >= b_apart + self.steps * TILE_LEN, "two columns of tiles");
        let bytes = 4 * stride;
        let (a, b, out) = (self.a.as_ptr(), self.b.as_ptr(), out.as_mut_ptr());
        // SAFETY: the lengths were checked; the caller configured the tiles, and `steps` is positive.
        unsafe {
            asm!(
                "test {add:e}, {add:e}",
                "jz 3f",
                "tileloadd tmm0, [{c} + {stride}]",
                "tileloadd tmm1, [{c} + {stride} + 64]",
                "tileloadd tmm2, [{d} + {stride}]",
                "tileloadd tmm3, [{d} + {stride} + 64]",
                "jmp 2f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a0} + {line}]",
                "tileloadd tmm6, [{b0} + {line}]",
                "tileloadd tmm5, [{a1} + {line}]",
                "tileloadd tmm7, [{b1} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 1024",
                "add {a1}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {stride}], tmm0",
                "tilestored [{c} + {stride} + 64], tmm1",
                "tilestored [{d} + {stride}], tmm2",
                "tilestored [{d} + {stride} + 64], tmm3",
                add = in(reg) u32::from(add),
                c = in(reg) out,
                d = in(reg) out.add(TILE * stride),
                stride = in(reg) bytes,
                line = in(reg) 4 * TILE,
                a0 = inout(reg) a => _,
                a1 = inout(reg) a.add(a_apart) => _,
                b0 = inout(reg) b => _,
                b1 = inout(reg) b.add(b_apart) => _,
                steps = inout(reg) self.steps => _,
                options(nostack),
            );
        }
    }
}

/// Eight tiles of sixteen rows of 64 bytes.
fn configure() {
    let mut config = [0u8; 64];
    config[0] = 1; // the only palette there is
    for tile in 0..8 {
        config[16 + 2 * tile] = 64;
        config[48 + tile] = TILE as u8;
    }
    // SAFETY: 64 bytes are read; `has_tiles` was asked before.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) config.as_ptr(), options(nostack, readonly));
    }
}

/// Returns the tiles to their initial state, which costs nothing to save at a change of threads.
fn release() {
    // SAFETY: only tile registers change.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

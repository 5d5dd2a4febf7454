//! Products of vectors in eight bits with queries of eight or sixteen.
//!
//! A vector is kept as `scale * codes`, codes from -127 to 127; a query as `scale * numbers`. Sums are
//! whole numbers, so every instruction set gives the same ones.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

mod query;
mod rows;

pub use self::query::Int8Query;
pub use self::rows::Int8Rows;

/// Rows of a block, whose sums fill one register.
const ROWS: usize = 16;

/// Neighbouring codes of a row that one instruction multiplies and adds up.
const GROUP: usize = 4;

/// What is added to a code so that it has no sign.
const OFFSET: u8 = 128;

/// [`GROUP`] codes of each row of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
struct Line([u8; ROWS * GROUP]);

/// Writes `vector` as codes and returns their scale.
///
/// # Panics
/// When the two are not equally long.
pub fn int8_encode(vector: &[f32], codes: &mut [i8]) -> f32 {
    assert_eq!(codes.len(), vector.len(), "one code per number");
    quantise(vector, 127.0, codes, |code| code as i8)
}

/// Writes `vector` as whole numbers up to `most`, ties to even, and returns their scale.
fn quantise<T>(vector: &[f32], most: f32, out: &mut [T], narrow: impl Fn(i32) -> T) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer that then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut scale = 0.0;
    crate::vectorised(
        #[inline(always)]
        || {
            let largest = crate::simd::max_abs_inline(vector);
            scale = largest / most;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            for (out, x) in out.iter_mut().zip(vector) {
                let shifted = (x * inverse).clamp(-most, most) + ROUND;
                *out = narrow(shifted.to_bits().cast_signed() - ROUND.to_bits().cast_signed());
            }
        },
    );
    scale
}

/// Whether products with many coarse queries at once cost less than in single precision.
#[must_use]
pub fn int8_is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return vnni::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

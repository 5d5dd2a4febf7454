//! One block with one query by AVX2.
#![expect(unsafe_code, reason = "vector instructions read and write through pointers")]

use std::arch::x86_64::{
    _mm_load_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_hadd_epi32, _mm256_madd_epi16,
    _mm256_permute4x64_epi64, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_storeu_si256,
};
use std::arch::x86_64::{_mm_set1_epi8, _mm_xor_si128};

use super::{GROUP, Line, OFFSET, ROWS};

/// Sixteen codes of four rows widened, times four numbers, added in pairs (`vpmovsxbw`, `vpmaddwd`); the
/// four quarters of a block have sums of their own, so that four chains run beside each other.
///
/// # Safety
/// The processor has AVX2; `numbers` has four numbers per line, and `out` sixteen places.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dots(block: &[Line], numbers: &[i16], out: &mut [i32]) {
    debug_assert!(numbers.len() == block.len() * GROUP && out.len() == ROWS);
    let offset = _mm_set1_epi8(OFFSET.cast_signed());
    let mut sums = [_mm256_setzero_si256(); 4];
    for (line, numbers) in block.iter().zip(numbers.as_chunks::<GROUP>().0) {
        let four = _mm256_set1_epi64x(bytemuck::cast(*numbers));
        for (quarter, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a line has four times sixteen bytes and begins at a multiple of 64.
            let codes = unsafe { _mm_load_si128(line.0.as_ptr().add(16 * quarter).cast()) };
            let codes = _mm256_cvtepi8_epi16(_mm_xor_si128(codes, offset));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(codes, four));
        }
    }
    for (half, out) in out.chunks_exact_mut(8).enumerate() {
        // lanes of the sum: rows 0 1 4 5, 2 3 6 7
        let both = _mm256_hadd_epi32(sums[2 * half], sums[2 * half + 1]);
        let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
        // SAFETY: `out` has eight places.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), ordered) };
    }
}

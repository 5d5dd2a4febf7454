//! Dot products of vectors in eight bits with queries in sixteen.
//!
//! A vector is kept as `scale * codes`, codes from -127 to 127; a query as `scale * numbers`, as fine as
//! the sum of its products allows in 32 bits. Sums are whole numbers, so every instruction set gives
//! the same ones. Rows are padded with zeros to [`int8_stride`].

/// Row lengths are multiples of this.
const LANES: usize = 16;

/// The length of a row of codes for vectors of `dim` numbers.
#[must_use]
pub fn int8_stride(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

/// Writes `vector` as codes (zeros behind it) and returns their scale.
///
/// # Panics
/// When `codes` is shorter than `vector`.
pub fn int8_encode(vector: &[f32], codes: &mut [i8]) -> f32 {
    let (inner, padding) = codes.split_at_mut(vector.len());
    padding.fill(0);
    let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    crate::vectorised(
        #[inline(always)]
        || {
            for (code, x) in inner.iter_mut().zip(vector) {
                *code = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
            }
        },
    );
    scale
}

/// A query as whole numbers, `[int8_stride(dim)]`, and their scale.
#[must_use]
pub fn int8_query(query: &[f32]) -> (Vec<i16>, f32) {
    let stride = int8_stride(query.len());
    // the sum of `stride` products with codes up to 127 must fit 31 bits
    let most = (i32::MAX as usize / (127 * stride.max(1))).min(i16::MAX as usize) as f32;
    let largest = query.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = largest / most;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut numbers: Vec<i16> =
        query.iter().map(|x| (x * inverse).round_ties_even().clamp(-most, most) as i16).collect();
    numbers.resize(stride, 0);
    (numbers, scale)
}

/// `out[i] = codes[i] . query` for `codes[n, query.len()]`.
///
/// # Panics
/// When the query is no multiple of sixteen long, or `codes` is not `[out.len(), query.len()]`.
pub fn int8_dots(codes: &[i8], query: &[i16], out: &mut [i32]) {
    assert!(query.len().is_multiple_of(LANES) && !query.is_empty(), "rows are padded");
    assert_eq!(codes.len(), out.len() * query.len(), "codes are [n, query]");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "a function for AVX2 is called where there is AVX2")]
        // SAFETY: the processor has AVX2, and the asserts above are the function's conditions.
        unsafe {
            avx2::dots(codes, query, out);
        }
        return;
    }
    portable(codes, query, out);
}

fn portable(codes: &[i8], query: &[i16], out: &mut [i32]) {
    crate::vectorised(
        #[inline(always)]
        || {
            for (row, out) in codes.chunks_exact(query.len()).zip(out) {
                *out = row.iter().zip(query).map(|(&c, &q)| i32::from(c) * i32::from(q)).sum();
            }
        },
    );
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    #![expect(unsafe_code, reason = "vector instructions read and write through pointers")]

    use std::arch::x86_64::{
        __m256i, _mm_add_epi32, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256, _mm256_hadd_epi32,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
    };

    use super::LANES;

    /// Sixteen codes widened, times sixteen numbers, added in pairs (`vpmovsxbw`, `vpmaddwd`); four
    /// rows at a time, so that four chains of sums run beside each other.
    ///
    /// # Safety
    /// The processor has AVX2; `codes` is `[out.len(), query.len()]`, `query` a multiple of sixteen.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn dots(codes: &[i8], query: &[i16], out: &mut [i32]) {
        let len = query.len();
        let whole = out.len() / 4 * 4;
        for (row, out) in (0..whole).step_by(4).zip(out.chunks_exact_mut(4)) {
            // SAFETY: rows `row..row + 4` lie inside `codes`; `out` holds four numbers.
            unsafe {
                let sums = rows(codes.as_ptr().add(row * len), query);
                let low = _mm256_hadd_epi32(sums[0], sums[1]);
                let high = _mm256_hadd_epi32(sums[2], sums[3]);
                let both = _mm256_hadd_epi32(low, high);
                let four = _mm_add_epi32(
                    _mm256_castsi256_si128(both),
                    _mm256_extracti128_si256::<1>(both),
                );
                _mm_storeu_si128(out.as_mut_ptr().cast(), four);
            }
        }
        super::portable(&codes[whole * len..], query, &mut out[whole..]);
    }

    /// Partial sums of the four rows at `codes`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn rows(codes: *const i8, query: &[i16]) -> [__m256i; 4] {
        let len = query.len();
        let mut sums = [_mm256_setzero_si256(); 4];
        for at in (0..len).step_by(LANES) {
            // SAFETY: the caller's four rows of `len` codes begin at `codes`, and `at + 16 <= len`.
            unsafe {
                let q = _mm256_loadu_si256(query.as_ptr().add(at).cast());
                for (row, sum) in sums.iter_mut().enumerate() {
                    let eight = _mm_loadu_si128(codes.add(row * len + at).cast());
                    let products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(eight), q);
                    *sum = _mm256_add_epi32(*sum, products);
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{int8_dots, int8_encode, int8_query, int8_stride, portable};

    proptest! {
        #[test]
        fn every_kernel_gives_the_plain_sums(
            rows in 0usize..11,
            blocks in 1usize..6,
            seed in any::<u64>(),
        ) {
            let (len, mut state) = (blocks * 16, seed | 1);
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                (state >> 40) as i32
            };
            let codes: Vec<i8> = (0..rows * len).map(|_| (next() % 128) as i8).collect();
            let query: Vec<i16> = (0..len).map(|_| (next() % 32_768) as i16).collect();
            let want: Vec<i32> = codes
                .chunks(len)
                .map(|row| row.iter().zip(&query).map(|(&c, &q)| i32::from(c) * i32::from(q)).sum())
                .collect();
            let (mut got, mut plain) = (vec![7; rows], vec![7; rows]);
            int8_dots(&codes, &query, &mut got);
            portable(&codes, &query, &mut plain);
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(&plain, &want);
        }
    }

    #[test]
    fn codes_lie_within_half_a_step_and_sums_never_overflow() {
        for dim in [1, 16, 256, 300, 4096] {
            let vector: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
            let mut codes = vec![1i8; int8_stride(dim)];
            let scale = int8_encode(&vector, &mut codes);
            for (x, &code) in vector.iter().zip(&codes) {
                assert!((x - scale * f32::from(code)).abs() <= scale * 0.5001, "dim {dim}");
            }
            assert!(codes[dim..].iter().all(|&c| c == 0));
            let ones = vec![1.0; dim];
            let (query, query_scale) = int8_query(&ones);
            let full = vec![127i8; int8_stride(dim)];
            let mut out = [0];
            int8_dots(&full, &query, &mut out);
            let want = 127.0 * dim as f32;
            assert!((out[0] as f32 * query_scale - want).abs() < 1e-3 * want, "dim {dim}");
        }
        assert_eq!(int8_encode(&[0.0; 4], &mut [0i8; 16]), 0.0);
        assert_eq!(int8_query(&[0.0; 4]).1, 0.0);
    }
}

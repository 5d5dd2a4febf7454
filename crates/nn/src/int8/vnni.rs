//! Blocks with queries by `vpdpbusd` of AVX-512: 64 products of bytes, added up in fours.
#![expect(unsafe_code, reason = "vector instructions read and write through pointers")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};

use super::{Int8Query, Line, ROWS};

/// Whether the processor has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

/// `out[query, row] = codes[row] . numbers[query]` of blocks of `groups` lines.
///
/// # Safety
/// The processor has the instructions; `lines` are whole blocks of `groups`; every query has four numbers
/// per group, and sixteen places per block in `out`.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn dots<Q: AsRef<Int8Query>>(
    lines: &[Line],
    groups: usize,
    queries: &[&Q],
    out: &mut [i32],
) {
    let width = lines.len() / groups * ROWS;
    let (mut queries, mut out) = (queries, out);
    while let Some(first) = queries.first().map(|query| query.as_ref()) {
        // SAFETY: the caller's conditions, for as many of the queries as the pattern asks for.
        let done = unsafe {
            match queries.len() {
                _ if first.digits.len() > 1 => of_digits(lines, groups, first, &mut out[..width]),
                8.. => of_queries::<2, 8, 1>(lines, groups, queries, out),
                4.. => of_queries::<1, 4, 1>(lines, groups, queries, out),
                2.. => of_queries::<1, 2, 2>(lines, groups, queries, out),
                _ => of_queries::<1, 1, 4>(lines, groups, queries, out),
            }
        };
        (queries, out) = (&queries[done..], &mut out[done * width..]);
    }
}

/// The first `Q` queries of one digit with all blocks, `B` at a time; returns `Q`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn of_queries<const B: usize, const Q: usize, const C: usize>(
    lines: &[Line],
    groups: usize,
    queries: &[&impl AsRef<Int8Query>],
    out: &mut [i32],
) -> usize {
    let width = lines.len() / groups * ROWS;
    let digits: [Digits<'_>; Q] = std::array::from_fn(|q| Digits::of(queries[q].as_ref(), 0));
    let mut at = 0;
    let mut store = |sums: &[__m512i; Q]| {
        for (q, &sums) in sums.iter().enumerate() {
            let places = &mut out[q * width + at..][..ROWS];
            // SAFETY: sixteen places.
            unsafe { _mm512_storeu_si512(places.as_mut_ptr().cast(), sums) };
        }
        at += ROWS;
    };
    let many = lines.chunks_exact(B * groups);
    let rest = many.remainder();
    for lines in many {
        // SAFETY: `B` blocks; digits have four numbers per group.
        unsafe { tile::<B, Q, C>(lines, groups, &digits) }.iter().for_each(&mut store);
    }
    for lines in rest.chunks_exact(groups) {
        // SAFETY: as above, for one block.
        unsafe { tile::<1, Q, C>(lines, groups, &digits) }.iter().for_each(&mut store);
    }
    Q
}

/// A query of two digits with all blocks; returns 1.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn of_digits(lines: &[Line], groups: usize, query: &Int8Query, out: &mut [i32]) -> usize {
    let digits = [Digits::of(query, 0), Digits::of(query, 1)];
    for (block, out) in lines.chunks_exact(groups).zip(out.chunks_exact_mut(ROWS)) {
        // SAFETY: one block; digits have four numbers per group.
        let [[high, low]] = unsafe { tile::<1, 2, 2>(block, groups, &digits) };
        let sums = _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low);
        // SAFETY: sixteen places.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sums) };
    }
    1
}

/// One digit of every number of a query.
#[derive(Clone, Copy)]
struct Digits<'a> {
    digits: &'a [i8],
    /// What the offset of the codes adds to the sum, negative.
    start: i32,
}

impl<'a> Digits<'a> {
    fn of(query: &'a Int8Query, place: usize) -> Self {
        let (digits, offset) = &query.digits[place];
        Self { digits, start: offset.wrapping_neg() }
    }
}

/// The sums of `B` blocks with `Q` rows of digits, each from `C` chains of instructions that need not
/// wait for each other.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const B: usize, const Q: usize, const C: usize>(
    lines: &[Line],
    groups: usize,
    digits: &[Digits<'_>; Q],
) -> [[__m512i; Q]; B] {
    let mut sums = [[[_mm512_setzero_si512(); C]; Q]; B];
    let whole = groups / C * C;
    for from in (0..whole).step_by(C) {
        for chain in 0..C {
            // SAFETY: the caller's conditions; `from + chain` is below `groups`.
            unsafe { step(&mut sums, chain, lines, groups, digits, from + chain) };
        }
    }
    for group in whole..groups {
        // SAFETY: as above.
        unsafe { step(&mut sums, 0, lines, groups, digits, group) };
    }
    let mut all = [[_mm512_setzero_si512(); Q]; B];
    for (all, sums) in all.iter_mut().zip(sums) {
        for ((all, chains), digits) in all.iter_mut().zip(sums).zip(digits) {
            *all = _mm512_set1_epi32(digits.start);
            for sums in chains {
                *all = _mm512_add_epi32(*all, sums);
            }
        }
    }
    all
}

/// One group of codes with the digits.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn step<const B: usize, const Q: usize, const C: usize>(
    sums: &mut [[[__m512i; C]; Q]; B],
    chain: usize,
    lines: &[Line],
    groups: usize,
    digits: &[Digits<'_>; Q],
    group: usize,
) {
    // SAFETY: `lines` are `B` blocks of `groups` lines that begin at multiples of 64; digits have four
    // numbers per group.
    unsafe {
        let mut codes = [_mm512_setzero_si512(); B];
        for (block, codes) in codes.iter_mut().enumerate() {
            *codes = _mm512_load_si512(lines.as_ptr().add(block * groups + group).cast());
        }
        for (q, digits) in digits.iter().enumerate() {
            let four = digits.digits.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
            let four = _mm512_set1_epi32(four);
            for (of_block, codes) in sums.iter_mut().zip(codes) {
                of_block[q][chain] = _mm512_dpbusd_epi32(of_block[q][chain], codes, four);
            }
        }
    }
}

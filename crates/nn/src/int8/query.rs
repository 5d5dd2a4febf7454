//! Queries as whole numbers.

use super::{GROUP, OFFSET, quantise};

/// A query as `scale * numbers`, whole numbers of eight bits or about sixteen.
#[derive(Debug, Clone)]
pub struct Int8Query {
    pub(super) numbers: Vec<i16>,
    /// The numbers in eight bits, or their higher and their lower digits; and what [`OFFSET`] times their
    /// sum is.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by vnni"))]
    pub(super) digits: Vec<(Vec<i8>, i32)>,
    scale: f32,
}

impl Int8Query {
    /// As fine as the sum of its products with codes allows in 32 bits: about 16 bits.
    #[must_use]
    pub fn fine(query: &[f32]) -> Self {
        const MOST: usize = 127 * 256 + 127; // two digits
        let length = query.len().next_multiple_of(GROUP).max(GROUP);
        let (numbers, scale) = rounded(query, (i32::MAX as usize / (127 * length)).min(MOST));
        let low = |number: &i16| *number as i8;
        let high = |number: &i16| ((number - i16::from(low(number))) >> 8) as i8;
        let digits = vec![
            with_offset(numbers.iter().map(high).collect()),
            with_offset(numbers.iter().map(low).collect()),
        ];
        Self { numbers, digits, scale }
    }

    /// In eight bits, for half the work where the processor multiplies bytes.
    #[must_use]
    pub fn coarse(query: &[f32]) -> Self {
        let (numbers, scale) = rounded(query, 127);
        let digits = vec![with_offset(numbers.iter().map(|&number| number as i8).collect())];
        Self { numbers, digits, scale }
    }

    /// The whole numbers, zeros behind them.
    #[must_use]
    pub fn numbers(&self) -> &[i16] {
        &self.numbers
    }

    /// What a number stands for.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.scale
    }
}

fn with_offset(digits: Vec<i8>) -> (Vec<i8>, i32) {
    let offset = i32::from(OFFSET) * digits.iter().map(|&digit| i32::from(digit)).sum::<i32>();
    (digits, offset)
}

impl AsRef<Self> for Int8Query {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// `query` as numbers up to `most`, and their scale.
fn rounded(query: &[f32], most: usize) -> (Vec<i16>, f32) {
    let mut numbers = vec![0; query.len().next_multiple_of(GROUP)];
    let scale = quantise(query, most as f32, &mut numbers, |number| number as i16);
    (numbers, scale)
}

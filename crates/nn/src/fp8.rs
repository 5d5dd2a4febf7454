//! The 8-bit floating-point format E4M3 (Micikevicius et al. 2022): a sign, four bits of exponent with
//! bias 7, three bits of mantissa; no infinities, largest number 448.

/// The largest number of the format.
pub const E4M3_MAX: f32 = 448.0;

/// A number in E4M3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Fp8(u8);

impl Fp8 {
    /// The number with these bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// The nearest number of the format, ties to even; beyond the largest, the largest.
    #[inline(always)]
    pub fn from_f32(x: f32) -> Self {
        let sign = ((x.to_bits() >> 24) & 0x80) as u8;
        let x = x.abs();
        // Adding 2^14 leaves steps of 2^-9, which are those of the subnormal numbers.
        let subnormal = (x + 16384.0).to_bits() as u8;
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7_ffff + ((bits >> 20) & 1)) >> 20;
        let normal = rounded.wrapping_sub(120 << 3).min(0x7e) as u8;
        let magnitude = if x < 0.015_625 { subnormal } else { normal };
        Self(sign | magnitude)
    }

    /// The number, which single precision holds exactly; the two codes of "not a number" give that.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        if self.is_nan() {
            return f32::NAN;
        }
        self.widen()
    }

    /// As [`Self::to_f32`] for codes that are numbers.
    #[inline(always)]
    pub(crate) fn widen(self) -> f32 {
        self.shifted() * SHIFT
    }

    /// Whether these are the bits of "not a number".
    #[inline(always)]
    pub fn is_nan(self) -> bool {
        self.0 & 0x7f == 0x7f
    }

    /// The number divided by 2^120: its bits in their places, the exponent not yet shifted.
    #[inline(always)]
    pub(crate) fn shifted(self) -> f32 {
        // Sign extension brings the sign to the top; the mask removes its copies.
        let bits = i32::from(self.0.cast_signed()) << 20;
        f32::from_bits(bits.cast_unsigned() & 0x87f0_0000)
    }
}

/// The exponent of E4M3 counts from -7, that of single precision from -127.
const SHIFT: f32 = f32::from_bits((127 + 120) << 23);

#[cfg(test)]
mod tests {
    use super::{E4M3_MAX, Fp8};

    /// The definition: `(-1)^s * 2^(e - 7) * (1 + m / 8)`, or `2^-6 * m / 8` where `e` is 0.
    fn by_definition(bits: u8) -> f32 {
        let (e, m) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
        let magnitude = match e {
            0 => m / 8.0 * 2f32.powi(-6),
            _ => (1.0 + m / 8.0) * 2f32.powi(e - 7),
        };
        if bits & 0x80 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_code_has_its_number_and_comes_back() {
        for bits in (0..=255u8).filter(|bits| bits & 0x7f != 0x7f) {
            let x = by_definition(bits);
            assert_eq!(Fp8::from_bits(bits).to_f32(), x, "bits {bits:02x}");
            assert_eq!(Fp8::from_f32(x).to_bits(), bits, "{x}");
        }
        assert!(Fp8::from_bits(0x7f).to_f32().is_nan() && Fp8::from_bits(0xff).to_f32().is_nan());
        assert_eq!(Fp8::from_f32(E4M3_MAX).to_bits(), 0x7e);
    }

    #[test]
    fn rounding_takes_the_nearest_and_ties_go_to_even() {
        let numbers: Vec<f32> = (0..0x7f).map(by_definition).collect();
        for (code, pair) in numbers.windows(2).enumerate() {
            let middle = f32::midpoint(pair[0], pair[1]);
            let even = code as u8 + (code as u8 & 1);
            assert_eq!(Fp8::from_f32(middle).to_bits(), even, "the middle {middle}");
            assert_eq!(Fp8::from_f32(middle.next_down()).to_bits(), code as u8);
            assert_eq!(Fp8::from_f32(middle.next_up()).to_bits(), code as u8 + 1);
        }
        for (x, want) in [(1e9, 448.0), (-1e9, -448.0), (f32::INFINITY, 448.0), (1e-9, 0.0)] {
            assert_eq!(Fp8::from_f32(x).to_f32(), want, "{x}");
        }
    }
}

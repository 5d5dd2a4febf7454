//! Conversions between `f32` and the 16-bit formats of checkpoints, as little-endian bytes.

use half::{bf16, f16};

/// How a checkpoint stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of single precision, rounded to nearest even.
    Bf16,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// The numbers as little-endian bytes of `dtype`, rounded to nearest even.
pub fn to_bytes(numbers: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        Dtype::Bf16 => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
    }
}

/// Reads little-endian numbers of `dtype`; bytes short of a whole number at the end are left out.
pub fn from_bytes(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::Bf16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bit_patterns() {
        assert_eq!(to_bytes(&[1.0], Dtype::F16), [0x00, 0x3c]);
        assert_eq!(to_bytes(&[1.0], Dtype::Bf16), [0x80, 0x3f]);
        assert_eq!(to_bytes(&[-2.0], Dtype::F32), [0, 0, 0, 0xc0]);
        assert_eq!(from_bytes(&[0xff, 0x7b], Dtype::F16), [65504.0]);
    }

    #[test]
    fn a_round_trip_loses_no_more_than_the_format_does() {
        let numbers: Vec<f32> = (1..2000).map(|i| (i as f32).sin() * 3.0).collect();
        for (dtype, loss) in [(Dtype::F32, 0.0), (Dtype::F16, 4.9e-4), (Dtype::Bf16, 3.91e-3)] {
            let bytes = to_bytes(&numbers, dtype);
            assert_eq!(bytes.len(), numbers.len() * dtype.size());
            for (x, y) in numbers.iter().zip(from_bytes(&bytes, dtype)) {
                assert!((x - y).abs() <= loss * x.abs(), "{x} became {y} in {dtype:?}");
            }
        }
    }
}

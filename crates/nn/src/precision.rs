//! The precision in which the products of a training step multiply.

use serde::{Deserialize, Serialize};

use crate::products::has_tiles;

/// Which numbers the matrix products of training multiply; they are added up in single precision
/// either way.
///
/// Mixed precision (Micikevicius et al. 2018): parameters, gradients and intermediate results stay in
/// single precision, and only the factors of a product are rounded on their way into it. bfloat16 has
/// the exponents of single precision, so that no loss needs scaling (Kalamkar et al. 2019). Each factor
/// loses up to 0.4 percent; norms, softmax and the loss lose nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    F32,
    /// Factors rounded to bfloat16, to nearest even; single precision where the processor has no
    /// tile unit (AMX).
    Bf16,
}

impl Precision {
    /// The fastest precision of this machine: [`Self::Bf16`] where the processor has a tile unit.
    #[must_use]
    pub fn of_machine() -> Self {
        if has_tiles() { Self::Bf16 } else { Self::F32 }
    }

    /// What products of this precision come to here.
    pub(crate) fn here(self) -> Self {
        match self {
            Self::F32 => Self::F32,
            Self::Bf16 => Self::of_machine(),
        }
    }
}

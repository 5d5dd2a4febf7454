//! Kernels with their gradients, written by hand and held against finite differences.
//!
//! Knows slices of `f32` and their shapes; knows no text, users or items, and owns no model.

mod matmul;
mod simd;

mod adamw;
mod attention;
mod convert;
mod cross_entropy;
mod fp8;
mod muon;
mod norm;
mod packed;
mod paged_attention;
mod precision;
mod products;
mod rope;
mod segment;
mod swiglu;

#[cfg(test)]
mod testing;

mod buffers;
mod contrastive;
mod dense;
mod embedding_bag;
mod int8;
mod sparse_adam;

pub use crate::adamw::{AdamW, AdamWConfig, Span, clip_factor, cosine_lr};
pub use crate::attention::{
    AttentionSaved, AttentionShape, Qkv, QkvGrad, attention_backward, attention_forward,
};
pub use crate::buffers::Buffers;
pub use crate::contrastive::{ContrastiveRow, sampled_softmax};
pub use crate::convert::{Dtype, from_bytes, to_bytes};
pub use crate::cross_entropy::{CrossEntropy, cross_entropy};
pub use crate::dense::{
    affine, affine_backward, l2_normalise, l2_normalise_backward, par_gemm_nn, par_gemm_nt,
    par_gemm_tn, relu, relu_backward,
};
pub use crate::embedding_bag::{Bags, SparseGrad};
pub use crate::fp8::{E4M3_MAX, Fp8};
pub use crate::int8::{Int8Query, Int8Rows, int8_encode, int8_is_fast};
pub use crate::matmul::{Mat, MatMut, gemm, gemm_nn, gemm_nt, gemm_rowwise, gemm_tn, transpose};
pub use crate::muon::{MuonStep, muon_update};
pub use crate::norm::{RmsNormSaved, rms_norm_backward, rms_norm_forward};
pub use crate::packed::{Kernel, PackedMatrix, WeightFormat, quantize_fp8};
pub use crate::paged_attention::{KV_PAGE, KvNumber, KvPage, PagedAttention};
pub use crate::precision::Precision;
pub use crate::products::{Products, Right};
pub use crate::rope::RopeTable;
pub use crate::segment::Segment;
pub use crate::simd::{axpy, dot, exp, scale, square_norm, vectorised};
pub use crate::sparse_adam::{AdamSettings, SparseAdam};
pub use crate::swiglu::{swiglu_backward, swiglu_forward};

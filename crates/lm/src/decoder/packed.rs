//! A decoder packed for inference: its weights in one number format, its norms as they are.

use std::borrow::Cow;
use std::ops::Range;

use nn::{Kernel, PackedMatrix, WeightFormat};

use super::block::{BlockWeights, Matrix, Norm};
use super::layout::{BlockPlaces, TensorPlace};
use super::{Decoder, DecoderConfig, Layout};
use crate::error::LmError;

/// A tensor as a checkpoint stores it, matrices as `[out, in]`.
#[derive(Debug)]
pub enum Tensor<'a> {
    /// Plain numbers.
    Numbers(Cow<'a, [f32]>),
    /// Codes of E4M3 with a scale per output channel.
    Fp8 {
        /// `[out, in]`.
        codes: &'a [u8],
        /// `[out]`.
        scales: Vec<f32>,
    },
}

/// Where the tensors of a decoder come from, one at a time.
pub trait TensorSource {
    /// The tensor of this name and shape.
    fn tensor(&self, place: &TensorPlace) -> Result<Tensor<'_>, LmError>;
}

/// A decoder for inference.
#[derive(Debug)]
pub struct PackedDecoder {
    pub(super) config: DecoderConfig,
    pub(super) format: WeightFormat,
    pub(super) rope: nn::RopeTable,
    pub(super) blocks: Vec<PackedBlock>,
    pub(super) norm: Vec<f32>,
    pub(super) head: PackedMatrix,
    /// None where the embeddings are the rows of the head.
    pub(super) embed: Option<PackedMatrix>,
    n_params: usize,
}

/// The weights of one block.
#[derive(Debug)]
pub(super) struct PackedBlock {
    /// In the order of [`Matrix::ALL`].
    matrices: [PackedMatrix; 7],
    norm1: Vec<f32>,
    norm2: Vec<f32>,
    head_norms: Option<[Vec<f32>; 2]>,
}

/// The weights of a block for one call.
pub(super) struct PackedWeights<'a> {
    pub(super) block: &'a PackedBlock,
    /// Whether large products may use several threads.
    pub(super) parallel: bool,
}

impl PackedDecoder {
    /// Packs the tensors of a source, one after another, for prompts of up to `window` tokens (and no
    /// more than the model's own window).
    ///
    /// # Errors
    /// Those of the source.
    pub fn new(
        config: DecoderConfig,
        source: &impl TensorSource,
        format: WeightFormat,
        window: usize,
    ) -> Result<Self, LmError> {
        config.check()?;
        let layout = Layout::new(&config);
        let packer = Packer { source, layout: &layout, format };
        let blocks = layout.blocks.iter().map(|places| packer.block(places));
        let blocks = blocks.collect::<Result<_, _>>()?;
        let head = packer.matrix(&layout.head)?;
        let tied = layout.head == layout.embed;
        let embed = if tied { None } else { Some(packer.matrix(&layout.embed)?) };
        let norm = packer.norm(&layout.norm)?;
        let max_position_embeddings = config.max_position_embeddings.min(window);
        let config = DecoderConfig { max_position_embeddings, ..config };
        let rope = config.rope(max_position_embeddings);
        let n_params = layout.n_params();
        Ok(Self { config, format, rope, blocks, norm, head, embed, n_params })
    }

    /// The configuration; its window is the one asked for.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The format of its weights.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The instructions that its products use on this machine.
    pub fn kernel(&self) -> Kernel {
        Kernel::of_machine(self.format)
    }

    /// Parameters.
    pub fn n_params(&self) -> usize {
        self.n_params
    }

    /// Bytes of weights that one decoded token reads.
    pub fn bytes_per_token(&self) -> usize {
        let matrices = self.blocks.iter().flat_map(|block| &block.matrices);
        matrices.map(PackedMatrix::n_bytes).sum::<usize>() + self.head.n_bytes()
    }

    /// Bytes of all weights.
    pub fn n_bytes(&self) -> usize {
        self.bytes_per_token() + self.embed.as_ref().map_or(0, PackedMatrix::n_bytes)
    }
}

impl Decoder {
    /// The same decoder for inference.
    pub fn pack(&self, format: WeightFormat) -> PackedDecoder {
        let window = self.config.max_position_embeddings;
        PackedDecoder::new(self.config.clone(), self, format, window)
            .expect("a decoder has every tensor of its own layout")
    }
}

impl TensorSource for Decoder {
    fn tensor(&self, place: &TensorPlace) -> Result<Tensor<'_>, LmError> {
        Ok(Tensor::Numbers(place.as_stored(&self.params[place.range.clone()])))
    }
}

impl BlockWeights for PackedWeights<'_> {
    fn product(&mut self, matrix: Matrix, x: &[f32], out: &mut [f32], add: bool) {
        self.block.matrices[matrix as usize].product(x, out, add, self.parallel);
    }

    fn norm(&self, norm: Norm) -> Option<&[f32]> {
        let heads = self.block.head_norms.as_ref();
        match norm {
            Norm::Attention => Some(&self.block.norm1),
            Norm::Mlp => Some(&self.block.norm2),
            Norm::Q => heads.map(|[q, _]| &q[..]),
            Norm::K => heads.map(|[_, k]| &k[..]),
        }
    }
}

struct Packer<'a, S> {
    source: &'a S,
    layout: &'a Layout,
    format: WeightFormat,
}

impl<S: TensorSource> Packer<'_, S> {
    fn block(&self, places: &BlockPlaces) -> Result<PackedBlock, LmError> {
        let matrix = |which: Matrix| self.matrix(places.matrix(which));
        let [q, k, v, o, gate, up, down] = Matrix::ALL.map(matrix);
        let head_norms = match &places.head_norms {
            Some([q, k]) => Some([self.norm(q)?, self.norm(k)?]),
            None => None,
        };
        Ok(PackedBlock {
            matrices: [q?, k?, v?, o?, gate?, up?, down?],
            norm1: self.norm(&places.norm1)?,
            norm2: self.norm(&places.norm2)?,
            head_norms,
        })
    }

    fn matrix(&self, range: &Range<usize>) -> Result<PackedMatrix, LmError> {
        let place = self.layout.at(range);
        let (n_out, n_in) = (place.shape[0], place.shape[1]);
        Ok(match self.source.tensor(place)? {
            Tensor::Fp8 { codes, scales } if self.format == WeightFormat::Fp8 => {
                PackedMatrix::from_fp8(codes, &scales, (n_out, n_in))
            }
            tensor @ (Tensor::Numbers(_) | Tensor::Fp8 { .. }) => {
                PackedMatrix::new(&tensor.into_numbers(n_in), (n_out, n_in), self.format)
            }
        })
    }

    fn norm(&self, range: &Range<usize>) -> Result<Vec<f32>, LmError> {
        let place = self.layout.at(range);
        Ok(self.source.tensor(place)?.into_numbers(1).into_owned())
    }
}

impl<'a> Tensor<'a> {
    /// The numbers, widened; `n_in` is the length of a row.
    pub(crate) fn into_numbers(self, n_in: usize) -> Cow<'a, [f32]> {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Fp8 { codes, scales } => {
                let rows = codes.chunks_exact(n_in).zip(&scales);
                let wide = |(row, scale): (&[u8], &f32)| {
                    let scale = *scale;
                    row.iter().map(move |&c| nn::Fp8::from_bits(c).to_f32() * scale).collect()
                };
                Cow::Owned(rows.map(wide).collect::<Vec<Vec<f32>>>().concat())
            }
        }
    }
}

//! Where each tensor lies in the flat vector of parameters, under its Hugging Face name.
//!
//! Matrices lie as `[in, out]`, the transpose of a checkpoint's, because `x @ w` then runs without
//! packing, which decides the speed of decoding small batches.

use std::borrow::Cow;
use std::ops::Range;

use super::DecoderConfig;
use super::block::Matrix;

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlace {
    /// Its name in a checkpoint, `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Its place in the parameters.
    pub range: Range<usize>,
    /// Its shape in a checkpoint: `[n]`, or `[out, in]`.
    pub shape: Vec<usize>,
    /// Whether it lies here as `[in, out]`.
    pub transposed: bool,
}

impl TensorPlace {
    /// Whether it is the weight of a norm: begins at one and is not decayed.
    pub fn is_norm(&self) -> bool {
        self.shape.len() == 1
    }

    /// Numbers of this tensor, turned from their order in the parameters to that of a checkpoint.
    pub(crate) fn as_stored<'a>(&self, numbers: &'a [f32]) -> Cow<'a, [f32]> {
        match (self.transposed, &self.shape[..]) {
            (true, &[rows, cols]) => {
                let mut turned = vec![0.0; numbers.len()];
                nn::transpose(numbers, cols, rows, &mut turned);
                Cow::Owned(turned)
            }
            _ => Cow::Borrowed(numbers),
        }
    }
}

/// The places of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockPlaces {
    pub(super) norm1: Range<usize>,                   // [hidden]
    pub(super) q: Range<usize>,                       // [hidden, q_width]
    pub(super) k: Range<usize>,                       // [hidden, kv_width]
    pub(super) v: Range<usize>,                       // [hidden, kv_width]
    pub(super) head_norms: Option<[Range<usize>; 2]>, // of queries and of keys, [head_dim] each
    pub(super) o: Range<usize>,                       // [q_width, hidden]
    pub(super) norm2: Range<usize>,                   // [hidden]
    pub(super) gate: Range<usize>,                    // [hidden, intermediate]
    pub(super) up: Range<usize>,                      // [hidden, intermediate]
    pub(super) down: Range<usize>,                    // [intermediate, hidden]
}

impl BlockPlaces {
    /// The place of a matrix.
    pub(super) fn matrix(&self, matrix: Matrix) -> &Range<usize> {
        match matrix {
            Matrix::Q => &self.q,
            Matrix::K => &self.k,
            Matrix::V => &self.v,
            Matrix::O => &self.o,
            Matrix::Gate => &self.gate,
            Matrix::Up => &self.up,
            Matrix::Down => &self.down,
        }
    }
}

/// The places of a whole decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<TensorPlace>,
    pub(super) embed: Range<usize>, // [vocab, hidden]
    pub(super) blocks: Vec<BlockPlaces>,
    pub(super) norm: Range<usize>, // [hidden]
    pub(super) head: Range<usize>, // [vocab, hidden]; the embedding when tied
}

impl Layout {
    /// The layout that a configuration asks for.
    pub fn new(config: &DecoderConfig) -> Self {
        let mut builder = Builder { tensors: Vec::new(), at: 0 };
        let (h, v) = (config.hidden_size, config.vocab_size);
        let embed = builder.table("model.embed_tokens.weight", v, h);
        let blocks =
            (0..config.num_hidden_layers).map(|layer| builder.block(config, layer)).collect();
        let norm = builder.norm("model.norm.weight".to_owned(), h);
        let head = match config.tie_word_embeddings {
            true => embed.clone(),
            false => builder.table("lm_head.weight", v, h),
        };
        Self { tensors: builder.tensors, embed, blocks, norm, head }
    }

    /// Every tensor, in the order of the parameters.
    pub fn tensors(&self) -> &[TensorPlace] {
        &self.tensors
    }

    /// The tensor that lies at this range.
    pub(super) fn at(&self, range: &Range<usize>) -> &TensorPlace {
        let at = self.tensors.binary_search_by_key(&range.start, |place| place.range.start);
        &self.tensors[at.expect("the ranges of a layout are those of its tensors")]
    }

    /// Length of the flat vector.
    pub fn n_params(&self) -> usize {
        self.tensors.last().map_or(0, |place| place.range.end)
    }

    /// The ranges for the optimiser: weight decay on matrices and tables, none on norms.
    pub fn spans(&self) -> Vec<nn::Span> {
        self.tensors.iter().map(|place| (place.range.clone(), !place.is_norm())).collect()
    }

    /// The matrices of the blocks with their shapes `(rows, columns)` as they lie here; the tables of
    /// tokens are none of them.
    pub fn matrices(&self) -> Vec<(Range<usize>, (usize, usize))> {
        let of = |place: &TensorPlace| match (place.transposed, &place.shape[..]) {
            (true, &[n_out, n_in]) => Some((place.range.clone(), (n_in, n_out))),
            _ => None,
        };
        self.tensors.iter().filter_map(of).collect()
    }
}

struct Builder {
    tensors: Vec<TensorPlace>,
    at: usize,
}

impl Builder {
    fn block(&mut self, config: &DecoderConfig, layer: usize) -> BlockPlaces {
        let (h, i, hd) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (q, kv) = (config.q_width(), config.kv_width());
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        BlockPlaces {
            norm1: self.norm(name("input_layernorm"), h),
            q: self.matrix(name("self_attn.q_proj"), h, q),
            k: self.matrix(name("self_attn.k_proj"), h, kv),
            v: self.matrix(name("self_attn.v_proj"), h, kv),
            head_norms: config.has_head_norms().then(|| {
                ["self_attn.q_norm", "self_attn.k_norm"].map(|part| self.norm(name(part), hd))
            }),
            o: self.matrix(name("self_attn.o_proj"), q, h),
            norm2: self.norm(name("post_attention_layernorm"), h),
            gate: self.matrix(name("mlp.gate_proj"), h, i),
            up: self.matrix(name("mlp.up_proj"), h, i),
            down: self.matrix(name("mlp.down_proj"), i, h),
        }
    }

    fn norm(&mut self, name: String, n: usize) -> Range<usize> {
        self.push(name, vec![n], false)
    }

    fn table(&mut self, name: &str, rows: usize, cols: usize) -> Range<usize> {
        self.push(name.to_owned(), vec![rows, cols], false)
    }

    fn matrix(&mut self, name: String, n_in: usize, n_out: usize) -> Range<usize> {
        self.push(name, vec![n_out, n_in], true)
    }

    fn push(&mut self, name: String, shape: Vec<usize>, transposed: bool) -> Range<usize> {
        let range = self.at..self.at + shape.iter().product::<usize>();
        self.at = range.end;
        self.tensors.push(TensorPlace { name, range: range.clone(), shape, transposed });
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_shape_has_three_and_a_half_million_parameters() {
        let config = DecoderConfig::builtin(4096);
        let layout = Layout::new(&config);
        let per_block = 256 * (256 + 128 + 128 + 256) + 3 * 256 * 512 + 2 * 256 + 2 * 64;
        assert_eq!(layout.n_params(), 4096 * 256 + 4 * per_block + 256);
        assert_eq!(layout.tensors()[2].name, "model.layers.0.self_attn.q_proj.weight");
        assert_eq!(layout.tensors()[3].shape, [128, 256]);
        assert_eq!(layout.head, layout.embed);
    }

    #[test]
    fn tensors_follow_each_other_without_gaps() {
        let config = DecoderConfig { tie_word_embeddings: false, ..DecoderConfig::tiny() };
        let layout = Layout::new(&config);
        let mut at = 0;
        for place in layout.tensors() {
            assert_eq!(place.range.start, at, "{}", place.name);
            at = place.range.end;
        }
        assert_eq!(at, layout.n_params());
        assert_ne!(layout.head, layout.embed);
    }
}

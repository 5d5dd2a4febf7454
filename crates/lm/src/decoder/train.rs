//! Loss of a packed row and its gradient for every parameter; single-threaded, callers split rows.
//!
//! The output head, and the last block behind its attention, are computed only at the positions that have a
//! target: most tokens of a sample are its prompt.

use nn::{Mat, MatMut, Precision, Products, RmsNormSaved};

use super::block::{Block, BlockGrad, BlockTape, TrainedWeights};
use super::{Decoder, PackedBatch};

/// Targets whose logits exist at one time.
const HEAD_ROWS: usize = 128;

/// What the targets of some rows came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossStats {
    /// Sum of `weight * -ln p(target)`, in nats.
    pub loss: f64,
    /// Sum of weights; the mean loss is `loss / weight`.
    pub weight: f64,
    /// Targets.
    pub n_targets: u64,
    /// Targets that had the largest logit.
    pub n_correct: u64,
}

impl LossStats {
    /// Adds the figures of other rows.
    pub fn add(&mut self, other: LossStats) {
        self.loss += other.loss;
        self.weight += other.weight;
        self.n_targets += other.n_targets;
        self.n_correct += other.n_correct;
    }

    /// The mean loss per weight in nats; 0 without any target.
    pub fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.loss / self.weight } else { 0.0 }
    }
}

/// Buffers of a training step and the precision of its products; keep one per thread and pass it again.
/// The default one computes in single precision.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    blocks: Vec<BlockTape>,
    scratch: BlockGrad,
    x: Vec<f32>,   // [rows, hidden]; in the end those that are wanted
    d_x: Vec<f32>, // likewise
    head: HeadTape,
    products: Products,
    attention: Products, // of the forward pass
}

impl Tape {
    /// Buffers for steps whose matrix products have a given precision; parameters, gradients, norms,
    /// softmax and loss are in single precision always.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        let [products, attention] = [Products::new(precision), Products::new(precision)];
        Self { products, attention, ..Self::default() }
    }
}

/// Buffers of the output head, for the rows that have a target.
#[derive(Debug, Clone, Default)]
struct HeadTape {
    inv: Vec<f32>,      // [targets]
    normed: Vec<f32>,   // [targets, hidden]
    d_normed: Vec<f32>, // [targets, hidden]
    logits: Vec<f32>,   // [HEAD_ROWS, vocab], then their gradient
}

impl Decoder {
    /// Adds to `grads` the gradient of the weighted sum of losses of `batch`, and returns the sums.
    ///
    /// `grads` lies like the parameters. Tokens must be in the vocabulary and sequences no longer
    /// than the context window.
    pub fn loss_and_grad(
        &self,
        batch: &PackedBatch,
        grads: &mut [f32],
        tape: &mut Tape,
    ) -> LossStats {
        assert_eq!(grads.len(), self.params.len(), "a gradient for each parameter");
        let (positions, segments) = (batch.positions(), batch.segments());
        let targets = Targets::of(batch);
        self.forward_blocks(batch, &positions, Some(&targets.rows), tape);
        let stats = self.head(&targets, tape, Some(&mut *grads));
        for (layer, block_tape) in tape.blocks.iter().enumerate().rev() {
            let grads = (&mut tape.scratch, &mut *grads);
            let wanted = self.is_last(layer).then_some(&targets.rows[..]);
            let mut block = self.block(layer, &mut tape.products);
            block.backward(&mut tape.d_x, (&positions, &segments), wanted, block_tape, grads);
        }
        let h = self.config.hidden_size;
        let d_embed = &mut grads[self.layout.embed.clone()];
        for (&token, d_x) in batch.tokens.iter().zip(tape.d_x.chunks_exact(h)) {
            nn::axpy(&mut d_embed[token as usize * h..][..h], 1.0, d_x);
        }
        stats
    }

    /// The loss of `batch` without a gradient.
    pub fn loss(&self, batch: &PackedBatch, tape: &mut Tape) -> LossStats {
        let targets = Targets::of(batch);
        self.forward_blocks(batch, &batch.positions(), Some(&targets.rows), tape);
        self.head(&targets, tape, None)
    }

    /// The logits `[rows, vocab]` of every row of `batch`, as training computes them.
    pub fn logits(&self, batch: &PackedBatch, tape: &mut Tape) -> Vec<f32> {
        self.forward_blocks(batch, &batch.positions(), None, tape);
        let (h, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let rows = batch.tokens.len();
        let (mut normed, mut inv) = (vec![0.0; rows * h], vec![0.0; rows]);
        let norm = &self.params[self.layout.norm.clone()];
        nn::rms_norm_forward(&tape.x, norm, self.config.rms_norm_eps, &mut normed, &mut inv);
        let mut logits = vec![0.0; rows * vocab];
        let head = &self.params[self.layout.head.clone()];
        tape.products.nt(&mut logits, &normed, head, (rows, h, vocab), false);
        logits
    }

    fn block<'a>(
        &'a self,
        layer: usize,
        products: &'a mut Products,
    ) -> Block<'a, TrainedWeights<'a>> {
        let (config, rope) = (&self.config, &self.rope);
        let (places, params) = (&self.layout.blocks[layer], &self.params[..]);
        Block { config, weights: TrainedWeights { config, places, params, products }, rope }
    }

    /// The embeddings `[rows, hidden]` of `tokens`, written to `x`.
    fn embed(&self, tokens: &[u32], x: &mut Vec<f32>) {
        let (h, table) = (self.config.hidden_size, &self.params[self.layout.embed.clone()]);
        x.clear();
        for &token in tokens {
            x.extend_from_slice(&table[token as usize * h..][..h]);
        }
    }

    fn is_last(&self, layer: usize) -> bool {
        layer + 1 == self.config.num_hidden_layers
    }

    /// Leaves the output of the last block in `tape.x`, of all rows or of those `wanted`.
    fn forward_blocks(
        &self,
        batch: &PackedBatch,
        positions: &[u32],
        wanted: Option<&[usize]>,
        tape: &mut Tape,
    ) {
        let (segments, shape) = (batch.segments(), self.config.attention());
        self.embed(&batch.tokens, &mut tape.x);
        tape.blocks.resize_with(self.config.num_hidden_layers, BlockTape::default);
        for (layer, block_tape) in tape.blocks.iter_mut().enumerate() {
            let attention = &mut tape.attention;
            let wanted = wanted.filter(|_| self.is_last(layer));
            let attend = |qkv: nn::Qkv<'_>, out: &mut [f32], log_sum: &mut [f32]| {
                nn::attention_forward(qkv, (&segments, shape), wanted, attention, out, log_sum);
            };
            let mut block = self.block(layer, &mut tape.products);
            block.forward(&mut tape.x, positions, wanted, block_tape, attend);
        }
    }

    /// Last norm, output head and loss at the targets, whose rows `tape.x` has; with `grads` also their gradients,
    /// and the gradient of the output of the last block in `tape.d_x`.
    fn head(&self, targets: &Targets, tape: &mut Tape, grads: Option<&mut [f32]>) -> LossStats {
        let (h, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let Targets { rows, tokens: targets, weights } = targets;
        let (t, x) = (&mut tape.head, &tape.x);
        t.normed.resize(rows.len() * h, 0.0);
        t.d_normed.resize(rows.len() * h, 0.0);
        t.inv.resize(rows.len(), 0.0);
        let norm = &self.params[self.layout.norm.clone()];
        nn::rms_norm_forward(x, norm, self.config.rms_norm_eps, &mut t.normed, &mut t.inv);
        let weight = weights.iter().map(|&w| f64::from(w)).sum();
        let mut stats = LossStats { weight, n_targets: rows.len() as u64, ..LossStats::default() };
        let mut grads = grads;
        let products = &mut tape.products;
        let head = Mat::new(&self.params[self.layout.head.clone()], vocab, h);
        // Rounded once for all parts.
        let to_logits = products.right(head.t());
        let from_logits = grads.is_some().then(|| products.right(head));
        for from in (0..rows.len()).step_by(HEAD_ROWS) {
            let n = HEAD_ROWS.min(rows.len() - from);
            let normed = &t.normed[from * h..(from + n) * h];
            t.logits.resize(n * vocab, 0.0);
            let logits = MatMut::new(&mut t.logits, n, vocab);
            products.times(logits, Mat::new(normed, n, h), &to_logits, false);
            let (targets, weights) = (&targets[from..from + n], &weights[from..from + n]);
            let got = nn::cross_entropy(&mut t.logits, targets, weights);
            stats.loss += got.loss;
            stats.n_correct += got.n_correct;
            if let (Some(grads), Some(from_logits)) = (grads.as_deref_mut(), &from_logits) {
                let d_normed = MatMut::new(&mut t.d_normed[from * h..(from + n) * h], n, h);
                products.times(d_normed, Mat::new(&t.logits, n, vocab), from_logits, false);
                let d_head = &mut grads[self.layout.head.clone()];
                products.tn(d_head, &t.logits, normed, (vocab, n, h), true);
            }
        }
        from_logits.into_iter().chain([to_logits]).for_each(|right| products.give(right));
        if let Some(grads) = grads {
            tape.d_x.clear();
            tape.d_x.resize(rows.len() * h, 0.0);
            let saved = RmsNormSaved { x, weight: norm, inv_rms: &t.inv };
            let d_norm = &mut grads[self.layout.norm.clone()];
            nn::rms_norm_backward(&saved, &t.d_normed, &mut tape.d_x, d_norm);
        }
        stats
    }
}

/// Where a batch has targets.
struct Targets {
    rows: Vec<usize>,
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

impl Targets {
    fn of(batch: &PackedBatch) -> Self {
        let (rows, of_rows): (Vec<usize>, Vec<(u32, f32)>) =
            batch.targets().map(|(row, target, weight)| (row, (target, weight))).unzip();
        let (tokens, weights) = of_rows.into_iter().unzip();
        Self { rows, tokens, weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::DecoderConfig;

    /// A decoder whose norms are not all one and whose weights are large enough to matter.
    fn decoder(config: DecoderConfig) -> Decoder {
        let mut decoder = Decoder::init(config, 7).unwrap();
        for (i, p) in decoder.params_mut().iter_mut().enumerate() {
            *p = *p * 8.0_f32.min(1.0 / p.abs()) + 0.2 * (i as f32 * 0.37).sin();
        }
        decoder
    }

    fn batch() -> PackedBatch {
        let mut batch = PackedBatch::default();
        batch.push(&[3, 1, 4, 1, 5, 9, 2], [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.5]);
        batch.push(&[6, 5, 3, 5], [1.0, 1.0, 1.0, 1.0]);
        batch.push_branched((&[2, 7, 1, 8, 2], &[2, 4]), [0.0, 1.0, 0.0, 1.0, 1.0]);
        batch
    }

    #[test]
    fn gradients_of_every_tensor_agree_with_finite_differences() {
        for (model_type, tie_word_embeddings) in
            [("qwen3", true), ("qwen3", false), ("llama", true)]
        {
            let model_type = model_type.to_owned();
            let config = DecoderConfig { model_type, tie_word_embeddings, ..DecoderConfig::tiny() };
            let mut decoder = decoder(config);
            let (batch, mut tape) = (batch(), Tape::default());
            let mut grads = vec![0.0; decoder.params().len()];
            let stats = decoder.loss_and_grad(&batch, &mut grads, &mut tape);
            assert_eq!(decoder.loss(&batch, &mut tape), stats);
            for place in decoder.layout().clone().tensors() {
                let step = (place.range.len() / 7).max(1);
                for i in place.range.clone().step_by(step) {
                    let (at, h) = (decoder.params()[i], 4e-3f32);
                    let mut loss = |x: f32| {
                        decoder.params_mut()[i] = x;
                        decoder.loss(&batch, &mut tape).loss
                    };
                    let want = (loss(at + h) - loss(at - h)) / f64::from(2.0 * h);
                    loss(at);
                    let got = f64::from(grads[i]);
                    let close = (got - want).abs() < 4e-3 * (1.0 + want.abs());
                    assert!(close, "{} [{i}]: {got} is not {want}", place.name);
                }
            }
        }
    }

    #[test]
    fn mixed_precision_keeps_the_loss_and_the_direction_of_the_gradient() {
        for tie_word_embeddings in [true, false] {
            let config = DecoderConfig { tie_word_embeddings, ..DecoderConfig::builtin(300) };
            let mut decoder = Decoder::init(config, 3).unwrap();
            // Weights as large as those of a trained model.
            decoder.params_mut().iter_mut().filter(|p| **p != 1.0).for_each(|p| *p *= 3.0);
            let mut batch = PackedBatch::default();
            for len in [70u32, 133] {
                let tokens: Vec<u32> = (0..len).map(|i| i * 7919 % 300).collect();
                batch.push(&tokens, (0..len).map(|i| (i % 3) as f32));
            }
            let run = |precision: Precision| {
                let (mut tape, mut grads) = (Tape::new(precision), vec![0.0; decoder.params.len()]);
                let stats = decoder.loss_and_grad(&batch, &mut grads, &mut tape);
                assert_eq!(decoder.loss(&batch, &mut tape), stats);
                (stats.mean(), grads)
            };
            let ((want, exact), (got, mixed)) = (run(Precision::F32), run(Precision::Bf16));
            assert!((want - got).abs() < 2e-3 * want, "loss {got}, not {want}");
            let rounds = Precision::of_machine() == Precision::Bf16;
            assert_eq!(exact != mixed, rounds, "other numbers just where factors are rounded");
            for place in decoder.layout().tensors() {
                let (a, b) = (&exact[place.range.clone()], &mixed[place.range.clone()]);
                let cosine =
                    f64::from(nn::dot(a, b)) / (nn::square_norm(a) * nn::square_norm(b)).sqrt();
                assert!(cosine > 0.999, "{}: cosine {cosine}", place.name);
            }
        }
    }

    #[test]
    fn packed_sequences_do_not_see_each_other() {
        let (decoder, packed, mut tape) =
            (decoder(DecoderConfig::tiny()), batch(), Tape::default());
        let together = decoder.logits(&packed, &mut tape);
        let mut alone = PackedBatch::default();
        alone.push(&packed.tokens[7..11], [0.0; 4]);
        let alone = decoder.logits(&alone, &mut tape);
        for (a, b) in together[7 * 23..11 * 23].iter().zip(&alone) {
            assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        }
    }

    #[test]
    fn branches_are_computed_as_if_each_stood_alone() {
        let (decoder, mut tape) = (decoder(DecoderConfig::tiny()), Tape::default());
        let (prefix, branches) = ([3, 1, 4], [[1, 5, 9], [2, 6, 5]]);
        let mut together = PackedBatch::default();
        let tokens = [&prefix[..], &branches[0], &branches[1]].concat();
        together.push_branched((&tokens, &[3, 6]), [1.0; 9]);
        let logits = decoder.logits(&together, &mut tape);
        for (row, branch) in branches.iter().enumerate() {
            let mut alone = PackedBatch::default();
            alone.push(&[&prefix[..], branch].concat(), [0.0; 6]);
            let alone = decoder.logits(&alone, &mut tape);
            for (a, b) in logits[(3 + 3 * row) * 23..].iter().zip(&alone[3 * 23..]) {
                assert!((a - b).abs() < 1e-5, "branch {row}: {a} is not {b}");
            }
        }
    }

    #[test]
    fn the_loss_of_a_fresh_model_is_that_of_guessing() {
        let config = DecoderConfig::builtin(512);
        let (decoder, mut tape) = (Decoder::init(config, 1).unwrap(), Tape::default());
        let mut batch = PackedBatch::default();
        let tokens: Vec<u32> = (0..200).map(|i| i * 37 % 512).collect();
        batch.push(&tokens, vec![1.0; 200]);
        let mean = decoder.loss(&batch, &mut tape).mean();
        assert!((mean - 512f64.ln()).abs() < 0.3, "mean loss {mean}");
    }
}

//! Trains a decoder on token samples: AdamW, cosine schedule, checkpoints that continue exactly.
//!
//! Data parallel over a fixed number of shards, reduced in a fixed order, so that the losses do not
//! depend on the number of threads. Knows tokens; knows no tasks and no text.

mod checkpoint;
mod held_out;
mod log;
mod packing;

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use lm::{Decoder, LossStats, PackedBatch, Tape};
use nn::{AdamW, AdamWConfig, MuonStep, Precision};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) use self::held_out::mean_loss;
pub use self::log::{TrainLog, TrainRecord};
use self::packing::{RowStream, fingerprint};
use crate::error::AlignError;
use crate::sample::TokenSample;

/// What turns gradients into updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// AdamW for every parameter.
    #[default]
    AdamW,
    /// Muon for the matrices of the blocks, AdamW for the rest.
    Muon,
}

/// Decay of Muon's momentum.
const MUON_MOMENTUM: f32 = 0.95;

/// The settings of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerConfig {
    /// Learning rate at the top of the schedule.
    pub lr: f32,
    /// The schedule ends at this part of `lr`.
    pub lr_floor: f32,
    /// Steps of linear rise.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
    /// Tokens of a packed row; a longer sample gets a row of its own.
    pub row_tokens: usize,
    /// Packed rows of a step; their gradients are added up.
    pub rows_per_step: usize,
    /// Parts of a step that may run at the same time; the sums depend on it, not on the threads.
    pub shards: usize,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f32,
    /// What updates the matrices of the blocks; tables and norms are AdamW's.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Largest norm of the gradient of the mean loss.
    pub clip: f32,
    /// Seed of the order of the samples.
    pub seed: u64,
    /// Steps between checkpoints; 0 for one at the end only.
    pub checkpoint_every: u64,
    /// Steps between losses on the held-out samples; 0 for the end only.
    pub evaluate_every: u64,
    /// Precision of the matrix products; single in checkpoints that do not tell. The weights and their
    /// moments are in single precision always.
    #[serde(default)]
    pub precision: Precision,
}

impl TrainerConfig {
    /// Settings that train the built-in shape well in `steps` steps of 8,192 tokens, in the fastest
    /// precision of this machine.
    pub fn builtin(steps: u64, seed: u64) -> Self {
        Self {
            lr: 2e-3,
            lr_floor: 0.05,
            warmup: (steps / 20).clamp(1, 100),
            steps,
            row_tokens: 1024,
            rows_per_step: 8,
            shards: 4,
            beta1: 0.9,
            beta2: 0.98,
            weight_decay: 0.1,
            optimizer: Optimizer::Muon,
            clip: 1.0,
            seed,
            checkpoint_every: 200,
            evaluate_every: 100,
            precision: Precision::of_machine(),
        }
    }

    /// The packed rows of the first pass over `samples`, each the rows of its samples; a pass takes
    /// `rows / rows_per_step` steps.
    pub fn pack(&self, samples: &[TokenSample]) -> Vec<Vec<usize>> {
        let lens = samples.iter().map(|sample| sample.tokens.len()).collect();
        RowStream::new(lens, self.row_tokens, self.seed).rows_of_epoch(0)
    }

    /// Tokens of a step at most.
    pub fn tokens_per_step(&self) -> usize {
        self.row_tokens * self.rows_per_step
    }

    fn check(&self) -> Result<(), AlignError> {
        let sizes = [
            ("steps", self.steps as usize),
            ("row_tokens", self.row_tokens),
            ("rows_per_step", self.rows_per_step),
            ("shards", self.shards),
        ];
        match sizes.iter().find(|(_, size)| *size == 0) {
            Some((what, _)) => {
                Err(AlignError::Config { what, detail: "is 0, must be positive".to_owned() })
            }
            None => Ok(()),
        }
    }
}

/// A decoder in training.
pub struct Trainer {
    decoder: Decoder,
    config: TrainerConfig,
    adam: AdamW,
    /// Hash of the samples that the steps so far were taken on.
    data: Option<u64>,
    log: TrainLog,
}

/// The gradient and the buffers of one part of a step.
struct Shard {
    grads: Vec<f32>,
    tape: Tape,
}

impl Trainer {
    /// A trainer before its first step.
    ///
    /// # Errors
    /// [`AlignError::Config`] when a size is zero.
    pub fn new(decoder: Decoder, config: TrainerConfig) -> Result<Self, AlignError> {
        config.check()?;
        let constants = AdamWConfig {
            beta1: config.beta1,
            beta2: config.beta2,
            eps: 1e-8,
            weight_decay: config.weight_decay,
        };
        let adam = AdamW::new(constants, decoder.params().len());
        Ok(Self { decoder, config, adam, data: None, log: TrainLog::default() })
    }

    /// The decoder as trained so far.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The decoder, when training is done.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.adam.step
    }

    /// Trains up to `config.steps` and returns a record of every step.
    ///
    /// With a `dir`, writes there `train.jsonl` (a record per step), `trainer.safetensors` (for
    /// [`Self::resume`]) and `model/` (the decoder in half precision) at every checkpoint.
    /// `progress` is called after every step.
    ///
    /// # Errors
    /// [`AlignError::Config`] when a sample does not fit the decoder, nothing is to be learned, or
    /// the samples are not those of the checkpoint; [`AlignError::Lm`] or [`AlignError::Io`] when a
    /// file cannot be written.
    pub fn run(
        &mut self,
        samples: &[TokenSample],
        held_out: &[TokenSample],
        dir: Option<&Path>,
        progress: &(dyn Fn(&TrainRecord) + Sync),
    ) -> Result<TrainLog, AlignError> {
        self.check_samples("samples", samples)?;
        self.check_samples("held_out", held_out)?;
        self.check_data(samples)?;
        let lens = samples.iter().map(|sample| sample.tokens.len()).collect();
        let mut rows = RowStream::new(lens, self.config.row_tokens, self.config.seed);
        rows.skip_rows(self.step() as usize * self.config.rows_per_step);
        let mut shards = self.shards();
        let spans = self.adam_spans();
        while self.step() < self.config.steps {
            let start = Instant::now();
            let batches: Vec<PackedBatch> = (0..self.config.rows_per_step)
                .map(|_| packing::pack(samples, &rows.next()))
                .collect();
            let (stats, norm, lr) = self.one_step(&batches, &mut shards, &spans);
            let step = self.step();
            let last = step == self.config.steps;
            let n_tokens: usize = batches.iter().map(|batch| batch.tokens.len()).sum();
            let mut record = TrainRecord {
                step,
                steps: self.config.steps,
                loss: stats.mean(),
                accuracy: stats.n_correct as f64 / stats.n_targets.max(1) as f64,
                lr: f64::from(lr),
                grad_norm: f64::from(norm),
                n_tokens: n_tokens as u64,
                tokens_per_second: n_tokens as f64 / start.elapsed().as_secs_f64(),
                held_out_loss: None,
            };
            if last || is_due(step, self.config.evaluate_every) {
                record.held_out_loss = mean_loss(
                    &self.decoder,
                    held_out,
                    self.config.row_tokens,
                    self.config.precision,
                );
            }
            progress(&record);
            self.log.records.push(record);
            if let Some(dir) = dir {
                self.log.append_last(dir)?;
                if last || is_due(step, self.config.checkpoint_every) {
                    self.save(dir)?;
                }
            }
        }
        Ok(self.log.clone())
    }

    /// Forward, backward, reduction and update; returns the figures, the gradient norm and the rate.
    fn one_step(
        &mut self,
        batches: &[PackedBatch],
        shards: &mut [Shard],
        spans: &[nn::Span],
    ) -> (LossStats, f32, f32) {
        let (decoder, n_shards) = (&self.decoder, shards.len());
        let figures: Vec<LossStats> = shards
            .par_iter_mut()
            .enumerate()
            .map(|(i, shard)| {
                shard.grads.fill(0.0);
                let mut stats = LossStats::default();
                for batch in batches.iter().skip(i).step_by(n_shards) {
                    stats.add(decoder.loss_and_grad(batch, &mut shard.grads, &mut shard.tape));
                }
                stats
            })
            .collect();
        let mut stats = LossStats::default();
        figures.into_iter().for_each(|figure| stats.add(figure));
        let grads = reduce(shards);
        let mean = if stats.weight > 0.0 { (1.0 / stats.weight) as f32 } else { 0.0 };
        let (factor, norm) = nn::clip_factor(grads, mean, self.config.clip);
        let c = &self.config;
        let lr = nn::cosine_lr(c.lr, self.adam.step, c.warmup, c.steps, c.lr_floor);
        self.adam.update(self.decoder.params_mut(), grads, factor, lr, spans);
        if self.config.optimizer == Optimizer::Muon {
            let weight_decay = c.weight_decay;
            let step = MuonStep { lr, grad_scale: factor, momentum: MUON_MOMENTUM, weight_decay };
            let matrices = self.decoder.layout().matrices();
            muon(self.decoder.params_mut(), &mut self.adam.first, grads, &matrices, step);
        }
        (stats, norm, lr)
    }

    /// What AdamW updates.
    fn adam_spans(&self) -> Vec<nn::Span> {
        let (mut spans, layout) = (self.decoder.layout().spans(), self.decoder.layout());
        if self.config.optimizer == Optimizer::Muon {
            let matrices = layout.matrices();
            spans.retain(|(range, _)| matrices.iter().all(|(of_muon, _)| of_muon != range));
        }
        spans
    }

    fn shards(&self) -> Vec<Shard> {
        let n_params = self.decoder.params().len();
        let n_shards = self.config.shards.min(self.config.rows_per_step);
        let precision = self.config.precision;
        let shard = || Shard { grads: vec![0.0; n_params], tape: Tape::new(precision) };
        (0..n_shards).map(|_| shard()).collect()
    }

    fn check_samples(&self, what: &'static str, samples: &[TokenSample]) -> Result<(), AlignError> {
        let fail = |detail: String| Err(AlignError::Config { what, detail });
        let c = self.decoder.config();
        for (i, sample) in samples.iter().enumerate() {
            let n = sample.tokens.len();
            if n != sample.loss.len() {
                return fail(format!("sample {i} has {n} tokens, {} marks", sample.loss.len()));
            }
            if n == 0 || n > c.max_position_embeddings {
                let window = c.max_position_embeddings;
                return fail(format!(
                    "sample {i} has {n} tokens, the context window holds {window}"
                ));
            }
            if let Some(token) = sample.tokens.iter().find(|&&t| t as usize >= c.vocab_size) {
                let n_vocab = c.vocab_size;
                return fail(format!(
                    "sample {i} holds token {token} of a vocabulary of {n_vocab}"
                ));
            }
        }
        let is_held_out = what == "held_out";
        if !is_held_out && !samples.iter().any(|sample| sample.loss.iter().skip(1).any(|l| *l)) {
            return fail("no token is a target: mark what the model shall write".to_owned());
        }
        Ok(())
    }

    /// Refuses to continue a run on other samples than it began with.
    fn check_data(&mut self, samples: &[TokenSample]) -> Result<(), AlignError> {
        let got = fingerprint(samples);
        match self.data.replace(got) {
            Some(expected) if expected != got => Err(AlignError::Config {
                what: "samples",
                detail: format!(
                    "the checkpoint was trained on samples with hash {expected:016x}, these have \
                     {got:016x}: give the same samples, or start anew from the model"
                ),
            }),
            _ => Ok(()),
        }
    }
}

fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// A range of the parameters that is a matrix, and its rows and columns.
type MatrixPlace = (Range<usize>, (usize, usize));

/// Muon on every matrix; they are independent of each other.
fn muon(
    params: &mut [f32],
    momentum: &mut [f32],
    grads: &[f32],
    matrices: &[MatrixPlace],
    step: MuonStep,
) {
    let parts = parts_mut(params, matrices).into_iter().zip(parts_mut(momentum, matrices));
    parts.zip(matrices).par_bridge().for_each(|((params, momentum), (range, shape))| {
        nn::muon_update(params, momentum, &grads[range.clone()], *shape, step);
    });
}

/// The parts of `all` at ascending places.
fn parts_mut<'a>(mut all: &'a mut [f32], places: &[MatrixPlace]) -> Vec<&'a mut [f32]> {
    let mut at = 0;
    let mut part = |range: &Range<usize>| {
        let rest = std::mem::take(&mut all).split_at_mut(range.start - at).1;
        let (part, rest) = rest.split_at_mut(range.len());
        (all, at) = (rest, range.end);
        part
    };
    places.iter().map(|(range, _)| part(range)).collect()
}

/// Adds the gradients of all shards to those of the first, in their order.
fn reduce(shards: &mut [Shard]) -> &[f32] {
    const CHUNK: usize = 1 << 16;
    let Some((first, rest)) = shards.split_first_mut() else {
        return &[];
    };
    first.grads.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        for shard in rest.iter() {
            nn::axpy(sum, 1.0, &shard.grads[i * CHUNK..][..sum.len()]);
        }
    });
    &first.grads
}

#[cfg(test)]
mod tests {
    use super::*;
    use lm::DecoderConfig;

    fn decoder() -> Decoder {
        let config = DecoderConfig {
            hidden_size: 32,
            intermediate_size: 48,
            num_hidden_layers: 2,
            head_dim: 16,
            max_position_embeddings: 64,
            ..DecoderConfig::builtin(24)
        };
        Decoder::init(config, 1).unwrap()
    }

    /// Samples of a few numbers and an answer that counts on from the last of them.
    fn samples(n: usize, seed: u32) -> Vec<TokenSample> {
        let sample = |i: usize| {
            let at = |j: usize| (i as u32 * 7919 + seed * 31 + j as u32 * 104_729) / 7 % 16 + 2;
            let prompt: Vec<u32> = (0..3 + i % 3).map(at).collect();
            let answer = (1..5).map(|j| (prompt[prompt.len() - 1] - 2 + j) % 16 + 2);
            let tokens: Vec<u32> = prompt.iter().copied().chain([0]).chain(answer).collect();
            let loss = (0..tokens.len()).map(|j| j > prompt.len()).collect();
            TokenSample { tokens, loss, branches: Vec::new() }
        };
        (0..n).map(sample).collect()
    }

    fn config(steps: u64) -> TrainerConfig {
        TrainerConfig {
            row_tokens: 48,
            rows_per_step: 4,
            shards: 3,
            lr: 1e-2,
            warmup: 5,
            checkpoint_every: 7,
            evaluate_every: 10,
            ..TrainerConfig::builtin(steps, 9)
        }
    }

    fn losses(log: &TrainLog) -> Vec<u64> {
        log.records.iter().map(|r| r.loss.to_bits()).collect()
    }

    const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

    #[test]
    fn the_loss_falls_on_seen_and_unseen_samples() {
        for precision in PRECISIONS {
            let config = TrainerConfig { precision, ..config(150) };
            let mut trainer = Trainer::new(decoder(), config).unwrap();
            let log = trainer.run(&samples(100, 0), &samples(20, 3), None, &|_| {}).unwrap();
            let (first, last) = (&log.records[0], &log.records[149]);
            assert!(first.loss > 2.8 && last.loss < 0.8, "{} -> {}", first.loss, last.loss);
            let held_out: Vec<f64> = log.records.iter().filter_map(|r| r.held_out_loss).collect();
            assert_eq!(held_out.len(), 15);
            assert!(held_out[14] < held_out[0] / 2.0, "{precision:?}: {held_out:?}");
        }
    }

    #[test]
    fn losses_do_not_depend_on_the_number_of_threads() {
        for precision in PRECISIONS {
            let run = |n_threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                let config = TrainerConfig { precision, ..config(12) };
                let mut trainer = Trainer::new(decoder(), config).unwrap();
                pool.install(|| trainer.run(&samples(40, 0), &[], None, &|_| {})).unwrap()
            };
            assert_eq!(losses(&run(1)), losses(&run(3)), "{precision:?}");
        }
    }

    #[test]
    fn a_run_keeps_its_precision_and_one_that_does_not_tell_was_in_single_precision() {
        for precision in PRECISIONS {
            let dir = tempfile::tempdir().unwrap();
            let config = TrainerConfig { precision, ..config(1) };
            let mut trainer = Trainer::new(decoder(), config).unwrap();
            trainer.run(&samples(10, 0), &[], Some(dir.path()), &|_| {}).unwrap();
            let resumed = Trainer::resume(dir.path()).unwrap().unwrap();
            assert_eq!(resumed.config.precision, precision);
        }
        let config = TrainerConfig { precision: Precision::Bf16, ..config(1) };
        let mut json = serde_json::to_value(config).unwrap();
        assert_eq!(json["precision"], "bf16");
        json.as_object_mut().unwrap().remove("precision");
        let old: TrainerConfig = serde_json::from_value(json).unwrap();
        assert_eq!(old.precision, Precision::F32);
    }

    #[test]
    fn a_stopped_run_continues_with_the_same_losses() {
        let (samples, held_out) = (samples(40, 0), samples(5, 3));
        let whole = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(decoder(), config(20)).unwrap();
        let want = trainer.run(&samples, &held_out, Some(whole.path()), &|_| {}).unwrap();
        // Stopped in step 17: what remains is the checkpoint of step 14 and a longer log.
        let cut = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(decoder(), config(20)).unwrap();
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let stop = |r: &TrainRecord| assert!(r.step < 17, "power failure");
            trainer.run(&samples, &held_out, Some(cut.path()), &stop)
        }));
        assert!(stopped.is_err());
        let mut trainer = Trainer::resume(cut.path()).unwrap().expect("a checkpoint");
        assert_eq!(trainer.step(), 14);
        let got = trainer.run(&samples, &held_out, Some(cut.path()), &|_| {}).unwrap();
        // Earlier ones were read back from the log, in which a decimal may round the last bit.
        assert_eq!(losses(&got)[14..], losses(&want)[14..]);
        assert_eq!(got.records.len(), 20);
        let logged = TrainLog::read(cut.path()).unwrap();
        for (logged, want) in logged.records.iter().zip(&want.records) {
            assert!((logged.loss - want.loss).abs() < 1e-12 && logged.step == want.step);
        }
        assert_eq!(logged.records.len(), 20);
        let model = |dir: &Path| std::fs::read(dir.join("model/model.safetensors")).unwrap();
        assert_eq!(model(cut.path()), model(whole.path()));
    }

    #[test]
    fn bad_input_is_named() {
        let check = |samples: &[TokenSample], config: TrainerConfig, expect: &str| {
            let run = Trainer::new(decoder(), config)
                .and_then(|mut t| t.run(samples, &[], None, &|_| {}).map(|_| ()));
            let text = run.unwrap_err().to_string();
            assert!(text.contains(expect), "{expect:?} is missing in {text:?}");
        };
        let sample = |tokens: Vec<u32>, loss: Vec<bool>| {
            [TokenSample { tokens, loss, branches: Vec::new() }]
        };
        check(&sample(vec![1, 2], vec![true]), config(1), "2 tokens, 1 marks");
        check(&sample(vec![1, 24], vec![false, true]), config(1), "token 24 of a vocabulary of 24");
        check(&sample(vec![1; 65], vec![true; 65]), config(1), "65 tokens, the context window");
        check(&sample(vec![1, 2], vec![true, false]), config(1), "no token is a target");
        check(&samples(1, 0), TrainerConfig { shards: 0, ..config(1) }, "shards");
    }

    #[test]
    fn a_checkpoint_is_not_continued_on_other_samples() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Trainer::resume(dir.path()).unwrap().is_none());
        let mut trainer = Trainer::new(decoder(), config(2)).unwrap();
        trainer.run(&samples(10, 0), &[], Some(dir.path()), &|_| {}).unwrap();
        let mut trainer = Trainer::resume(dir.path()).unwrap().unwrap();
        let error = trainer.run(&samples(10, 1), &[], None, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("give the same samples"), "{error}");
    }
}

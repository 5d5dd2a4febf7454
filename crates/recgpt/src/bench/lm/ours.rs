//! Our engine on the work: the formats, and what each of FP8, the cache of keys and values and the reuse
//! of prefixes gives.

use std::fmt;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use lm::{Engine, EngineConfig, Event, KvFormat, Prompt, Request, Sampling, WeightFormat};
use serde::Serialize;

use super::work::Work;
use super::{BATCH, Model, NEW_TOKENS, Timing, formats, median};

/// Single requests whose first token is timed.
const SINGLE: usize = 7;

/// Times that each user is asked in the ablation, as mining by vote does.
const ASKED: usize = 4;

/// Tokens of the answer without a cache of keys and values: each costs a whole prompt.
const UNCACHED_TOKENS: usize = 3;

/// A name and formats.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    weights: WeightFormat,
    kv: KvFormat,
}

impl Setting {
    /// What is compared with the peers.
    pub(super) const FORMATS: [Self; 3] = [
        Self { name: "recgpt fp8", weights: WeightFormat::Fp8, kv: KvFormat::Fp8 },
        Self { name: "recgpt bf16", weights: WeightFormat::Bf16, kv: KvFormat::F16 },
        Self { name: "recgpt f32", weights: WeightFormat::F32, kv: KvFormat::F16 },
    ];
}

/// One round of a setting. A run with a single new token is the prefill; what a run with all takes
/// longer is decoding.
pub(super) fn time(model: &Model, work: &Work, batch: usize, setting: Setting) -> Result<Timing> {
    let engine = model.open(formats(setting.weights, setting.kv))?;
    let prompts = &work.prompts[..batch];
    // The lanes start, pages are allocated.
    seconds(&engine, prompts, 8, Sampling::GREEDY)?;
    let prefill_seconds = seconds(&engine, prompts, 1, Sampling::GREEDY)?;
    let all = seconds(&engine, prompts, NEW_TOKENS, Sampling::GREEDY)?;
    let singles: Vec<f64> = (0..SINGLE)
        .map(|i| {
            seconds(&engine, std::slice::from_ref(&work.prompts[i % BATCH]), 1, Sampling::GREEDY)
        })
        .collect::<Result<_>>()?;
    Ok(Timing {
        prefill_seconds,
        prefill_tokens: batch * work.prompt_tokens(),
        decode_seconds: (all - prefill_seconds).max(f64::MIN_POSITIVE),
        decode_tokens: batch * (NEW_TOKENS - 1),
        first_token_seconds: median(&singles, |s| *s),
    })
}

/// Seconds until every prompt has `new_tokens` more.
fn seconds(
    engine: &Engine,
    prompts: &[Vec<u32>],
    new_tokens: usize,
    sampling: Sampling,
) -> Result<f64> {
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    for prompt in prompts {
        let request = Request {
            sampling,
            ignore_eos: true,
            ..Request::greedy(Prompt::default(), new_tokens)
        };
        let sender = sender.clone();
        engine.submit(request, prompt.clone(), move |event| {
            if let Event::Done(done) = event {
                // The receiver lives until all are done, or the bench has failed.
                drop(sender.send(done));
            }
        })?;
    }
    drop(sender);
    let mut n = 0;
    for done in receiver {
        n += usize::from(done?.completion_tokens == new_tokens);
    }
    match n == prompts.len() {
        true => Ok(start.elapsed().as_secs_f64()),
        false => Err(anyhow!("{} of {} answers came whole", n, prompts.len())),
    }
}

/// Seconds of the whole work under growing means.
#[derive(Debug, Serialize)]
pub(super) struct Ablation {
    /// Single precision, all tokens read again for every new one: estimated from its first tokens.
    nothing: f64,
    /// Single precision with a cache of keys and values within a request.
    kv: f64,
    /// The same in FP8.
    kv_fp8: f64,
    /// Single precision with prefixes kept between requests.
    kv_prefix: f64,
    /// All three.
    all: f64,
    prefix_queries: u64,
    prefix_hits: u64,
}

/// Every user is asked [`ASKED`] times, in the batches that mining has.
pub(super) fn ablation(model: &Model, work: &Work, rounds: usize) -> Result<Ablation> {
    let whole = |weights, kv_format, prefix_cache| {
        let config = EngineConfig { prefix_cache, ..formats(weights, kv_format) };
        let engine = model.open(config)?;
        seconds(&engine, &work.prompts[..1], 8, Sampling::GREEDY)?;
        engine.clear_prefixes();
        let before = engine.stats();
        let mut sum = 0.0;
        for seed in 1..=ASKED as u64 {
            let sampling = Sampling { temperature: 0.7, top_p: 0.95, seed };
            sum += seconds(&engine, &work.prompts, NEW_TOKENS, sampling)?;
        }
        let stats = engine.stats();
        let queries = stats.prefix_queries - before.prefix_queries;
        Ok::<_, anyhow::Error>((sum, queries, stats.prefix_hits - before.prefix_hits))
    };
    let mut runs = Vec::new();
    for _ in 0..rounds {
        let kv = whole(WeightFormat::F32, KvFormat::F16, false)?.0;
        let kv_fp8 = whole(WeightFormat::Fp8, KvFormat::Fp8, false)?.0;
        let kv_prefix = whole(WeightFormat::F32, KvFormat::F16, true)?.0;
        let all = whole(WeightFormat::Fp8, KvFormat::Fp8, true)?;
        runs.push((kv, kv_fp8, kv_prefix, all));
    }
    let (_, _, _, (_, prefix_queries, prefix_hits)) = runs[0];
    Ok(Ablation {
        nothing: without_cache(model, work)?,
        kv: median(&runs, |run| run.0),
        kv_fp8: median(&runs, |run| run.1),
        kv_prefix: median(&runs, |run| run.2),
        all: median(&runs, |run| run.3.0),
        prefix_queries,
        prefix_hits,
    })
}

/// The time of the whole work if every token meant to read its prompt again.
fn without_cache(model: &Model, work: &Work) -> Result<f64> {
    let engine = model.open(formats(WeightFormat::F32, KvFormat::F16))?;
    seconds(&engine, &work.prompts[..1], 8, Sampling::GREEDY)?;
    let once = seconds(&engine, &work.prompts, 1, Sampling::GREEDY)?;
    let again: Vec<f64> = (0..UNCACHED_TOKENS)
        .map(|_| seconds(&engine, &work.prompts, 1, Sampling::GREEDY))
        .collect::<Result<_>>()?;
    // The context grows by half of the answer on the way.
    let growth = 1.0 + NEW_TOKENS as f64 / 2.0 / work.prompt_tokens() as f64;
    let per_token = median(&again, |s| *s).min(once) * growth;
    Ok(per_token * (NEW_TOKENS * ASKED) as f64)
}

impl Ablation {
    /// All three against the engine with a plain cache of keys and values within each request, which
    /// nobody does without.
    pub(super) fn speedup(&self) -> f64 {
        self.kv / self.all
    }

    pub(super) fn hit_rate(&self) -> f64 {
        self.prefix_hits as f64 / self.prefix_queries.max(1) as f64
    }
}

impl fmt::Display for Ablation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{BATCH} users asked {ASKED} times, seconds:")?;
        writeln!(f, "  no cache of keys and values, f32 (estimated)  {:>9.1}", self.nothing)?;
        writeln!(f, "  f32, cache within a request                   {:>9.2}", self.kv)?;
        writeln!(f, "  + FP8 weights and cache                       {:>9.2}", self.kv_fp8)?;
        writeln!(f, "  + prefixes kept                               {:>9.2}", self.kv_prefix)?;
        writeln!(f, "  + both                                        {:>9.2}", self.all)?;
        write!(f, "  tokens of prompts known from before            {:.3}", self.hit_rate())
    }
}

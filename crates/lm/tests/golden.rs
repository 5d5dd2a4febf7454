//! The engine and the trainer against `transformers`: tiny random checkpoints with the logits and greedy
//! tokens that `benches/peers/golden.py` wrote down.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::PathBuf;

use lm::{
    Decoder, KvCache, KvFormat, KvPool, PackedBatch, PackedDecoder, Tape, WeightFormat,
    load_decoder, load_packed,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<u32>,
    /// After every token, `[tokens, vocab]`.
    logits: Vec<Vec<f32>>,
    greedy: Vec<u32>,
}

const CHECKPOINTS: [&str; 7] = [
    "qwen3",
    "qwen3_untied_bf16_sharded",
    "qwen3_yarn",
    "qwen3_fp8",
    "llama",
    "llama_rope_llama3",
    "llama_rope_linear",
];

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect()
}

fn golden(name: &str) -> Golden {
    let path = folder(name).join("golden.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn cache(packed: &PackedDecoder, format: KvFormat) -> KvCache {
    KvCache::new(&KvPool::new(packed.config(), format, 1 << 24), 128)
}

fn largest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

#[test]
fn logits_and_greedy_tokens_are_those_of_transformers() {
    for name in CHECKPOINTS {
        let want = golden(name);
        let packed = load_packed(&folder(name), WeightFormat::F32, 128).unwrap();
        let mut kv = cache(&packed, KvFormat::F32);
        let got = packed.prefill_all(&mut kv, &want.tokens).unwrap();
        let rows = got.chunks_exact(packed.config().vocab_size);
        assert_eq!(rows.len(), want.logits.len());
        for (i, (got, want)) in rows.zip(&want.logits).enumerate() {
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() < 1e-3, "{name}, after token {i}: {g} is not {w}");
            }
        }
        let mut next = largest(want.logits.last().unwrap());
        for (i, token) in want.greedy.iter().enumerate() {
            assert_eq!(next, *token, "{name}, greedy token {i}");
            next = largest(&packed.prefill(&mut kv, &[next]).unwrap());
        }
    }
}

#[test]
fn the_trainer_computes_the_same_logits() {
    for name in CHECKPOINTS {
        let want = golden(name);
        let decoder = load_decoder(&folder(name)).unwrap();
        let mut batch = PackedBatch::default();
        batch.push(&want.tokens, vec![0.0; want.tokens.len()]);
        let got = decoder.logits(&batch, &mut Tape::default());
        for (g, w) in got.iter().zip(want.logits.iter().flatten()) {
            assert!((g - w).abs() < 1e-3, "{name}: {g} is not {w}");
        }
    }
}

/// What serves by default: the logits move by what eight bits lose, and hardly any choice with them.
#[test]
fn eight_bits_keep_most_greedy_choices() {
    let (mut same, mut all) = (0, 0);
    for name in CHECKPOINTS {
        let want = golden(name);
        let packed = load_packed(&folder(name), WeightFormat::Fp8, 128).unwrap();
        let got = packed.prefill_all(&mut cache(&packed, KvFormat::Fp8), &want.tokens).unwrap();
        let rows = got.chunks_exact(packed.config().vocab_size);
        same += rows.zip(&want.logits).filter(|(g, w)| largest(g) == largest(w)).count();
        all += want.tokens.len();
    }
    assert!(same * 10 > all * 8, "{same} of {all} choices are the same");
}

#[test]
fn a_folder_written_in_fp8_loses_what_eight_bits_lose_and_no_more_the_second_time() {
    let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let decoder: Decoder = load_decoder(&folder("qwen3")).unwrap();
    lm::save_decoder_fp8(&decoder, dir.path()).unwrap();
    let stored = load_decoder(dir.path()).unwrap();
    for place in decoder.layout().tensors().iter().filter(|place| place.transposed) {
        let [want, got] = [&decoder, &stored].map(|d| &d.params()[place.range.clone()]);
        let largest = want.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        for (w, g) in want.iter().zip(got) {
            let close = (w - g).abs() <= 0.0626 * w.abs() + 1e-4 * largest;
            assert!(close, "{}: {w} became {g}", place.name);
        }
    }
    lm::save_decoder_fp8(&stored, again.path()).unwrap();
    assert_eq!(load_decoder(again.path()).unwrap().params(), stored.params());
}

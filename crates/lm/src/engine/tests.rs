//! The engine on a tiny random decoder.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decoder::{Decoder, DecoderConfig, KvCache};
use crate::engine::{Engine, EngineConfig};
use crate::error::LmError;
use crate::model::{
    Completion, Constraint, Finish, LanguageModel, Prompt, PromptStyle, Request, Sampling,
};
use crate::testing::{tiny_decoder, tiny_engine, tiny_tokenizer, tiny_tokenizer_json};
use crate::tokenizer::Tokenizer;

const NO_REUSE: EngineConfig = EngineConfig { batch_size: 1, prefix_cache_bytes: 0 };

/// Requests of all kinds: shared beginnings, greedy and drawn, short and long.
fn mixed_requests() -> Vec<Request> {
    let shared = "<|mine|>2026-11 autumn|running shoes;socks;coffee grinder and more of it\n";
    (0..24)
        .map(|i: u64| {
            let user = match i % 3 {
                0 => format!("{shared}{i}<|interests|>"),
                1 => shared.to_owned(),
                _ => format!("<|query|>trail {}<|answer|>", "é漢 ".repeat(i as usize)),
            };
            let temperature = if i.is_multiple_of(2) { 0.0 } else { 1.0 };
            Request {
                sampling: Sampling { temperature, top_p: 0.95, seed: i },
                stop: if i.is_multiple_of(5) { vec!["e".to_owned()] } else { Vec::new() },
                ..Request::greedy(Prompt::user(user), 3 + 2 * i as usize)
            }
        })
        .collect()
}

fn answers(engine: &Engine, requests: &[Request]) -> Vec<Completion> {
    engine.generate(requests).into_iter().map(|answer| answer.unwrap()).collect()
}

#[test]
fn answers_depend_on_the_request_alone() {
    let requests = mixed_requests();
    let want: Vec<Completion> = {
        let engine = tiny_engine(NO_REUSE);
        requests.iter().flat_map(|one| answers(&engine, std::slice::from_ref(one))).collect()
    };
    let distinct: BTreeSet<&str> = want.iter().map(|done| done.text.as_str()).collect();
    assert!(distinct.len() > 12, "the answers vary: {distinct:?}");

    let check = |config: EngineConfig, n_threads: usize, n_calls: usize| {
        let engine = tiny_engine(config);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        for call in 0..n_calls {
            let got = pool.install(|| answers(&engine, &requests));
            assert_eq!(got, want, "{config:?}, {n_threads} threads, call {call}");
        }
    };
    check(EngineConfig { batch_size: 16, ..NO_REUSE }, 1, 1);
    check(EngineConfig { batch_size: 3, ..NO_REUSE }, 3, 1);
    check(EngineConfig::STANDARD, 2, 3);
    check(EngineConfig { batch_size: 5, prefix_cache_bytes: 300_000 }, 2, 3);
}

#[test]
fn a_prompt_that_continues_an_answer_reuses_its_cache() {
    let first = Request::greedy(Prompt::user("<|mine|>running shoes;coffee grinder\n"), 40);
    let (reusing, fresh) = (tiny_engine(EngineConfig::STANDARD), tiny_engine(NO_REUSE));
    let mined = answers(&reusing, std::slice::from_ref(&first)).remove(0);
    let held = reusing.prefix_cache_bytes();
    assert!(held > 0);
    let next = format!("{}{}<|recent|>socks\n<|tags|>", first.prompt.user, mined.text);
    let next = Request::greedy(Prompt::user(next), 40);
    let known = reusing.prefixes().fork(&reusing.encode(&next.prompt, 40).unwrap()).unwrap();
    assert!(known.len() > mined.prompt_tokens, "{} tokens are reused", known.len());
    assert_eq!(answers(&reusing, std::slice::from_ref(&next)), answers(&fresh, &[next]));
    assert_eq!(fresh.prefix_cache_bytes(), 0);
}

/// Batching and prefix reuse rest on this: a token's keys, values and logits have the same bits however
/// the tokens before it were read and whatever is read beside it.
#[test]
fn the_decoder_gives_the_same_bits_in_chunks_steps_and_batches() {
    let check = |decoder: &Decoder, n: usize| {
        let vocab = decoder.config().vocab_size;
        let tokens: Vec<u32> = (0..n).map(|i| (i * i + 7 * i) as u32 % vocab as u32).collect();
        let new = || KvCache::new(decoder.config(), n + 1);
        let mut whole = new();
        let want = decoder.prefill_all(&mut whole, &tokens).unwrap();
        let row = |i: usize| &want[i * vocab..(i + 1) * vocab];
        for cut in [1, 2, 3, 63, 64, 65, 66, 100, n - 1] {
            let mut cache = new();
            assert!(
                decoder.prefill(&mut cache, &tokens[..cut]).unwrap() == row(cut - 1),
                "to {cut}"
            );
            let rest = decoder.prefill(&mut cache, &tokens[cut..]).unwrap();
            assert!(rest == row(n - 1), "the rest after {cut}");
        }
        let mut caches = [new(), new(), new(), new(), new()];
        for (i, cache) in caches.iter_mut().enumerate() {
            decoder.prefill(cache, &tokens[..60 + i]).unwrap();
        }
        for step in 0..n - 70 {
            for n_batch in [1, 2, 3, 4, 5] {
                let mut forks: Vec<KvCache> =
                    caches[..n_batch].iter().map(|cache| cache.fork(cache.len())).collect();
                let next: Vec<u32> = forks.iter().map(|fork| tokens[fork.len()]).collect();
                let at: Vec<usize> = forks.iter().map(KvCache::len).collect();
                let mut refs: Vec<&mut KvCache> = forks.iter_mut().collect();
                let logits = decoder.decode(&mut refs, &next).unwrap();
                for (got, at) in logits.chunks_exact(vocab).zip(at) {
                    assert!(got == row(at), "batch of {n_batch}, step {step}, position {at}");
                }
                if n_batch == 5 {
                    caches = forks.try_into().ok().unwrap();
                }
            }
        }
    };
    check(&tiny_decoder(), 140);
    let builtin = DecoderConfig { vocab_size: 512, ..DecoderConfig::builtin(0) };
    check(&Decoder::init(builtin, 5).unwrap(), 140);
}

#[test]
fn constrained_answers_have_the_form_asked_for() {
    let engine = tiny_engine(EngineConfig::STANDARD);
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["long", "short"] },
            "tags": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 9 },
                "minItems": 2, "maxItems": 2 },
        },
        "required": ["kind", "tags"],
        "additionalProperties": false,
    });
    let lark = Constraint::Lark(r#"start: ("trail" | "road") " shoes|" /[0-9]{3}/"#.to_owned());
    let pattern = |text: &str| {
        let (road, digits) = text.split_once(" shoes|").unwrap();
        ["trail", "road"].contains(&road) && digits.len() == 3
    };
    for temperature in [0.0, 1.0, 3.0] {
        let requests: Vec<Request> = (0..8)
            .map(|i: u64| Request {
                sampling: Sampling { temperature, top_p: 1.0, seed: i },
                constraint: Some(match i % 2 {
                    0 => Constraint::JsonSchema(schema.clone()),
                    _ => lark.clone(),
                }),
                ..Request::greedy(Prompt::user(format!("<|mine|>{i}")), 100)
            })
            .collect();
        for (i, done) in answers(&engine, &requests).iter().enumerate() {
            assert_eq!(done.finish, Finish::Stop, "{done:?}");
            if i % 2 == 0 {
                let value: Value = serde_json::from_str(&done.text).unwrap();
                assert!(["long", "short"].contains(&value["kind"].as_str().unwrap()), "{value}");
                assert_eq!(value["tags"].as_array().unwrap().len(), 2);
            } else {
                assert!(pattern(&done.text), "{}", done.text);
            }
        }
    }
}

#[test]
fn what_cannot_be_answered_is_a_typed_error_beside_good_answers() {
    let engine = tiny_engine(EngineConfig::STANDARD);
    let good = Request::greedy(Prompt::user("<|mine|>shoes"), 5);
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let requests = [
        good.clone(),
        with(&|r| r.prompt.user = "漢".repeat(400)),
        with(&|r| r.max_tokens = 600),
        with(&|r| r.prompt.user.clear()),
        with(&|r| r.sampling.temperature = f32::NAN),
        with(&|r| r.constraint = Some(Constraint::Lark("start: (".to_owned()))),
        with(&|r| r.max_tokens = 0),
        good.clone(),
    ];
    let got = engine.generate(&requests);
    assert!(got[0].is_ok());
    assert_eq!(got[7], got[0]);
    assert!(
        matches!(got[1], Err(LmError::ContextTooLong { prompt_tokens: 1200, window: 512, .. })),
        "{:?}",
        got[1]
    );
    assert!(matches!(got[2], Err(LmError::ContextTooLong { max_tokens: 600, .. })));
    assert_eq!(got[3], Err(LmError::EmptyPrompt));
    assert!(matches!(got[4], Err(LmError::BadSetting { name: "temperature", .. })));
    assert!(matches!(got[5], Err(LmError::Constraint { .. })));
    let empty = got[6].as_ref().unwrap();
    assert_eq!((empty.text.as_str(), empty.finish), ("", Finish::Length));
}

#[test]
fn scores_are_log_probabilities() {
    let engine = tiny_engine(EngineConfig::STANDARD);
    let prompt = Prompt::user("<|mine|>running shoes and socks for the trail");
    // The scores of all single tokens sum to one in probability.
    let letters: Vec<String> = (0u8..128).map(|b| char::from(b).to_string()).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let total: f64 = engine.score(&prompt, &letters).unwrap().iter().map(|s| s.exp()).sum();
    assert!(total < 1.0 && total > 0.0, "{total}");

    // A sum of single scores along the text, however it is computed.
    let text = "coffee grinder";
    let got = engine.score(&prompt, &[text, "", "socks", text]).unwrap();
    let mut want = 0.0;
    let mut context = engine.tokenizer().encode_prompt(&prompt.user);
    for token in engine.tokenizer().encode(text) {
        let mut kv = KvCache::new(engine.decoder().config(), 512);
        let logits = engine.decoder().prefill(&mut kv, &context).unwrap();
        want += super::log_probability(engine.in_vocab(&logits), token);
        context.push(token);
    }
    assert!((got[0] - want).abs() < 1e-9 && got[0] == got[3], "{got:?}, want {want}");
    assert_eq!(got[1], 0.0);
    let too_long = "漢".repeat(300);
    assert!(matches!(
        engine.score(&prompt, &[&too_long]),
        Err(LmError::ContextTooLong { max_tokens: 900, .. })
    ));
}

#[test]
fn log_probabilities_by_hand() {
    let logits = [0.0, 3f32.ln()];
    assert!((super::log_probability(&logits, 0) - 0.25f64.ln()).abs() < 1e-6);
    assert!((super::log_probability(&logits, 1) - 0.75f64.ln()).abs() < 1e-6);
}

#[test]
fn a_tokenizer_larger_than_the_decoder_is_refused() {
    let tokenizer = Tokenizer::from_bytes(&tiny_tokenizer_json()).unwrap();
    let small = Decoder::init(DecoderConfig { vocab_size: 300, ..DecoderConfig::builtin(0) }, 0);
    let n_tokens = tokenizer.vocab_size().to_string();
    let error = Engine::new(small.unwrap(), tokenizer).err().unwrap().to_string();
    assert!(error.contains(&n_tokens) && error.contains("300"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_prompt_breaks_the_engine(user in "(\\PC|<\\|mine\\|>|\n){0,60}", max_tokens in 0usize..20) {
        let engine = tiny_engine(NO_REUSE);
        prop_assert_eq!(engine.style(), PromptStyle::Terse);
        let request = Request::greedy(Prompt::user(user.clone()), max_tokens);
        match engine.generate(&[request]).remove(0) {
            Ok(done) => prop_assert!(done.completion_tokens <= max_tokens),
            Err(error) => prop_assert!(user.is_empty() && error == LmError::EmptyPrompt),
        }
        prop_assert_eq!(engine.count_tokens(&user), tiny_tokenizer().encode(&user).len());
    }
}

/// Tokens per second of the shape of the built-in model: `cargo test --release -p lm -- --ignored speed
/// --nocapture`. Core-seconds are counted beside the clock, for machines that others use too.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "a measurement prints")]
fn speed() {
    let config = DecoderConfig { max_position_embeddings: 2048, ..DecoderConfig::builtin(4096) };
    let mut decoder = Decoder::init(config, 1).unwrap();
    let tokenizer = || Tokenizer::from_bytes(&tiny_tokenizer_json()).unwrap();
    // Special tokens would end answers early.
    for row in decoder.params_mut()[..9 * 256].iter_mut() {
        *row = 0.0;
    }
    let core_seconds = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    let report = |what: &str, engine: &Engine, requests: &[Request]| {
        let (clock, cores) = (std::time::Instant::now(), core_seconds());
        let done = answers(engine, requests);
        let (clock, cores) = (clock.elapsed().as_secs_f64(), core_seconds() - cores);
        let prompt: usize = done.iter().map(|d| d.prompt_tokens).sum();
        let answer: usize = done.iter().map(|d| d.completion_tokens).sum();
        eprintln!(
            "{what}: {prompt} prompt + {answer} answer tokens in {clock:.2} s, {cores:.2} core s: \
             {:.0} answer tokens/s, {:.0} per core s, {:.0} all tokens per core s",
            answer as f64 / clock,
            answer as f64 / cores,
            (prompt + answer) as f64 / cores,
        );
        done
    };
    let prompt = |user: usize| {
        let line = |i: usize| format!("{i}d(cart)|running shoes {};socks\n", i * user % 97);
        let lines: String = (0..36).map(line).collect();
        format!("<|mine|>{user}\n{lines}<|interests|>")
    };
    for batch_size in [1, 4, 8, 16, 32] {
        let config = EngineConfig { batch_size, ..EngineConfig::STANDARD };
        let engine = Engine::new(decoder.clone(), tokenizer()).unwrap().with_config(config);
        let n = (batch_size * 4).min(64);
        let ask = |n_answer| -> Vec<Request> {
            let one = |user| Request::greedy(Prompt::user(prompt(user)), n_answer);
            (0..n).map(one).collect()
        };
        eprintln!("batch {batch_size} on {} threads", rayon::current_num_threads());
        report("  prefill", &Engine::new(decoder.clone(), tokenizer()).unwrap(), &ask(1));
        let mined = report("  mine", &engine, &ask(150));
        let next: Vec<Request> = (0..n)
            .map(|user| format!("{}{}<|recent|>socks\n<|tags|>", prompt(user), mined[user].text))
            .map(|prompt| Request::greedy(Prompt::user(prompt), 150))
            .collect();
        report("  tag", &engine, &next);
    }
}

/// The shipped model: what a grammar costs per token, and how much of a tag prompt is reused.
#[test]
#[ignore = "a measurement of models/builtin"]
#[expect(clippy::print_stderr, reason = "a measurement prints")]
fn builtin_speed() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin");
    let Ok(engine) = Engine::load(&dir) else {
        eprintln!("skipped: no model in {}", dir.display());
        return;
    };
    let words = ["running shoes", "coffee grinder", "baby bottle", "hiking boots", "desk lamp"];
    let prompt = |user: usize| {
        let line = |i: usize| format!("{i}d(cart)|{};{}\n", words[i * user % 5], words[user % 5]);
        format!("<|mine|>2026-11 autumn|\n{}<|interests|>", (1..20).map(line).collect::<String>())
    };
    let lark = Constraint::Lark(
        r#"start: line+
           line: /[^|\n]+/ "|" ("long" | "short") "|" /[^|;\n]+/ (";" /[^|;\n]+/)* "\n""#
            .to_owned(),
    );
    let mut mined = Vec::new();
    for constraint in [Some(lark), None] {
        let ask = |user| Request {
            constraint: constraint.clone(),
            ..Request::greedy(Prompt::user(prompt(user)), 120)
        };
        let requests: Vec<Request> = (0..64).map(ask).collect();
        let fresh = Engine::load(&dir).unwrap();
        let clock = std::time::Instant::now();
        mined = answers(&fresh, &requests);
        let n: usize = mined.iter().map(|done| done.completion_tokens).sum();
        eprintln!("constrained {}: {n} tokens, {:?}", constraint.is_some(), clock.elapsed());
        if constraint.is_none() {
            eprintln!("{:?}", mined[1].text);
            answers(&engine, &requests);
        }
    }
    let (mut reused, mut total) = (0, 0);
    for (user, done) in mined.iter().enumerate() {
        let next = format!("{}{}<|recent|>socks\n<|tags|>", prompt(user), done.text);
        let tokens = engine.tokenizer().encode_prompt(&next);
        reused += engine.prefixes().fork(&tokens).map_or(0, |kv| kv.len());
        total += tokens.len();
    }
    eprintln!("{reused} of {total} tokens of the tag prompts are reused");
}

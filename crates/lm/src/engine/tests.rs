//! The engine on a tiny random decoder.

use std::collections::BTreeSet;

use nn::WeightFormat;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::checkpoint::save_decoder;
use crate::decoder::{Chunk, Decoder, DecoderConfig, KvCache, KvFormat, KvPool, Scratch, Wanted};
use crate::engine::direct::log_probability;
use crate::engine::{BeamSearch, Engine, EngineConfig, Event};
use crate::error::LmError;
use crate::model::{
    Completion, Constraint, Distinct, Finish, LanguageModel, Prompt, PromptStyle, Request, Sampling,
};
use crate::testing::{tiny_decoder, tiny_engine, tiny_tokenizer, tiny_tokenizer_json};
use crate::tokenizer::Tokenizer;

/// One sequence at a time, and nothing known from before.
const PLAIN: EngineConfig =
    EngineConfig { batch_size: 1, lanes: 1, prefix_cache: false, ..EngineConfig::STANDARD };

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
        let engine = tiny_engine(PLAIN);
        requests.iter().flat_map(|one| answers(&engine, std::slice::from_ref(one))).collect()
    };
    let distinct: BTreeSet<&str> = want.iter().map(|done| done.text.as_str()).collect();
    assert!(distinct.len() > 12, "the answers vary: {distinct:?}");

    let check = |config: EngineConfig, n_calls: usize| {
        let engine = tiny_engine(config);
        for call in 0..n_calls {
            assert_eq!(answers(&engine, &requests), want, "{config:?}, call {call}");
        }
        engine.clear_prefixes();
        assert_eq!(engine.stats().kv_pages, 0, "all pages are returned");
        assert_eq!(engine.shared.pool.promised(), 0, "and all promises");
        engine.stats()
    };
    let standard = EngineConfig::STANDARD;
    check(EngineConfig { batch_size: 16, ..PLAIN }, 1);
    check(EngineConfig { batch_size: 3, lanes: 3, ..PLAIN }, 1);
    let slow = check(EngineConfig { step_tokens: 7, ..PLAIN }, 1);
    assert_eq!(slow.prefix_hits, 0);
    assert!(slow.tokens_read <= 7 * slow.steps, "{slow:?} keeps the budget of a step");
    assert!(check(standard, 3).prefix_hits > 0);
    check(EngineConfig { lanes: 2, batch_size: 5, step_tokens: 64, ..standard }, 3);
    // Room for hardly more than the longest request: sequences wait and prefixes are forgotten.
    check(EngineConfig { lanes: 2, kv_bytes: 20_000, ..standard }, 3);
}

#[test]
fn a_prompt_that_continues_an_answer_reuses_its_cache() {
    let first = Request::greedy(Prompt::user("<|mine|>running shoes;coffee grinder\n"), 40);
    let (reusing, fresh) = (tiny_engine(EngineConfig::STANDARD), tiny_engine(PLAIN));
    let mined = answers(&reusing, std::slice::from_ref(&first)).remove(0);
    let next = format!("{}{}<|recent|>socks\n<|tags|>", first.prompt.user, mined.text);
    let next = Request::greedy(Prompt::user(next), 40);
    assert_eq!(answers(&reusing, std::slice::from_ref(&next)), answers(&fresh, &[next]));
    let hits = reusing.stats().prefix_hits as usize;
    assert!(hits > mined.prompt_tokens, "{hits} tokens are reused");
    assert_eq!((fresh.stats().prefix_hits, fresh.stats().kv_pages), (0, 0));
}

/// Batching and prefix reuse rest on this: a token's keys, values and logits have the same bits however
/// the tokens before it were read and whatever is read beside it.
#[test]
fn the_decoder_gives_the_same_bits_in_chunks_steps_and_batches() {
    let check = |decoder: &Decoder, (weights, kv): (WeightFormat, KvFormat), n: usize| {
        let (vocab, decoder) = (decoder.config().vocab_size, decoder.pack(weights));
        let pool = KvPool::new(decoder.config(), kv, 1 << 26);
        let tokens: Vec<u32> = (0..n).map(|i| (i * i + 7 * i) as u32 % vocab as u32).collect();
        let new = || KvCache::new(&pool, n + 1);
        let want = decoder.prefill_all(&mut new(), &tokens).unwrap();
        let row = |i: usize| &want[i * vocab..(i + 1) * vocab];
        for cut in [1, 2, 3, 63, 64, 65, 66, 89, n - 1] {
            let mut cache = new();
            let first = decoder.prefill(&mut cache, &tokens[..cut]).unwrap();
            assert!(first == row(cut - 1), "to {cut}");
            let chunk = Chunk { cache: &mut cache, tokens: &tokens[cut..], wanted: Wanted::Last };
            let rest = decoder.advance(&mut [chunk], &mut Scratch::default(), cut < 65).unwrap();
            assert!(rest == row(n - 1), "the rest after {cut}");
        }
        let mut caches = [new(), new(), new(), new(), new()];
        for (i, cache) in caches.iter_mut().enumerate() {
            decoder.prefill(cache, &tokens[..60 + i]).unwrap();
        }
        let mut scratch = Scratch::default();
        for step in 0..n - 70 {
            for n_batch in [1, 2, 3, 4, 5] {
                let mut forks: Vec<KvCache> =
                    caches[..n_batch].iter().map(|cache| cache.fork(cache.len())).collect();
                let at: Vec<usize> = forks.iter().map(KvCache::len).collect();
                // The first sequence reads several tokens where the others read one.
                let sizes = at.iter().enumerate().map(|(i, at)| (*at, if i == 0 { 3 } else { 1 }));
                let chunk = |(cache, (at, n))| {
                    let tokens = &tokens[at..at + n];
                    Chunk { cache, tokens, wanted: Wanted::Last }
                };
                let mut chunks: Vec<Chunk<'_>> = forks.iter_mut().zip(sizes).map(chunk).collect();
                let logits = decoder.advance(&mut chunks, &mut scratch, n_batch == 3).unwrap();
                drop(chunks);
                for (got, fork) in logits.chunks_exact(vocab).zip(&forks) {
                    let at = fork.len() - 1;
                    assert!(got == row(at), "batch of {n_batch}, step {step}, position {at}");
                }
            }
            let chunk = |cache: &mut KvCache| {
                let at = cache.len();
                decoder.prefill(cache, &tokens[at..=at]).unwrap();
            };
            caches.iter_mut().for_each(chunk);
        }
    };
    let formats = [
        (WeightFormat::F32, KvFormat::F32),
        (WeightFormat::Bf16, KvFormat::F16),
        (WeightFormat::Fp8, KvFormat::Fp8),
    ];
    let builtin = DecoderConfig { vocab_size: 512, ..DecoderConfig::builtin(0) };
    let builtin = Decoder::init(builtin, 5).unwrap();
    for format in formats {
        check(&tiny_decoder(), format, 140);
        check(&builtin, format, 90);
    }
}

#[test]
fn folders_and_bytes_give_the_same_model_and_missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("shop-lm");
    save_decoder(&tiny_decoder(), &dir, nn::Dtype::F32).unwrap();
    std::fs::write(dir.join("tokenizer.json"), tiny_tokenizer_json()).unwrap();
    let standard = EngineConfig::STANDARD;
    let [config, tokenizer, weights] = ["config.json", "tokenizer.json", "model.safetensors"]
        .map(|file| std::fs::read(dir.join(file)).unwrap());
    let folder = Engine::load(&dir, standard).unwrap();
    let bytes = Engine::from_bytes(&config, &tokenizer, &weights, standard).unwrap();
    assert_eq!((folder.name(), bytes.name()), ("shop-lm", "builtin"));
    let requests = [Request::greedy(Prompt::user("<|mine|>shoes"), 12)];
    assert_eq!(answers(&folder, &requests), answers(&bytes, &requests));
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::rename(dir.join(file), dir.join("aside")).unwrap();
        let error = Engine::load(&dir, standard).err().unwrap().to_string();
        assert!(error.contains(file), "{error} does not name {file}");
        std::fs::rename(dir.join("aside"), dir.join(file)).unwrap();
    }
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
        let mut kv = KvCache::new(&engine.shared.pool, 512);
        let logits = engine.decoder().prefill(&mut kv, &context).unwrap();
        want += log_probability(engine.shared.in_vocab(&logits), token);
        context.push(token);
    }
    assert!((got[0] - want).abs() < 1e-9 && got[0] == got[3], "{got:?}, want {want}");
    assert_eq!(got[1], 0.0);

    // Many texts that share beginnings, more than go side by side: each as if it were alone.
    let many: Vec<String> =
        (0..100).map(|i| format!("socks {} {}", i % 7, "ab".repeat(i / 7))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let got = engine.score(&prompt, &many).unwrap();
    for (text, got) in many.iter().zip(got) {
        assert_eq!(engine.score(&prompt, &[text]).unwrap(), [got], "{text:?}");
    }
    let too_long = "漢".repeat(300);
    assert!(matches!(
        engine.score(&prompt, &[&too_long]),
        Err(LmError::ContextTooLong { max_tokens: 900, .. })
    ));
}

#[test]
fn log_probabilities_by_hand() {
    let logits = [0.0, 3f32.ln()];
    assert!((log_probability(&logits, 0) - 0.25f64.ln()).abs() < 1e-6);
    assert!((log_probability(&logits, 1) - 0.75f64.ln()).abs() < 1e-6);
}

#[test]
fn a_tokenizer_larger_than_the_decoder_is_refused() {
    let tokenizer = Tokenizer::from_bytes(&tiny_tokenizer_json()).unwrap();
    let small = Decoder::init(DecoderConfig { vocab_size: 300, ..DecoderConfig::builtin(0) }, 0);
    let n_tokens = tokenizer.vocab_size().to_string();
    let small = small.unwrap().pack(WeightFormat::Fp8);
    let error = Engine::new(small, tokenizer, EngineConfig::STANDARD).err().unwrap().to_string();
    assert!(error.contains(&n_tokens) && error.contains("300"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_prompt_breaks_the_engine(user in "(\\PC|<\\|mine\\|>|\n){0,60}", max_tokens in 0usize..20) {
        let engine = tiny_engine(PLAIN);
        prop_assert_eq!(engine.style(), PromptStyle::Terse);
        let request = Request::greedy(Prompt::user(user.clone()), max_tokens);
        match engine.generate(&[request]).remove(0) {
            Ok(done) => prop_assert!(done.completion_tokens <= max_tokens),
            Err(error) => prop_assert!(user.is_empty() && error == LmError::EmptyPrompt),
        }
        prop_assert_eq!(engine.count_tokens(&user), tiny_tokenizer().encode(&user).len());
    }
}

/// Three lines `n|tag;tag`, of whose tags a tiny decoder repeats many when it may.
fn tags_in_lines(distinct: bool, temperature: f32) -> Vec<Request> {
    let tag = "[a-h]x"; // six of eight: some come twice, however a processor rounds
    let lark = format!("start: LINE{{3}}\nLINE: /n\\|{tag};{tag}\\n/\n");
    let rules = Distinct { begins: b"|;".to_vec(), ends: b";\n".to_vec() };
    (0..6)
        .map(|seed| Request {
            sampling: Sampling { temperature, top_p: 1.0, seed },
            constraint: Some(Constraint::Lark(lark.clone())),
            distinct: distinct.then(|| rules.clone()),
            ..Request::greedy(Prompt::user(format!("<|mine|>{seed}")), 100)
        })
        .collect()
}

#[test]
fn fields_are_said_once_where_that_is_asked() {
    let repeats = |config: EngineConfig, requests: &[Request]| -> usize {
        let engine = tiny_engine(config);
        let done = answers(&engine, requests);
        engine.clear_prefixes();
        assert_eq!((engine.stats().kv_pages, engine.shared.pool.promised()), (0, 0));
        let repeats_of = |done: &Completion| {
            assert_eq!((done.finish, done.text.matches('\n').count()), (Finish::Stop, 3));
            let tags = done.text.lines().flat_map(|line| line["n|".len()..].split(';'));
            let mut seen = BTreeSet::new();
            tags.filter(|tag| !seen.insert(tag.to_owned())).count()
        };
        done.iter().map(repeats_of).sum()
    };
    for temperature in [0.0, 1.0] {
        let [free, distinct] = [false, true].map(|d| tags_in_lines(d, temperature));
        assert!(repeats(PLAIN, &free) > 5, "it repeats itself");
        assert_eq!(repeats(PLAIN, &distinct), 0);
        assert_eq!(repeats(EngineConfig::STANDARD, &distinct), 0);
        let engine = |config| answers(&tiny_engine(config), &distinct);
        assert_eq!(engine(PLAIN), engine(EngineConfig { lanes: 2, ..EngineConfig::STANDARD }));
        let (text, done) = streamed(&tiny_engine(PLAIN), &distinct[0]);
        assert_eq!(text, done.unwrap().text, "what was told is never taken back");
    }
}

#[test]
fn a_repeat_passes_where_there_is_no_other_way() {
    let lark = Constraint::Lark(r#"start: "n|ax;ax;ax\n""#.to_owned());
    let rules = Distinct { begins: b"|;".to_vec(), ends: b";\n".to_vec() };
    let request = Request {
        constraint: Some(lark),
        distinct: Some(rules),
        ..Request::greedy(Prompt::user("<|mine|>1"), 100)
    };
    let done = answers(&tiny_engine(PLAIN), &[request]).remove(0);
    assert_eq!((done.text.as_str(), done.finish), ("n|ax;ax;ax\n", Finish::Stop));
}

/// What a sink hears, as text and end.
fn streamed(engine: &Engine, request: &Request) -> (String, Result<Completion, LmError>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let tokens = engine.encode(&request.prompt, request.max_tokens).unwrap();
    let sink = move |event| sender.send(event).unwrap();
    engine.submit(request.clone(), tokens, sink).unwrap();
    let mut text = String::new();
    for event in receiver {
        match event {
            Event::Text(more) => text.push_str(&more),
            Event::Done(done) => return (text, done),
        }
    }
    unreachable!("the end is always told")
}

#[test]
fn streams_tell_the_whole_answer_in_pieces() {
    let engine = tiny_engine(EngineConfig::STANDARD);
    for request in mixed_requests().into_iter().take(9) {
        let (text, done) = streamed(&engine, &request);
        let want = answers(&engine, std::slice::from_ref(&request)).remove(0);
        assert_eq!((text, done.unwrap()), (want.text.clone(), want));
    }
}

#[test]
fn cancelled_requests_end_and_give_their_pages_back() {
    let engine = tiny_engine(EngineConfig { lanes: 1, ..PLAIN });
    let (sender, receiver) = std::sync::mpsc::channel();
    let request = Request::greedy(Prompt::user("<|mine|>shoes and socks"), 400);
    let tickets: Vec<_> = (0..3)
        .map(|n| {
            let tokens = engine.encode(&request.prompt, 400).unwrap();
            let sender = sender.clone();
            let sink = move |event| {
                if let Event::Done(done) = event {
                    sender.send((n, done)).unwrap();
                }
            };
            engine.submit(request.clone(), tokens, sink).unwrap()
        })
        .collect();
    drop(sender);
    // The first may be under way, the last surely waits; the one between goes on.
    tickets[2].cancel();
    tickets[0].cancel();
    let mut ends: Vec<_> = receiver.iter().collect();
    ends.sort_by_key(|(n, _)| *n);
    assert_eq!(ends[2].1, Err(LmError::Cancelled));
    assert!(ends[1].1.is_ok());
    assert_eq!((engine.stats().kv_pages, engine.shared.pool.promised()), (0, 0));
}

#[test]
fn memory_is_bounded_by_typed_refusals() {
    let config = EngineConfig { kv_bytes: 1, max_waiting: 0, ..EngineConfig::STANDARD };
    let engine = tiny_engine(config); // a single page
    let request = Request::greedy(Prompt::user("<|mine|>shoes"), 100);
    let error = engine.generate(std::slice::from_ref(&request)).remove(0).unwrap_err();
    assert!(matches!(error, LmError::CacheTooSmall { limit: 64, .. }), "{error}");
    let small = Request { max_tokens: 20, ..request };
    assert!(engine.generate(std::slice::from_ref(&small))[0].is_ok());
    let error = engine.submit(small, vec![1], |_| ()).err().unwrap();
    assert_eq!(error, LmError::Overloaded { waiting: 0 });
    assert!(error.is_retryable());
}

#[test]
fn beams_are_the_likeliest_answers_and_groups_differ() {
    let engine = tiny_engine(EngineConfig::STANDARD);
    let request = Request {
        constraint: Some(Constraint::Lark("start: /[a-c]{4}/".to_owned())),
        ..Request::greedy(Prompt::user("<|mine|>shoes"), 10)
    };
    let search = |width, groups, penalty| {
        engine.search(&request, BeamSearch { width, groups, penalty }).unwrap()
    };
    // A search as wide as there are answers finds the very best ones.
    let all = search(200, 1, 0.0);
    let texts: BTreeSet<&str> = all.iter().map(|beam| &*beam.completion.text).collect();
    assert!(texts.len() > 80 && texts.iter().all(|text| text.len() == 4), "{texts:?}");
    assert!(all.windows(2).all(|pair| pair[0].log_probability >= pair[1].log_probability));
    let few = search(3, 1, 0.0);
    assert!(few[0].log_probability >= search(1, 1, 0.0)[0].log_probability);
    assert!(all[0].log_probability >= few[0].log_probability);
    let first_of_groups = |penalty| -> BTreeSet<String> {
        let beams = search(1, 3, penalty);
        assert_eq!(beams.iter().map(|beam| beam.group).collect::<Vec<_>>(), [0, 1, 2]);
        beams.into_iter().map(|beam| beam.completion.text).collect()
    };
    assert_eq!((first_of_groups(0.0).len(), first_of_groups(20.0).len()), (1, 3));
    engine.clear_prefixes();
    assert_eq!((engine.stats().kv_pages, engine.shared.pool.promised()), (0, 0));
    let error = engine.search(&request, BeamSearch { width: 0, groups: 1, penalty: 0.0 });
    assert!(matches!(error, Err(LmError::BadSetting { .. })));
}

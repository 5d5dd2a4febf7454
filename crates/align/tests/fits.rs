//! A short fit to a shop.

use align::{FitData, Fitted, Sample, TrainerConfig, fit, fit_config, train_tokenizer};
use lm::{Decoder, DecoderConfig, Tokenizer};

fn sample(task: &str, answer: &str, n: usize) -> Sample {
    Sample::new(task, format!("<|mine|>{task} {n}\n<|interests|>"), answer.repeat(n))
}

/// `n` samples of a shop, of one to three lines.
fn shop(n: usize) -> Vec<Sample> {
    (0..n).map(|i| sample("shop", "red retrospot|lunch bag|long\n", 1 + i % 3)).collect()
}

/// The same of all shops.
fn generic(n: usize) -> Vec<Sample> {
    (0..n).map(|i| sample("query", "trail shoes|water bottle\n", 1 + i % 3)).collect()
}

/// A decoder that has learnt nothing, and its tokenizer.
fn untrained() -> (Decoder, Tokenizer) {
    let (shop, generic) = (shop(3), generic(3));
    let texts = shop.iter().chain(&generic).flat_map(|s| s.segments.iter());
    let json =
        train_tokenizer(texts.map(|segment| segment.text.as_str()), 300).expect("a vocabulary");
    let tokenizer = Tokenizer::from_bytes(&json).expect("own bytes");
    let config = DecoderConfig {
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 16,
        max_position_embeddings: 128,
        ..DecoderConfig::builtin(tokenizer.vocab_size())
    };
    (Decoder::init(config, 1).expect("a small decoder"), tokenizer)
}

fn fitted(
    decoder: Decoder,
    tokenizer: &Tokenizer,
    data: &FitData<'_>,
    config: TrainerConfig,
) -> Fitted {
    let config = TrainerConfig { row_tokens: 256, ..config };
    fit(decoder, tokenizer, data, config, &|_| {}).expect("samples that fit")
}

#[test]
fn a_fit_learns_the_words_of_the_shop() {
    let (decoder, tokenizer) = untrained();
    let (mut shop, generic) = (shop(3), generic(2));
    shop.push(sample("shop", "red retrospot|lunch bag|long\n", 90));
    let data = FitData { shop: &shop, generic: &generic, known: &[] };
    let config = TrainerConfig { lr: 5e-3, rows_per_step: 2, ..fit_config(12, 1) };
    let Fitted { log, kept, too_long, .. } = fitted(decoder.clone(), &tokenizer, &data, config);
    assert_eq!(too_long, 1);
    let losses: Vec<f64> = log.records.iter().map(|record| record.loss).collect();
    assert!(losses[11] < 0.9 * losses[0], "{losses:?}");
    // Nothing says what would be forgotten.
    assert_eq!((kept.share, kept.known_loss_before), (1.0, None));
    let nothing = FitData { shop: &shop[3..], generic: &generic, known: &[] };
    let error = fit(decoder, &tokenizer, &nothing, fit_config(1, 1), &|_| {}).err().unwrap();
    assert!(error.to_string().contains("window of 128"), "{error}");
}

#[test]
fn a_fit_goes_no_further_than_what_is_known_allows() {
    let (decoder, tokenizer) = untrained();
    let (shop, generic) = (shop(24), generic(40));
    // One that knows what all shops have in common, then one step that is far too long.
    let knows = FitData { shop: &generic, generic: &[], known: &[] };
    let config = TrainerConfig { lr: 5e-3, ..fit_config(60, 1) };
    let knowing = fitted(decoder, &tokenizer, &knows, config).decoder;
    let data = FitData { shop: &shop, generic: &generic[..20], known: &generic[20..] };
    let rough = TrainerConfig { lr: 3e-2, warmup: 0, ..fit_config(3, 1) };
    let Fitted { decoder, kept, .. } = fitted(knowing.clone(), &tokenizer, &data, rough);
    let (before, trained) = (kept.known_loss_before.unwrap(), kept.known_loss_trained.unwrap());
    assert!(trained > 1.01 * before, "{kept:?}");
    assert!(kept.known_loss_kept.unwrap() <= 1.01 * before && kept.share < 1.0, "{kept:?}");
    assert_eq!(kept.share == 0.0, decoder.params() == knowing.params(), "{kept:?}");
}

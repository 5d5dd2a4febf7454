//! A short fit to a shop.

use align::{FitData, Sample, TrainerConfig, fit, fit_config, train_tokenizer};
use lm::{Decoder, DecoderConfig, Tokenizer};

#[test]
fn a_fit_learns_the_words_of_the_shop() {
    let sample = |task: &str, n: usize| {
        let answer = "red retrospot|lunch bag|long\n".repeat(n);
        Sample::new(task, "<|mine|>x\n<|interests|>".to_owned(), answer)
    };
    let shop = [sample("shop", 1), sample("shop", 2), sample("shop", 3), sample("shop", 90)];
    let generic = [sample("query", 1), sample("query", 2)];
    let texts = shop.iter().flat_map(|s| s.segments.iter().map(|p| p.text.as_str()));
    let json = train_tokenizer(texts, 300).unwrap();
    let tokenizer = Tokenizer::from_bytes(&json).unwrap();
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
    let decoder = Decoder::init(config, 1).unwrap();
    let data = FitData { shop: &shop, generic: &generic };
    let config = TrainerConfig { lr: 5e-3, rows_per_step: 2, ..fit_config(12, 1) };
    let (_, log, n_long) = fit(decoder.clone(), &tokenizer, &data, config, &|_| {}).unwrap();
    assert_eq!(n_long, 1);
    let losses: Vec<f64> = log.records.iter().map(|record| record.loss).collect();
    assert!(losses[11] < 0.9 * losses[0], "{losses:?}");
    let nothing = FitData { shop: &shop[3..], generic: &generic };
    let error = fit(decoder, &tokenizer, &nothing, fit_config(1, 1), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("window of 128"), "{error}");
}

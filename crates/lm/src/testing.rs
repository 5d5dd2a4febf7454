//! A tiny tokenizer (and, with it, a tiny random engine) for the tests of this crate.

use std::sync::OnceLock;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

use crate::decoder::{Decoder, DecoderConfig};
use crate::engine::{Engine, EngineConfig};
use crate::tokenizer::Tokenizer;

/// The special tokens of the terse format.
pub(crate) const SPECIALS: [&str; 9] = [
    "<|endoftext|>",
    "<|mine|>",
    "<|interests|>",
    "<|recent|>",
    "<|tags|>",
    "<|reason|>",
    "<|query|>",
    "<|answer|>",
    "<|pad|>",
];

/// Bytes of a `tokenizer.json` trained on a few lines.
pub(crate) fn tiny_tokenizer_json() -> Vec<u8> {
    tokenizer_json(&SPECIALS)
}

/// The tokenizer of [`tiny_tokenizer_json`], made once.
pub(crate) fn tiny_tokenizer() -> &'static Tokenizer {
    static TINY: OnceLock<Tokenizer> = OnceLock::new();
    TINY.get_or_init(|| Tokenizer::from_bytes(&tiny_tokenizer_json()).unwrap())
}

/// A tiny tokenizer with other special tokens.
pub(crate) fn tokenizer_with(specials: &[&str]) -> Tokenizer {
    Tokenizer::from_bytes(&tokenizer_json(specials)).unwrap()
}

/// A random decoder of a tiny shape for the tiny tokenizer, with weights large enough that its greedy
/// answers vary with the prompt.
pub(crate) fn tiny_decoder() -> Decoder {
    let config = DecoderConfig {
        vocab_size: 330, // more than there are tokens
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 512,
        ..DecoderConfig::builtin(0)
    };
    let (hidden, mut decoder) = (config.hidden_size, Decoder::init(config, 11).unwrap());
    let places: Vec<_> = decoder.layout().tensors().to_vec();
    for place in places.iter().filter(|place| !place.is_norm()) {
        decoder.params_mut()[place.range.clone()].iter_mut().for_each(|w| *w *= 12.0);
    }
    // Tokens that are not plain text get equal logits of 0, which is hardly ever the highest, so that
    // answers are long and their bytes are characters.
    let rows = decoder.params_mut()[places[0].range.clone()].chunks_exact_mut(hidden);
    for (row, token) in rows.zip(0..) {
        let bytes = tiny_tokenizer().token_bytes(token);
        if bytes.is_empty() || !bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
            row.fill(0.0);
        }
    }
    decoder
}

/// An engine of [`tiny_decoder`] and the tiny tokenizer.
pub(crate) fn tiny_engine(config: EngineConfig) -> Engine {
    let tokenizer = Tokenizer::from_bytes(&tiny_tokenizer_json()).unwrap();
    Engine::new(tiny_decoder().pack(config.weights), tokenizer, config).unwrap()
}

fn tokenizer_json(specials: &[&str]) -> Vec<u8> {
    let byte_level = ByteLevel::new(false, false, true);
    let mut tokenizer = TokenizerBuilder::<BPE, tokenizers::NormalizerWrapper, _, _, _>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(Some(byte_level))
        .with_decoder(Some(byte_level))
        .build()
        .unwrap();
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(320)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(specials.iter().map(|&s| AddedToken::from(s, true)).collect())
        .build();
    let lines = ["trail shoes;socks|running shoes|long", "espresso machine|coffee grinder|short"];
    tokenizer.train(&mut trainer, lines.iter().cycle().take(20).copied()).unwrap();
    tokenizer.to_string(false).unwrap().into_bytes()
}

//! From samples to tokens: training a tokenizer, and encoding with one.

use std::collections::HashSet;
use std::ops::Range;

use lm::Tokenizer;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

use crate::error::AlignError;
use crate::sample::{Sample, TokenSample};

/// Special tokens of the built-in model; their ids are their places here.
pub const SPECIAL_TOKENS: [&str; 9] = [
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

/// Trains a byte-level BPE tokenizer and returns its `tokenizer.json`. Digits stand alone; special
/// tokens come first. Same texts in any order give the same bytes.
///
/// # Errors
/// [`AlignError::Config`] when `vocab_size` does not hold the bytes and special tokens;
/// [`AlignError::Tokenizer`] when the library refuses.
pub fn train_tokenizer<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    vocab_size: usize,
) -> Result<Vec<u8>, AlignError> {
    let smallest = 256 + SPECIAL_TOKENS.len();
    if vocab_size < smallest {
        let detail = format!("{vocab_size} is too small, at least {smallest} are needed");
        return Err(AlignError::Config { what: "vocab_size", detail });
    }
    let refused = |error: tokenizers::Error| AlignError::Tokenizer(error.to_string());
    let specials: Vec<AddedToken> =
        SPECIAL_TOKENS.iter().map(|name| AddedToken::from((*name).to_owned(), true)).collect();
    let bytes = ByteLevel::new(false, false, true);
    let mut tokenizer = HfTokenizer::new(BPE::default());
    let steps: Vec<PreTokenizerWrapper> = vec![Digits::new(true).into(), bytes.into()];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(bytes));
    // Registered before training, so that they are cut out of the texts and never merged.
    tokenizer.add_special_tokens(specials.clone()).map_err(refused)?;
    let trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab_size)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .special_tokens(specials)
        .build();
    let mut texts: Vec<&str> = texts.into_iter().collect();
    texts.sort_unstable();
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts.into_iter()).map_err(refused)?;
    Ok(tokenizer.to_string(false).map_err(refused)?.into_bytes())
}

/// Encodes samples as inference will see them: prompt segments with their special tokens, answers as
/// plain text with `<|endoftext|>` at the end of each. The loss lies on the answers, but for what was rejected in them.
#[must_use]
pub fn encode_samples(tokenizer: &Tokenizer, samples: &[Sample]) -> Vec<TokenSample> {
    samples.iter().map(|sample| encode_sample(tokenizer, sample)).collect()
}

fn encode_sample(tokenizer: &Tokenizer, sample: &Sample) -> TokenSample {
    let mut tokens = Vec::new();
    let (mut loss, mut branches) = (Vec::new(), Vec::new());
    for (row, segment) in sample.segments.iter().enumerate() {
        if sample.branches.contains(&row) {
            branches.push(tokens.len());
        }
        if segment.loss {
            let rejected = sample.rejected.iter().filter(|part| part.segment == row);
            let rejected: Vec<&Range<usize>> = rejected.map(|part| &part.bytes).collect();
            let mut at = 0;
            for token in tokenizer.encode(&segment.text) {
                let bytes = at..at + tokenizer.token_bytes(token).len();
                at = bytes.end;
                tokens.push(token);
                loss.push(!rejected.iter().any(|r| r.start < bytes.end && bytes.start < r.end));
            }
            tokens.push(tokenizer.eos());
            loss.push(rejected.is_empty());
        } else {
            tokens.extend(tokenizer.encode_prompt(&segment.text));
            loss.resize(tokens.len(), false);
        }
    }
    if let Some(first) = loss.first_mut() {
        *first = false;
    }
    TokenSample { tokens, loss, branches }
}

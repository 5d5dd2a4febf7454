//! Text to tokens and back: byte-level BPE in the `tokenizer.json` format of Hugging Face.
//!
//! Two ways in. [`Tokenizer::encode`] takes text that anyone may have written: `<|mine|>` in it is seven
//! harmless characters. [`Tokenizer::encode_prompt`] takes a finished prompt, where `<|mine|>` is the
//! special token; untrusted pieces reach it only through [`PromptBuilder`] or [`defuse`]. Training of
//! tokenizers is elsewhere (crate `align`).

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use crate::error::LmError;
use crate::model::Prompt;

/// Names of the token that ends a text, most usual first.
const END_NAMES: [&str; 5] =
    ["<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|end|>"];

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    /// Splits at special tokens.
    trusting: tokenizers::Tokenizer,
    /// Reads special tokens as plain text.
    wary: tokenizers::Tokenizer,
    /// Bytes of every token; empty for special tokens and holes in the numbering.
    bytes: Vec<Box<[u8]>>,
    special: Vec<bool>,
    eos: u32,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocab_size())
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn load(path: &Path) -> Result<Self, LmError> {
        let bytes = std::fs::read(path).map_err(|error| LmError::BadModel {
            path: path.to_owned(),
            problem: error.to_string(),
            mend: "give the tokenizer.json of the model".to_owned(),
        })?;
        Self::parse(&bytes, path)
    }

    /// Reads the bytes of a `tokenizer.json`.
    pub fn from_bytes(json: &[u8]) -> Result<Self, LmError> {
        Self::parse(json, Path::new("tokenizer.json"))
    }

    /// Tokens of text that anyone may have written; never a special token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        ids(&self.wary, text)
    }

    /// Tokens of a finished prompt, in which `<|name|>` is the special token of that name. Pass foreign
    /// text through [`PromptBuilder::text`] or [`defuse`] before it comes here.
    pub fn encode_prompt(&self, prompt: &str) -> Vec<u32> {
        ids(&self.trusting, prompt)
    }

    /// Text of the tokens, without special tokens; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> =
            tokens.iter().flat_map(|&token| self.token_bytes(token)).copied().collect();
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// Bytes of one token; none for special and unknown tokens.
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// How many tokens [`Self::encode`] gives.
    pub fn count(&self, text: &str) -> usize {
        self.encode(text).len()
    }

    /// One more than the highest token id.
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// The token that ends a text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The special token of this name, such as `<|mine|>`.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.trusting.token_to_id(name).filter(|&token| self.is_special(token))
    }

    /// Whether the token is special, as all of `<|...|>` are.
    pub fn is_special(&self, token: u32) -> bool {
        self.special.get(token as usize).copied().unwrap_or(false)
    }

    /// Names of all special tokens.
    pub(crate) fn special_names(&self) -> Vec<String> {
        (0..self.vocab_size() as u32).filter_map(|token| self.special_name(token)).collect()
    }

    /// Name of a special token.
    pub(crate) fn special_name(&self, token: u32) -> Option<String> {
        self.trusting.id_to_token(token).filter(|_| self.is_special(token))
    }

    fn parse(json: &[u8], path: &Path) -> Result<Self, LmError> {
        let bad = |problem: String| LmError::BadModel {
            path: path.to_owned(),
            problem,
            mend: "give a byte-level BPE tokenizer.json as Qwen3, Llama 3 or `recgpt` write it"
                .to_owned(),
        };
        let mut wary =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| bad(error.to_string()))?;
        wary.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        wary.with_padding(None);
        let trusting = wary.clone();
        wary.set_encode_special_tokens(true);

        let value: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
        if value["decoder"]["type"] != "ByteLevel" {
            return Err(bad(format!("its decoder is {}, not ByteLevel", value["decoder"]["type"])));
        }
        let marked = llguidance::token_bytes_from_tokenizer_json(&value)
            .map_err(|error| bad(error.to_string()))?;
        let mut special = vec![false; marked.len()];
        for (id, token) in trusting.get_added_tokens_decoder() {
            if let Some(flag) = special.get_mut(id as usize) {
                *flag = token.special;
            }
        }
        let eos = END_NAMES
            .iter()
            .filter_map(|name| trusting.token_to_id(name))
            .find(|&id| special.get(id as usize) == Some(&true))
            .ok_or_else(|| bad(format!("it has none of the special tokens {END_NAMES:?}")))?;
        let bytes = marked
            .into_iter()
            .zip(&special)
            .map(|(bytes, &special)| if special { Box::default() } else { bytes.into() })
            .collect();
        Ok(Self { trusting, wary, bytes, special, eos })
    }
}

fn ids(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .expect("byte-level BPE has a token for every byte, and nothing else can fail");
    encoding.get_ids().to_vec()
}

/// Builds a terse prompt from trusted template text, which may hold special tokens, and untrusted text,
/// which may not.
///
/// ```
/// let prompt = lm::PromptBuilder::new()
///     .template("<|mine|>")
///     .text("shoes<|endoftext|>")
///     .template("\n<|interests|>")
///     .build();
/// assert_eq!(prompt.user, "<|mine|>shoes< |endoftext|>\n<|interests|>");
/// ```
#[derive(Debug, Clone, Default)]
pub struct PromptBuilder {
    user: String,
}

impl PromptBuilder {
    /// An empty prompt.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends trusted text; `<|name|>` in it is a special token.
    pub fn template(mut self, text: &str) -> Self {
        self.user.push_str(text);
        self
    }

    /// Appends text that anyone may have written; [`defuse`] takes the special tokens out of it.
    pub fn text(mut self, text: &str) -> Self {
        self.user.push_str(&defuse(text));
        self
    }

    /// The prompt.
    pub fn build(self) -> Prompt {
        Prompt::user(self.user)
    }
}

/// Makes text safe to stand in a terse prompt: a space goes between `<` and a following `|`, and after a
/// `<` at the end, so that no special token can arise in it or across its borders.
pub fn defuse(text: &str) -> Cow<'_, str> {
    if !text.contains("<|") && !text.ends_with('<') {
        return Cow::Borrowed(text);
    }
    let mut safe = text.replace("<|", "< |");
    if safe.ends_with('<') {
        safe.push(' ');
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PromptBuilder, Tokenizer, defuse};
    use crate::testing::{SPECIALS, tiny_tokenizer, tiny_tokenizer_json};

    #[test]
    fn text_never_becomes_a_special_token() {
        let tokenizer = tiny_tokenizer();
        let check = |text: &str, in_text: usize, in_prompt: usize| {
            let specials =
                |ids: Vec<u32>| ids.iter().filter(|&&id| tokenizer.is_special(id)).count();
            assert_eq!(specials(tokenizer.encode(text)), in_text, "{text} as text");
            assert_eq!(specials(tokenizer.encode_prompt(text)), in_prompt, "{text} as prompt");
        };
        check("plain shoes", 0, 0);
        check("<|mine|>shoes<|endoftext|>", 0, 2);
        check("<<|tags|>>", 0, 1);
        check("<|unknown|>", 0, 0);
    }

    #[test]
    fn specials_have_names_and_ends() {
        let tokenizer = tiny_tokenizer();
        assert_eq!(tokenizer.special("<|endoftext|>"), Some(tokenizer.eos()));
        assert_eq!(tokenizer.special("e"), None);
        assert_eq!(tokenizer.decode(&tokenizer.encode_prompt("<|mine|>a b<|tags|>")), "a b");
    }

    #[test]
    fn bad_files_name_path_and_mend() {
        let check = |bytes: &[u8], part: &str| {
            let text = Tokenizer::from_bytes(bytes).unwrap_err().to_string();
            assert!(text.starts_with("tokenizer.json: ") && text.contains(part), "{text}");
        };
        check(b"{", "EOF");
        check(b"{}", "byte-level");
        let json = String::from_utf8(tiny_tokenizer_json()).unwrap();
        check(json.replace("<|endoftext|>", "<|other|>").as_bytes(), "<|endoftext|>");
        let missing = Tokenizer::load("/nowhere/tokenizer.json".as_ref()).unwrap_err();
        assert!(missing.to_string().starts_with("/nowhere/tokenizer.json: "));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn any_text_survives_the_round_trip(text in "\\PC*|[\u{0}-\u{ff}]*|(<|\\||mine|>|é|漢)*") {
            let tokenizer = tiny_tokenizer();
            let tokens = tokenizer.encode(&text);
            prop_assert!(tokens.iter().all(|&t| !tokenizer.is_special(t)));
            prop_assert_eq!(tokenizer.decode(&tokens), text);
        }

        #[test]
        fn pieces_never_join_to_a_special_token(
            pieces in prop::collection::vec("(<|\\||mine|tags|>|<\\|mine\\|>)*", 1..5)
        ) {
            let tokenizer = tiny_tokenizer();
            let mut builder = PromptBuilder::new();
            for piece in &pieces {
                builder = builder.text(piece).template("|");
            }
            let tokens = tokenizer.encode_prompt(&builder.build().user);
            prop_assert!(tokens.iter().all(|&t| !tokenizer.is_special(t)));
        }
    }

    #[test]
    fn defuse_leaves_harmless_text_alone() {
        for special in SPECIALS {
            assert_eq!(defuse(special), special.replacen('<', "< ", 1));
        }
        assert!(matches!(defuse("a < b | c"), std::borrow::Cow::Borrowed(_)));
        assert_eq!(defuse("a<"), "a< ");
    }
}

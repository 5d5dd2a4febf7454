//! Constrained answers: which tokens a grammar or JSON schema allows next, by llguidance.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use crate::error::LmError;
use crate::model::Constraint;
use crate::tokenizer::Tokenizer;

/// Compiles constraints against the vocabulary of one tokenizer.
pub(super) struct Grammars {
    factory: ParserFactory,
}

impl Grammars {
    /// Builds the trie of the vocabulary. Any of `ends` ends an answer.
    pub(super) fn new(tokenizer: &Tokenizer, ends: &[u32]) -> Result<Self, LmError> {
        let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32)
            .map(|token| match tokenizer.special_name(token) {
                Some(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
                None => tokenizer.token_bytes(token).to_vec(),
            })
            .collect();
        let info = TokRxInfo::new(words.len() as u32, tokenizer.eos());
        let trie = TokTrie::from(&info, &words).with_eos_tokens(ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| refused(&error))?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// A matcher at the beginning of an answer.
    pub(super) fn matcher(&self, constraint: &Constraint) -> Result<Matcher, LmError> {
        let grammar = match constraint {
            Constraint::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
            Constraint::JsonSchema(schema) => TopLevelGrammar::from_json_schema(compact(schema)),
        };
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(reason) => Err(LmError::Constraint { reason }),
            None => Ok(matcher),
        }
    }
}

/// What llguidance refused to do.
pub(super) fn refused(error: &impl ToString) -> LmError {
    LmError::Constraint { reason: error.to_string() }
}

/// Asks for JSON without spare white space, which a small model could otherwise write for ever; a schema
/// with its own `x-guidance` is left alone.
fn compact(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("x-guidance").or_insert_with(
            || json!({ "whitespace_flexible": false, "item_separator": ",", "key_separator": ":" }),
        );
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Grammars;
    use crate::model::Constraint;
    use crate::testing::tiny_tokenizer;

    #[test]
    fn masks_allow_just_the_grammar() {
        let tokenizer = tiny_tokenizer();
        let grammars = Grammars::new(tokenizer, &[tokenizer.eos()]).unwrap();
        let check = |constraint: Constraint, text: &str, complete: bool| {
            let mut matcher = grammars.matcher(&constraint).unwrap();
            for token in tokenizer.encode(text) {
                assert!(matcher.compute_mask().unwrap().is_allowed(token), "{token} in {text}");
                matcher.consume_token(token).unwrap();
            }
            assert_eq!(matcher.is_accepting().unwrap(), complete, "{text}");
        };
        let lark = || Constraint::Lark(r#"start: /[a-z ]+/ "|" ("long" | "short")"#.to_owned());
        check(lark(), "running shoes|long", true);
        check(lark(), "running shoes|lo", false);
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } },
            "required": ["n"], "additionalProperties": false });
        check(Constraint::JsonSchema(schema.clone()), r#"{"n":12}"#, true);
        check(Constraint::JsonSchema(schema), r#"{"n":"#, false);
    }

    #[test]
    fn bad_constraints_are_typed_errors() {
        let tokenizer = tiny_tokenizer();
        let grammars = Grammars::new(tokenizer, &[tokenizer.eos()]).unwrap();
        for bad in [
            Constraint::Lark("start: (".to_owned()),
            Constraint::Lark(String::new()),
            Constraint::JsonSchema(json!({ "type": "no such type" })),
        ] {
            let error = grammars.matcher(&bad).err().unwrap();
            assert!(error.to_string().starts_with("constraint cannot be met: "), "{error}");
        }
    }
}

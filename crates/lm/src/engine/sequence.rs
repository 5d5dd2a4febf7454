//! One request under way: what it has said, what comes next, and when it ends.

use llguidance::Matcher;
use toktrie::SimpleVob;

use crate::decoder::KvCache;
use crate::engine::answer::Answer;
use crate::engine::grammar::refused;
use crate::engine::sampler::Sampler;
use crate::error::LmError;
use crate::model::{Completion, Finish, Request};
use crate::tokenizer::Tokenizer;

/// A request whose prompt has been read.
pub(super) struct Sequence<'a> {
    /// Place of the request in the call.
    pub(super) idx: usize,
    /// Keys and values of `tokens`.
    pub(super) kv: KvCache,
    /// Prompt and answer as far as the decoder has read them.
    pub(super) tokens: Vec<u32>,
    /// The token to read next.
    pub(super) next: u32,
    n_prompt: usize,
    answer: Answer<'a>,
    sampler: Sampler,
    matcher: Option<Matcher>,
}

impl<'a> Sequence<'a> {
    /// A sequence before its first token.
    pub(super) fn new(
        idx: usize,
        request: &'a Request,
        matcher: Option<Matcher>,
        (tokens, kv): (Vec<u32>, KvCache),
    ) -> Result<Self, LmError> {
        let n_prompt = tokens.len();
        let answer = Answer::new(request.max_tokens, &request.stop);
        let sampler = Sampler::new(request.sampling)?;
        Ok(Self { idx, kv, tokens, next: 0, n_prompt, answer, sampler, matcher })
    }

    /// Draws the next token from the logits `[vocab]`; says whether that ends the answer.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        tokenizer: &Tokenizer,
    ) -> Result<Option<Finish>, LmError> {
        let mask = match &mut self.matcher {
            Some(matcher) => Some(matcher.compute_mask_or_eos().map_err(|e| refused(&e))?),
            None => None,
        };
        if mask.as_ref().is_some_and(SimpleVob::is_zero) {
            return Err(refused(&"no token of the vocabulary continues it"));
        }
        let token = self.sampler.pick(logits, mask.as_ref());
        // A special token ends the answer, whichever it is: no answer holds any.
        if tokenizer.is_special(token) {
            return Ok(Some(Finish::Stop));
        }
        if let Some(finish) = self.answer.push(tokenizer.token_bytes(token)) {
            return Ok(Some(self.finish_by_grammar(token)?.unwrap_or(finish)));
        }
        self.next = token;
        self.finish_by_grammar(token)
    }

    /// Tells the grammar of the token; says whether nothing can follow.
    fn finish_by_grammar(&mut self, token: u32) -> Result<Option<Finish>, LmError> {
        let Some(matcher) = &mut self.matcher else { return Ok(None) };
        matcher.consume_token(token).map_err(|error| refused(&error))?;
        Ok(matcher.is_stopped().then_some(Finish::Stop))
    }

    /// The answer, and what the prefix cache may keep.
    pub(super) fn into_completion(self, finish: Finish) -> (Completion, Vec<u32>, KvCache) {
        let completion = Completion {
            prompt_tokens: self.n_prompt,
            completion_tokens: self.answer.tokens(),
            text: self.answer.into_text(),
            finish,
        };
        (completion, self.tokens, self.kv)
    }
}

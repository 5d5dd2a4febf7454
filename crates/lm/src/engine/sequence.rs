//! One request under way: what it has said, what comes next, and when it ends.

use llguidance::Matcher;
use toktrie::SimpleVob;

use crate::decoder::{Chunk, KvCache, Wanted};
use crate::engine::answer::Answer;
use crate::engine::fields::Fields;
use crate::engine::grammar::refused;
use crate::engine::queue::{Event, Job};
use crate::engine::sampler::Sampler;
use crate::error::LmError;
use crate::model::{Completion, Finish};
use crate::tokenizer::Tokenizer;

/// A request that was admitted.
pub(super) struct Sequence {
    /// Keys and values of the tokens read so far.
    pub(super) kv: KvCache,
    /// Prompt and answer.
    tokens: Vec<u32>,
    n_prompt: usize,
    job: Job,
    answer: Answer,
    sampler: Sampler,
    matcher: Option<Matcher>,
    fields: Option<Fields>,
}

impl Sequence {
    /// A sequence before its first token.
    pub(super) fn new(
        mut job: Job,
        sampler: Sampler,
        matcher: Option<Matcher>,
        kv: KvCache,
    ) -> Self {
        let tokens = std::mem::take(&mut job.tokens);
        let max_tokens = job.request.max_tokens;
        let answer = Answer::new(max_tokens, std::mem::take(&mut job.request.stop));
        let fields = job.request.distinct.take().map(|rules| Fields::new(rules, max_tokens));
        Self { kv, n_prompt: tokens.len(), tokens, job, answer, sampler, matcher, fields }
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.job.is_cancelled()
    }

    /// Tokens that the decoder has not read yet; at least one.
    pub(super) fn unread(&self) -> usize {
        self.tokens.len() - self.kv.len()
    }

    /// The tokens read so far.
    pub(super) fn read(&self) -> &[u32] {
        &self.tokens[..self.kv.len()]
    }

    /// The part of the prompt that may be known from elsewhere: not its last token, whose logits are
    /// still to be computed. None once it is read.
    pub(super) fn reusable(&self) -> Option<&[u32]> {
        (self.kv.len() + 1 < self.n_prompt).then(|| &self.tokens[..self.n_prompt - 1])
    }

    /// The next `n` tokens for the decoder.
    pub(super) fn chunk(&mut self, n: usize) -> Chunk<'_> {
        let from = self.kv.len();
        let wanted = if from + n == self.tokens.len() { Wanted::Last } else { Wanted::None };
        Chunk { cache: &mut self.kv, tokens: &self.tokens[from..from + n], wanted }
    }

    /// Draws the next token from the logits `[vocab]`; says whether that ends the answer.
    pub(super) fn draw(
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
        let token = self.pick(logits, mask.as_ref());
        // A special token ends the answer, whichever it is: no text holds any.
        if tokenizer.is_special(token) && !self.job.request.ignore_eos {
            return Ok(Some(Finish::Stop));
        }
        if self.goes_back(tokenizer.token_bytes(token))? {
            return Ok(None);
        }
        let finish = self.answer.push(tokenizer.token_bytes(token));
        let finish = self.finish_by_grammar(token)?.or(finish);
        if finish.is_none() {
            self.tokens.push(token);
            let n_answer = self.tokens.len() - self.n_prompt;
            let unsettled = self.fields.as_mut().map_or(0, |fields| {
                fields.push(tokenizer.token_bytes(token), n_answer);
                fields.unsettled()
            });
            if let Some(text) = self.answer.fresh_text(unsettled) {
                self.job.tell(Event::Text(text));
            }
        }
        Ok(finish)
    }

    /// The next token; none that is known to lead to a repeat, if there is another.
    fn pick(&mut self, logits: &[f32], mask: Option<&SimpleVob>) -> u32 {
        let n_answer = self.tokens.len() - self.n_prompt;
        let refused = self.fields.as_ref().map_or(&[][..], |fields| fields.refused(n_answer));
        if !refused.is_empty() {
            let mut others = logits.to_vec();
            refused.iter().for_each(|&token| others[token as usize] = f32::NEG_INFINITY);
            let token = self.sampler.pick(&others, mask);
            if !refused.contains(&token) {
                return token;
            }
        }
        self.sampler.pick(logits, mask)
    }

    /// Where a token with these bytes would end a field that was said before, goes back to the field's
    /// beginning, whose last token before it is read once more.
    fn goes_back(&mut self, bytes: &[u8]) -> Result<bool, LmError> {
        let (n_prompt, n_answer) = (self.n_prompt, self.tokens.len() - self.n_prompt);
        let Some(fields) = &mut self.fields else { return Ok(false) };
        let tokens = &mut self.tokens;
        let first = |start: usize| tokens[n_prompt + start];
        let Some((start, n_bytes)) = fields.repeats((n_answer, bytes), first) else {
            return Ok(false);
        };
        let lost = n_answer - start;
        if let Some(matcher) = &mut self.matcher {
            matcher.rollback(lost).map_err(|error| refused(&error))?;
        }
        tokens.truncate(n_prompt + start);
        self.kv.truncate(n_prompt + start - 1);
        self.answer.take_back(lost, n_bytes);
        Ok(true)
    }

    /// Tells the grammar of the token; says whether nothing can follow.
    fn finish_by_grammar(&mut self, token: u32) -> Result<Option<Finish>, LmError> {
        let Some(matcher) = &mut self.matcher else { return Ok(None) };
        matcher.consume_token(token).map_err(|error| refused(&error))?;
        Ok(matcher.is_stopped().then_some(Finish::Stop))
    }

    /// The end of the sequence: what its cache holds, and what to tell who asked.
    pub(super) fn finish(mut self, result: Result<Finish, LmError>) -> Ended {
        let mut rest = String::new();
        let done = result.map(|finish| {
            rest = self.answer.rest();
            let completion_tokens = self.answer.tokens();
            let (text, prompt_tokens) = (self.answer.into_text(), self.n_prompt);
            Completion { text, finish, prompt_tokens, completion_tokens }
        });
        self.tokens.truncate(self.kv.len());
        Ended { tokens: self.tokens, kv: self.kv, job: self.job, rest, done }
    }
}

/// A sequence that has ended.
pub(super) struct Ended {
    /// The tokens that `kv` holds.
    pub(super) tokens: Vec<u32>,
    pub(super) kv: KvCache,
    job: Job,
    rest: String,
    done: Result<Completion, LmError>,
}

impl Ended {
    /// Tells who asked.
    pub(super) fn tell(mut self) {
        if !self.rest.is_empty() {
            self.job.tell(Event::Text(self.rest));
        }
        self.job.tell(Event::Done(self.done));
    }
}

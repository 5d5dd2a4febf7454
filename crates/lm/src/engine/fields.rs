//! Answers that say no field twice: where one is about to be repeated, the answer goes back to the field's
//! beginning and takes another way.

use std::collections::HashSet;

use crate::model::Distinct;

/// Other ways that are tried from the beginning of one field before a repeat is let pass.
const MOST_WAYS: usize = 6;

/// Tokens that an answer may lose in all by going back, as a part of its longest length.
const MOST_LOST: usize = 2;

/// The fields of one answer.
#[derive(Debug)]
pub(super) struct Fields {
    rules: Distinct,
    said: HashSet<Vec<u8>>,
    open: Option<Open>,
    /// Tokens that may still be lost by going back.
    left: usize,
}

/// The field that is being said.
#[derive(Debug)]
struct Open {
    /// Tokens of the answer before it; none where it began within a token, to which one cannot go back.
    start: Option<usize>,
    bytes: Vec<u8>,
    /// First tokens that led to a repeat.
    refused: Vec<u32>,
}

impl Fields {
    /// Of an answer of at most `max_tokens` tokens.
    pub(super) fn new(rules: Distinct, max_tokens: usize) -> Self {
        Self { rules, said: HashSet::new(), open: None, left: max_tokens * MOST_LOST }
    }

    /// What must not be the next token of an answer of `n` tokens.
    pub(super) fn refused(&self, n: usize) -> &[u32] {
        match &self.open {
            Some(open) if open.start == Some(n) => &open.refused,
            _ => &[],
        }
    }

    /// Bytes that going back may still take away from the end of the answer.
    pub(super) fn unsettled(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.bytes.len())
    }

    /// Where the answer of `n` tokens must go back to when the next token has these bytes: tokens, and bytes
    /// at its end to take away. `first` is the first token of the field that a repeat began with.
    pub(super) fn repeats(
        &mut self,
        (n, bytes): (usize, &[u8]),
        first: impl Fn(usize) -> u32,
    ) -> Option<(usize, usize)> {
        let open = self.open.as_mut()?;
        let end = bytes.iter().position(|b| self.rules.ends.contains(b))?;
        let start = open.start.filter(|start| *start < n)?;
        let whole = [&open.bytes[..], &bytes[..end]].concat();
        let lost = n - start;
        if !self.said.contains(&whole) || open.refused.len() == MOST_WAYS || lost > self.left {
            return None;
        }
        self.left -= lost;
        open.refused.push(first(start));
        Some((start, std::mem::take(&mut open.bytes).len()))
    }

    /// Takes the bytes of a token, behind which the answer has `n` tokens.
    pub(super) fn push(&mut self, bytes: &[u8], n: usize) {
        for (at, byte) in bytes.iter().enumerate() {
            if self.rules.ends.contains(byte)
                && let Some(open) = self.open.take()
            {
                self.said.insert(open.bytes);
            }
            if self.rules.begins.contains(byte) {
                let start = (at + 1 == bytes.len()).then_some(n);
                self.open = Some(Open { start, bytes: Vec::new(), refused: Vec::new() });
            } else if let Some(open) = &mut self.open {
                open.bytes.push(*byte);
            }
        }
    }
}

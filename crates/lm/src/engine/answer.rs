//! The text of an answer as it grows by tokens, and where it ends.

use crate::model::Finish;

/// Bytes of an answer and the rules of its end.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    tokens: usize,
    max_tokens: usize,
    stop: Vec<String>,
    longest_stop: usize,
    /// Bytes handed out by [`Self::fresh_text`].
    told: usize,
}

impl Answer {
    /// An empty answer of at most `max_tokens` tokens.
    pub(super) fn new(max_tokens: usize, stop: Vec<String>) -> Self {
        let longest_stop = stop.iter().map(String::len).max().unwrap_or(0);
        Self { bytes: Vec::new(), tokens: 0, max_tokens, stop, longest_stop, told: 0 }
    }

    /// Appends the bytes of one token; says whether that ends the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Finish> {
        // A stop string may begin in earlier tokens, but not further back than its length.
        let from = (self.bytes.len() + 1).saturating_sub(self.longest_stop);
        self.bytes.extend_from_slice(bytes);
        self.tokens += 1;
        let tail = &self.bytes[from.min(self.bytes.len())..];
        let at = self.stop.iter().filter_map(|stop| find(tail, stop.as_bytes())).min();
        if let Some(at) = at {
            self.bytes.truncate(from + at);
            return Some(Finish::Stop);
        }
        (self.tokens >= self.max_tokens).then_some(Finish::Length)
    }

    /// Tokens pushed so far.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes the last tokens and bytes back, none of which was handed out.
    pub(super) fn take_back(&mut self, tokens: usize, bytes: usize) {
        self.tokens -= tokens;
        self.bytes.truncate(self.bytes.len() - bytes);
    }

    /// New text that no later token can take back: whole characters, before what may become a stop
    /// string and before the last `unsettled` bytes.
    pub(super) fn fresh_text(&mut self, unsettled: usize) -> Option<String> {
        let held = self.longest_stop.saturating_sub(1).max(unsettled);
        let end = self.bytes.len() - held.min(self.bytes.len());
        let fresh = self.bytes.get(self.told..end)?;
        let cut = fresh.len() - incomplete(fresh);
        let text = String::from_utf8_lossy(&fresh[..cut]).into_owned();
        self.told += cut;
        (!text.is_empty()).then_some(text)
    }

    /// The text that [`Self::fresh_text`] has not handed out.
    pub(super) fn rest(&self) -> String {
        let told = self.told.min(self.bytes.len());
        text_of(&self.bytes[told..])
    }

    /// The text. A character cut by the end of the answer is left out; other bytes that are no UTF-8
    /// become U+FFFD.
    pub(super) fn into_text(self) -> String {
        text_of(&self.bytes)
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len() - incomplete(bytes)]).into_owned()
}

/// Length of the character that the bytes break off in, 0 if they do not.
fn incomplete(bytes: &[u8]) -> usize {
    let invalid = bytes.utf8_chunks().last().map_or(&[][..], |last| last.invalid());
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

/// Where the needle begins; an empty needle is nowhere.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use crate::model::Finish;

    fn check(stop: &[&str], max_tokens: usize, tokens: &[&[u8]], want: (&str, Option<Finish>)) {
        let stop: Vec<String> = stop.iter().map(|&s| s.to_owned()).collect();
        let mut answer = Answer::new(max_tokens, stop.clone());
        let mut told = String::new();
        let finish = tokens.iter().find_map(|token| {
            let finish = answer.push(token);
            if finish.is_none() {
                told.extend(answer.fresh_text(0));
            }
            finish
        });
        told.push_str(&answer.rest());
        assert_eq!((answer.into_text().as_str(), finish), want, "{tokens:?} to {stop:?}");
        assert_eq!(told, want.0, "what was streamed of {tokens:?} to {stop:?}");
    }

    #[test]
    fn stop_strings_cut_even_across_tokens() {
        check(&["\n\n"], 9, &[b"a\n", b"b", b"\n", b"\nc"], ("a\nb", Some(Finish::Stop)));
        check(&["END", "b"], 9, &[b"aEN", b"Db"], ("a", Some(Finish::Stop)));
        check(&["b", "END"], 9, &[b"abEND"], ("a", Some(Finish::Stop)));
        check(&["xyz"], 9, &[b"a"], ("a", None));
        check(&[""], 9, &[b"a", b"b"], ("ab", None));
        check(&["a"], 9, &[b"a"], ("", Some(Finish::Stop)));
    }

    #[test]
    fn length_ends_at_whole_characters() {
        check(&[], 2, &[b"a", b"b", b"c"], ("ab", Some(Finish::Length)));
        check(&[], 2, &["é".as_bytes(), &"漢".as_bytes()[..2]], ("é", Some(Finish::Length)));
        check(&[], 2, &[&[0xff], b"b"], ("\u{fffd}b", Some(Finish::Length)));
    }
}

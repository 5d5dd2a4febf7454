//! The text of an answer as it grows by tokens, and where it ends.

use crate::model::Finish;

/// Bytes of an answer and the rules of its end.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    bytes: Vec<u8>,
    tokens: usize,
    max_tokens: usize,
    stop: &'a [String],
    longest_stop: usize,
}

impl<'a> Answer<'a> {
    /// An empty answer of at most `max_tokens` tokens.
    pub(super) fn new(max_tokens: usize, stop: &'a [String]) -> Self {
        let longest_stop = stop.iter().map(String::len).max().unwrap_or(0);
        Self { bytes: Vec::new(), tokens: 0, max_tokens, stop, longest_stop }
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

    /// The text. A character cut by the end of the answer is left out; other bytes that are no UTF-8
    /// become U+FFFD.
    pub(super) fn into_text(mut self) -> String {
        if let Err(error) = std::str::from_utf8(&self.bytes) {
            let cut_at_end = error.error_len().is_none();
            if cut_at_end {
                self.bytes.truncate(error.valid_up_to());
            }
        }
        String::from_utf8_lossy(&self.bytes).into_owned()
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
        let mut answer = Answer::new(max_tokens, &stop);
        let finish = tokens.iter().find_map(|token| answer.push(token));
        assert_eq!((answer.into_text().as_str(), finish), want, "{tokens:?} to {stop:?}");
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

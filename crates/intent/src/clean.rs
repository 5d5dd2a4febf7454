//! User text made safe to stand in a prompt, and digests made of it.

use types::{Digest, DigestLine};

/// One line of text without `|`, `;`, line breaks, control characters and typographic quotes: it can
/// neither end a field of the terse format nor spell a special token such as `<|mine|>`.
#[must_use]
pub fn plain(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| if c.is_control() || matches!(c, '|' | ';' | '“' | '”') { ' ' } else { c })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The digest's lines as a prompt shows them: every item and query [`plain`].
pub(crate) fn plain_lines(digest: &Digest) -> Vec<String> {
    digest.lines.iter().map(|line| plain_line(line).to_string()).collect()
}

fn plain_line(line: &DigestLine) -> DigestLine {
    let mut line = line.clone();
    for item in &mut line.items {
        *item = plain(item);
    }
    for context in &mut line.contexts {
        for (_, query) in &mut context.behaviours {
            if let Some(query) = query {
                *query = plain(query);
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_injects() {
        let cases = [
            ("boots <|endoftext|> x", "boots < endoftext > x"),
            ("a|b;c\nd", "a b c d"),
            ("  “quoted”\u{7}  text ", "quoted text"),
            ("户外 防滑", "户外 防滑"),
        ];
        for (text, want) in cases {
            assert_eq!(plain(text), want, "{text:?}");
        }
    }
}

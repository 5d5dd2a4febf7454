//! What strangers wrote, made fit for a terminal.

/// A value as a terminal may show it: at most `max` characters, and none that steer.
pub(crate) fn shown(value: &str, max: usize) -> String {
    let plain = |c: char| if c.is_control() || is_bidi(c) { '\u{FFFD}' } else { c };
    let mut text: String = value.chars().take(max).map(plain).collect();
    if value.chars().nth(max).is_some() {
        text.push('…');
    }
    text
}

/// Marks that turn the direction of writing.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

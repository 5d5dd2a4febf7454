//! An event as bytes whose order is the order of the store: user, time, event id, then the rest.
//!
//! Sorting a log is comparing these bytes. They live in the spill files of one import and in the
//! hash of a bucket's content; no other program reads them.

use std::collections::BTreeMap;

use types::{Event, EventType, Timestamp};

/// Ends a text of the key. A NUL inside one is written `00 FF`, so that shorter texts come first.
const END: [u8; 2] = [0, 0];
const NUL: [u8; 2] = [0, 0xFF];

/// Appends the encoding of `event` to `out`.
pub(super) fn encode(event: &Event, out: &mut Vec<u8>) {
    key_text(&event.user_id, out);
    // With the sign turned over, the bytes of a time have the order of times.
    out.extend_from_slice(&((event.timestamp.0 as u64) ^ (1 << 63)).to_be_bytes());
    key_text(&event.event_id, out);
    let kind = EventType::ALL.iter().position(|&t| t == event.event_type);
    out.push(u8::try_from(kind.expect("ALL holds every type")).expect("twelve types"));
    for value in [
        &event.item_id,
        &event.query,
        &event.session_id,
        &event.request_id,
        &event.scene,
        &event.tenant,
    ] {
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            text(value, out);
        }
    }
    out.push(u8::from(event.value.is_some()) | (u8::from(event.position.is_some()) << 1));
    if let Some(value) = event.value {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    if let Some(position) = event.position {
        out.extend_from_slice(&position.to_le_bytes());
    }
    out.extend_from_slice(&(event.fields.len() as u32).to_le_bytes());
    for (name, value) in &event.fields {
        text(name, out);
        text(value, out);
    }
}

/// The user and the event id of an encoded event, as they are encoded.
pub(super) fn key(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let user = end_of_text(row)?;
    let rest = row.get(user + 8..)?;
    Some((&row[..user], &rest[..end_of_text(rest)?]))
}

/// Reads an event back; `None` where the bytes are no event.
pub(super) fn decode(row: &[u8]) -> Option<Event> {
    let mut rest = row;
    let user_id = take_key_text(&mut rest)?;
    let time = u64::from_be_bytes(take(&mut rest)?) ^ (1 << 63);
    let event_id = take_key_text(&mut rest)?;
    let event_type = *EventType::ALL.get(usize::from(take::<1>(&mut rest)?[0]))?;
    let mut options: [Option<String>; 6] = Default::default();
    for option in &mut options {
        if take::<1>(&mut rest)?[0] == 1 {
            *option = Some(take_text(&mut rest)?);
        }
    }
    let [item_id, query, session_id, request_id, scene, tenant] = options;
    let flags = take::<1>(&mut rest)?[0];
    let value = match flags & 1 {
        1 => Some(f64::from_bits(u64::from_le_bytes(take(&mut rest)?))),
        _ => None,
    };
    let position = match flags & 2 {
        2 => Some(u32::from_le_bytes(take(&mut rest)?)),
        _ => None,
    };
    let mut fields = BTreeMap::new();
    for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
        fields.insert(take_text(&mut rest)?, take_text(&mut rest)?);
    }
    rest.is_empty().then_some(Event {
        event_id,
        event_type,
        user_id,
        item_id,
        timestamp: Timestamp(time as i64),
        value,
        query,
        session_id,
        request_id,
        position,
        scene,
        tenant,
        fields,
    })
}

/// Appends a text whose bytes have the order of texts, whatever follows.
pub(crate) fn key_text(value: &str, out: &mut Vec<u8>) {
    for (idx, piece) in value.split('\0').enumerate() {
        if idx > 0 {
            out.extend_from_slice(&NUL);
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(&END);
}

/// Where a key text ends, its end mark included.
pub(crate) fn end_of_text(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let nul = from + bytes.get(from..)?.iter().position(|&b| b == 0)?;
        match bytes.get(nul + 1)? {
            0 => return Some(nul + 2),
            _ => from = nul + 2,
        }
    }
}

fn take_key_text(rest: &mut &[u8]) -> Option<String> {
    let (text, after) = rest.split_at(end_of_text(rest)?);
    *rest = after;
    let text = String::from_utf8(unescape(&text[..text.len() - END.len()])).ok()?;
    Some(text)
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if bytes.contains(&0) {
        out.clear();
        let mut after_nul = false;
        for &b in bytes {
            if !(after_nul && b == NUL[1]) {
                out.push(b);
            }
            after_nul = b == 0;
        }
    }
    out
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{Event, EventType, Timestamp};

    use super::{decode, encode, key};

    fn encoded(event: &Event) -> Vec<u8> {
        let mut out = Vec::new();
        encode(event, &mut out);
        out
    }

    #[test]
    fn events_come_back_as_they_went() {
        let bare = Event::new("e", EventType::Click, "u", Timestamp(-3));
        let mut full = Event::new("f\0", EventType::Dwell, "用户", Timestamp(i64::MAX));
        full.item_id = Some("i".to_owned());
        full.value = Some(-0.5);
        full.query = Some(String::new());
        full.session_id = Some("s".to_owned());
        full.request_id = Some("r".to_owned());
        full.position = Some(7);
        full.scene = Some("home".to_owned());
        full.tenant = Some("t".to_owned());
        full.fields.insert("k".to_owned(), "v".to_owned());
        for event in [bare, full] {
            let bytes = encoded(&event);
            assert_eq!(decode(&bytes).as_ref(), Some(&event));
            for len in 0..bytes.len() {
                assert_eq!(decode(&bytes[..len]), None);
            }
        }
    }

    /// Texts over few characters, NUL among them, so that one often begins another.
    const TEXT: &str = "[\u{0}\u{1}aé]{0,4}";

    proptest! {
        #[test]
        fn bytes_have_the_order_of_the_store(
            a in (TEXT, any::<i64>(), TEXT), b in (TEXT, any::<i64>(), TEXT), same_time: bool,
        ) {
            let event = |(user, time, id): &(String, i64, String)| {
                Event::new(id, EventType::Click, user, Timestamp(*time))
            };
            let (a, mut b) = (event(&a), event(&b));
            if same_time {
                b.timestamp = a.timestamp;
            }
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.sort_key().cmp(&b.sort_key()));
            let (rows, same) = ([encoded(&a), encoded(&b)], |x: &str, y: &str| x == y);
            let keys = [key(&rows[0]).unwrap(), key(&rows[1]).unwrap()];
            prop_assert_eq!(keys[0].0 == keys[1].0, same(&a.user_id, &b.user_id));
            prop_assert_eq!(keys[0].1 == keys[1].1, same(&a.event_id, &b.event_id));
            prop_assert_eq!(decode(&rows[0]), Some(a));
        }

        #[test]
        fn any_bytes_are_an_event_or_none(bytes in prop::collection::vec(0u8..4, 0..80)) {
            let _ = (key(&bytes), decode(&bytes));
        }
    }
}

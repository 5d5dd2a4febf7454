//! The compact binary rows of a spill file: where an import keeps the events of a bucket until it
//! can sort them. Private to one run; never read by another program.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use types::{Event, EventType, Timestamp};

const LONGEST: u32 = 1 << 28; // no single text of a row is longer: a wrong length must not allocate

/// Appends the encoding of `event` to `out`.
pub(super) fn encode(event: &Event, out: &mut Vec<u8>) {
    let kind = EventType::ALL.iter().position(|&t| t == event.event_type);
    out.push(u8::try_from(kind.expect("ALL holds every type")).expect("twelve types"));
    out.extend_from_slice(&event.timestamp.0.to_le_bytes());
    text(&event.event_id, out);
    text(&event.user_id, out);
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

/// Reads the next event; `None` at the end.
pub(super) fn decode(input: &mut impl Read) -> io::Result<Option<Event>> {
    let mut kind = [0];
    if input.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let event_type = *EventType::ALL.get(usize::from(kind[0])).ok_or_else(broken)?;
    let timestamp = Timestamp(i64::from_le_bytes(bytes(input)?));
    let event_id = read_text(input)?;
    let user_id = read_text(input)?;
    let mut options: [Option<String>; 6] = Default::default();
    for option in &mut options {
        if bytes::<1>(input)?[0] == 1 {
            *option = Some(read_text(input)?);
        }
    }
    let [item_id, query, session_id, request_id, scene, tenant] = options;
    let flags = bytes::<1>(input)?[0];
    let value =
        if flags & 1 == 1 { Some(f64::from_bits(u64::from_le_bytes(bytes(input)?))) } else { None };
    let position = if flags & 2 == 2 { Some(u32::from_le_bytes(bytes(input)?)) } else { None };
    let n_fields = u32::from_le_bytes(bytes(input)?);
    let mut fields = BTreeMap::new();
    for _ in 0..n_fields {
        fields.insert(read_text(input)?, read_text(input)?);
    }
    Ok(Some(Event {
        event_id,
        event_type,
        user_id,
        item_id,
        timestamp,
        value,
        query,
        session_id,
        request_id,
        position,
        scene,
        tenant,
        fields,
    }))
}

/// Writes all of a buffer and empties it.
pub(super) fn flush(buffer: &mut Vec<u8>, file: &mut impl Write) -> io::Result<()> {
    file.write_all(buffer)?;
    buffer.clear();
    Ok(())
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn read_text(input: &mut impl Read) -> io::Result<String> {
    let len = u32::from_le_bytes(bytes(input)?);
    if len > LONGEST {
        return Err(broken());
    }
    let mut buffer = vec![0; len as usize];
    input.read_exact(&mut buffer)?;
    String::from_utf8(buffer).map_err(|_| broken())
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut buffer = [0; N];
    input.read_exact(&mut buffer)?;
    Ok(buffer)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "spill file is broken")
}

#[cfg(test)]
mod tests {
    use types::{Event, EventType, Timestamp};

    use super::{decode, encode};

    #[test]
    fn events_come_back_as_they_went() {
        let bare = Event::new("e", EventType::Click, "u", Timestamp(-3));
        let mut full = Event::new("f", EventType::Dwell, "用户", Timestamp(i64::MAX));
        full.item_id = Some("i".to_owned());
        full.value = Some(-0.5);
        full.query = Some(String::new());
        full.session_id = Some("s".to_owned());
        full.request_id = Some("r".to_owned());
        full.position = Some(7);
        full.scene = Some("home".to_owned());
        full.tenant = Some("t".to_owned());
        full.fields.insert("k".to_owned(), "v".to_owned());
        let mut buffer = Vec::new();
        encode(&bare, &mut buffer);
        encode(&full, &mut buffer);
        let mut input = buffer.as_slice();
        assert_eq!(decode(&mut input).unwrap(), Some(bare));
        assert_eq!(decode(&mut input).unwrap(), Some(full));
        assert_eq!(decode(&mut input).unwrap(), None);
        assert!(decode(&mut &buffer[..5]).is_err());
    }
}

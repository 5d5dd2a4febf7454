//! Events as columns of the store, and back.

use arrow_array::RecordBatch;
use types::{Event, EventType, Timestamp};

use crate::EventsError;
use crate::tables::columns::{Batch, Columns, json};

/// One batch of events.
pub(super) fn batch_of(events: &[Event]) -> RecordBatch {
    let fields = |e: &Event| (!e.fields.is_empty()).then(|| json(&e.fields));
    Columns::default()
        .text("event_id", events.iter().map(|e| &e.event_id))
        .text("event_type", events.iter().map(|e| e.event_type.as_str()))
        .text("user_id", events.iter().map(|e| &e.user_id))
        .opt_text("item_id", events.iter().map(|e| e.item_id.as_ref()))
        .time("timestamp", events.iter().map(|e| e.timestamp))
        .opt_float("value", events.iter().map(|e| e.value))
        .opt_text("query", events.iter().map(|e| e.query.as_ref()))
        .opt_text("session_id", events.iter().map(|e| e.session_id.as_ref()))
        .opt_text("request_id", events.iter().map(|e| e.request_id.as_ref()))
        .opt_count("position", events.iter().map(|e| e.position.map(u64::from)))
        .opt_text("scene", events.iter().map(|e| e.scene.as_ref()))
        .opt_text("tenant", events.iter().map(|e| e.tenant.as_ref()))
        .opt_text("fields", events.iter().map(fields))
        .batch()
}

/// Hands over the events of a batch, one by one.
pub(super) fn each_event<E: From<EventsError>>(
    batch: &Batch<'_>,
    each: &mut dyn FnMut(Event) -> Result<(), E>,
) -> Result<(), E> {
    let (id, kind, user) =
        (batch.text("event_id")?, batch.text("event_type")?, batch.text("user_id")?);
    let (item, time, value) =
        (batch.text("item_id")?, batch.time("timestamp")?, batch.float("value")?);
    let (query, session) = (batch.text("query")?, batch.text("session_id")?);
    let (request, position) = (batch.text("request_id")?, batch.count("position")?);
    let (scene, tenant, fields) =
        (batch.text("scene")?, batch.text("tenant")?, batch.text("fields")?);
    for row in 0..batch.len() {
        let name = kind.get(row)?;
        let event_type = EventType::ALL.into_iter().find(|t| t.as_str() == name);
        each(Event {
            event_id: id.get(row)?.to_owned(),
            event_type: event_type.ok_or_else(|| EventsError::Table {
                path: batch.path.to_owned(),
                column: "event_type".to_owned(),
                detail: format!("row {row} holds {name:?}, which is no event type"),
            })?,
            user_id: user.get(row)?.to_owned(),
            item_id: item.opt_owned(row),
            timestamp: Timestamp(time.get(row)?),
            value: value.opt(row),
            query: query.opt_owned(row),
            session_id: session.opt_owned(row),
            request_id: request.opt_owned(row),
            position: position.opt(row).and_then(|n| u32::try_from(n).ok()),
            scene: scene.opt_owned(row),
            tenant: tenant.opt_owned(row),
            fields: if fields.opt(row).is_some() { fields.json(row)? } else { Default::default() },
        })?;
    }
    Ok(())
}

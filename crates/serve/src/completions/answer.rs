//! From the engine's events to replies, whole or streamed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use lm::{Completion, Event, LmError, Request, Ticket};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::App;
use super::errors::ApiError;
use super::meter::{Times, finish_reason};

/// The two kinds of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Text,
}

/// Choices under way; dropping them cancels what still runs.
pub(super) struct Choices {
    app: Arc<App>,
    kind: Kind,
    id: String,
    events: UnboundedReceiver<(usize, Event)>,
    tickets: Vec<Ticket>,
    /// When the requests were handed in, and the first text of each choice.
    started: Instant,
    first: Vec<Option<Duration>>,
    done: Vec<Option<Completion>>,
    /// Choices that share a prompt.
    per_prompt: usize,
}

impl Drop for Choices {
    fn drop(&mut self) {
        self.tickets.iter().for_each(Ticket::cancel);
    }
}

impl Choices {
    /// Hands the requests in, each with the tokens of its prompt.
    pub(super) fn start(
        app: &Arc<App>,
        kind: Kind,
        requests: Vec<(Request, Vec<u32>)>,
        per_prompt: usize,
    ) -> Result<Self, ApiError> {
        let (sender, events) = unbounded_channel();
        let n = requests.len();
        let id = app.fresh_id(if kind == Kind::Chat { "chatcmpl" } else { "cmpl" });
        let mut choices = Self {
            app: Arc::clone(app),
            kind,
            id,
            events,
            tickets: Vec::with_capacity(n),
            started: Instant::now(),
            first: vec![None; n],
            done: vec![None; n],
            per_prompt,
        };
        for (index, (request, tokens)) in requests.into_iter().enumerate() {
            let sender = sender.clone();
            // A client that has gone away hears nothing more.
            let sink = move |event| drop(sender.send((index, event)));
            choices.tickets.push(app.engine.submit(request, tokens, sink)?);
        }
        Ok(choices)
    }

    /// Waits for all choices.
    pub(super) async fn whole(mut self) -> Result<Response, ApiError> {
        while let Some((index, event)) = self.events.recv().await {
            self.note(index, &event)?;
        }
        let choices: Vec<Value> = self
            .finished()
            .enumerate()
            .map(|(index, done)| {
                let reason = finish_reason(done.finish);
                match self.kind {
                    Kind::Chat => {
                        json!({ "index": index, "logprobs": null, "finish_reason": reason,
                        "message": { "role": "assistant", "content": done.text } })
                    }
                    Kind::Text => json!({ "index": index, "text": done.text, "logprobs": null,
                        "finish_reason": reason }),
                }
            })
            .collect();
        let mut reply = self.head(false);
        reply["choices"] = choices.into();
        reply["usage"] = self.usage();
        Ok(Json(reply).into_response())
    }

    /// Sends every piece of text as it comes. A request that fails before its first piece is answered
    /// with an HTTP error.
    pub(super) async fn stream(mut self, with_usage: bool) -> Result<Response, ApiError> {
        let (sender, receiver) = unbounded_channel();
        let mut next = self.events.recv().await;
        if let Some((_, Event::Done(Err(error)))) = next {
            return Err(error.into());
        }
        tokio::spawn(async move {
            if self.kind == Kind::Chat {
                for index in 0..self.first.len() {
                    let delta = json!({ "role": "assistant", "content": "" });
                    drop(sender.send(self.piece(index, delta, None)));
                }
            }
            while let Some((index, event)) = next {
                let noted = self.note(index, &event);
                let sent = match (event, noted) {
                    (_, Err(error)) => sender.send(error.body()),
                    (Event::Text(text), Ok(())) => {
                        let delta = match self.kind {
                            Kind::Chat => json!({ "content": text }),
                            Kind::Text => Value::String(text),
                        };
                        sender.send(self.piece(index, delta, None))
                    }
                    (Event::Done(done), Ok(())) => {
                        let reason = done.map(|done| finish_reason(done.finish)).ok();
                        let delta = if self.kind == Kind::Chat { json!({}) } else { json!("") };
                        sender.send(self.piece(index, delta, reason))
                    }
                };
                if sent.is_err() {
                    return; // the client has gone; what still runs is cancelled
                }
                next = self.events.recv().await;
            }
            if with_usage {
                let mut last = self.head(true);
                last["choices"] = json!([]);
                last["usage"] = self.usage();
                drop(sender.send(last));
            }
            drop(sender.send(Value::Null));
        });
        let events = UnboundedReceiverStream::new(receiver).map(|piece| {
            let data = if piece.is_null() { "[DONE]".to_owned() } else { piece.to_string() };
            Ok::<_, Infallible>(SseEvent::default().data(data))
        });
        Ok(Sse::new(events).into_response())
    }

    /// Keeps times and ends.
    fn note(&mut self, index: usize, event: &Event) -> Result<(), ApiError> {
        let elapsed = self.started.elapsed();
        let first = *self.first[index].get_or_insert(elapsed);
        match event {
            Event::Text(_) => Ok(()),
            Event::Done(Ok(done)) => {
                self.app.meter.answered(done, Times { first, whole: elapsed });
                self.done[index] = Some(done.clone());
                Ok(())
            }
            Event::Done(Err(error)) => {
                if !matches!(error, LmError::Cancelled) {
                    tracing::warn!(%error, "request failed");
                }
                Err(error.clone().into())
            }
        }
    }

    fn finished(&self) -> impl Iterator<Item = &Completion> {
        self.done.iter().flatten()
    }

    /// Tokens of the prompts, each counted once, and of all choices.
    fn usage(&self) -> Value {
        let prompt: usize =
            self.finished().step_by(self.per_prompt).map(|done| done.prompt_tokens).sum();
        let answers: usize = self.finished().map(|done| done.completion_tokens).sum();
        json!({ "prompt_tokens": prompt, "completion_tokens": answers,
            "total_tokens": prompt + answers })
    }

    /// What all replies begin with.
    fn head(&self, streamed: bool) -> Value {
        let object = match (self.kind, streamed) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Text, _) => "text_completion",
        };
        json!({ "id": self.id, "object": object, "created": self.app.now(),
            "model": self.app.config.model })
    }

    fn piece(&self, index: usize, delta: Value, finish: Option<&str>) -> Value {
        let mut piece = self.head(true);
        let what = if self.kind == Kind::Chat { "delta" } else { "text" };
        piece["choices"] = json!([{ "index": index, what: delta, "logprobs": null,
            "finish_reason": finish }]);
        piece
    }
}

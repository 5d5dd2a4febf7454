//! What can go wrong in serving, with the values and the mend.

use std::net::SocketAddr;
use std::time::Duration;

/// Everything that this crate refuses.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A parameter of a request is outside its range.
    #[error("parameter {name:?} is {got:?}, it must be {expected}")]
    Parameter {
        /// Which.
        name: String,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// Nobody of this id is in the event store.
    #[error("user {0:?} is not in the event store")]
    UnknownUser(String),
    /// An item cannot be put on sale.
    #[error("item {item_id:?} {detail}")]
    Item {
        /// Its id.
        item_id: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The files behind the server could not be read or written.
    #[error("the files of the server: {0}")]
    Keeper(crate::KeeperError),
    /// Nothing is behind this server that could change.
    #[error("this server has no workspace behind it, so nothing can be added or loaded")]
    Fixed,
    /// Two artefacts are not of the same workspace.
    #[error("{table}: {got}, expected {expected}; run `recgpt train` and `recgpt index` again")]
    Artefacts {
        /// Which artefact.
        table: &'static str,
        /// What fits the others.
        expected: String,
        /// What was found.
        got: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime, the listener or a signal handler failed.
    #[error("server: {0}")]
    Io(#[from] std::io::Error),
    /// Requests were still open when the time to drain was over.
    #[error("requests were still running {0:?} after the stop; they were cut off")]
    NotDrained(Duration),
}

//! A successful answer whose body is still to come: an export, or an event stream that never ends.
//!
//! Nothing of it is held: each chunk is the caller's. A body that breaks off is an error, never a short body.

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _};
use reqwest::Response;

use crate::ApiError;

/// A body that arrives piece by piece.
#[derive(Debug)]
pub struct Incoming {
    response: Response,
    /// The server's address, for errors.
    url: String,
}

/// One message of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which kind it is; `message` if the server does not say.
    pub kind: String,
    /// Where to go on after it, as `Last-Event-ID`; empty if the server does not say.
    pub id: String,
    /// Its text.
    pub data: String,
}

impl Incoming {
    pub(crate) fn new(response: Response, url: &str) -> Self {
        Self { response, url: url.to_owned() }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next bytes; none at the end of the body.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] if the connection breaks before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.response.chunk().await.map_err(|error| ApiError::unreachable(&self.url, &error))
    }

    /// The messages of a `text/event-stream`, until the server ends it.
    ///
    /// # Errors
    /// Each item is [`ApiError::Broken`] if the connection broke, or if what came is no event stream.
    pub fn messages(self) -> impl Stream<Item = Result<Message, ApiError>> + Send + Unpin {
        self.response.bytes_stream().eventsource().map(|message| match message {
            Ok(message) => Ok(Message { kind: message.event, id: message.id, data: message.data }),
            Err(error) => Err(ApiError::Broken { problem: error.to_string() }),
        })
    }
}

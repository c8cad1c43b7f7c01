//! JSON-RPC over HTTP with a bound on what an endpoint may answer, and without its address in any message: the
//! path of an address often is the key to an account.

use std::fmt;
use std::task::{Context, Poll};

use alloy_json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use reqwest::{Client, Url};

/// An answer was longer than it may be: less must be asked for at once.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {0} bytes")]
pub(super) struct TooLong(usize);

/// One endpoint.
#[derive(Clone)]
pub(super) struct BoundedHttp {
    client: Client,
    url: Url,
    /// Bytes of one answer at most.
    answer_bytes_max: usize,
}

impl fmt::Debug for BoundedHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedHttp").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl BoundedHttp {
    pub(super) fn new(client: Client, url: Url, answer_bytes_max: usize) -> Self {
        Self { client, url, answer_bytes_max }
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let sent = self.client.post(self.url).json(&request).send().await;
        let mut response = sent.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                return Err(TransportErrorKind::custom(TooLong(self.answer_bytes_max)));
            }
            body.extend_from_slice(&chunk);
        }
        if status == reqwest::StatusCode::PAYLOAD_TOO_LARGE {
            return Err(TransportErrorKind::custom(TooLong(self.answer_bytes_max)));
        }
        // Some endpoints put a proper refusal under a status that is none, but these are about the endpoint itself.
        let is_its_own = matches!(status.as_u16(), 401..=404 | 429) || status.is_server_error();
        match serde_json::from_slice::<ResponsePacket>(&body) {
            Ok(packet) if !is_its_own => Ok(packet),
            // What a body says may repeat the address.
            Err(error) if status.is_success() => Err(RpcError::deser_err(error, String::new())),
            _ => Err(TransportErrorKind::custom_str(&format!("HTTP status {status}"))),
        }
    }
}

impl tower::Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}

/// The innermost cause, without the address.
fn failed(error: &reqwest::Error) -> TransportError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = match std::ptr::addr_eq(cause, error) {
        true if error.is_timeout() => "no answer in time".to_owned(),
        true => "the request failed".to_owned(),
        false => cause.to_string(),
    };
    TransportErrorKind::custom_str(&text)
}

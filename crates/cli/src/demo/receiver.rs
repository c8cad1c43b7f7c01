//! A receiver of webhooks as somebody would write one: it verifies the signature of each before it believes it.
//! It knows nothing of the node but the secret, and answers 401 to what is not signed with that.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bowline_deliveries::{ArrivedWebhook, new_signing_secret};
use bowline_runtime::{Clock as _, SystemClock};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::terminal::exit::Failure;

/// Bytes of one webhook at most.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Webhooks that are kept at most; the demo sets off one.
const KEPT_MAX: usize = 100;

/// Between two looks at what has arrived.
const POLL: Duration = Duration::from_millis(10);

/// A webhook that arrived.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) at: Instant,
    /// The delivery's id.
    pub(super) id: String,
    /// Why it must not be believed, if so.
    pub(super) signature: Result<(), String>,
    pub(super) body: Value,
}

/// The receiver; it listens on this machine alone, for as long as the process lives.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    address: SocketAddr,
    secret: Arc<str>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub(super) async fn start() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::usage(format!("the receiver can't listen: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let secret = new_signing_secret().map_err(Failure::usage)?.into();
        let receiver = Self { address, secret, received: Arc::default() };
        let shared = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = shared.clone();
                let serve = service_fn(move |request| receiver.clone().take(request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
            }
        });
        Ok(receiver)
    }

    /// Host and port, as the setting that allows them names them.
    pub(super) fn place(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What its webhooks are signed with.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first one.
    pub(super) async fn first(&self) -> Received {
        loop {
            if let Some(first) = self.received().into_iter().next() {
                return first;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let header = |name: &str| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let mut response = Response::new(Full::new(Bytes::new()));
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(response);
        };
        let body = body.to_bytes();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let signature = header("webhook-signature");
        let arrived =
            ArrivedWebhook { id: &id, timestamp: &timestamp, signature: &signature, body: body.as_ref() };
        let signature = arrived.verify(&self.secret, SystemClock.now());
        if signature.is_err() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if received.len() < KEPT_MAX {
            received.push(Received { at: Instant::now(), id, signature, body });
        }
        drop(received);
        Ok(response)
    }
}

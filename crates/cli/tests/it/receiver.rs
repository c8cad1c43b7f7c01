//! A receiver of webhooks that takes each idempotency key once, as a good one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// What it got under one key.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The body of the first one.
    pub(crate) body: Value,
    /// How often it came; what came again had no effect.
    pub(crate) times: u64,
}

/// What every connection shares.
#[derive(Debug, Default)]
struct Shelf {
    taken: BTreeMap<String, Taken>,
    /// Statuses to answer with next, before it takes anything again.
    refusals: Vec<u16>,
}

/// A receiver on a free port; it ends with the test's runtime.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: String,
    shelf: Arc<Mutex<Shelf>>,
}

impl Receiver {
    /// Begins to receive.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let shared = Arc::clone(&shelf);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shelf = Arc::clone(&shared);
                let serve = service_fn(move |request| take(Arc::clone(&shelf), request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
            }
        });
        Self { address, shelf }
    }

    /// Such as `http://127.0.0.1:40000/hook`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it has taken, by key.
    pub(crate) fn taken(&self) -> BTreeMap<String, Taken> {
        self.shelf.lock().unwrap().taken.clone()
    }

    /// Answers so many of the next requests with that status.
    pub(crate) fn refuse(&self, times: usize, status: u16) {
        self.shelf.lock().unwrap().refusals.extend(std::iter::repeat_n(status, times));
    }
}

async fn take(
    shelf: Arc<Mutex<Shelf>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await?.to_bytes();
    let mut shelf = shelf.lock().unwrap();
    let status = match (shelf.refusals.pop(), key) {
        (Some(status), _) => StatusCode::from_u16(status).unwrap(),
        (None, None) => StatusCode::BAD_REQUEST,
        (None, Some(key)) => {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            shelf.taken.entry(key).or_insert(Taken { body, times: 0 }).times += 1;
            StatusCode::OK
        }
    };
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}")));
    *response.status_mut() = status;
    Ok(response)
}

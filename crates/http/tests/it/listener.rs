//! A listener on a free port with a store of its own, and the ways to ask it.
//! It is a file of SQLite in a folder that goes with the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use bowline_http::{Access, AccessConfig, Error, Server, ServerLimits, framed};
use bowline_runtime::{Shutdown, SystemClock};
use bowline_store::{LineStore, SqliteConfig, SqliteStore};
use bowline_types::{Limits, Secret};
use reqwest::header::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The key with all rights.
pub(crate) const ADMIN_KEY: &str = "admin-key-of-tests";

/// More than any answer takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Wide enough for every test that is not about them.
pub(crate) const LIMITS: ServerLimits =
    ServerLimits { header_secs_max: 10, slow_reader_secs_max: 10, connections_max: 64 };

/// What a listener is made of, before it listens.
pub(crate) struct Site {
    pub(crate) config: AccessConfig,
    pub(crate) limits: Limits,
    pub(crate) server_limits: ServerLimits,
    pub(crate) store: Arc<dyn LineStore>,
    folder: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("http.db"))).await.unwrap();
        let mut config = AccessConfig::default();
        config.auth.bootstrap_admin_api_key = Some(Secret::new(ADMIN_KEY));
        Self { config, limits: Limits::default(), server_limits: LIMITS, store: Arc::new(store), folder }
    }

    /// What the frame puts into each request.
    pub(crate) fn access(&self) -> Access {
        let store = Arc::clone(&self.store);
        Access::new(&self.config, self.limits.clone(), store, Arc::new(SystemClock))
    }

    /// Listens with these routes in the frame.
    pub(crate) async fn serve(self, routes: Router) -> Listener {
        let access = self.access();
        self.serve_with(|_| framed(routes, access)).await
    }

    /// Listens with what `routes` makes of the signal that the server stops.
    pub(crate) async fn serve_with(self, routes: impl FnOnce(Shutdown) -> Router) -> Listener {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), self.server_limits).await.unwrap();
        let (address, shutdown) = (server.address(), Shutdown::new());
        let routes = routes(server.stopping());
        let grace = Duration::from_millis(500);
        let running = tokio::spawn(server.serving(routes).run(shutdown.clone(), grace));
        Listener { address, shutdown, running, _folder: self.folder }
    }
}

/// A listener that serves.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: JoinHandle<Result<(), Error>>,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The status and the code of an error in the standard shape.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Listener {
    /// Asks with the key of the administrator.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(self.request(reqwest::Method::GET, path).header("x-api-key", ADMIN_KEY)).await
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        // The client wants a provider even where it speaks no TLS.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().timeout(SOON).build().unwrap();
        client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// Stops it, and says how it ended.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.shutdown.begin();
        tokio::time::timeout(SOON, self.running).await.unwrap().unwrap()
    }
}

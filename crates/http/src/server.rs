//! The server: bound before any work starts, drained before anything it depends on stops.
//!
//! Each connection has a limit on the time of a request's head and on the time that its peer may refuse
//! bytes (the kernel's `TCP_USER_TIMEOUT`), so that a client that stands still is let go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use bowline_runtime::Shutdown;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics::gauge;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::CONNECTIONS;

/// Milliseconds to wait after the system refused to accept a connection (too many open files, mostly).
const ACCEPT_RETRY_MS: u64 = 100;

/// A listener could not start, or not end in time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        cause: io::Error,
    },
    /// Connections were still open when the time to drain was over.
    #[error("connections were still open {0} s after the drain began")]
    Drain(u64),
}

/// A listener, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    stopping: Shutdown,
    header_time: Duration,
    peer_time: Duration,
    connections: Arc<Semaphore>,
}

/// How long clients may stand still, and how many there may be; each limit is 1 at least.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Seconds that a client may take to send a request's head.
    pub header_secs_max: u64,
    /// Seconds that a client may refuse bytes before its connection is cut.
    pub slow_reader_secs_max: u64,
    /// Open connections; further ones wait in the kernel's backlog.
    pub connections_max: usize,
}

impl Server {
    /// Binds the address; there is no route yet.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn bind(address: SocketAddr, limits: ServerLimits) -> Result<Self, Error> {
        let refuse = |cause| Error::Bind { address, cause };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self {
            listener,
            address,
            router: Router::new(),
            stopping: Shutdown::new(),
            header_time: Duration::from_secs(limits.header_secs_max.max(1)),
            peer_time: Duration::from_secs(limits.slow_reader_secs_max.max(1)),
            connections: Arc::new(Semaphore::new(limits.connections_max.max(1))),
        })
    }

    /// With these routes.
    pub fn serving(self, router: Router) -> Self {
        Self { router, ..self }
    }

    /// Begins when the listener stops: answers without an end of their own end then.
    pub fn stopping(&self) -> Shutdown {
        self.stopping.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` begins, then finishes what clients have begun, within `grace`.
    ///
    /// # Errors
    /// Connections that did not end within `grace`; they are cut.
    pub async fn run(self, shutdown: Shutdown, grace: Duration) -> Result<(), Error> {
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = self.accept() => self.serve(accepted.0, accepted.1, accepted.2, &graceful),
                () = shutdown.begun() => break,
            }
        }
        // New connections are refused from here on.
        drop(self.listener);
        self.stopping.begin();
        tokio::time::timeout(grace, graceful.shutdown()).await.map_err(|_| Error::Drain(grace.as_secs()))
    }

    async fn accept(&self) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, permit),
                Err(error) => {
                    tracing::warn!(component = "api", %error, "Connection not accepted");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
        graceful: &GracefulShutdown,
    ) {
        drop(stream.set_nodelay(true));
        drop(SockRef::from(&stream).set_tcp_user_timeout(Some(self.peer_time)));
        let router = self.router.clone();
        let with_peer = tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            tower::ServiceExt::oneshot(router.clone(), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_time)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(with_peer));
        let watched = graceful.watch(connection);
        gauge!(CONNECTIONS).increment(1.0);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(component = "api", %error, %peer, "Connection ended early");
            }
            gauge!(CONNECTIONS).decrement(1.0);
            drop(permit);
        });
    }
}

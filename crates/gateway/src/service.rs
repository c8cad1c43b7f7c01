//! The gateway's listener with the routes of the node.
//!
//! It is bound before any work starts, and drained before anything that its routes call stops. What a connection may
//! cost is bounded by `bowline-http`.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_http::{Error, Server, ServerLimits};
use bowline_runtime::Shutdown;

use crate::config::Config;
use crate::routes;
use crate::state::{Dependencies, States};

/// The gateway, bound and not yet serving.
#[derive(Debug)]
pub struct Service(Server);

impl Service {
    /// Binds the address and puts the routes together.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn build(mut config: Config, dependencies: Dependencies) -> Result<Self, Error> {
        crate::metrics::declare();
        let limits = &dependencies.limits;
        let limits = ServerLimits {
            header_secs_max: config.header_secs_max,
            slow_reader_secs_max: limits.slow_reader_secs_max,
            connections_max: limits.connections_max,
        };
        let server = Server::bind(SocketAddr::new(config.host, config.port), limits).await?;
        config.port = server.address().port();
        let serves = dependencies.serves;
        let states = States::new(config, dependencies, server.stopping());
        Ok(Self(server.serving(routes::router(&states, serves))))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until `shutdown` begins, then finishes what clients have begun, within `grace`.
    ///
    /// # Errors
    /// Connections that did not end within `grace`; they are cut.
    pub async fn run(self, shutdown: Shutdown, grace: Duration) -> Result<(), Error> {
        self.0.run(shutdown, grace).await
    }
}

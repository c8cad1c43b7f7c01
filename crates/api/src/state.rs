//! What the routes share: the line, the settings, and who may ask.
//!
//! Nothing of it changes while the gateway runs, but for what its parts guard themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::{Extensions, HeaderMap};
use bowline_deliveries::RedisQueue;
use bowline_line::Handle;
use bowline_line::explain::ChapterSource;
use bowline_runtime::{MetricsHandle, Shutdown};
use bowline_schemas::Registry;
use bowline_store::LineStore;
use bowline_types::Limits;
use tokio::sync::Semaphore;

use crate::auth::{Authenticator, Origins, Principal};
use crate::config::Config;
use crate::error::ApiError;
use crate::limiter::Limiter;
use crate::routes::figures::{Figures, figures};

/// Whether the node is on its way out; shared with whoever stops it.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// From now on `/ready` answers 503.
    pub fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How much of the API a process serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// All of it.
    Everything,
    /// Whether the process is well, and its metrics.
    VitalSigns,
}

/// What the gateway needs.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// The line.
    pub line: Handle,
    /// The payloads' schemas.
    pub schemas: Registry,
    /// Anchors on an outside chain.
    pub anchors: bowline_anchor::Handle,
    /// Triggers over the line.
    pub triggers: bowline_triggers::Handle,
    /// What triggers set off, for trying it out.
    pub deliveries: bowline_triggers::Deliveries,
    /// Chains on the line.
    pub indexer: bowline_indexer::Handle,
    /// Bounds of requests.
    pub limits: Limits,
    /// What `/metrics` renders.
    pub metrics: MetricsHandle,
    /// Whether the node is on its way out.
    pub drain: Drain,
    /// Who tells of an event's life, in the order in which it happens.
    pub chapters: Vec<Arc<dyn ChapterSource>>,
    /// What runs in this process, in words.
    pub roles: Vec<&'static str>,
    /// How much of the API is served.
    pub serves: Serves,
    /// Redis, if the node has one.
    pub redis: Option<RedisQueue>,
}

/// The routes' shared state; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) line: Handle,
    pub(crate) schemas: Registry,
    pub(crate) anchors: bowline_anchor::Handle,
    pub(crate) triggers: bowline_triggers::Handle,
    pub(crate) deliveries: bowline_triggers::Deliveries,
    pub(crate) indexer: bowline_indexer::Handle,
    pub(crate) limits: Limits,
    pub(crate) metrics: MetricsHandle,
    pub(crate) drain: Drain,
    pub(crate) chapters: Vec<Arc<dyn ChapterSource>>,
    pub(crate) roles: Vec<&'static str>,
    pub(crate) redis: Option<RedisQueue>,
    pub(crate) config: Config,
    pub(crate) authenticator: Authenticator,
    pub(crate) origins: Origins,
    pub(crate) limiter: Limiter,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) figures: Figures,
    /// Given when the server stops: event streams end then, since nothing else would end them.
    pub(crate) stopping: Shutdown,
    pub(crate) started: Instant,
}

impl Api {
    pub(crate) fn new(config: Config, dependencies: Dependencies, stopping: Shutdown) -> Self {
        let Dependencies { line, schemas, anchors, triggers, indexer, limits, metrics, drain, .. } =
            dependencies;
        let Dependencies { deliveries, chapters, roles, redis, .. } = dependencies;
        let authenticator =
            Authenticator::new(&config.auth, Arc::clone(&line.store), Arc::clone(&line.clock));
        let origins = Origins::new(&config);
        let budgets: Arc<dyn LineStore> = Arc::clone(&line.store);
        let limiter = Limiter::new(config.rate_limits, budgets, Arc::clone(&line.clock));
        let streams = Arc::new(Semaphore::new(limits.stream_connections_max));
        let started = Instant::now();
        Self(Arc::new(Shared {
            line,
            schemas,
            anchors,
            triggers,
            deliveries,
            indexer,
            limits,
            metrics,
            drain,
            chapters,
            roles,
            redis,
            config,
            authenticator,
            origins,
            limiter,
            streams,
            figures: figures(),
            stopping,
            started,
        }))
    }

    /// Who asks, and whether they may administrate from there.
    pub(crate) async fn principal(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Result<Principal, ApiError> {
        let mut principal = self.authenticator.authenticate(headers).await?;
        principal.admin_denied = self.origins.denies_admin(extensions, headers);
        Ok(principal)
    }
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

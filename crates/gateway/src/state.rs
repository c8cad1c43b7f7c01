//! What the routes share: the line, the settings, and who may ask.
//!
//! Nothing of it changes while the gateway runs, but for what its parts guard themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bowline_anchor::routes::AnchorRoutes;
use bowline_deliveries::RedisQueue;
use bowline_http::{Access, EventStreamLimits, EventStreams};
use bowline_indexer::routes::IndexerRoutes;
use bowline_line::Handle;
use bowline_line::explain::ChapterSource;
use bowline_runtime::{MetricsHandle, Shutdown};
use bowline_schemas::Registry;
use bowline_triggers::routes::TriggerRoutes;
use bowline_types::Limits;

use crate::config::Config;
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

/// What the line's routes and the vital signs share; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) line: Handle,
    pub(crate) schemas: Registry,
    pub(crate) anchors: bowline_anchor::Handle,
    pub(crate) indexer: bowline_indexer::Handle,
    pub(crate) limits: Limits,
    pub(crate) metrics: MetricsHandle,
    pub(crate) drain: Drain,
    pub(crate) chapters: Vec<Arc<dyn ChapterSource>>,
    pub(crate) roles: Vec<&'static str>,
    pub(crate) redis: Option<RedisQueue>,
    pub(crate) config: Config,
    pub(crate) access: Access,
    pub(crate) streams: EventStreams,
    pub(crate) figures: Figures,
    pub(crate) started: Instant,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The state of every group of routes.
#[derive(Debug, Clone)]
pub(crate) struct States {
    pub(crate) api: Api,
    pub(crate) anchors: AnchorRoutes,
    pub(crate) indexer: IndexerRoutes,
    pub(crate) triggers: TriggerRoutes,
}

impl States {
    /// Event streams end when `stopping` begins, which is when the server stops.
    pub(crate) fn new(config: Config, dependencies: Dependencies, stopping: Shutdown) -> Self {
        let Dependencies { line, schemas, anchors, triggers, indexer, limits, metrics, drain, .. } =
            dependencies;
        let Dependencies { deliveries, chapters, roles, redis, .. } = dependencies;
        let (store, clock) = (Arc::clone(&line.store), Arc::clone(&line.clock));
        let access = Access::new(&config.access(), limits.clone(), store, clock);
        let streams = EventStreamLimits {
            open_max: limits.stream_connections_max,
            heartbeat: Duration::from_secs(config.heartbeat_secs.max(1)),
            slow_reader_max: Duration::from_secs(limits.slow_reader_secs_max),
        };
        let runs_here = roles.contains(&"indexer");
        Self {
            anchors: AnchorRoutes { anchors: anchors.clone(), line: line.clone() },
            indexer: IndexerRoutes { indexer: indexer.clone(), line: line.clone(), runs_here },
            triggers: TriggerRoutes { triggers, deliveries, line: line.clone(), redis: redis.clone() },
            api: Api(Arc::new(Shared {
                line,
                schemas,
                anchors,
                indexer,
                limits,
                metrics,
                drain,
                chapters,
                roles,
                redis,
                config,
                access,
                streams: EventStreams::new(streams, stopping),
                figures: figures(),
                started: Instant::now(),
            })),
        }
    }
}

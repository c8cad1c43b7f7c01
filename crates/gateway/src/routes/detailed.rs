//! `GET /health/detailed`: everything that an operator looks at first, in one answer.
//!
//! The figures are those of `/metrics`, read back, so that the two can't differ, and what the store says when it
//! is asked now. A store that is away makes the answer say so; only a credential that has to be looked up there
//! fails with it, which the bootstrap key has not.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use bowline_anchor::tables::AnchorBacklog;
use bowline_http::{ApiError, AuthMode, Principal};
use bowline_line::checks::{
    AnchorFacts, BreakerFacts, CacheFacts, ClientFacts, DiskFacts, FollowerFacts, ListenFacts, NodeFacts,
    PoolFacts, ProcessFacts, QueueFacts, SequencerFacts, StoreAnswer, StreamLag, StreamsFacts,
};
use bowline_runtime::{BreakerState, Samples};
use bowline_store::{Permission, StreamHead};
use bowline_types::Timestamp;

use super::figures;
use super::health::SERVICE;
use crate::state::Api;

/// How long the store may take to answer before it counts as away.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// Streams that are named.
const STREAMS_NAMED_MAX: usize = 5;

/// What an operator looks at first.
#[utoipa::path(get, path = "/health/detailed", tag = "operate", responses(
    (status = 200, description = "`{\"status\":\"healthy\"|\"degraded\"|\"draining\",\"version\",\"uptime_secs\",\"store\",\
        \"pool\",\"queue\",\"streams\",\"followers\",\"caches\",\"circuit_breakers\",\"anchors\",\"roles\",\"deliveries\",\
        \"chains\",\"connections\",\"limits\",\"listen\",\
        \"sequencer\",\"disk\",\"process\"}`", body = Object)))]
pub(super) async fn detailed(
    State(api): State<Api>,
    principal: Principal,
) -> Result<Json<NodeFacts>, ApiError> {
    principal.require(Permission::Admin)?;
    let began = Instant::now();
    let ping = tokio::time::timeout(STORE_TIME_MAX, api.line.store.ping()).await;
    let reachable = matches!(ping, Ok(Ok(())));
    let response_time_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let heads = match reachable {
        true => {
            tokio::time::timeout(STORE_TIME_MAX, api.line.reader.streams()).await.ok().and_then(Result::ok)
        }
        false => None,
    };
    let backlog = match reachable {
        true => {
            let backlog = tokio::time::timeout(STORE_TIME_MAX, api.anchors.backlog()).await;
            backlog.ok().and_then(Result::ok)
        }
        false => None,
    };
    let metrics = Samples::parse(&api.metrics.render());
    let draining = api.drain.has_begun();
    let status = match (draining, reachable) {
        (true, _) => "draining",
        (false, true) => "healthy",
        (false, false) => "degraded",
    };
    Ok(Json(NodeFacts {
        status: status.to_owned(),
        service: SERVICE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        timestamp: api.line.clock.now(),
        uptime_secs: api.started.elapsed().as_secs(),
        draining,
        store: StoreAnswer {
            engine: api.line.store.engine().name().to_owned(),
            reachable,
            response_time_ms,
            schema_version: api.line.store.schema_version(),
        },
        pool: pool(&metrics),
        queue: QueueFacts {
            pending_events: whole(&metrics, "bowline_pending_events"),
            pending_events_max: api.limits.pending_events_max as u64,
            refused_total: whole(&metrics, "bowline_pending_refused_total"),
        },
        streams: heads.map(|heads| streams(&heads, &principal)),
        followers: followers(&metrics),
        caches: caches(&metrics),
        circuit_breakers: breakers(&metrics),
        anchors: backlog.map(|backlog| anchors(&api, backlog)),
        roles: api.roles.iter().map(|role| (*role).to_owned()).collect(),
        deliveries: figures::deliveries(&api, STORE_TIME_MAX).await.filter(|_| reachable),
        chains: figures::chains(&api),
        connections: clients(&api, &metrics),
        limits: api.limits.clone(),
        listen: listen(&api),
        sequencer: sequencer(&api),
        disk: DiskFacts {
            free_bytes: whole(&metrics, "bowline_disk_free_bytes"),
            total_bytes: whole(&metrics, "bowline_disk_total_bytes"),
        },
        process: ProcessFacts {
            resident_bytes: whole(&metrics, "process_resident_memory_bytes"),
            threads: whole(&metrics, "process_threads"),
            open_files: whole(&metrics, "process_open_fds"),
            open_files_max: metrics.sum("process_max_fds").map(|max| max as u64),
        },
    }))
}

fn whole(metrics: &Samples, name: &str) -> u64 {
    metrics.sum(name).unwrap_or(0.0) as u64
}

fn pool(metrics: &Samples) -> PoolFacts {
    let max = whole(metrics, "db_pool_max_connections");
    let open = whole(metrics, "db_pool_connections");
    let idle = whole(metrics, "db_pool_idle_connections").min(open);
    let active = open - idle;
    let utilization = if max == 0 { 0.0 } else { active as f64 * 100.0 / max as f64 };
    PoolFacts { max, open, active, idle, utilization: format!("{utilization:.1}%") }
}

/// Sums are of all streams; named are only those that the credential may read.
fn streams(heads: &[StreamHead], principal: &Principal) -> StreamsFacts {
    let lag = |head: &StreamHead| head.head.saturating_sub(head.committed);
    let mut visible: Vec<&StreamHead> =
        heads.iter().filter(|head| lag(head) > 0 && principal.may_read(head.stream)).collect();
    visible.sort_by_key(|head| std::cmp::Reverse(lag(head)));
    let named = visible.into_iter().take(STREAMS_NAMED_MAX).map(|head| StreamLag {
        stream: head.stream,
        head: head.head,
        committed: head.committed,
        uncommitted: lag(head),
    });
    StreamsFacts {
        count: heads.len() as u64,
        events: heads.iter().map(|head| head.head).sum(),
        uncommitted: heads.iter().map(lag).sum(),
        most_behind: named.collect(),
    }
}

/// The values of a label of a metric, each once.
fn names(metrics: &Samples, metric: &str, label: &str) -> Vec<String> {
    let mut names: Vec<String> =
        metrics.series(metric).filter_map(|sample| sample.label(label)).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

fn followers(metrics: &Samples) -> Vec<FollowerFacts> {
    let of = |metric: &str, name: &str| metrics.labelled(metric, "follower", name).unwrap_or(0.0) as u64;
    let facts = |name: String| FollowerFacts {
        lag_events: of("bowline_follower_lag_events", &name),
        errors: of("bowline_follower_errors_total", &name),
        name,
    };
    names(metrics, "bowline_follower_lag_events", "follower").into_iter().map(facts).collect()
}

fn caches(metrics: &Samples) -> Vec<CacheFacts> {
    let of = |metric: &str, name: &str| metrics.labelled(metric, "cache", name).map(|value| value as u64);
    let facts = |name: String| CacheFacts {
        entries: of("cache_entries", &name).unwrap_or(0),
        entries_max: of("cache_entries_max", &name),
        hits: of("cache_hits_total", &name).unwrap_or(0),
        misses: of("cache_misses_total", &name).unwrap_or(0),
        name,
    };
    names(metrics, "cache_hits_total", "cache").into_iter().map(facts).collect()
}

fn breakers(metrics: &Samples) -> Vec<BreakerFacts> {
    let opened = |name: &str| {
        let changes = metrics.series("bowline_circuit_breaker_transitions_total");
        let opened = changes.filter(|s| s.label("name") == Some(name) && s.label("to") == Some("open"));
        opened.map(|sample| sample.value).sum::<f64>() as u64
    };
    let facts = |name: String| {
        let value = metrics.labelled("bowline_circuit_breaker_state", "name", &name);
        let state = value.and_then(BreakerState::of_gauge).map_or("unknown", BreakerState::as_str);
        BreakerFacts { state: state.to_owned(), opened_total: opened(&name), name }
    };
    names(metrics, "bowline_circuit_breaker_state", "name").into_iter().map(facts).collect()
}

fn anchors(api: &Api, backlog: AnchorBacklog) -> AnchorFacts {
    let now = api.line.clock.now().micros();
    let secs = |then: Timestamp| u64::try_from(now.saturating_sub(then.micros()) / 1_000_000).unwrap_or(0);
    AnchorFacts {
        configured: api.anchors.is_configured(),
        pending: backlog.pending,
        under_way: backlog.under_way,
        anchored: backlog.anchored,
        oldest_secs: backlog.oldest.map(secs),
        trouble: api.anchors.trouble().map(|trouble| trouble.code),
    }
}

fn clients(api: &Api, metrics: &Samples) -> ClientFacts {
    ClientFacts {
        open: whole(metrics, "bowline_http_connections"),
        max: api.limits.connections_max as u64,
        event_streams: whole(metrics, "bowline_event_streams"),
        event_streams_max: api.limits.stream_connections_max as u64,
    }
}

fn listen(api: &Api) -> ListenFacts {
    let auth = match api.config.auth.mode {
        AuthMode::Required => "required",
        AuthMode::Disabled => "disabled",
    };
    let host = api.config.host;
    let address = std::net::SocketAddr::new(host, api.config.port).to_string();
    ListenFacts { address, loopback: host.is_loopback(), auth: auth.to_owned() }
}

fn sequencer(api: &Api) -> SequencerFacts {
    let signer = &api.line.signer;
    SequencerFacts {
        sequencer_id: signer.sequencer_id.to_string(),
        key_version: signer.key_version,
        public_key: signer.key.public().to_string(),
    }
}

//! `bowline-bench deliver`: from an appended event to a webhook that has arrived: how many a second, and how soon one.
//!
//! The receiver is this process. The first part appends all events as fast as the server takes them and counts
//! deliveries from the first to the last; the second one appends one event at a time to an idle system.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bowline_client::{Call, Client};
use bowline_types::{AgentId, StoreId, TenantId};
use bowline_ves::SecretKey;
use clap::Args;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bodies::{BenchAgent, Workload};
use crate::settings::Settings;
use crate::shown;

const BATCH: u64 = 100;
const PAYLOAD_BYTES: usize = 200;
const POLL: Duration = Duration::from_millis(2);
const RUN_TIME_MAX: Duration = Duration::from_secs(600);
/// Between the deliveries to an idle system.
const IDLE: Duration = Duration::from_millis(50);

/// `bowline-bench deliver`.
#[derive(Debug, Args)]
#[command(
    after_help = "The server must allow deliveries to 127.0.0.1 (triggers.delivery.allow). The events go to a \
                        fresh tenant and stay there: use a server that is made for it."
)]
pub(crate) struct Options {
    /// Events that are delivered as fast as it goes
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    events: u64,
    /// Events that are delivered one at a time
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100_000))]
    single: u64,
}

pub(crate) async fn run(settings: &Settings, options: Options) -> Result<()> {
    let client = settings.client()?;
    let receiver = Receiver::start().await?;
    let key = SecretKey::random()?;
    let mut workload = Workload {
        tenant_id: TenantId::random(),
        stores: vec![StoreId::random()],
        agents: vec![BenchAgent { agent_id: AgentId::random(), key }],
        batch: BATCH,
        payload_bytes: PAYLOAD_BYTES,
    };
    let agent = &workload.agents[0];
    client.text(&Call::register_agent(workload.tenant_id, agent.agent_id, 1, &agent.key)?).await?;
    create_trigger(&client, workload.tenant_id, &receiver.url).await?;

    let burst = bodies(&workload, 0, options.events.div_ceil(BATCH))?;
    let expected = burst.len() as u64 * BATCH;
    let began = Instant::now();
    for body in burst {
        ingest(&client, body).await?;
    }
    let appended_secs = began.elapsed().as_secs_f64();
    receiver.until(expected).await?;
    let (first, last) = receiver.span().context("nothing arrived")?;
    let delivered_secs = (last - first).as_secs_f64();

    workload.batch = 1;
    let mut latency = Histogram::<u64>::new(3)?;
    for (index, body) in bodies(&workload, expected, expected + options.single)?.into_iter().enumerate() {
        tokio::time::sleep(IDLE).await;
        let sent = Instant::now();
        ingest(&client, body).await?;
        let arrived = receiver.until(expected + index as u64 + 1).await?;
        // Microseconds of an hour fit.
        latency.record((arrived - sent).as_micros() as u64).ok();
    }
    report(settings, expected, (appended_secs, delivered_secs), receiver.repeats(), &latency)
}

fn report(
    settings: &Settings,
    events: u64,
    (appended_secs, delivered_secs): (f64, f64),
    repeats: u64,
    latency: &Histogram<u64>,
) -> Result<()> {
    let per_sec = events as f64 / delivered_secs.max(0.001);
    let millis = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    if settings.is_json() {
        let line = json!({
            "events": events, "appended_seconds": appended_secs, "delivered_seconds": delivered_secs,
            "deliveries_per_sec": per_sec, "repeats": repeats, "single": latency.len(), "p50_ms": millis(0.5),
            "p99_ms": millis(0.99), "max_ms": latency.max() as f64 / 1_000.0,
        });
        shown::line(&line.to_string())?;
        return Ok(());
    }
    shown::line(&format!("appended   {events} events in {appended_secs:.1} s"))?;
    shown::line(&format!("delivered  {per_sec:.0}/s ({delivered_secs:.1} s), {repeats} came again"))?;
    shown::line(&format!("when idle  p50 {:.1} ms, p99 {:.1} ms", millis(0.5), millis(0.99)))?;
    Ok(())
}

async fn create_trigger(client: &Client, tenant_id: TenantId, url: &str) -> Result<()> {
    let body = json!({
        "name": "bench", "registry": "line",
        "conditions": [{ "condition_type": "event_type_equals", "value": "order.created" }],
        "actions": [{ "action_type": "rest", "config": {
            "method": "POST", "url": url, "body_template": { "order": "{{ order_id }}" },
        } }],
    });
    let call = Call::post(&["api", "v1", "triggers"], &body)?.header("x-organization-id", tenant_id);
    client.text(&call).await?;
    Ok(())
}

fn bodies(workload: &Workload, from: u64, to: u64) -> Result<Vec<Bytes>> {
    Ok(workload.bodies(from, to)?)
}

async fn ingest(client: &Client, body: Bytes) -> Result<()> {
    client.text(&Call::ingest(body)).await?;
    Ok(())
}

/// What has arrived.
#[derive(Debug, Default)]
struct Arrivals {
    by_key: HashMap<String, u64>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// A receiver that answers at once.
struct Receiver {
    url: String,
    arrivals: Arc<Mutex<Arrivals>>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the receiver can't listen")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        let shared = Arc::clone(&arrivals);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let arrivals = Arc::clone(&shared);
                let serve = service_fn(move |request| take(Arc::clone(&arrivals), request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
            }
        });
        Ok(Self { url, arrivals })
    }

    fn look<T>(&self, at: impl FnOnce(&Arrivals) -> T) -> T {
        at(&self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until so many different ones have arrived; returns when the last one did.
    async fn until(&self, count: u64) -> Result<Instant> {
        let since = Instant::now();
        loop {
            let (arrived, last) = self.look(|arrivals| (arrivals.by_key.len() as u64, arrivals.last));
            if let Some(last) = last.filter(|_| arrived >= count) {
                return Ok(last);
            }
            if since.elapsed() > RUN_TIME_MAX {
                bail!(
                    "{arrived} of {count} deliveries have arrived: see `bowline deliveries list`, and that the server \
                     allows 127.0.0.1"
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn span(&self) -> Option<(Instant, Instant)> {
        self.look(|arrivals| Some((arrivals.first?, arrivals.last?)))
    }

    fn repeats(&self) -> u64 {
        self.look(|arrivals| arrivals.by_key.values().map(|times| times - 1).sum())
    }
}

async fn take(
    arrivals: Arc<Mutex<Arrivals>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    // A body that breaks off is no arrival.
    let body = request.into_body().collect().await.ok().map(|body| body.to_bytes());
    let is_whole = body.is_some_and(|body| serde_json::from_slice::<Value>(&body).is_ok());
    let mut response = Response::new(Full::new(Bytes::new()));
    match key.filter(|_| is_whole) {
        Some(key) => {
            let now = Instant::now();
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            *arrivals.by_key.entry(key).or_default() += 1;
            arrivals.first.get_or_insert(now);
            arrivals.last = Some(now);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

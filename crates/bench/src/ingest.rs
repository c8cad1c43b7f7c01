//! `bowline-bench ingest`: events a second that a server takes, with the latency of its requests.
//!
//! Everything is signed before the clock starts. How much is needed is found out by a short run first; if the
//! bodies run out all the same, the run ends early, is computed over its true length and says so.

mod drive;

use std::time::Duration;

use anyhow::{Result, bail};
use bowline_client::{Call, Client, Url};
use bowline_types::{AgentId, StoreId, TenantId};
use bowline_ves::SecretKey;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::bodies::{AGENTS, BenchAgent, Pool, Workload};
use crate::settings::Settings;
use crate::{block_on, shown};
use drive::{Load, Measured, Target};

/// Events that are held signed at a time: about 1 KB each.
const SIGNED_EVENTS_MAX: u64 = 400_000;
/// Events of the run that finds out the rate.
const CALIBRATION_EVENTS: u64 = 4_000;
const CALIBRATION_EVENTS_MAX: u64 = 40_000;
const CALIBRATION: Duration = Duration::from_secs(1);
/// Signed beyond what the calibration says: a cold server is slower than a warm one.
const SPARE_FACTOR: f64 = 1.5;

/// `bowline-bench ingest`.
#[derive(Debug, Args)]
#[command(after_help = "The events go to a fresh tenant and stay there: use a server that is made for it.")]
pub(crate) struct Options {
    /// Open connections, each with one request under way
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = RangedU64ValueParser::<u64>::new().range(1..=4096))]
    connections: u64,
    /// Events in one request
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000))]
    batch: u64,
    /// Streams that are written to in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = RangedU64ValueParser::<u64>::new().range(1..=100_000))]
    streams: u64,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
    seconds: u64,
    /// How long to run before that without counting
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = RangedU64ValueParser::<u64>::new().range(0..=600))]
    warmup_secs: u64,
    /// Events a second to send at most, evenly; as fast as the answers come if absent
    #[arg(long, value_name = "EVENTS", value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_000_000))]
    rate: Option<u64>,
    /// Bytes of one payload, about
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    payload_bytes: usize,
}

pub(crate) fn run(settings: &Settings, options: Options) -> Result<()> {
    let target = target(settings.url(), settings.api_key())?;
    let workload = workload(&options)?;
    block_on(register(&settings.client()?, &workload))?;
    let load = Load {
        connections: options.connections as usize,
        warmup: Duration::from_secs(options.warmup_secs),
        measure: Duration::from_secs(options.seconds),
        pace: options.rate.map(|rate| Duration::from_secs_f64(options.batch as f64 / rate as f64)),
    };
    let pool = prepare(&options, &target, &workload, load)?;
    let (measured, _) = drive::run(&target, pool, load)?;
    if let Some(error) = &measured.first_error {
        shown::talk(&format!("{} errors; the first one: {error}", measured.errors));
    }
    if measured.exhausted {
        shown::talk(&format!(
            "the signed events ran out after {:.1} of {} s; at most {SIGNED_EVENTS_MAX} are held, so take fewer --seconds",
            measured.seconds, options.seconds
        ));
    }
    report(settings, &options, &measured)
}

fn target(url: &Url, api_key: Option<&str>) -> Result<Target> {
    if url.scheme() != "http" {
        bail!("this speaks plain http only: measure the server behind its TLS, with --url http://HOST:PORT");
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        bail!("{url} has no host");
    };
    let path = format!("{}/api/v1/ves/events/ingest", url.path().trim_end_matches('/'));
    Ok(Target { authority: format!("{host}:{port}"), path, api_key: api_key.map(str::to_owned) })
}

fn workload(options: &Options) -> Result<Workload> {
    let agents =
        (0..AGENTS).map(|_| Ok(BenchAgent { agent_id: AgentId::random(), key: SecretKey::random()? }));
    Ok(Workload {
        tenant_id: TenantId::random(),
        stores: (0..options.streams).map(|_| StoreId::random()).collect(),
        agents: agents.collect::<Result<_>>()?,
        batch: options.batch,
        payload_bytes: options.payload_bytes,
    })
}

async fn register(client: &Client, workload: &Workload) -> Result<()> {
    for agent in &workload.agents {
        client.text(&Call::register_agent(workload.tenant_id, agent.agent_id, 1, &agent.key)?).await?;
    }
    Ok(())
}

/// Finds out the rate with a short run, and signs as many events as the real one needs.
fn prepare(options: &Options, target: &Target, workload: &Workload, load: Load) -> Result<Pool> {
    let events = (options.connections * options.batch * 4).clamp(CALIBRATION_EVENTS, CALIBRATION_EVENTS_MAX);
    let first = events.div_ceil(options.batch);
    let pool = Pool::new(workload.bodies(0, first)?);
    let short = Load { warmup: Duration::ZERO, measure: CALIBRATION, pace: None, ..load };
    let (measured, pool) = drive::run(target, pool, short)?;
    if measured.events == 0 {
        let why = measured.first_error.unwrap_or_else(|| "no answer within a second".to_owned());
        bail!(
            "the server took no event ({why}); see that `bowline append` works with the same --url and --api-key"
        );
    }
    let mut bodies = pool.rest();
    let per_sec = measured.events as f64 / measured.seconds.max(0.001);
    let wanted = wanted_bodies(per_sec, load, options.batch);
    let missing = wanted.saturating_sub(bodies.len() as u64);
    shown::talk(&format!("about {per_sec:.0} events/s; signing {} events", missing * options.batch));
    bodies.append(&mut workload.bodies(first, first + missing)?);
    Ok(Pool::new(bodies))
}

/// Bodies that a run at this rate takes, with some to spare and within the limit.
fn wanted_bodies(events_per_sec: f64, load: Load, batch: u64) -> u64 {
    let seconds = (load.warmup + load.measure).as_secs_f64();
    let events = (events_per_sec * seconds * SPARE_FACTOR).min(SIGNED_EVENTS_MAX as f64) as u64;
    (events / batch).max(load.connections as u64)
}

fn report(settings: &Settings, options: &Options, measured: &Measured) -> Result<()> {
    let per_sec = |count: u64| if measured.seconds > 0.0 { count as f64 / measured.seconds } else { 0.0 };
    let (events_per_sec, requests_per_sec) = (per_sec(measured.events), per_sec(measured.requests));
    let millis = |micros: u64| micros as f64 / 1_000.0;
    let p50 = millis(measured.latency.value_at_quantile(0.5));
    let p99 = millis(measured.latency.value_at_quantile(0.99));
    let max = millis(measured.latency.max());
    if settings.is_json() {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let line = json!({
            "events_per_sec": tenth(events_per_sec),
            "requests_per_sec": tenth(requests_per_sec),
            "p50_ms": p50, "p99_ms": p99, "max_ms": max,
            "requests": measured.requests, "events": measured.events, "errors": measured.errors,
            "seconds": (measured.seconds * 1_000.0).round() / 1_000.0,
            "connections": options.connections, "batch": options.batch, "streams": options.streams,
            "ended_early": measured.exhausted,
        });
        return shown::line(&line.to_string());
    }
    shown::table(
        ["events/s", "requests/s", "p50 ms", "p99 ms", "max ms", "events", "errors", "seconds"],
        [[
            format!("{events_per_sec:.0}"),
            format!("{requests_per_sec:.0}"),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            format!("{max:.2}"),
            measured.events.to_string(),
            measured.errors.to_string(),
            format!("{:.1}", measured.seconds),
        ]],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_signed_and_never_more_than_the_limit() {
        let load = Load {
            connections: 16,
            warmup: Duration::from_secs(2),
            measure: Duration::from_secs(8),
            pace: None,
        };
        assert_eq!(wanted_bodies(10_000.0, load, 100), 1_500);
        assert_eq!(wanted_bodies(1e9, load, 100), SIGNED_EVENTS_MAX / 100);
        assert_eq!(wanted_bodies(0.1, load, 100), 16);
    }

    #[test]
    fn the_target_keeps_a_path_and_refuses_tls() {
        let found = target(&Url::parse("http://[::1]/line/").unwrap(), None).unwrap();
        assert_eq!(
            (found.authority.as_str(), found.path.as_str()),
            ("[::1]:80", "/line/api/v1/ves/events/ingest")
        );
        assert!(target(&Url::parse("https://127.0.0.1").unwrap(), None).is_err());
    }
}

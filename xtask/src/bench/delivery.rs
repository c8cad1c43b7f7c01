//! Deliveries in figures: one process that takes events and matches them, two that deliver, PostgreSQL and Redis, all on
//! this machine. The load generator appends, receives and measures.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::ADMIN_API_KEY;
use super::builds::Program;
use super::load::ask;
use super::node::{Launch, Node};
use crate::packages::Tools;
use crate::postgres::{PrivatePostgres, free_port};

const START_TIME_MAX: Duration = Duration::from_secs(10);
/// The same for all processes.
const SECRETS_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
/// Deliveries of one process at a time.
const DELIVERIES: &str = "32";

/// What the generator's `deliver` found.
#[derive(Deserialize)]
pub(super) struct Delivered {
    pub(super) events: u64,
    pub(super) appended_seconds: f64,
    pub(super) deliveries_per_sec: f64,
    pub(super) repeats: u64,
    pub(super) single: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Events that are delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    /// All at once.
    pub(super) events: u64,
    /// One at a time, afterwards.
    pub(super) single: u64,
}

/// Starts the processes of `node` in `scratch` and lets the generator measure their deliveries.
pub(super) fn measure(node: &Path, generator: &Program, scratch: &Path, amount: Amount) -> Result<Delivered> {
    let postgres = PrivatePostgres::start()?;
    let database = postgres.create_database("bench_deliver")?;
    let (_redis, redis_url) = start_redis(scratch)?;
    let config = scratch.join("deliver.yaml");
    let settings = format!("triggers:\n  delivery:\n    allow: [127.0.0.1/32]\n    workers: {DELIVERIES}\n");
    std::fs::write(&config, settings + "  matching:\n    log_each_event: false\n")
        .context("cannot write settings")?;
    let start = |name: &str, roles: &str| {
        let environment = [
            ("REDIS_URL", redis_url.as_str()),
            ("BOWLINE_ROLES", roles),
            ("BOWLINE_SECRETS_KEY", SECRETS_KEY),
            ("RUST_LOG", "warn"),
        ];
        let folder = scratch.join(name);
        Node::start(&Launch {
            binary: node,
            folder: &folder,
            api_key: ADMIN_API_KEY,
            database_url: Some(&database),
            config: Some(&config),
            environment: &environment,
        })
    };
    let gateway = start("gateway", "gateway,triggers")?;
    let workers = [start("worker-1", "worker")?, start("worker-2", "worker")?];
    let mut command = generator.command();
    command.args(["deliver", "--output", "json", "--url", &gateway.url(), "--api-key", ADMIN_API_KEY]);
    command.args(["--events", &amount.events.to_string(), "--single", &amount.single.to_string()]);
    let delivered = ask(&mut command, &format!("{} deliver", generator.name())).with_context(|| {
        let logs = [gateway.log_tail(), workers[0].log_tail(), workers[1].log_tail()].join("\n");
        format!("the nodes' logs say:\n{logs}")
    })?;
    for node in workers.into_iter().chain([gateway]) {
        node.stop()?;
    }
    Ok(delivered)
}

/// With an append-only file that is synced every second, as Redis' own settings have it.
fn start_redis(scratch: &Path) -> Result<(Redis, String)> {
    let tools = Tools::find_or_install()?;
    let port = free_port()?;
    let folder = scratch.join("redis");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new(tools.redis());
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "yes", "--save", ""]);
    command.arg("--dir").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let redis = Redis(command.spawn().context("cannot start redis-server")?);
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if since.elapsed() > START_TIME_MAX {
            bail!("redis-server does not listen on {port}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((redis, format!("redis://127.0.0.1:{port}")))
}

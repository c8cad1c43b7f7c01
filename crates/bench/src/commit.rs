//! `bowline-bench commit`: a large commitment: how long it takes, how long a proof out of it takes, how many
//! proofs a second one core verifies, and how soon a node on such a store is ready.
//!
//! It fills a scratch store below the temporary folder, without a server, and removes it again. The events are
//! real but for the agents' signatures, which nothing here verifies.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bowline_line::{CommitRange, Dependencies, Handle, ProofAnswer, Service};
use bowline_node::{Config, open_store};
use bowline_runtime::{Clock, SystemClock};
use bowline_store::{ChangeKind, CommitmentOrigin, LineStore, VerifiedBatch};
use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId};
use bowline_ves::{Draft, SecretKey, SequencerSigner, VerifiedEvent, event_signing_hash, sign_envelope};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use crate::settings::Settings;
use crate::{bodies, shown};

/// Events in one append while the store is filled.
const FILL_EVENTS: u64 = 1_000;
/// Proofs that are asked for, spread evenly.
const PROOFS: u64 = 1_000;
const VERIFY_TIME: Duration = Duration::from_secs(2);
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// `bowline-bench commit`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Events under the commitment
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    events: u64,
    /// The node's program [default: `bowline` beside this one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) async fn run(settings: &Settings, options: Options) -> Result<()> {
    let node = node_binary(options.binary)?;
    let scratch = tempfile::Builder::new().prefix("bowline-bench-").tempdir()?;
    let config = Config::default();
    let (store, _) = open_store(&config.store, scratch.path().join("bowline.db"), true).await?;
    let signer = bodies::signer()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dependencies = Dependencies {
        store: Arc::clone(&store),
        signer: Arc::clone(&signer),
        clock: Arc::clone(&clock),
        payloads: None,
    };
    let (_service, line) = Service::build(&config.line, dependencies);
    let stream = StreamId::new(TenantId::random(), StoreId::random());
    fill(settings, store.as_ref(), &signer, stream, options.events).await?;

    let began = Instant::now();
    let range = CommitRange { sequence_start: Some(1), sequence_end: Some(options.events) };
    line.commitments.commit(stream, range, CommitmentOrigin::Client).await?;
    let commit_secs = began.elapsed().as_secs_f64();
    let (proofs, latency) = prove(&line, stream, options.events).await?;
    let verified_per_sec = verify_rate(&proofs)?;
    drop(line);
    store.close().await;
    let ready_ms = ready(&node, scratch.path())?;

    let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
    let millis = |micros: u64| micros as f64 / 1_000.0;
    if settings.is_json() {
        let line = json!({
            "events": options.events, "commit_seconds": commit_secs, "proof_p50_ms": millis(p50),
            "proof_p99_ms": millis(p99), "proofs_verified_per_sec": verified_per_sec.round(), "ready_ms": ready_ms,
        });
        shown::line(&line.to_string())?;
    } else {
        shown::table(
            ["events", "commit s", "proof p50 ms", "proof p99 ms", "proofs verified/s", "node ready ms"],
            [[
                options.events.to_string(),
                format!("{commit_secs:.3}"),
                format!("{:.3}", millis(p50)),
                format!("{:.3}", millis(p99)),
                format!("{verified_per_sec:.0}"),
                ready_ms.to_string(),
            ]],
        )?;
    }
    Ok(())
}

/// Appends so many events to a stream, in large batches.
pub(crate) async fn fill(
    settings: &Settings,
    store: &dyn LineStore,
    signer: &Arc<SequencerSigner>,
    stream: StreamId,
    events: u64,
) -> Result<()> {
    let key = SecretKey::random()?;
    let draft = Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: AgentId::random(),
        agent_key_id: 1,
        entity_type: "order".to_owned(),
        entity_id: String::new(),
        event_type: "order.created".to_owned(),
        created_at: SystemClock.now().to_string(),
        payload: bodies::payload(1, 200).into(),
        command_id: None,
        base_version: None,
    };
    let template = Draft { entity_id: "order".to_owned(), ..draft };
    let template = sign_envelope(template, &key)?;
    let bar = shown::progress(settings, events, "events");
    for start in (0..events).step_by(FILL_EVENTS as usize) {
        let event = |number: u64| {
            let mut envelope = template.clone();
            envelope.event_id = EventId::random();
            envelope.entity_id = format!("order-{number}");
            let signing_hash = event_signing_hash(&envelope);
            VerifiedEvent { envelope, signing_hash, created_at: SystemClock.now() }
        };
        let events = (start..events.min(start + FILL_EVENTS)).map(event).collect();
        let batch = VerifiedBatch { events, keys_epoch: store.changes().epoch(ChangeKind::AGENT_KEYS) };
        store.append(batch, Arc::clone(signer), SystemClock.now()).await?;
        bar.set_position(start + FILL_EVENTS);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn prove(line: &Handle, stream: StreamId, events: u64) -> Result<(Vec<ProofAnswer>, Histogram<u64>)> {
    let mut latency = Histogram::new(3)?;
    let mut proofs = Vec::new();
    for number in (1..=events).step_by((events / PROOFS).max(1) as usize) {
        let began = Instant::now();
        proofs.push(line.commitments.prove(stream, number, None).await?);
        latency.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok((proofs, latency))
}

fn verify_rate(proofs: &[ProofAnswer]) -> Result<f64> {
    let (began, mut count) = (Instant::now(), 0_u64);
    while began.elapsed() < VERIFY_TIME {
        for answer in proofs {
            answer.proof.verify(&answer.commitment.merkle_root)?;
        }
        count += proofs.len() as u64;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// The node's program: the one that is named, or the one beside this program.
fn node_binary(named: Option<PathBuf>) -> Result<PathBuf> {
    let binary = match named {
        Some(named) => named,
        None => std::env::current_exe()?.with_file_name("bowline"),
    };
    ensure!(binary.is_file(), "{} is not there: name the node's program with --binary", binary.display());
    Ok(binary)
}

/// Milliseconds from the start of a node's process to its first answer that it is ready.
fn ready(binary: &Path, data: &Path) -> Result<u64> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let began = Instant::now();
    let mut node = Command::new(binary)
        .args(["serve", "--port", &port.to_string(), "--data"])
        .arg(data)
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let mut ready = None;
    while ready.is_none() && began.elapsed() < READY_TIME_MAX {
        if answers_ready(port) {
            ready = Some(began.elapsed());
        } else {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    // It has nothing under way, and its store goes with the folder.
    let ended = node.kill().and_then(|()| node.wait());
    if let Err(error) = ended {
        shown::talk(&format!("the node did not end: {error}"));
    }
    let ready = ready.context("the node was not ready in time")?;
    Ok(u64::try_from(ready.as_millis()).unwrap_or(u64::MAX))
}

fn answers_ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let asked = std::net::TcpStream::connect(("127.0.0.1", port)).and_then(|mut socket| {
        socket.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        socket.read_exact(&mut status)?;
        Ok(status)
    });
    asked.is_ok_and(|status| status == *b"HTTP/1.1 200")
}

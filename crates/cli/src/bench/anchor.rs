//! `bowline bench anchor`: how long a backlog of commitments takes to get on a chain, at which price, and how much
//! the transactions that hold many of them save.
//!
//! Each run has a scratch store and a new contract on a development node, and the anchoring process of a node. The
//! peer is the same process with one commitment in each transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_anchor::tables::{AnchorFilter, SendState};
use bowline_anchor::{Config, Dependencies, Service};
use bowline_line::{CommitRange, Commitments};
use bowline_node::open_store;
use bowline_runtime::{Clock, Shutdown, SystemClock};
use bowline_store::{CommitmentOrigin, LineStore};
use bowline_types::{StoreId, StreamId, TenantId};
use bowline_ves::{SecretKey, SequencerSigner};
use clap::Args;
use serde_json::json;

use super::commit::fill;
use crate::context::Context;
use crate::demo::{DevChain, DevNode};
use crate::exit::{Exit, Failure, Outcome};
use crate::{output, progress};

/// Between two looks at what is left.
const POLL: Duration = Duration::from_millis(20);

/// What a run may take.
const RUN_TIME_MAX: Duration = Duration::from_secs(1_800);

/// `bowline bench anchor`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A development node on this machine (chain 31337); without it one is started for each run
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
    /// Commitments of a run
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    commitments: u64,
    /// Streams of the run with many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    streams: u64,
    /// Commitments of the run with one in each transaction
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    single: u64,
}

/// What is measured.
struct Run {
    commitments: u64,
    streams: u64,
    in_transaction_max: usize,
}

/// What was found.
struct Measured {
    seconds: f64,
    transactions: u64,
    gas: u64,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let batch = Config::default().transaction_commitments_max;
    let Options { commitments, streams, single, rpc_url } = options;
    let runs = [
        Run { commitments, streams: 1, in_transaction_max: batch },
        Run { commitments, streams: streams.min(commitments), in_transaction_max: batch },
        Run { commitments: single, streams: 1, in_transaction_max: 1 },
    ];
    let mut rows = Vec::new();
    for run in runs {
        let measured = measure(context, rpc_url.as_deref(), &run).await?;
        rows.push((run, measured));
    }
    let memory_mib = peak_memory_kib().map(|kib| kib / 1_024);
    if context.is_json() {
        let rows = rows.iter().map(|(run, found)| {
            json!({
                "commitments": run.commitments, "streams": run.streams, "in_transaction_max": run.in_transaction_max,
                "seconds": found.seconds, "anchors_per_sec": rate(run, found), "transactions": found.transactions,
                "gas_each": found.gas / run.commitments,
            })
        });
        let rows: Vec<_> = rows.collect();
        output::line(&json!({ "runs": rows, "peak_memory_mib": memory_mib }).to_string())?;
        return Ok(Exit::Done);
    }
    output::table(
        ["commitments", "streams", "in a transaction", "transactions", "seconds", "anchors/s", "gas each"],
        rows.iter().map(|(run, found)| {
            [
                run.commitments.to_string(),
                run.streams.to_string(),
                run.in_transaction_max.to_string(),
                found.transactions.to_string(),
                format!("{:.2}", found.seconds),
                format!("{:.0}", rate(run, found)),
                (found.gas / run.commitments).to_string(),
            ]
        }),
    )?;
    let memory = memory_mib.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    output::talk(&format!("peak memory of this process: {memory}"));
    Ok(Exit::Done)
}

fn rate(run: &Run, found: &Measured) -> f64 {
    run.commitments as f64 / found.seconds
}

/// Makes the commitments, and times the anchoring process from its start until the last one is final.
async fn measure(context: &Context, rpc_url: Option<&str>, run: &Run) -> Result<Measured, Failure> {
    let failed = |problem: &dyn std::fmt::Display| Failure::no(problem.to_string());
    let scratch = tempfile::Builder::new().prefix("bowline-bench-").tempdir();
    let scratch = scratch.map_err(|error| Failure::usage(format!("no temporary folder: {error}")))?;
    let chain = DevChain::start(DevNode::start(rpc_url, None).await?).await?;
    let settings = bowline_node::Config::default().store;
    let opened = open_store(&settings, scratch.path().join("bowline.db"), true).await;
    let (store, _) = opened.map_err(|error| failed(&error))?;
    let streams = commit(context, &store, run).await?;
    let config = Config {
        interval_secs: 0,
        finality_confirmations: 1,
        finality_poll_secs: 0,
        poll_ms: 20,
        transaction_commitments_max: run.in_transaction_max,
        ..chain.settings()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dependencies = Dependencies { store: Arc::clone(&store), clock, steps: None };
    let (service, _) = Service::build(&config, dependencies).map_err(|error| failed(&error))?;
    let shutdown = Shutdown::new();
    let began = Instant::now();
    let task = tokio::spawn(service.run(shutdown.clone()));
    let bar = progress::count(context.quiet(), Some(run.commitments));
    bar.set_message("anchors");
    loop {
        let backlog = bowline_anchor::tables::open(&store.engine())
            .anchor_backlog()
            .await
            .map_err(|error| failed(&error))?;
        bar.set_position(backlog.anchored);
        if backlog.anchored == run.commitments {
            break;
        }
        if backlog.pending == 0 {
            // A node that mines on demand makes no block on top of the last transaction by itself.
            chain.mine().await;
        }
        if began.elapsed() > RUN_TIME_MAX {
            return Err(failed(&format!("{} commitments are not anchored in time", run.commitments)));
        }
        tokio::time::sleep(POLL).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();
    shutdown.begin();
    task.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let (transactions, gas) = spent(store.as_ref(), &streams).await.map_err(|error| failed(&error))?;
    store.close().await;
    Ok(Measured { seconds, transactions, gas })
}

/// Streams with as many commitments together as the run wants, of one event each.
async fn commit(context: &Context, store: &Arc<dyn LineStore>, run: &Run) -> Result<Vec<StreamId>, Failure> {
    let key = SecretKey::random().map_err(|error| Failure::usage(error.to_string()))?;
    let signer = Arc::new(SequencerSigner { sequencer_id: uuid::Uuid::new_v4(), key_version: 1, key });
    let commitments = Commitments::new(Arc::clone(store), Arc::new(SystemClock), 1);
    let bar = progress::count(context.quiet(), Some(run.commitments));
    bar.set_message("commitments");
    let mut streams = Vec::new();
    for number in 0..run.streams {
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        let count = run.commitments / run.streams + u64::from(number < run.commitments % run.streams);
        fill(context, store.as_ref(), &signer, stream, count).await?;
        for _ in 0..count {
            let made = commitments.commit(stream, CommitRange::default(), CommitmentOrigin::Automatic).await;
            made.map_err(|error| Failure::no(error.to_string()))?;
            bar.inc(1);
        }
        streams.push(stream);
    }
    bar.finish_and_clear();
    Ok(streams)
}

/// The transactions that hold the streams' commitments, and their gas.
async fn spent(store: &dyn LineStore, streams: &[StreamId]) -> Result<(u64, u64), bowline_store::StoreError> {
    let mut gas = std::collections::HashMap::new();
    for stream in streams {
        let filter = AnchorFilter { stream: *stream, after: 0, limit: 1_000_000 };
        for send in bowline_anchor::tables::open(&store.engine())
            .anchor_rows(filter)
            .await?
            .into_iter()
            .filter_map(|row| row.send)
        {
            if send.state == SendState::Anchored {
                gas.insert(send.send_id, send.mined.and_then(|mined| mined.gas_used).unwrap_or(0));
            }
        }
    }
    Ok((gas.len() as u64, gas.values().sum()))
}

/// The most memory that this process has had; none where the system does not say.
pub(super) fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

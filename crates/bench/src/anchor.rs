//! `bowline-bench anchor`: how long a backlog of commitments takes to get on a chain, at which price, and how much
//! the transactions that hold many of them save.
//!
//! Each run has a scratch store and a new contract on a development node, and the anchoring process of a node. The
//! peer is the same process with one commitment in each transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, ensure};
use bowline_anchor::deploy::{Deployment, deploy};
use bowline_anchor::tables::{self, AnchorFilter, SendState};
use bowline_anchor::{Config, Dependencies, Service, Wallet};
use bowline_evm::Rpc;
use bowline_line::{CommitRange, Commitments};
use bowline_neighbours::{Anvil, CHAIN, KEYS};
use bowline_node::open_store;
use bowline_runtime::{Clock, Shutdown, SystemClock};
use bowline_store::{CommitmentOrigin, LineStore};
use bowline_types::{Secret, StoreId, StreamId, TenantId};
use clap::Args;
use serde_json::json;

use crate::chain::ChainArgs;
use crate::commit::fill;
use crate::settings::Settings;
use crate::{bodies, memory, shown};

/// Between two looks at what is left.
const POLL: Duration = Duration::from_millis(20);

/// What the contract may take to get on the chain.
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);

/// Wei a unit of gas that is paid at most.
const FEE_CAP: u128 = 500_000_000_000;

/// What a run may take.
const RUN_TIME_MAX: Duration = Duration::from_secs(1_800);

/// `bowline-bench anchor`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    chain: ChainArgs,
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

pub(crate) async fn run(settings: &Settings, options: Options) -> Result<()> {
    let batch = Config::default().transaction_commitments_max;
    let Options { chain, commitments, streams, single } = options;
    let runs = [
        Run { commitments, streams: 1, in_transaction_max: batch },
        Run { commitments, streams: streams.min(commitments), in_transaction_max: batch },
        Run { commitments: single, streams: 1, in_transaction_max: 1 },
    ];
    let mut rows = Vec::new();
    for run in runs {
        let measured = measure(settings, &chain, &run).await?;
        rows.push((run, measured));
    }
    let memory_mib = memory::peak_mib();
    if settings.is_json() {
        let rows = rows.iter().map(|(run, found)| {
            json!({
                "commitments": run.commitments, "streams": run.streams, "in_transaction_max": run.in_transaction_max,
                "seconds": found.seconds, "anchors_per_sec": rate(run, found), "transactions": found.transactions,
                "gas_each": found.gas / run.commitments,
            })
        });
        let rows: Vec<_> = rows.collect();
        shown::line(&json!({ "runs": rows, "peak_memory_mib": memory_mib }).to_string())?;
        return Ok(());
    }
    shown::table(
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
    shown::talk(&format!("peak memory of this process: {memory}"));
    Ok(())
}

fn rate(run: &Run, found: &Measured) -> f64 {
    run.commitments as f64 / found.seconds
}

/// Makes the commitments, and times the anchoring process from its start until the last one is final.
async fn measure(settings: &Settings, chain: &ChainArgs, run: &Run) -> Result<Measured> {
    let scratch = tempfile::Builder::new().prefix("bowline-bench-").tempdir()?;
    let chain = chain.start()?;
    let contract = put_contract(&chain).await?;
    let config = bowline_node::Config::default().store;
    let (store, _) = open_store(&config, scratch.path().join("bowline.db"), true).await?;
    let streams = commit(settings, &store, run).await?;
    let config = Config {
        rpc_url: Some(Secret::new(chain.url())),
        contract: Some(contract),
        private_key: Some(Secret::new(KEYS[0])),
        chain_id: CHAIN,
        batch_threshold: 1,
        interval_secs: 0,
        finality_confirmations: 1,
        finality_poll_secs: 0,
        poll_ms: 20,
        transaction_commitments_max: run.in_transaction_max,
        ..Config::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dependencies = Dependencies { store: Arc::clone(&store), clock, steps: None };
    let (service, _) = Service::build(&config, dependencies).map_err(Error::msg)?;
    let shutdown = Shutdown::new();
    let began = Instant::now();
    let task = tokio::spawn(service.run(shutdown.clone()));
    let bar = shown::progress(settings, run.commitments, "anchors");
    loop {
        let backlog = tables::open(&store.engine()).anchor_backlog().await?;
        bar.set_position(backlog.anchored);
        if backlog.anchored == run.commitments {
            break;
        }
        if backlog.pending == 0 {
            // A node that mines on demand makes no block on top of the last transaction by itself.
            chain.mine(1).await;
        }
        ensure!(began.elapsed() <= RUN_TIME_MAX, "{} commitments are not anchored in time", run.commitments);
        tokio::time::sleep(POLL).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();
    shutdown.begin();
    task.await??;
    let (transactions, gas) = spent(store.as_ref(), &streams).await?;
    store.close().await;
    Ok(Measured { seconds, transactions, gas })
}

/// Puts a contract on the chain, of the chain's first account; returns its address.
async fn put_contract(chain: &Anvil) -> Result<String> {
    let rpc = Rpc::connect(&Secret::new(chain.url())).map_err(Error::msg)?;
    let wallet = Wallet::new(&Secret::new(KEYS[0])).map_err(Error::msg)?;
    let (owner, committer) = (wallet.address(), wallet.address());
    let deployment = Deployment { chain_id: CHAIN, owner, committer, fee_cap: FEE_CAP };
    let deployed = deploy(&rpc, &wallet, deployment, DEPLOY_TIME_MAX).await?;
    Ok(deployed.contract.to_string())
}

/// Streams with as many commitments together as the run wants, of one event each.
async fn commit(settings: &Settings, store: &Arc<dyn LineStore>, run: &Run) -> Result<Vec<StreamId>> {
    let signer = bodies::signer()?;
    let commitments = Commitments::new(Arc::clone(store), Arc::new(SystemClock), 1);
    let bar = shown::progress(settings, run.commitments, "commitments");
    let mut streams = Vec::new();
    for number in 0..run.streams {
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        let count = run.commitments / run.streams + u64::from(number < run.commitments % run.streams);
        fill(settings, store.as_ref(), &signer, stream, count).await?;
        for _ in 0..count {
            commitments.commit(stream, CommitRange::default(), CommitmentOrigin::Automatic).await?;
            bar.inc(1);
        }
        streams.push(stream);
    }
    bar.finish_and_clear();
    Ok(streams)
}

/// The transactions that hold the streams' commitments, and their gas.
async fn spent(store: &dyn LineStore, streams: &[StreamId]) -> Result<(u64, u64)> {
    let mut gas = std::collections::HashMap::new();
    for stream in streams {
        let filter = AnchorFilter { stream: *stream, after: 0, limit: 1_000_000 };
        for send in
            tables::open(&store.engine()).anchor_rows(filter).await?.into_iter().filter_map(|row| row.send)
        {
            if send.state == SendState::Anchored {
                gas.insert(send.send_id, send.mined.and_then(|mined| mined.gas_used).unwrap_or(0));
            }
        }
    }
    Ok((gas.len() as u64, gas.values().sum()))
}

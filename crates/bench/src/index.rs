//! `bowline-bench index`: how many logs of a chain get on the line in a second, beside how many the chain's endpoint
//! alone delivers.
//!
//! A development node is filled with feedback of a reputation registry first, with as many logs in a transaction as
//! are told. The endpoint alone means: all logs asked for in ranges, one after the other, and parsed. The indexer then
//! starts at the first block, with a scratch store, and is done when it has caught up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail, ensure};
use bowline_evm::{Bounds, Patience, Rpc};
use bowline_indexer::{ChainConfig, ChainState, Config, Dependencies, Service};
use bowline_neighbours::{Anvil, CHAIN, Feedback, ReputationRegistry};
use bowline_node::open_store;
use bowline_runtime::{Clock, Shutdown, SystemClock, Tasks};
use bowline_types::{EvmAddress, Secret, chain_stream};
use bowline_ves::SecretKey;
use clap::Args;
use serde_json::json;

use crate::settings::Settings;
use crate::{bodies, memory, shown};

/// Blocks of one question when the endpoint alone is measured.
const RANGE_BLOCKS: u64 = 50;
/// Empty blocks on top of the logs, so that all of them are deep.
const BLOCKS_ON_TOP: u64 = 100;
/// Gas of one log, and then some.
const GAS_A_LOG: u64 = 12_000;
const POLL: Duration = Duration::from_millis(20);
const RUN_TIME_MAX: Duration = Duration::from_secs(3_600);

/// `bowline-bench index`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A development node on this machine (chain 31337) without a limit on a block's gas that matters
    #[arg(long, value_name = "URL")]
    rpc_url: String,
    /// Logs
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    logs: u64,
    /// Logs in a transaction, and so in a block
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=2_000))]
    in_block: u64,
    /// Also keep the line here, instead of in a scratch folder
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
}

pub(crate) async fn run(settings: &Settings, options: Options) -> Result<()> {
    let node = Anvil::at(&options.rpc_url);
    let contract = ReputationRegistry::deploy(&node).await;
    let registry: EvmAddress = contract.address().parse()?;
    let blocks = fill(&node, settings, &contract, &options).await;
    let logs = options.logs.div_ceil(options.in_block) * options.in_block;
    let rpc_secs = fetch_all(&options.rpc_url, registry, blocks, logs).await?;
    let (index_secs, engine) = index_all(&options, registry, blocks, logs).await?;
    let rate = |secs: f64| logs as f64 / secs;
    let memory_mib = memory::peak_mib();
    if settings.is_json() {
        let line = json!({
            "logs": logs, "in_block": options.in_block, "contract": registry.to_string(), "store": engine,
            "rpc_seconds": rpc_secs, "rpc_logs_per_sec": rate(rpc_secs), "index_seconds": index_secs,
            "indexed_logs_per_sec": rate(index_secs), "ratio": rpc_secs / index_secs, "peak_memory_mib": memory_mib,
        });
        shown::line(&line.to_string())?;
        return Ok(());
    }
    shown::line(&format!("endpoint alone  {:>9.0} logs/s  ({rpc_secs:.1} s)", rate(rpc_secs)))?;
    shown::line(&format!("on the line     {:>9.0} logs/s  ({index_secs:.1} s, {engine})", rate(index_secs)))?;
    shown::line(&format!("ratio           {:>9.2}", rpc_secs / index_secs))?;
    Ok(())
}

/// Asks for all logs in ranges and parses them; returns seconds.
async fn fetch_all(url: &str, registry: EvmAddress, blocks: u64, logs: u64) -> Result<f64> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bounds = Bounds { requests_per_sec: 0, answer_bytes_max: 64 << 20 };
    let rpc = Rpc::bounded("bench", &[Secret::new(url)], Patience::default(), bounds, Some(CHAIN), &clock)
        .map_err(Error::msg)?;
    let (began, mut found) = (Instant::now(), 0);
    for from in (1..=blocks).step_by(RANGE_BLOCKS as usize) {
        let to = blocks.min(from + RANGE_BLOCKS - 1);
        found += rpc.logs_in_range(&[registry], from, to).await?.len() as u64;
    }
    ensure!(found == logs, "the endpoint has {found} logs instead of {logs}");
    Ok(began.elapsed().as_secs_f64())
}

/// Indexes all into a new store; returns seconds and the store's engine.
async fn index_all(
    options: &Options,
    registry: EvmAddress,
    blocks: u64,
    logs: u64,
) -> Result<(f64, &'static str)> {
    let scratch = tempfile::Builder::new().prefix("bowline-bench-").tempdir()?;
    let mut settings = bowline_node::Config::default().store;
    settings.url = options.store_url.as_deref().map(Secret::new);
    let (store, _) = open_store(&settings, scratch.path().join("bowline.db"), true).await?;
    let (signer, key) = (bodies::signer()?, Arc::new(SecretKey::random()?));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = Config { chains: vec![chain(&options.rpc_url, registry)?], ..Config::default() };
    let dependencies = Dependencies { store: Arc::clone(&store), clock, signer, key };
    let (service, handle) = Service::build(&config, dependencies).map_err(Error::msg)?;
    let tasks = Tasks::new(Shutdown::new());
    let began = Instant::now();
    service.spawn(&tasks);
    let is_done = || {
        let status = handle.status();
        status.iter().all(|chain| chain.state == ChainState::Live && chain.block >= Some(blocks))
    };
    while !is_done() {
        if began.elapsed() > RUN_TIME_MAX {
            bail!("the indexer is not done: {:?}", handle.status());
        }
        tokio::time::sleep(POLL).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let head = store.head(chain_stream(CHAIN)).await?.map_or(0, |head| head.head);
    tasks.shutdown().begin();
    tasks.join(Duration::from_secs(30)).await?;
    let engine = store.engine().name();
    store.close().await;
    ensure!(head == logs, "{head} events are on the line instead of {logs}");
    Ok((seconds, engine))
}

fn chain(url: &str, registry: EvmAddress) -> Result<ChainConfig> {
    let zero = EvmAddress::default().to_string();
    let settings = json!({
        "chain_id": CHAIN, "rpc_urls": url, "start_block": 1, "requests_per_sec": 0,
        "registries": { "identity": zero, "reputation": registry.to_string(), "validation": zero },
    });
    Ok(serde_json::from_value(settings)?)
}

/// Fills the chain; returns its last block.
async fn fill(node: &Anvil, settings: &Settings, registry: &ReputationRegistry, options: &Options) -> u64 {
    let feedback = Feedback {
        agent_id: 1_000,
        index: 1,
        value: 8_750,
        decimals: 2,
        tag1: "quality",
        tag2: "latency",
        endpoint: "https://agent.example/mcp",
        uri: "ipfs://bafybeihhal5hlbylkibniig6j72wdrm7lr4nf6z47natleh2jkyosrg7di",
        hash: [7; 32],
    };
    let gas = 100_000 + options.in_block * GAS_A_LOG;
    let transaction = registry.give_many(&feedback, options.in_block, gas);
    let bar = shown::progress(settings, options.logs, "logs");
    // A block for each transaction, however fast they come.
    node.call("evm_setAutomine", json!([false])).await;
    for _ in 0..options.logs.div_ceil(options.in_block) {
        node.call("eth_sendTransaction", json!([transaction])).await;
        node.call("evm_mine", json!([])).await;
        bar.inc(options.in_block);
    }
    bar.finish_and_clear();
    node.call("evm_setAutomine", json!([true])).await;
    node.mine(BLOCKS_ON_TOP).await;
    node.height().await
}

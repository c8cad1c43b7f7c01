//! `bowline demo`: the main job on real input, in one command.
//!
//! Starts a node of its own on an embedded store, signs real events, feeds them through the public HTTP API,
//! commits them, proves one, exports all, verifies the export offline and shows that a tampered copy is
//! caught. With `--anchor` it also puts the commitments on an EVM chain and holds the export against that. With
//! `--triggers` it shows something else: a chain's logs that set off a webhook. Nothing in it takes a way into the line
//! that a client does not have.

mod anchored;
mod dev_node;
mod evidence;
mod feed;
mod own_node;
mod receiver;
mod reputation;
mod sources;
mod told;
mod triggers;

use std::path::PathBuf;

use bowline_client::Client;
use bowline_line::AutoCommit;
use bowline_node::Config;
use bowline_runtime::{Clock, SystemClock};
use bowline_types::{StoreId, StreamId, TenantId};
use clap::Args;
use serde_json::json;

use crate::operate::serve::stop_signal;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

use anchored::{Anchored, DevChain};
use dev_node::DevNode;
use evidence::Evidence;
use feed::Fed;
use own_node::OwnNode;
use sources::Source;

/// The port that `--serve` listens on if none is given.
const SERVE_PORT: u16 = 8080;

/// What the demo is fed with.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Feed this file of JSON lines (`-` for standard input) instead of the recording and the commits
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Feed the input so many times, each time with fresh event ids
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Leave the node running afterwards
    #[arg(long)]
    serve: bool,
    /// The port to listen on: any free one, and 8080 with --serve
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Anchor the commitments on an EVM development node, and verify the export against it
    #[arg(long)]
    anchor: bool,
    /// Watch an EVM development node instead, and deliver a signed webhook for what a trigger matches
    #[arg(long, conflicts_with_all = ["anchor", "input", "repeat"])]
    triggers: bool,
    /// The development node on this machine [default: starts anvil from --anvil, BOWLINE_ANVIL or the path]
    #[arg(long, value_name = "URL", conflicts_with = "anvil")]
    rpc_url: Option<String>,
    /// The program of the development node that is started
    #[arg(long, value_name = "FILE")]
    anvil: Option<PathBuf>,
}

impl Options {
    /// Refuses what says something of a chain where there is none.
    fn check(&self) -> Result<(), Failure> {
        match (self.anchor || self.triggers, self.rpc_url.is_some() || self.anvil.is_some()) {
            (false, true) => Err(Failure::usage("--rpc-url and --anvil go with --anchor or --triggers")
                .next("`bowline demo --triggers` watches a chain, `bowline demo --anchor` writes to one")),
            _ => Ok(()),
        }
    }

    async fn dev_node(&self) -> Result<DevNode, Failure> {
        DevNode::start(self.rpc_url.as_deref(), self.anvil.as_deref()).await
    }
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    options.check()?;
    if options.triggers {
        return triggers::run(context, &options).await;
    }
    let mut stop = Box::pin(stop_signal()?);
    let chain = match options.anchor {
        true => {
            let started = async { DevChain::start(options.dev_node().await?).await };
            Some(unless_stopped(&mut stop, started).await?)
        }
        false => None,
    };
    let data = data_folder(context, chain.as_ref().map(|_| "demo-anchor"));
    let mut config = Config { data: data.clone(), ..Config::default() };
    config.api.port = options.port.unwrap_or(if options.serve { SERVE_PORT } else { 0 });
    // The demo's client commits by itself, right after the last event.
    config.line.commitments.auto = AutoCommit::Unclaimed;
    config.line.commitments.age_secs = 3_600;
    config.line.commitments.events = u64::MAX;
    if let Some(chain) = &chain {
        config.anchor = chain.settings();
    }
    let node = OwnNode::start(config).await?;
    let shown = show(context, &options, &data, node.client()?, chain.as_ref());
    let shown = unless_stopped(&mut stop, shown).await;
    node.leave(shown, options.serve, stop).await
}

/// Runs `work` until it is done, or somebody tells the demo to stop.
async fn unless_stopped<T>(
    stop: &mut (impl Future<Output = ()> + Unpin),
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        () = stop => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// A chain that the demo has started is gone afterwards, so each line that goes with one has a folder of its own.
fn data_folder(context: &Context, with_chain: Option<&str>) -> PathBuf {
    match with_chain {
        Some(name) => context.data().join(format!("{name}-{}", SystemClock.now().micros() / 1_000)),
        None => context.data().join("demo"),
    }
}

async fn show(
    context: &Context,
    options: &Options,
    data: &std::path::Path,
    client: Client,
    chain: Option<&DevChain>,
) -> Result<(), Failure> {
    let stream = StreamId::new(TenantId::random(), StoreId::random());
    let sources = match &options.input {
        Some(path) => vec![sources::file(path)?],
        None => real_sources()?,
    };
    let fed = feed::run(context, &client, stream, sources, options.repeat).await?;
    let evidence = evidence::gather(context, &client, stream, data, &fed).await?;
    let anchored = match chain {
        Some(chain) => Some((chain, chain.prove(&client, stream, &evidence.verified).await?)),
        None => None,
    };
    report(context, options, stream, data, &fed, &evidence, anchored.as_ref())
}

/// The recording that comes with the binary and, if the demo stands in a git repository, its commits.
fn real_sources() -> Result<Vec<Source>, Failure> {
    let mut sources = vec![sources::casper()?];
    match sources::commits() {
        Ok(commits) => sources.push(commits),
        Err(reason) => output::talk(&format!("No commits are fed: {reason}.")),
    }
    Ok(sources)
}

fn report(
    context: &Context,
    options: &Options,
    stream: StreamId,
    data: &std::path::Path,
    fed: &Fed,
    evidence: &Evidence,
    anchored: Option<&(&DevChain, Anchored)>,
) -> Result<(), Failure> {
    if context.is_json() {
        return output::line(
            &json!({
                "tenant_id": stream.tenant_id,
                "store_id": stream.store_id,
                "events": fed.accepted,
                "rejected": fed.rejected,
                "events_per_sec": fed.events_per_sec(),
                "head_sequence": evidence.head,
                "merkle_root": evidence.merkle_root,
                "state_root": evidence.state_root,
                "proved_sequence": evidence.proved_sequence,
                "proof_valid": true,
                "export": evidence.export,
                "tampered_event": evidence.tampered_sequence,
                "tampering_caught": evidence.caught,
                "anchor": anchored.map(|(_, anchored)| anchored.to_json()),
            })
            .to_string(),
        );
    }
    let rejected = if fed.rejected > 0 { format!(", {} rejected", fed.rejected) } else { String::new() };
    let mut shown = vec![
        ("stream", stream.to_string()),
        ("events", format!("{} accepted{rejected}, from {}", fed.accepted, fed.sources)),
        (
            "speed",
            format!("{:.0} events/s, signed, sent, verified, ordered and durable", fed.events_per_sec()),
        ),
        ("head sequence", evidence.head.to_string()),
        ("merkle root", evidence.merkle_root.clone()),
        ("state root", evidence.state_root.clone()),
        ("proof", format!("event {} is under the root: checked offline", evidence.proved_sequence)),
        ("export", format!("{}: verified offline", evidence.export)),
        (
            "tampered copy",
            format!("event {} changed; caught: {}", evidence.tampered_sequence, evidence.caught),
        ),
    ];
    shown.extend(anchored.into_iter().flat_map(|(chain, anchored)| anchored.told(chain)));
    output::fields(shown)?;
    let data = data.display();
    let (tenant, store) = (stream.tenant_id, stream.store_id);
    let bowline = called();
    let against = match anchored {
        Some((chain, _)) if chain.stays() || options.serve => {
            format!("  {bowline} verify anchor {} {}\n", evidence.export, chain.named())
        }
        _ => String::new(),
    };
    output::talk(&format!(
        "\nNext:\n  {bowline} verify export {}\n{against}  {bowline} serve --data {data} &\n  \
         {bowline} --data {data} head\n  \
         {bowline} --data {data} tail --tenant {tenant} --store {store} --no-follow\n  \
         echo '{{\"hello\":\"line\"}}' | {bowline} --data {data} append",
        evidence.export
    ));
    Ok(())
}

/// As the binary was called, so that lines can be pasted where it is not on the path.
fn called() -> String {
    std::env::args().next().unwrap_or_else(|| "bowline".to_owned())
}

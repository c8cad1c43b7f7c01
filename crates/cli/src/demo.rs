//! `bowline demo`: the main job on real input, in one command.
//!
//! Starts a node of its own on an embedded store, signs real events, feeds them through the public HTTP API,
//! commits them, proves one, exports all, verifies the export offline and shows that a tampered copy is
//! caught. With `--anchor` it also puts the commitments on an EVM chain and holds the export against that. Nothing in
//! it takes a way into the line that a client does not have.

mod anchored;
mod evidence;
mod feed;
mod sources;

use std::path::PathBuf;
use std::time::Duration;

use bowline_line::AutoCommit;
use bowline_node::{Config, Node};
use bowline_runtime::{Clock, Shutdown, SystemClock};
use bowline_types::{StoreId, StreamId, TenantId};
use clap::Args;
use reqwest::Url;
use serde_json::json;

use crate::client::{ApiKey, Client};
use crate::context::{Context, until_interrupted};
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::serve::{start_failed, stop_signal};

use anchored::Anchored;
pub(crate) use anchored::DevChain;
use evidence::Evidence;
use feed::Fed;
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
    /// The development node on this machine [default: starts anvil from BOWLINE_ANVIL or the path]
    #[arg(long, value_name = "URL", requires = "anchor")]
    rpc_url: Option<String>,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    let stop = stop_signal()?;
    let chain = match options.anchor {
        true => Some(until_interrupted(DevChain::start(options.rpc_url.as_deref())).await?),
        false => None,
    };
    let data = data_folder(context, chain.is_some());
    let mut config = Config { data: data.clone(), ..Config::default() };
    config.api.port = options.port.unwrap_or(if options.serve { SERVE_PORT } else { 0 });
    // The demo's client commits by itself, right after the last event.
    config.line.commitments.auto = AutoCommit::Unclaimed;
    config.line.commitments.age_secs = 3_600;
    config.line.commitments.events = u64::MAX;
    if let Some(chain) = &chain {
        config.anchor = chain.settings();
    }
    let node = Node::build(config).await.map_err(start_failed)?;
    let url =
        Url::parse(&format!("http://{}/", node.address())).map_err(|e| Failure::usage(e.to_string()))?;
    let shutdown = Shutdown::new();
    let stopped = shutdown.clone();
    let running = tokio::spawn(async move { node.run(async move { stopped.begun().await }).await });
    output::talk(&format!("A node runs on {url} and keeps its line in {}.", data.display()));
    let shown = until_interrupted(show(context, &options, &data, url.clone(), chain.as_ref())).await;
    if shown.is_ok() && options.serve {
        output::talk(&format!("\nThe node keeps running on {url} (API page: {url}docs). Ctrl-C stops it."));
        stop.await;
    }
    shutdown.begin();
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
    let ended = ended.map_err(|_| Failure::new(Exit::Unreachable, "the node did not stop within 60 s"))?;
    let ended = ended.map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))?;
    shown?;
    ended.map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))?;
    Ok(Exit::Done)
}

/// A chain that the demo has started is gone afterwards, so each line that was anchored has a folder of its own.
fn data_folder(context: &Context, is_anchored: bool) -> PathBuf {
    match is_anchored {
        true => context.data().join(format!("demo-anchor-{}", SystemClock.now().micros() / 1_000)),
        false => context.data().join("demo"),
    }
}

async fn show(
    context: &Context,
    options: &Options,
    data: &std::path::Path,
    url: Url,
    chain: Option<&DevChain>,
) -> Result<(), Failure> {
    let key_file = data.join("admin.key");
    let secret = std::fs::read_to_string(&key_file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", key_file.display())))?;
    let in_shell = format!("$(cat {})", key_file.display());
    let client = Client::new(url, Some(ApiKey { secret: secret.trim().to_owned(), in_shell }))?;
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
    // As it was called, so that the lines can be pasted where the binary is not on the path.
    let bowline = std::env::args().next().unwrap_or_else(|| "bowline".to_owned());
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

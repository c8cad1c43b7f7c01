//! `bowline demo --triggers`: a chain's log becomes an event on the line, the event matches a trigger, and a signed
//! webhook arrives.
//!
//! A development node has a reputation registry, on which two agents are rated: one of them below the trigger's
//! threshold. Everything that is told is asked for over the API, as anybody may, and the webhook is believed only
//! because of its signature.

use std::time::{Duration, Instant};

use bowline_client::{Call, Client};
use bowline_indexer::ChainConfig;
use bowline_node::Config;
use bowline_runtime::Samples;
use bowline_types::{EvmAddress, TenantId};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::dev_node::{DEV_CHAIN, DevNode};
use super::own_node::OwnNode;
use super::receiver::{Received, Receiver};
use super::reputation::{DevRpc, Mined};
use super::told::Told;
use super::{Options, SERVE_PORT, data_folder, unless_stopped};
use crate::operate::serve::stop_signal;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

/// Scores below it set the trigger off.
const THRESHOLD: u8 = 50;

/// The two ratings: agent and score. The second one matches.
const RATINGS: [(u64, u8); 2] = [(399, 92), (398, 35)];

/// What each step may take.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two questions to the node.
const POLL: Duration = Duration::from_millis(50);

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let mut stop = Box::pin(stop_signal()?);
    let prepared = async {
        let dev_node = options.dev_node().await?;
        Ok((Chain::prepare(&dev_node).await?, dev_node))
    };
    let (chain, dev_node) = unless_stopped(&mut stop, prepared).await?;
    output::talk(&format!(
        "{dev_node} (chain {DEV_CHAIN}) and put a reputation registry on it: {}.",
        chain.registry
    ));
    let receiver = Receiver::start().await?;
    let node = OwnNode::start(chain.settings(context, options, &receiver)?).await?;
    let shown = unless_stopped(&mut stop, show(context, options, &node, &chain, &receiver)).await;
    let left = node.leave(shown, options.serve, stop).await;
    // Until here, since a node that serves on goes on to watch it.
    drop(dev_node);
    left
}

/// The development node with a registry on it.
#[derive(Debug)]
pub(super) struct Chain {
    rpc: DevRpc,
    pub(super) url: String,
    pub(super) registry: EvmAddress,
    first_block: u64,
    pub(super) is_own: bool,
}

impl Chain {
    async fn prepare(node: &DevNode) -> Result<Self, Failure> {
        let rpc = DevRpc::new(node.url())?;
        let id = rpc.call("eth_chainId", json!([])).await?;
        if id != format!("{DEV_CHAIN:#x}") {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("the chain has the id {id}, not {DEV_CHAIN}"),
            )
            .next("the demo wants a development node, such as anvil, with its own chain id"));
        }
        let first_block = rpc.height().await? + 1;
        let registry = rpc.deploy_registry().await?;
        Ok(Self { rpc, url: node.url().to_owned(), registry, first_block, is_own: node.is_own() })
    }

    /// A node that indexes it, and may deliver to the receiver and nowhere else on this machine.
    fn settings(&self, context: &Context, options: &Options, receiver: &Receiver) -> Result<Config, Failure> {
        let zero = EvmAddress::default().to_string();
        let chain = json!({
            "chain_id": DEV_CHAIN, "rpc_urls": self.url, "start_block": self.first_block,
            "poll_ms": 100, "requests_per_sec": 0,
            "registries": { "identity": zero, "reputation": self.registry.to_string(), "validation": zero },
        });
        let chain: ChainConfig =
            serde_json::from_value(chain).map_err(|error| Failure::usage(error.to_string()))?;
        let data = data_folder(context, Some("demo-triggers"));
        let mut config = Config { data, ..Config::default() };
        config.api.port = options.port.unwrap_or(if options.serve { SERVE_PORT } else { 0 });
        config.indexer.chains = vec![chain];
        config.triggers.delivery.allow = vec![receiver.place()];
        Ok(config)
    }
}

/// A rating, and what became of it.
#[derive(Debug)]
pub(super) struct Rated {
    pub(super) score: u8,
    pub(super) mined: Mined,
    /// When its transaction was in a block.
    pub(super) at: Instant,
    /// The event on the line.
    pub(super) event: Value,
    /// What a dry run says of it: whether it sets the trigger off, and why.
    pub(super) explanation: Value,
}

async fn show(
    context: &Context,
    options: &Options,
    node: &OwnNode,
    chain: &Chain,
    receiver: &Receiver,
) -> Result<(), Failure> {
    let (client, organization) = (node.client()?, TenantId::random());
    let bar = progress::count(context.quiet(), None);
    let as_organization = |call: Call| call.header("x-organization-id", organization);
    bar.set_message("the trigger is made");
    let made: Value = client.json(&as_organization(trigger(receiver)?)).await?;
    let trigger = made["data"].clone();
    let trigger_id = trigger["id"].as_str().unwrap_or_default().to_owned();

    bar.set_message("the indexer catches up");
    within("the indexer is not live", until_live(&client)).await?;
    within("the trigger is not known", until_counted(&client, "bowline_triggers_loaded", 1)).await?;
    bar.set_message("two agents are rated");
    let mut given = Vec::new();
    for (index, (agent, score)) in (1_u32..).zip(RATINGS) {
        let mined = chain.rpc.give(chain.registry, agent, index.into(), score).await?;
        given.push((score, mined, Instant::now()));
        // Each alone: the way of an event is shown, not of the first one of a new stream.
        let matched = until_counted(&client, "event_processor_events_processed_total", index);
        within("an event is not matched", matched).await?;
    }
    bar.set_message("the webhook is on its way");
    let first = within("no webhook has arrived", async { Ok(receiver.first().await) }).await?;
    let mut ratings = Vec::new();
    for (score, mined, at) in given {
        let event = within("an event is not on the line", on_the_line(&client, &mined)).await?;
        let asked = json!({ "event_id": event["id"] });
        let call = Call::post(&["api", "v1", "triggers", &trigger_id, "dry-run"], &asked)?;
        let explanation: Value = client.json(&as_organization(call)).await?;
        ratings.push(Rated { score, mined, at, event, explanation: explanation["data"].clone() });
    }
    bar.set_message("everything is delivered");
    let deliveries = within("a delivery has not ended", async {
        until_drained(&client).await?;
        ended(&client, &as_organization, &trigger_id).await
    })
    .await?;
    bar.finish_and_clear();
    let received = receiver.received();
    check(&ratings, &first, &received, &deliveries)?;
    let told = Told { chain, organization, trigger: &trigger, ratings: &ratings, received: &received };
    told.print(context, options, node, &deliveries)
}

/// The call that makes the trigger.
fn trigger(receiver: &Receiver) -> Result<Call, Failure> {
    let body = json!({
        "name": format!("scores below {THRESHOLD}"),
        "chain_id": DEV_CHAIN,
        "registry": "reputation",
        "conditions": [
            { "condition_type": "score_threshold", "field": "score", "operator": "<", "value": THRESHOLD },
        ],
        "actions": [{ "action_type": "rest", "config": {
            "method": "POST", "url": receiver.url(), "signing_secrets": [receiver.secret()],
        } }],
    });
    Ok(Call::post(&["api", "v1", "triggers"], &body)?)
}

async fn within<T>(problem: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(WAIT_MAX, work).await.map_err(|_| {
        Failure::new(Exit::Unreachable, format!("{problem} after {} s", WAIT_MAX.as_secs())).next(
            "run the demo again with RUST_LOG=info; if it is the same, look at the development node's log",
        )
    })?
}

async fn until_live(client: &Client) -> Result<(), Failure> {
    loop {
        let status: Value = client.json(&Call::get(&["api", "v1", "indexer", "status"])).await?;
        if status["data"]["chains"][0]["state"] == "live" {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a metric of the node has come so far.
async fn until_counted(client: &Client, metric: &str, count: u32) -> Result<(), Failure> {
    loop {
        let metrics = Samples::parse(&client.text(&Call::get(&["metrics"])).await?);
        if metrics.sum(metric).is_some_and(|counted| counted >= f64::from(count)) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The event that a transaction's log became.
async fn on_the_line(client: &Client, mined: &Mined) -> Result<Value, Failure> {
    loop {
        let call = Call::get(&["api", "v1", "events"]).query("chainId", Some(DEV_CHAIN));
        let page: Value = client.json(&call).await?;
        let events = page["data"].as_array().into_iter().flatten();
        if let Some(event) =
            events.into_iter().find(|event| event["transaction_hash"] == mined.transaction.as_str())
        {
            return Ok(event.clone());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until no job waits or is under way.
async fn until_drained(client: &Client) -> Result<(), Failure> {
    loop {
        let stats: Value = client.json(&Call::get(&["api", "v1", "queue", "stats"])).await?;
        if stats["data"]["waiting"] == 0 && stats["data"]["running"] == 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// All deliveries of the trigger with their attempts, once each has ended.
async fn ended(
    client: &Client,
    as_organization: &impl Fn(Call) -> Call,
    trigger_id: &str,
) -> Result<Vec<Value>, Failure> {
    loop {
        let call = Call::get(&["api", "v1", "deliveries"]).query("trigger_id", Some(trigger_id));
        let page: Value = client.json(&as_organization(call)).await?;
        let found = page["data"].as_array().cloned().unwrap_or_default();
        if found.is_empty() || found.iter().any(|delivery| delivery["ended_at"].is_null()) {
            tokio::time::sleep(POLL).await;
            continue;
        }
        let mut deliveries = Vec::new();
        for delivery in &found {
            let id = delivery["id"].as_str().unwrap_or_default();
            let one: Value =
                client.json(&as_organization(Call::get(&["api", "v1", "deliveries", id]))).await?;
            deliveries.push(one["data"].clone());
        }
        return Ok(deliveries);
    }
}

/// Whether all of it is as it must be: one match, one webhook with a valid signature, of that event.
fn check(
    ratings: &[Rated],
    first: &Received,
    received: &[Received],
    deliveries: &[Value],
) -> Result<(), Failure> {
    let wrong = |problem: String| Err(Failure::no(format!("{problem}, which is a defect")));
    if let Err(problem) = &first.signature {
        return wrong(format!("the webhook's signature does not hold: {problem}"));
    }
    let fires: Vec<&Rated> = ratings.iter().filter(|rated| rated.explanation["would_fire"] == true).collect();
    let ([matched], [delivery], [_]) = (fires.as_slice(), deliveries, received) else {
        return wrong(format!(
            "{} events match, {} deliveries were made and {} webhooks arrived instead of one each",
            fires.len(),
            deliveries.len(),
            received.len()
        ));
    };
    if matched.score >= THRESHOLD || first.body["score"] != matched.score {
        return wrong(format!("the webhook is of score {}", first.body["score"]));
    }
    if delivery["event_id"] != matched.event["id"] || delivery["id"] != first.id.as_str() {
        return wrong("the delivery is of another event than the webhook".to_owned());
    }
    Ok(())
}

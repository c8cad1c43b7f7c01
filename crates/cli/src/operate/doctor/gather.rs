//! Gathers what the checks look at: the node's answers over HTTP, its store from beside it, the backups.
//!
//! What can't be had becomes the reason why, and the checks that need it are skipped with that reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_anchor::checks::AnchorFacts;
use bowline_anchor::status::Status;
use bowline_client::{Call, Client};
use bowline_deliveries::checks::{DeliveryFacts, RedisFacts};
use bowline_deliveries::{RedisConfig, RedisQueue};
use bowline_indexer::checks::{ChainFacts, IndexerFacts};
use bowline_line::checks::{Answer, ClockOffset, LineFacts, NodeFacts};
use bowline_node::DataFolder;
use bowline_runtime::{Clock, Samples, Seen, SystemClock};
use bowline_store::{Diagnostics, PostgresInspector, Scope, SqliteInspector, StoreFacts};
use bowline_triggers::checks::TriggerFacts;
use bowline_types::Timestamp;
use serde_json::Value;

use super::{Options, backups};
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::Failure;
use crate::terminal::output;

/// How long the database may take to be connected to.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long Redis may take to answer.
const REDIS_TIME_MAX: Duration = Duration::from_secs(3);

/// The line's facts.
pub(super) async fn line(context: &Context, options: &Options) -> Result<LineFacts, Failure> {
    let client = context.client()?;
    let (health, node_clock) = health(&client).await;
    // A node that is not there is not asked further.
    let (ready, metrics, node) = match &health {
        Err(reason) => (Err(reason.clone()), Err(reason.clone()), Err(reason.clone())),
        Ok(_) => (ready(&client).await, metrics(context, &client, options).await?, node(&client).await),
    };
    let (store, database_clock) = match inspector(context, options, &node).await {
        Ok(inspector) => ask(inspector.as_ref(), options).await,
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    let backup = match &options.backups {
        Some(place) => backups::newest(place).await,
        None => Err("no place of backups is named: give --backups PLACE".to_owned()),
    };
    let now = SystemClock.now();
    Ok(LineFacts {
        health,
        ready,
        metrics,
        window_secs: options.window,
        node,
        node_clock,
        store,
        database_clock,
        backup,
        now,
    })
}

/// The anchors' facts, of a node that answered or did not.
pub(super) async fn anchor(context: &Context, line: &LineFacts) -> Result<AnchorFacts, Failure> {
    let status = match &line.health {
        Err(reason) => Err(reason.clone()),
        Ok(_) => anchors(&context.client()?).await,
    };
    Ok(AnchorFacts { status, now: SystemClock.now() })
}

async fn anchors(client: &Client) -> Seen<Status> {
    match get(client, &["api", "v1", "anchors", "status"]).await? {
        (200, text, _) => {
            serde_json::from_str(&text).map_err(|error| format!("it is not understood: {error}"))
        }
        (status, ..) => Err(refusal("/api/v1/anchors/status", status)),
    }
}

/// The indexer's facts, of the process that was named for it, or else of the node.
pub(super) async fn indexer(
    context: &Context,
    options: &Options,
    line: &LineFacts,
) -> Result<IndexerFacts, Failure> {
    let chains = match (&options.indexer_url, &line.health) {
        (Some(url), _) => chains(&context.client_of(url)?, &["status"]).await,
        (None, Ok(_)) => chains(&context.client()?, &["api", "v1", "indexer", "status"]).await,
        (None, Err(reason)) => Err(reason.clone()),
    };
    let sources = line.store.as_ref().map_err(Clone::clone).and_then(|store| store.sources.clone());
    Ok(IndexerFacts { chains, sources, now: SystemClock.now() })
}

/// A status has its chains at its top, or in its data.
async fn chains(client: &Client, path: &[&str]) -> Seen<Vec<ChainFacts>> {
    let (status, text, _) = get(client, path).await?;
    if status != 200 {
        return Err(refusal(&format!("/{}", path.join("/")), status));
    }
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let chains = [&body["data"]["chains"], &body["chains"]].into_iter().find(|chains| chains.is_array());
    let chains = chains.ok_or_else(|| "it tells of no chains".to_owned())?;
    serde_json::from_value(chains.clone()).map_err(|error| format!("it is not understood: {error}"))
}

/// The facts of triggers.
pub(super) fn triggers(line: &LineFacts) -> TriggerFacts {
    TriggerFacts { store: line.store.clone(), now: SystemClock.now() }
}

/// The facts of deliveries.
pub(super) async fn deliveries(options: &Options, line: &LineFacts) -> DeliveryFacts {
    let redis = match &options.redis_url {
        Some(url) => Some(redis(url).await),
        None => None,
    };
    DeliveryFacts { store: line.store.clone(), redis, now: SystemClock.now() }
}

async fn redis(url: &str) -> Seen<RedisFacts> {
    let asked = async {
        let queue = RedisQueue::connect(RedisConfig::at(url)).await?;
        queue.memory_bytes().await
    };
    let asked = tokio::time::timeout(REDIS_TIME_MAX, asked).await;
    let asked = asked.map_err(|_| format!("no answer within {} ms", REDIS_TIME_MAX.as_millis()))?;
    asked.map(|memory_bytes| RedisFacts { memory_bytes }).map_err(|error| error.to_string())
}

/// Status and body of a path, and how long they took.
async fn get(client: &Client, path: &[&str]) -> Seen<(u16, String, u64)> {
    let began = Instant::now();
    let answer = client.answer(&Call::get(path)).await;
    let (status, text) = answer.map_err(|error| Failure::from(error).cause)?;
    Ok((status, text, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

async fn health(client: &Client) -> (Seen<Answer>, Seen<ClockOffset>) {
    let asked = SystemClock.now();
    let got = get(client, &["health"]).await;
    let answered = SystemClock.now();
    let (status, text, took_ms) = match got {
        Ok(got) => got,
        Err(reason) => return (Err(reason.clone()), Err(reason)),
    };
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let told: Option<Timestamp> = body["timestamp"].as_str().and_then(|text| text.parse().ok());
    let clock = told.map(|told| ClockOffset::of(told, asked, answered));
    let says = body["status"].as_str().unwrap_or("not the JSON of a node").to_owned();
    (Ok(Answer { status, says, took_ms }), clock.ok_or_else(|| "the node does not tell its time".to_owned()))
}

async fn ready(client: &Client) -> Seen<Answer> {
    let (status, text, took_ms) = get(client, &["ready"]).await?;
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let failing = body["failing"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = body["status"].as_str().into_iter().chain(failing).collect();
    Ok(Answer { status, says: words.join(" "), took_ms })
}

async fn metrics(context: &Context, client: &Client, options: &Options) -> Result<Seen<Samples>, Failure> {
    let before = scrape(client).await;
    let (Ok(before), Some(secs)) = (&before, options.window) else { return Ok(before) };
    if !context.quiet() {
        output::talk(&format!("watching the node for {secs} s"));
    }
    let pause = async {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        Ok(())
    };
    until_interrupted(pause).await?;
    Ok(scrape(client).await.map(|after| after.since(before)))
}

async fn scrape(client: &Client) -> Seen<Samples> {
    match get(client, &["metrics"]).await? {
        (200, text, _) => Ok(Samples::parse(&text)),
        (status, ..) => Err(refusal("/metrics", status)),
    }
}

async fn node(client: &Client) -> Seen<NodeFacts> {
    match get(client, &["health", "detailed"]).await? {
        (200, text, _) => {
            serde_json::from_str(&text).map_err(|error| format!("it is not understood: {error}"))
        }
        (status, ..) => Err(refusal("/health/detailed", status)),
    }
}

fn refusal(path: &str, status: u16) -> String {
    match status {
        401 | 403 => {
            format!("{path} answers {status}: give an administrator's key with --api-key or BOWLINE_API_KEY")
        }
        status => format!("{path} answers {status}"),
    }
}

/// Who looks at the store: at the database that is named, else at the data folder's file.
async fn inspector(
    context: &Context,
    options: &Options,
    node: &Seen<NodeFacts>,
) -> Seen<Arc<dyn Diagnostics>> {
    if let Some(url) = &options.database_url {
        let connecting =
            tokio::time::timeout(CONNECT_TIME_MAX, PostgresInspector::connect(url, bowline_node::schema()))
                .await;
        let connected =
            connecting.map_err(|_| format!("no connection within {} s", CONNECT_TIME_MAX.as_secs()))?;
        return connected.map_err(|error| error.to_string());
    }
    if node.as_ref().is_ok_and(|node| node.store.engine == "postgres") {
        return Err("the node's line is in PostgreSQL: give --database-url or DATABASE_URL".to_owned());
    }
    let file = DataFolder::database_in(context.data());
    if !context.is_local() || !file.is_file() {
        let place = file.display();
        return Err(format!("there is no {place} on this machine: give --data or --database-url"));
    }
    SqliteInspector::open(&file, bowline_node::schema()).await.map_err(|error| error.to_string())
}

async fn ask(inspector: &dyn Diagnostics, options: &Options) -> (Seen<StoreFacts>, Seen<ClockOffset>) {
    let asked = SystemClock.now();
    let told = inspector.database_time().await;
    let clock = told.map(|told| ClockOffset::of(told, asked, SystemClock.now()));
    let scope = if options.deep { Scope::WHOLE } else { Scope::default() };
    let facts = inspector.diagnose(scope).await;
    (facts.map_err(|error| error.to_string()), clock.map_err(|error| error.to_string()))
}

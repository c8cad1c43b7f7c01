//! `bowline queue`: how many deliveries wait, and waiting until none does.
//! It only asks the API; nothing here touches a queue.

use std::time::Duration;

use bowline_client::{Call, Client, answers};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;
use crate::terminal::progress;

const PATH: [&str; 4] = ["api", "v1", "queue", "stats"];

/// Between two looks at a queue that is to become empty.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// `bowline queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show how full the queue is, and what holds it back
    Stats,
    /// Wait until nothing waits and nothing is under way; exit 1 if that takes too long
    Drain(DrainOptions),
}

/// `bowline queue drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainOptions {
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Stats,
}

#[derive(Debug, Deserialize)]
struct Stats {
    waiting: u64,
    due: u64,
    running: u64,
    dead: u64,
    oldest_due_secs: Option<u64>,
    redis: Value,
    breakers: Vec<Value>,
    breakers_open: u64,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::Stats => stats(context).await,
        What::Drain(options) => drain(context, options).await,
    }
}

async fn stats(context: &Context) -> Outcome {
    let Some(text) = context.call(&Call::get(&PATH)).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let Answer { data: stats } = answers::parse(&text)?;
    let oldest = stats.oldest_due_secs.map(|secs| format!(", the oldest for {secs} s")).unwrap_or_default();
    let redis = match (&stats.redis, stats.redis["problem"].as_str()) {
        (Value::Null, _) => "not configured".to_owned(),
        (_, Some(problem)) => problem.to_owned(),
        (shown, None) => format!("{} wait, {} dead", shown["waiting"], shown["dead"]),
    };
    output::fields([
        ("waiting", stats.waiting.to_string()),
        ("due", format!("{}{oldest}", stats.due)),
        ("under way", stats.running.to_string()),
        ("dead", stats.dead.to_string()),
        ("in Redis", redis),
        ("breakers not closed", stats.breakers_open.to_string()),
    ])?;
    if !stats.breakers.is_empty() {
        output::line("")?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let rows = stats.breakers.iter().map(|breaker| {
            let before = match breaker["trigger_id"].as_str() {
                Some(id) => format!("trigger {id}"),
                None => text(&breaker["destination"]),
            };
            [before, text(&breaker["state"]), text(&breaker["failure_count"]), text(&breaker["opened_at"])]
        });
        output::table(["breaker before", "state", "failures", "open since"], rows)?;
    }
    if stats.dead > 0 {
        output::talk("next: `bowline deliveries list --state dead` says why deliveries were given up");
    }
    Ok(Exit::Done)
}

async fn drain(context: &Context, options: DrainOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let left = until_interrupted(wait(context, &client, Duration::from_secs(options.timeout))).await?;
    if context.is_json() {
        output::line(&json!({ "drained": left == 0, "left": left }).to_string())?;
    }
    match left {
        0 if context.is_json() => Ok(Exit::Done),
        0 => output::line("nothing waits and nothing is under way").map(|()| Exit::Done),
        left => Err(Failure::no(format!(
            "{left} deliveries still wait or are under way after {} s",
            options.timeout
        ))
        .next("`bowline queue stats` shows what holds them back; start more workers, or wait longer")),
    }
}

/// How many are left when nothing is, or when the time is over.
async fn wait(context: &Context, client: &Client, patience: Duration) -> Result<u64, Failure> {
    let until = Instant::now() + patience;
    let call = Call::get(&PATH);
    let mut most = 0;
    let bar = progress::count(context.quiet(), Some(0));
    loop {
        let Answer { data: stats } = client.json(&call).await?;
        let left = stats.waiting + stats.running;
        most = left.max(most);
        bar.set_length(most);
        bar.set_position(most - left);
        bar.set_message(format!("{} waiting, {} under way", stats.waiting, stats.running));
        if left == 0 || Instant::now() >= until {
            bar.finish_and_clear();
            return Ok(left);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

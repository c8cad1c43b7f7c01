//! `bowline dead-letters`: events that were not taken for a reason that somebody can mend.
//!
//! The procedure is: list them, look at one, mend the cause, retry; what is taken is no letter any more. Refuses to
//! retry or delete everything without being told so.

use bowline_client::{Call, Client, answers};
use bowline_types::LetterId;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

const PATH: [&str; 3] = ["api", "v1", "dead-letters"];

/// Letters that one call retries or lists when all are meant.
const PAGE: u64 = 100;

/// Characters of an error that a table shows.
const PROBLEM_CHARS_MAX: usize = 80;

/// `bowline dead-letters`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show letters, the newest first
    List(ListOptions),
    /// Show one letter with its event
    Show(ShowOptions),
    /// Try letters again; those whose events are taken are gone
    Retry(ManyOptions),
    /// Delete letters whose events nobody wants any more
    Delete(ManyOptions),
}

/// Which letters.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    stream: StreamArgs,
    /// Only with this reason, such as `schema_validation` or `version_conflict`
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Only with this status: pending, retrying, failed or resolved
    #[arg(long, value_name = "WORD")]
    status: Option<String>,
    /// Only what this follower put aside
    #[arg(long, value_name = "NAME")]
    follower: Option<String>,
}

/// `bowline dead-letters list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    filter: Filter,
    /// Letters at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Go on where the list before ended: its `next`
    #[arg(long, value_name = "NEXT")]
    page: Option<String>,
}

/// `bowline dead-letters show`.
#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// The letter's id
    id: LetterId,
}

/// `bowline dead-letters retry` and `delete`.
#[derive(Debug, Args)]
pub(crate) struct ManyOptions {
    /// The letters' ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Vec<LetterId>,
    /// All that match the options below; of those that are retried the pending ones, if no status is given
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Deserialize)]
struct Page {
    dead_letters: Vec<Letter>,
    total: u64,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Letter {
    id: LetterId,
    event_id: String,
    event_type: String,
    reason: String,
    status: String,
    error_message: String,
    retry_count: u64,
    max_retries: u64,
    created_at: String,
}

/// What became of one letter, as the server wrote it.
#[derive(Debug, Deserialize)]
struct Retried {
    id: LetterId,
    event_id: String,
    outcome: String,
    #[serde(default)]
    sequence_number: Option<u64>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    follower: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RetriedPage {
    results: Vec<Value>,
    next: Option<String>,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::List(options) => list(context, options).await,
        What::Show(options) => show(context, options).await,
        What::Retry(options) => retry(context, options).await,
        What::Delete(options) => delete(context, options).await,
    }
}

impl Filter {
    fn call(&self) -> Call {
        Call::get(&PATH)
            .query("tenant_id", self.stream.tenant)
            .query("store_id", self.stream.store)
            .query("reason", self.reason.as_ref())
            .query("status", self.status.as_ref())
            .query("follower", self.follower.as_ref())
    }

    fn body(&self, page: Option<&str>) -> Value {
        json!({
            "tenant_id": self.stream.tenant, "store_id": self.stream.store, "reason": self.reason,
            "status": self.status, "follower": self.follower, "limit": PAGE, "page": page,
        })
    }
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let call = options.filter.call().query("limit", options.limit).query("page", options.page);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let page: Page = answers::parse(&text)?;
    if page.dead_letters.is_empty() {
        output::talk("there are no such dead letters");
        return Ok(Exit::Done);
    }
    let count = page.dead_letters.len() as u64;
    let rows = page.dead_letters.into_iter().map(|letter| {
        [
            letter.id.to_string(),
            letter.status,
            letter.reason,
            letter.event_type,
            format!("{}/{}", letter.retry_count, letter.max_retries),
            letter.created_at,
            output::shown(&letter.error_message, PROBLEM_CHARS_MAX),
        ]
    });
    output::table(["id", "status", "reason", "event type", "tries", "kept at", "error"], rows)?;
    if let Some(next) = page.next.filter(|_| page.total > count) {
        output::talk(&format!("{count} of {} letters; go on with --page {next}", page.total));
    }
    Ok(Exit::Done)
}

async fn show(context: &Context, options: ShowOptions) -> Outcome {
    #[derive(Deserialize)]
    struct Shown {
        #[serde(flatten)]
        letter: Letter,
        tenant_id: String,
        store_id: String,
        seen_count: u64,
    }
    #[derive(Deserialize)]
    struct Sent {
        payload: Option<Box<RawValue>>,
    }
    let id = options.id.to_string();
    let Some(text) = context.call(&Call::get(&[&PATH[..], &[&id]].concat())).await? else {
        return Ok(Exit::Done);
    };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let shown: Shown = answers::parse(&text)?;
    let sent: Sent = answers::parse(&text)?;
    let letter = shown.letter;
    output::fields([
        ("letter", letter.id.to_string()),
        ("event", letter.event_id),
        ("stream", format!("{}/{}", shown.tenant_id, shown.store_id)),
        ("event type", letter.event_type),
        ("status", letter.status),
        ("reason", letter.reason),
        ("error", letter.error_message),
        ("tries", format!("{} of {}", letter.retry_count, letter.max_retries)),
        ("came", format!("{} times", shown.seen_count)),
        ("kept at", letter.created_at),
    ])?;
    if let Some(payload) = sent.payload {
        output::line(&output::shown(payload.get(), usize::MAX))?;
    }
    Ok(Exit::Done)
}

async fn retry(context: &Context, options: ManyOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let results = match options.all {
        true => retry_all(context, &client, &options.filter).await?,
        false => retry_each(context, &client, &options.id).await?,
    };
    report(context, results)
}

async fn retry_each(context: &Context, client: &Client, ids: &[LetterId]) -> Result<Vec<Value>, Failure> {
    let bar = progress::count(context.quiet(), Some(ids.len() as u64));
    let mut results = Vec::with_capacity(ids.len());
    for id in ids {
        let call = Call::post(&[&PATH[..], &[&id.to_string(), "retry"]].concat(), &json!({}))?;
        results.push(client.json(&call).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(results)
}

async fn retry_all(context: &Context, client: &Client, filter: &Filter) -> Result<Vec<Value>, Failure> {
    let bar = progress::count(context.quiet(), Some(expected(client, filter).await?));
    let (mut results, mut page) = (Vec::new(), None);
    loop {
        let body = filter.body(page.as_deref());
        let tried: RetriedPage = client.json(&Call::post(&[&PATH[..], &["retry"]].concat(), &body)?).await?;
        bar.inc(tried.results.len() as u64);
        results.extend(tried.results);
        page = tried.next;
        if page.is_none() {
            bar.finish_and_clear();
            return Ok(results);
        }
    }
}

/// How many letters a retry of all will try.
async fn expected(client: &Client, filter: &Filter) -> Result<u64, Failure> {
    let call = filter.call().query("limit", Some(1));
    let call = if filter.status.is_none() { call.query("status", Some("pending")) } else { call };
    Ok(client.json::<Page>(&call).await?.total)
}

fn report(context: &Context, results: Vec<Value>) -> Outcome {
    let count = |word: &str| results.iter().filter(|result| result["outcome"] == word).count();
    let (taken, refused, handed) = (count("taken"), count("refused"), count("handed"));
    let exit = if refused > 0 { Exit::No } else { Exit::Done };
    if context.is_json() {
        let answer = json!({ "taken": taken, "refused": refused, "handed": handed, "results": results });
        output::line(&answer.to_string())?;
        return Ok(exit);
    }
    let results = results.into_iter().map(|result| answers::parse::<Retried>(&result.to_string()));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    let rows = results.into_iter().map(|one| {
        let what = match (one.sequence_number, one.message, one.follower) {
            (Some(number), ..) => format!("it is event {number}"),
            (_, Some(message), _) => message,
            (_, _, Some(follower)) => format!("the follower {follower} takes it when it comes round"),
            (None, None, None) => String::new(),
        };
        [one.id.to_string(), one.event_id, one.outcome, what]
    });
    if taken + refused + handed > 0 {
        output::table(["letter", "event", "outcome", ""], rows)?;
    }
    output::talk(&format!("{taken} taken, {refused} refused again, {handed} handed to followers"));
    Ok(exit)
}

async fn delete(context: &Context, options: ManyOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let mut ids = options.id;
    if options.all {
        ids = all_ids(&client, &options.filter).await?;
    }
    let bar = progress::count(context.quiet(), Some(ids.len() as u64));
    let count = ids.len();
    for id in ids {
        client.text(&Call::delete(&[&PATH[..], &[&id.to_string()]].concat())).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    match context.is_json() {
        true => output::line(&json!({ "deleted": count }).to_string())?,
        false => output::line(&format!("{count} dead letters deleted"))?,
    }
    Ok(Exit::Done)
}

async fn all_ids(client: &Client, filter: &Filter) -> Result<Vec<LetterId>, Failure> {
    let (mut ids, mut page) = (Vec::new(), None);
    loop {
        let call = filter.call().query("limit", Some(PAGE)).query("page", page);
        let found: Page = client.json(&call).await?;
        ids.extend(found.dead_letters.iter().map(|letter| letter.id));
        page = found.next;
        if page.is_none() {
            return Ok(ids);
        }
    }
}

//! `bowline triggers`: rules over the line, made, changed, tried out and looked at.
//!
//! The server checks what a trigger may be and says which field is wrong; nothing is judged here.

mod breaker;
mod list;
mod show;
mod trials;
mod write;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bowline_client::{ApiError, Call};
use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

use super::OrganizationArgs;
use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Failure, Outcome};
use crate::terminal::local::Remembered;

pub(crate) const PATH: [&str; 3] = ["api", "v1", "triggers"];

/// `bowline triggers`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show triggers, the oldest first
    List(list::Options),
    /// Show one trigger with its conditions and actions
    Show(One),
    /// Make a trigger from a JSON file
    Create(write::CreateOptions),
    /// Change what a JSON file names of a trigger
    Update(write::UpdateOptions),
    /// Delete a trigger, what it remembers, and its jobs that nobody has begun
    Delete(One),
    /// Let a trigger be matched
    Enable(One),
    /// Let a trigger not be matched
    Disable(One),
    /// Say whether a trigger would fire on an event, and why; exit 1 if it would not
    DryRun(trials::DryRunOptions),
    /// Say when a trigger would have fired on the events of the past
    Backtest(trials::BacktestOptions),
    /// Carry a trigger's actions out once, now; exit 1 if one fails
    Test(trials::TestOptions),
    /// Show what a trigger remembers, by condition and agent
    State(One),
    /// Show a trigger's circuit breaker, change it, or close it
    Breaker(breaker::Options),
}

/// One trigger.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The trigger's id
    id: Uuid,
    #[command(flatten)]
    organization: OrganizationArgs,
}

impl One {
    fn path<'a>(id: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        [&PATH[..], &[id], rest].concat()
    }
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::List(options) => list::run(context, options).await,
        What::Show(one) => show::run(context, one).await,
        What::Create(options) => write::create(context, options).await,
        What::Update(options) => write::update(context, options).await,
        What::Delete(one) => write::delete(context, one).await,
        What::Enable(one) => write::switch(context, one, true).await,
        What::Disable(one) => write::switch(context, one, false).await,
        What::DryRun(options) => trials::dry_run(context, options).await,
        What::Backtest(options) => trials::backtest(context, options).await,
        What::Test(options) => trials::test(context, options).await,
        What::State(one) => trials::state(context, one).await,
        What::Breaker(options) => breaker::run(context, options).await,
    }
}

/// A JSON file; `-` is standard input.
fn read_json(path: &Path) -> Result<Value, Failure> {
    let refused = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot use {}: {error}", path.display())).next(
            "write JSON such as {\"name\":\"n\",\"registry\":\"reputation\",\"conditions\":[],\"actions\":[]}",
        )
    };
    let mut text = String::new();
    match path == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(path).map(|read| text = read),
    }
    .map_err(|error| refused(&error))?;
    serde_json::from_str(&text).map_err(|error| refused(&error))
}

/// Makes a call that needs an organization. An administrator's key has none of its own: then it is the remembered
/// tenant, which is made on first use.
async fn call_for_one(
    context: &Context,
    organization: OrganizationArgs,
    call: Call,
) -> Result<Option<String>, Failure> {
    let client = context.client()?;
    let call = organization.on(call);
    if context.prints(&client, &call) {
        return Ok(None);
    }
    match client.text(&call).await {
        Err(ApiError::Refused { code, message, .. })
            if code == "MISSING_REQUIRED_FIELD" && message.contains("X-Organization-ID") =>
        {
            let remembered = Remembered::load_or_create(context.data(), StreamArgs::default())?;
            let organization = OrganizationArgs { organization: Some(remembered.tenant_id) };
            Ok(Some(client.text(&organization.on(call)).await?))
        }
        answered => Ok(Some(answered?)),
    }
}

/// Where a JSON file is.
#[derive(Debug, Args)]
struct FileArgs {
    /// A JSON file; - for standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
}

//! `bowline triggers breaker`: whether deliveries of a trigger pass, and since when not.

use bowline_client::{Call, answers};
use clap::Args;
use serde_json::{Map, Value, json};

use super::One;
use super::show::cell;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline triggers breaker`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    one: One,
    /// Close it and forget its failures
    #[arg(long, conflicts_with_all = ["failures", "recovery_secs", "half_open"])]
    reset: bool,
    /// Failures in a row that open it, 1 to 1000
    #[arg(long, value_name = "COUNT")]
    failures: Option<u32>,
    /// Seconds until it is tried again, 60 to 604800
    #[arg(long, value_name = "SECONDS")]
    recovery_secs: Option<u32>,
    /// Deliveries that try it out, 1 to 10
    #[arg(long, value_name = "COUNT")]
    half_open: Option<u32>,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let id = options.one.id.to_string();
    let wishes = [
        ("failure_threshold", options.failures),
        ("recovery_timeout_seconds", options.recovery_secs),
        ("half_open_max_calls", options.half_open),
    ];
    let wishes: Map<String, Value> =
        wishes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect();
    let call = match (options.reset, wishes.is_empty()) {
        (true, _) => Call::post(&One::path(&id, &["circuit-breaker", "reset"]), &json!({}))?,
        (false, false) => Call::patch(&One::path(&id, &["circuit-breaker"]), &wishes)?,
        (false, true) => Call::get(&One::path(&id, &["circuit-breaker"])),
    };
    let Some(text) = context.call(&options.one.organization.on(call)).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let answer: Value = answers::parse(&text)?;
    let breaker = &answer["data"];
    output::fields([
        ("trigger", id),
        ("state", cell(&breaker["state"])),
        ("failures in a row", cell(&breaker["failure_count"])),
        ("last failure", cell(&breaker["last_failure_at"])),
        ("open since", cell(&breaker["opened_at"])),
        ("opens after", format!("{} failures in a row", cell(&breaker["config"]["failure_threshold"]))),
        ("tried again after", format!("{} s", cell(&breaker["config"]["recovery_timeout_seconds"]))),
    ])?;
    if breaker["state"] == "open" {
        output::talk(
            "next: `bowline deliveries list --state dead` says why; mend the receiver, then --reset or wait",
        );
    }
    Ok(Exit::Done)
}

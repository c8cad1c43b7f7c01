//! `bowline indexer`: how far chains are on the line.

use bowline_client::{Call, answers};
use clap::Subcommand;
use serde_json::Value;

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// Characters of an error in the table.
const PROBLEM_CHARS_MAX: usize = 60;

/// `bowline indexer`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show every chain: how far it is, how fast, and what is in the way; exit 1 if a chain is away
    Status,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    let What::Status = what;
    let Some(text) = context.call(&Call::get(&["api", "v1", "indexer", "status"])).await? else {
        return Ok(Exit::Done);
    };
    let answer: Value = answers::parse(&text)?;
    let chains: Vec<&Value> = answer["data"]["chains"].as_array().into_iter().flatten().collect();
    let exit = if chains.iter().any(|chain| chain["state"] == "away") { Exit::No } else { Exit::Done };
    if context.is_json() {
        output::line(&text)?;
        return Ok(exit);
    }
    if chains.is_empty() {
        output::talk(
            "no chain is indexed; set indexer.chains, or BASE_SEPOLIA_RPC_URL and the like, and restart the node",
        );
        return Ok(exit);
    }
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let rows = chains.iter().map(|chain| {
        let name = chain["name"].as_str().map_or_else(|| number(&chain["chain_id"]), str::to_owned);
        let percent = chain["percent"].as_f64().map(|percent| format!("{percent:.1} %"));
        let speed = chain["blocks_per_sec"].as_f64().filter(|speed| *speed > 0.0);
        [
            name,
            chain["state"].as_str().unwrap_or("-").to_owned(),
            number(&chain["block"]),
            number(&chain["head"]),
            number(&chain["lag_blocks"]),
            percent.unwrap_or_else(|| "-".to_owned()),
            speed.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.0}/s")),
            output::shown(chain["last_error"].as_str().unwrap_or_default(), PROBLEM_CHARS_MAX),
        ]
    });
    output::table(["chain", "state", "block", "head", "behind", "done", "blocks", "error"], rows)?;
    Ok(exit)
}

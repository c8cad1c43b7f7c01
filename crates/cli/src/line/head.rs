//! `bowline head`: the last sequence number of a stream, or of every stream that the key may see.
//!
//! The numbers are the server's word; only `verify export` checks what stands behind them.

use bowline_client::answers::{Head, Streams};
use bowline_client::{Call, answers};
use clap::Args;

use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline head`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stream: StreamArgs,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    let all = options.stream.tenant.is_none() && options.stream.store.is_none();
    let call = match all {
        true => Call::get(&["api", "v1", "ves", "streams"]),
        false => Call::get(&["api", "v1", "ves", "head"]).stream(context.stream(options.stream)?),
    };
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let heads = match all {
        true => answers::parse::<Streams>(&text)?.streams,
        false => vec![answers::parse::<Head>(&text)?],
    };
    if heads.is_empty() {
        output::talk("there are no streams yet; `bowline append` makes one");
        return Ok(Exit::Done);
    }
    output::table(["tenant", "store", "head", "committed", "updated at"], heads.iter().map(row))?;
    Ok(Exit::Done)
}

fn row(head: &Head) -> [String; 5] {
    let stream = head.stream();
    [
        stream.tenant_id.to_string(),
        stream.store_id.to_string(),
        head.head_sequence.to_string(),
        head.committed_sequence.to_string(),
        head.updated_at.clone().unwrap_or_default(),
    ]
}

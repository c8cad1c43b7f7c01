//! `ves-commit-and-anchor`: commits a range of a stream, and says that no chain is configured to anchor it to.
//!
//! The commitment is made and valid; the exit code is 1, because half of what was asked for was not done.

use std::sync::Arc;

use bowline_line::{CommitError, CommitRange, Commitments};
use bowline_runtime::SystemClock;
use bowline_store::CommitmentOrigin;
use bowline_types::Code;
use clap::Args;
use serde_json::json;

use super::{Place, StreamArgs, store_failed};
use crate::direct::DirectStore;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;

/// `ves-commit-and-anchor`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    stream: StreamArgs,
    /// First sequence number; the one after the last commitment if left out
    #[arg(long, value_name = "SEQ")]
    sequence_start: Option<u64>,
    /// Last sequence number; the head if left out, but no more than --max-events
    #[arg(long, value_name = "SEQ")]
    sequence_end: Option<u64>,
    /// Events of the commitment at most
    #[arg(long, value_name = "COUNT", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    max_events: u64,
}

pub(super) async fn run(place: &Place, direct: &DirectStore, options: Options) -> Outcome {
    let stream = options.stream.stream();
    let commitments = Commitments::new(Arc::clone(&direct.store), Arc::new(SystemClock), options.max_events);
    let range = CommitRange { sequence_start: options.sequence_start, sequence_end: options.sequence_end };
    let made = commitments.commit(stream, range, CommitmentOrigin::Client).await;
    let commitment = made.map_err(commit_failed)?.commitment;
    let code = Code::AnchorNotConfigured;
    match place.json {
        true => {
            let mut answer = commitment.to_json();
            answer["anchored"] = json!(false);
            answer["anchor_error"] = json!({ "code": code.as_str(), "numeric_code": code.number() });
            output::line(&answer.to_string())?;
        }
        false => output::fields([
            ("batch", commitment.batch_id.to_string()),
            ("events", format!("{} to {}", commitment.sequence_start, commitment.sequence_end)),
            ("merkle root", commitment.merkle_root.to_string()),
            ("state root", commitment.new_state_root.to_string()),
            ("anchored", format!("no ({code})")),
        ])?,
    }
    output::talk(&format!("{code}: the commitment is made and valid, and there is no chain to anchor it to"));
    Ok(Exit::No)
}

fn commit_failed(error: CommitError) -> Failure {
    match error {
        CommitError::Store(error) => store_failed(error),
        error => Failure::no(format!("{}: {error}", error.code())),
    }
}

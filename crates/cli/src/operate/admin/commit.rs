//! `ves-commit-and-anchor`: commits a range of a stream, and puts it on the chain of the environment's settings.
//!
//! It works on the database as an anchoring process of its own, under the lease that all of them share: if a node
//! holds that, the node is woken and does it. Without a chain the commitment is made and valid, and the exit code is 1,
//! because half of what was asked for was not done.

use std::sync::Arc;
use std::time::Duration;

use bowline_anchor::{AnchorError, Anchored, Dependencies, Handle, LEASE, Progress, Service};
use bowline_line::{CommitError, CommitRange, Commitments};
use bowline_runtime::{Clock, Shutdown, SystemClock};
use bowline_store::CommitmentOrigin;
use bowline_types::{BatchId, EvmHash};
use bowline_ves::Commitment;
use clap::Args;
use serde_json::{Value, json};

use super::{Place, StreamArgs, store_failed};
use crate::operate::direct::DirectStore;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `ves-commit-and-anchor`.
#[derive(Debug, Args)]
#[command(after_help = "\
The chain is that of the environment: L2_RPC_URL, L2_CHAIN_ID, SET_REGISTRY_ADDRESS and SEQUENCER_PRIVATE_KEY.
Exit 0: a block has the anchor; 1: it is committed, and not in a block yet, which the answer explains.")]
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
    /// Seconds to wait for a block that has the anchor
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    wait_secs: u64,
}

pub(super) async fn run(place: &Place, direct: &DirectStore, options: Options) -> Outcome {
    let anchors = Anchors::of(place, direct)?;
    let stream = options.stream.stream();
    let commitments = Commitments::new(Arc::clone(&direct.store), Arc::new(SystemClock), options.max_events);
    let range = CommitRange { sequence_start: options.sequence_start, sequence_end: options.sequence_end };
    let made = commitments.commit(stream, range, CommitmentOrigin::Client).await;
    let commitment = made.map_err(commit_failed)?.commitment;
    let wait = Duration::from_secs(options.wait_secs);
    let outcome = anchors.anchor(direct, commitment.batch_id, wait).await;
    report(place, &commitment, &outcome)
}

/// An anchoring process, and what one asks it for.
struct Anchors {
    service: Service,
    handle: Handle,
}

impl Anchors {
    fn of(place: &Place, direct: &DirectStore) -> Result<Self, Failure> {
        let mut config = place.config()?.anchor;
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(Failure::usage(problems.join("; "))
                .next("set L2_RPC_URL, SET_REGISTRY_ADDRESS and SEQUENCER_PRIVATE_KEY, or none of them"));
        }
        // Somebody waits: nothing that is pending waits for company.
        config.interval_secs = 0;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let dependencies = Dependencies { store: Arc::clone(&direct.store), clock, steps: None };
        let (service, handle) = Service::build(&config, dependencies).map_err(Failure::usage)?;
        Ok(Self { service, handle })
    }

    /// Anchors until a block has the commitment, or the time is over.
    async fn anchor(
        self,
        direct: &DirectStore,
        batch_id: BatchId,
        wait: Duration,
    ) -> Result<Anchored, AnchorError> {
        if !self.handle.is_configured() {
            return Err(AnchorError::NotConfigured);
        }
        let held = direct.store.lease(LEASE).await?.filter(|lease| lease.expires_at > SystemClock.now());
        if let Some(lease) = held {
            output::talk(&format!(
                "process {} anchors for this database: it is woken, and waited for",
                lease.holder
            ));
        }
        let shutdown = Shutdown::new();
        let working = tokio::spawn(self.service.run(shutdown.clone()));
        let outcome = self.handle.anchor(batch_id, wait).await;
        shutdown.begin();
        // It gives the lease back, so that the next process need not wait for it to expire.
        if let Ok(Err(error)) = working.await {
            return Err(AnchorError::Store(error));
        }
        outcome
    }
}

/// What is known of the anchor.
struct Standing {
    status: &'static str,
    chain_id: Option<u64>,
    tx_hash: Option<EvmHash>,
    block_number: Option<u64>,
}

impl Standing {
    fn of(anchored: &Anchored) -> Self {
        let status = anchored.progress.as_str();
        match (&anchored.record.anchor, &anchored.send) {
            (Some(mark), _) => Self {
                status,
                chain_id: Some(mark.chain_id),
                tx_hash: mark.tx_hash,
                block_number: mark.block_number,
            },
            (None, Some(send)) => Self {
                status,
                chain_id: Some(send.target.chain_id),
                tx_hash: match send.mined {
                    Some(mined) => mined.tx_hash,
                    None => send.transactions.last().map(|transaction| transaction.tx_hash),
                },
                block_number: send.mined.map(|mined| mined.block_number).filter(|number| *number > 0),
            },
            (None, None) => Self { status, chain_id: None, tx_hash: None, block_number: None },
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let fields = [
            ("anchor", Some(self.status.to_owned())),
            ("chain", self.chain_id.map(|id| id.to_string())),
            ("transaction", self.tx_hash.map(|hash| hash.to_string())),
            ("block", self.block_number.map(|number| number.to_string())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

fn report(place: &Place, commitment: &Commitment, outcome: &Result<Anchored, AnchorError>) -> Outcome {
    let found = outcome.as_ref().map(Standing::of);
    if place.json {
        let mut answer = commitment.to_json();
        describe(&mut answer, &found);
        output::line(&answer.to_string())?;
    } else {
        let fields = [
            ("batch", commitment.batch_id.to_string()),
            ("events", format!("{} to {}", commitment.sequence_start, commitment.sequence_end)),
            ("merkle root", commitment.merkle_root.to_string()),
            ("state root", commitment.new_state_root.to_string()),
        ];
        let anchor: Vec<(&str, String)> = match &found {
            Ok(standing) => standing.fields().collect(),
            Err(error) => vec![("anchored", format!("no ({})", error.code()))],
        };
        output::fields(fields.into_iter().chain(anchor))?;
    }
    match outcome {
        Ok(anchored) => Ok(conclude(anchored.progress)),
        Err(error) => {
            output::talk(&format!(
                "{}: the commitment is made and valid, and not anchored: {error}",
                error.code()
            ));
            if let Some((_, fix)) = error.advice() {
                output::talk(&format!("next: {fix}"));
            }
            Ok(Exit::No)
        }
    }
}

fn conclude(progress: Progress) -> Exit {
    match progress {
        Progress::AlreadyAnchored | Progress::Anchored => Exit::Done,
        Progress::Mined => {
            output::talk("a block has it; whichever process anchors next marks it when it is final");
            Exit::Done
        }
        Progress::Sent | Progress::Pending => {
            output::talk("no block has it yet; whichever process anchors next goes on with it");
            output::talk("next: see `bowline anchors status`, or run this again with the same range");
            Exit::No
        }
    }
}

fn describe(answer: &mut Value, found: &Result<Standing, &AnchorError>) {
    match found {
        Ok(standing) => {
            let is_final = matches!(standing.status, "anchored" | "already_anchored");
            answer["anchored"] = json!(is_final);
            answer["status"] = json!(standing.status);
            answer["chain_id"] = json!(standing.chain_id);
            answer["chain_tx_hash"] = json!(standing.tx_hash);
            answer["chain_block_number"] = json!(standing.block_number);
        }
        Err(error) => {
            let code = error.code();
            answer["anchored"] = json!(false);
            answer["anchor_error"] = json!({
                "code": code.as_str(), "numeric_code": code.number(), "message": error.to_string(),
            });
            if let Some((word, fix)) = error.advice() {
                answer["anchor_error"]["details"] = json!({ "code": word, "fix": fix });
            }
        }
    }
}

fn commit_failed(error: CommitError) -> Failure {
    match error {
        CommitError::Store(error) => store_failed(error),
        error => Failure::no(format!("{}: {error}", error.code())),
    }
}

//! The commands that mend what other sequencers' databases may have and this one's can't: they look, and say so.
//!
//! `reencrypt-events` reads every payload, `backfill-ves-state-roots` computes every root anew from the leaves.
//! They change nothing, with `--dry-run` or without; what does not fit is named, and the exit code is 1.

use bowline_store::{CommitmentFilter, ReadQuery, Scope, StreamHead};
use bowline_types::{StoreId, StreamId, TenantId};
use bowline_ves::{Commitment, Payload, Tree, check_hashes};
use clap::Args;
use serde_json::json;

use super::{Place, store_failed};
use crate::operate::direct::DirectStore;
use crate::terminal::context::until_interrupted;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

/// Commitments read at a time.
const COMMITMENTS_PER_READ: usize = 100;

/// Things that do not fit and are named.
const NAMED_MAX: usize = 20;

/// `reencrypt-events` and its siblings.
#[derive(Debug, Args)]
pub(super) struct EventsOptions {
    #[command(flatten)]
    streams: StreamsArgs,
    /// Rows read at a time
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_size: u32,
    /// Look at so many rows at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Change nothing, which holds here in any case
    #[arg(long)]
    dry_run: bool,
    /// Taken as the original takes it; there is nothing to force
    #[arg(long)]
    force: bool,
}

/// `backfill-ves-state-roots`.
#[derive(Debug, Args)]
pub(super) struct RootsOptions {
    #[command(flatten)]
    streams: StreamsArgs,
    /// Change nothing, which holds here in any case
    #[arg(long)]
    dry_run: bool,
    /// Taken as the original takes it; a commitment is never written over
    #[arg(long)]
    force: bool,
}

/// Which streams; all if nothing is said.
#[derive(Debug, Clone, Copy, Args)]
struct StreamsArgs {
    /// Only streams of this tenant
    #[arg(long, value_name = "UUID")]
    tenant_id: Option<TenantId>,
    /// Only streams of this store
    #[arg(long, value_name = "UUID")]
    store_id: Option<StoreId>,
}

impl StreamsArgs {
    async fn heads(self, direct: &DirectStore) -> Result<Vec<StreamHead>, Failure> {
        let mut heads = direct.store.streams().await.map_err(store_failed)?;
        heads.retain(|head| {
            self.tenant_id.is_none_or(|tenant| tenant == head.stream.tenant_id)
                && self.store_id.is_none_or(|store| store == head.stream.store_id)
        });
        Ok(heads)
    }
}

/// What was found among events.
#[derive(Debug, Default)]
struct Payloads {
    plain: u64,
    encrypted: u64,
    wrong: Vec<String>,
}

pub(super) async fn events(place: &Place, direct: &DirectStore, options: EventsOptions) -> Outcome {
    let found = until_interrupted(look_at_payloads(place, direct, &options)).await?;
    let (looked, wrong) = (found.plain + found.encrypted, found.wrong.len());
    if place.json {
        let answer = json!({
            "reencrypted": 0, "looked_at": looked, "plain": found.plain, "encrypted_by_agents": found.encrypted,
            "encrypted_at_rest": 0, "not_matching_their_hash": found.wrong, "dry_run": options.dry_run,
        });
        output::line(&answer.to_string())?;
    } else {
        output::line(&format!(
            "{looked} events looked at: {} plain, {} encrypted by their agents for their recipients",
            found.plain, found.encrypted
        ))?;
        output::line("nothing to re-encrypt: no payload is encrypted under a key of the sequencer")?;
    }
    match wrong {
        0 => Ok(Exit::Done),
        _ => {
            Err(Failure::no(format!("payloads that don't match what was signed: {}", found.wrong.join(", ")))
                .next("`bowline doctor --deep` and `bowline verify export` name what else was changed"))
        }
    }
}

/// A payload that matches the hash that its agent signed is what the agent sent, and no one encrypted it since.
async fn look_at_payloads(
    place: &Place,
    direct: &DirectStore,
    options: &EventsOptions,
) -> Result<Payloads, Failure> {
    let heads = options.streams.heads(direct).await?;
    let all: u64 = heads.iter().map(|head| head.head).sum();
    let mut left = options.limit.unwrap_or(u64::MAX);
    let bar = progress::count(place.json, Some(all.min(left))).with_message("payloads checked");
    let mut found = Payloads::default();
    for head in heads {
        let mut next = Some(1);
        while let Some(from) = next.filter(|_| left > 0) {
            let count = u64::from(options.batch_size).min(left);
            let query = ReadQuery::from(head.stream, from, usize::try_from(count).unwrap_or(usize::MAX));
            let page = direct.store.read(query).await.map_err(store_failed)?;
            left -= page.events.len() as u64;
            bar.inc(page.events.len() as u64);
            next = page.next;
            for event in page.events {
                match &event.envelope.payload {
                    Payload::Plain(_) => found.plain += 1,
                    Payload::Encrypted(_) => found.encrypted += 1,
                }
                if check_hashes(&event.envelope).is_err() && found.wrong.len() < NAMED_MAX {
                    found.wrong.push(event.envelope.event_id.to_string());
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

/// This sequencer makes no such proofs and has no such table; a database may still have brought one along.
pub(super) async fn no_proofs(place: &Place, direct: &DirectStore, table: &str) -> Outcome {
    let facts = direct.store.diagnose(Scope { events_per_stream: 1, commitments_per_stream: 1 }).await;
    let tables = facts.map_err(store_failed)?.tables.map_err(Failure::usage)?;
    let rows = tables.iter().find(|found| found.name == table).map(|found| found.rows);
    if place.json {
        output::line(&json!({ "reencrypted": 0, "table": table, "there": rows.is_some() }).to_string())?;
    }
    match rows {
        None => {
            if !place.json {
                output::line(&format!(
                    "nothing to re-encrypt: this sequencer keeps no such proofs, and there is no table {table}"
                ))?;
            }
            Ok(Exit::Done)
        }
        Some(_) => Err(Failure::no(format!(
            "the database has a table {table}, which this sequencer neither made nor reads"
        ))
        .next("re-encrypt it with the tool of the sequencer that made it")),
    }
}

pub(super) async fn state_roots(place: &Place, direct: &DirectStore, options: RootsOptions) -> Outcome {
    let (looked, wrong) = until_interrupted(look_at_roots(place, direct, options.streams)).await?;
    if place.json {
        let answer =
            json!({ "backfilled": 0, "looked_at": looked, "wrong": wrong, "dry_run": options.dry_run });
        output::line(&answer.to_string())?;
    } else {
        output::line(&format!("{looked} commitments looked at, {} wrong", wrong.len()))?;
        if wrong.is_empty() {
            output::line("nothing to backfill: every root was computed anew and is the one that is stored")?;
        }
    }
    match wrong.is_empty() {
        true => Ok(Exit::Done),
        false => Err(Failure::no(format!("commitments that don't fit: {}", wrong.join("; "))).next(
            "never delete or overwrite one, others hold its root; see `bowline doctor --check commitments`",
        )),
    }
}

async fn look_at_roots(
    place: &Place,
    direct: &DirectStore,
    streams: StreamsArgs,
) -> Result<(u64, Vec<String>), Failure> {
    let bar = progress::count(place.json, None).with_message("commitments checked");
    let (mut looked, mut wrong) = (0, Vec::new());
    for head in streams.heads(direct).await? {
        let mut before: Option<Commitment> = None;
        loop {
            let from = before.as_ref().map_or(0, |before| before.sequence_start + 1);
            let filter = CommitmentFilter {
                stream: head.stream,
                from,
                unanchored_only: false,
                limit: COMMITMENTS_PER_READ,
            };
            let page = direct.store.commitments(filter).await.map_err(store_failed)?;
            let last = page.len() < COMMITMENTS_PER_READ;
            for record in page {
                let commitment = record.commitment;
                if let Err(problem) = fits(direct, head.stream, &commitment, before.as_ref()).await?
                    && wrong.len() < NAMED_MAX
                {
                    wrong.push(format!("{}: {problem}", commitment.batch_id));
                }
                looked += 1;
                bar.inc(1);
                before = Some(commitment);
            }
            if last {
                break;
            }
        }
    }
    bar.finish_and_clear();
    Ok((looked, wrong))
}

/// Whether a commitment is what the leaves under it and the one before it give.
async fn fits(
    direct: &DirectStore,
    stream: StreamId,
    commitment: &Commitment,
    before: Option<&Commitment>,
) -> Result<Result<(), String>, Failure> {
    if let Err(problem) = commitment.check().and(commitment.follows(before)) {
        return Ok(Err(problem.to_string()));
    }
    let (start, end) = (commitment.sequence_start, commitment.sequence_end);
    let leaves = match direct.store.leaves(stream, start, end).await {
        Ok(leaves) => leaves,
        Err(error @ bowline_store::StoreError::Internal(_)) => return Ok(Err(error.to_string())),
        Err(error) => return Err(store_failed(error)),
    };
    let computed = tokio::task::spawn_blocking(move || Tree::new(leaves).root()).await;
    let computed = computed.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(match computed == commitment.merkle_root {
        true => Ok(()),
        false => Err(format!("the leaves give the Merkle root {computed}, not {}", commitment.merkle_root)),
    })
}

//! `bowline bench writer`: the peer that does without group commit: one event at a time, verified, then written
//! in a transaction of its own, by one caller without a server.
//!
//! What a node adds beyond it is shown by comparing the two on one machine. It writes into a fresh stream of the
//! store that the settings name, so it is for stores that are made for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_node::{DataFolder, open_store};
use bowline_runtime::{Clock as _, SystemClock};
use bowline_store::{ChangeKind, VerifiedBatch};
use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId};
use bowline_ves::{Draft, SecretKey, SequencerSigner, sign_envelope, verify};
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use crate::serve::SettingsArgs;

/// Events that are signed before the clock starts, for each second of the run.
const EVENTS_PER_SEC_MAX: u64 = 6_000;

/// `bowline bench writer`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: SettingsArgs,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let config = options.settings.load(context)?;
    let refuse = |error: String| Failure::usage(error).next("stop the node that uses the store");
    let folder = DataFolder::open(&config.data).map_err(|error| refuse(error.to_string()))?;
    let opened = open_store(&config.store, folder.database(), true).await;
    let (store, _) = opened.map_err(|error| refuse(error.to_string()))?;
    let key = || SecretKey::random().map_err(|error| Failure::usage(error.to_string()));
    let (agent_id, agent) = (AgentId::random(), key()?);
    let stream = StreamId::new(TenantId::random(), StoreId::random());
    let draft = |number: u64| Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: agent_id,
        agent_key_id: 1,
        entity_type: "order".to_owned(),
        entity_id: format!("order-{number}"),
        event_type: "order.created".to_owned(),
        created_at: SystemClock.now().to_string(),
        payload: super::bodies::payload(number, 200).into(),
        command_id: None,
        base_version: None,
    };
    let envelopes =
        (0..options.seconds * EVENTS_PER_SEC_MAX).map(|number| sign_envelope(draft(number), &agent));
    let envelopes = envelopes.collect::<Result<Vec<_>, _>>();
    let envelopes = envelopes.map_err(|rejection| Failure::usage(rejection.to_string()))?;
    let signer =
        Arc::new(SequencerSigner { sequencer_id: uuid::Uuid::new_v4(), key_version: 1, key: key()? });
    let public = agent.public();
    let (began, limit, mut written) = (Instant::now(), Duration::from_secs(options.seconds), 0_u64);
    for envelope in envelopes {
        if began.elapsed() >= limit {
            break;
        }
        let event = verify(envelope, Ok(&public)).map_err(|r| Failure::no(r.rejection.to_string()))?;
        let batch =
            VerifiedBatch { events: vec![event], keys_epoch: store.changes().epoch(ChangeKind::AGENT_KEYS) };
        let appended = store.append(batch, Arc::clone(&signer), SystemClock.now()).await;
        appended.map_err(|error| Failure::no(error.to_string()))?;
        written += 1;
    }
    let events_per_sec = written as f64 / began.elapsed().as_secs_f64();
    store.close().await;
    match context.is_json() {
        true => output::line(
            &json!({ "events_per_sec": (events_per_sec * 10.0).round() / 10.0, "events": written })
                .to_string(),
        )?,
        false => {
            output::table(["events/s", "events"], [[format!("{events_per_sec:.0}"), written.to_string()]])?;
        }
    }
    Ok(Exit::Done)
}

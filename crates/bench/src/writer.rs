//! `bowline-bench writer`: the peer that does without group commit: one event at a time, verified, then written
//! in a transaction of its own, by one caller without a server.
//!
//! What a node adds beyond it is shown by comparing the two on one machine. It writes into a fresh stream of the
//! store that is named, so it is for stores that are made for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bowline_node::{Config, DataFolder, open_store};
use bowline_runtime::{Clock as _, SystemClock};
use bowline_store::{ChangeKind, VerifiedBatch};
use bowline_types::{AgentId, EventId, Secret, StoreId, StreamId, TenantId};
use bowline_ves::{Draft, SecretKey, sign_envelope, verify};
use clap::Args;
use serde_json::json;

use crate::settings::Settings;
use crate::{bodies, shown};

/// Events that are signed before the clock starts, for each second of the run.
const EVENTS_PER_SEC_MAX: u64 = 6_000;

/// `bowline-bench writer`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The data folder: an embedded store is in it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The PostgreSQL database to write into, instead of an embedded store
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

pub(crate) async fn run(settings: &Settings, options: Options) -> Result<()> {
    let mut config = Config::default().store;
    config.url = options.database_url.map(Secret::new);
    let folder = DataFolder::open(&options.data).context("stop the node that uses the folder")?;
    let (store, _) = open_store(&config, folder.database(), true).await?;
    let (agent_id, agent) = (AgentId::random(), SecretKey::random()?);
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
        payload: bodies::payload(number, 200).into(),
        command_id: None,
        base_version: None,
    };
    let envelopes =
        (0..options.seconds * EVENTS_PER_SEC_MAX).map(|number| sign_envelope(draft(number), &agent));
    let envelopes = envelopes.collect::<Result<Vec<_>, _>>();
    let envelopes = envelopes?;
    let signer = bodies::signer()?;
    let public = agent.public();
    let (began, limit, mut written) = (Instant::now(), Duration::from_secs(options.seconds), 0_u64);
    for envelope in envelopes {
        if began.elapsed() >= limit {
            break;
        }
        let event = verify(envelope, Ok(&public)).map_err(|rejected| rejected.rejection)?;
        let batch =
            VerifiedBatch { events: vec![event], keys_epoch: store.changes().epoch(ChangeKind::AGENT_KEYS) };
        store.append(batch, Arc::clone(&signer), SystemClock.now()).await?;
        written += 1;
    }
    let events_per_sec = written as f64 / began.elapsed().as_secs_f64();
    store.close().await;
    match settings.is_json() {
        true => shown::line(
            &json!({ "events_per_sec": (events_per_sec * 10.0).round() / 10.0, "events": written })
                .to_string(),
        )?,
        false => {
            shown::table(["events/s", "events"], [[format!("{events_per_sec:.0}"), written.to_string()]])?;
        }
    }
    Ok(())
}

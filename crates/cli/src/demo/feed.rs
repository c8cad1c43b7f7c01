//! Signs what happened and sends it through the API, as any agent would.
//!
//! A single pass keeps the order of its input; a repeated one is a load, with several requests under way.

use std::collections::HashMap;
use std::time::Instant;

use bowline_client::answers::Ingested;
use bowline_client::{Call, Client};
use bowline_runtime::{Clock, SystemClock};
use bowline_types::{AgentId, EventId, StreamId};
use bowline_ves::{Draft, SecretKey, sign_envelope};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::sources::{Happening, Source};
use crate::terminal::context::Context;
use crate::terminal::exit::Failure;
use crate::terminal::{output, progress};

/// Events in one request.
const BATCH_EVENTS: usize = 100;

/// Requests under way at a time when the input is repeated as a load; a single pass keeps its order.
const LOAD_REQUESTS: usize = 8;

/// What became of the events.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    /// For people.
    pub(super) sources: String,
    seconds: f64,
}

impl Fed {
    pub(super) fn events_per_sec(&self) -> f64 {
        if self.seconds > 0.0 { self.accepted as f64 / self.seconds } else { 0.0 }
    }
}

/// An observer with a fresh key.
struct Agent {
    agent_id: AgentId,
    key: SecretKey,
}

pub(super) async fn run(
    context: &Context,
    client: &Client,
    stream_id: StreamId,
    sources: Vec<Source>,
    repeat: u32,
) -> Result<Fed, Failure> {
    let mut agents = HashMap::new();
    for source in &sources {
        agents.insert(source.agent, register(client, stream_id, source.agent).await?);
    }
    let total = sources.iter().map(|source| source.happenings.len() as u64).sum::<u64>() * u64::from(repeat);
    let bar = progress::count(context.quiet(), Some(total));
    bar.set_message("signing and sending");
    let batches = (0..repeat).flat_map(|_| &sources).flat_map(|source| {
        source.happenings.chunks(BATCH_EVENTS).map(move |happenings| (source.agent, happenings))
    });
    let began = Instant::now();
    let requests = if repeat > 1 { LOAD_REQUESTS } else { 1 };
    let sent = stream::iter(batches)
        .map(|(name, happenings)| {
            let (agent, bar) = (agents.get(name), &bar);
            async move {
                let agent = agent.ok_or_else(|| Failure::usage(format!("agent {name} has no key")))?;
                let answer = send(client, stream_id, agent, happenings).await?;
                bar.inc(happenings.len() as u64);
                Ok::<_, Failure>(answer)
            }
        })
        .buffered(requests)
        .try_fold((0, 0), |(accepted, rejected), answer| async move {
            for rejection in answer.rejections.iter().flatten() {
                output::talk(&format!("rejected: {}: {}", rejection.reason, rejection.message));
            }
            Ok((accepted + answer.events_accepted, rejected + answer.events_rejected))
        })
        .await;
    let seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let (accepted, rejected) = sent?;
    let mut about = sources.iter().map(|source| source.about.as_str()).collect::<Vec<_>>().join(" and ");
    if repeat > 1 {
        about.push_str(&format!(", {repeat} times"));
    }
    Ok(Fed { accepted, rejected, sources: about, seconds })
}

async fn register(client: &Client, stream: StreamId, name: &str) -> Result<Agent, Failure> {
    let key = SecretKey::random().map_err(|error| Failure::usage(error.to_string()))?;
    let agent = Agent { agent_id: AgentId::random(), key };
    let body = json!({
        "tenantId": stream.tenant_id,
        "agentId": agent.agent_id,
        "keyId": 1,
        "publicKey": hex::encode(agent.key.public().to_bytes()),
    });
    client.text(&Call::post(&["api", "v1", "agents", "keys"], &body)?).await?;
    output::talk(&format!("Agent {name} ({}) signs with a fresh Ed25519 key.", agent.agent_id));
    Ok(agent)
}

async fn send(
    client: &Client,
    stream: StreamId,
    agent: &Agent,
    batch: &[Happening],
) -> Result<Ingested, Failure> {
    // Signing a batch takes a millisecond or two.
    let body = tokio::task::block_in_place(|| sign(stream, agent, batch))?;
    let call = Call::ingest(body);
    Ok(client.json(&call).await?)
}

fn sign(stream: StreamId, agent: &Agent, batch: &[Happening]) -> Result<Bytes, Failure> {
    let mut body = format!("{{\"agentId\":\"{}\",\"events\":[", agent.agent_id);
    for (index, happening) in batch.iter().enumerate() {
        let draft = Draft {
            stream,
            event_id: EventId::random(),
            source_agent_id: agent.agent_id,
            agent_key_id: 1,
            entity_type: happening.entity_type.clone(),
            entity_id: happening.entity_id.clone(),
            event_type: happening.event_type.clone(),
            created_at: happening.created_at.clone().unwrap_or_else(|| SystemClock.now().to_string()),
            payload: happening.payload.clone(),
            command_id: None,
            base_version: None,
        };
        let envelope = sign_envelope(draft, &agent.key).map_err(|rejection| {
            Failure::usage(format!("an event of the input can't be signed: {}", rejection.message()))
        })?;
        if index > 0 {
            body.push(',');
        }
        body.push_str(&envelope.to_json());
    }
    body.push_str("]}");
    Ok(body.into())
}

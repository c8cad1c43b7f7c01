//! The request bodies of a load run, signed before the clock starts, on all cores.
//!
//! Every event has a fresh id and is sent once. Streams and agents take turns, so that a run spreads over all
//! of them from its first request on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use bowline_runtime::{Clock as _, SystemClock};
use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId};
use bowline_ves::{Draft, Rejection, SecretKey, SequencerSigner, sign_envelope};
use bytes::Bytes;

/// Agents that sign in turn.
pub(crate) const AGENTS: usize = 4;

/// An agent of this run.
#[derive(Debug)]
pub(crate) struct BenchAgent {
    pub(crate) agent_id: AgentId,
    pub(crate) key: SecretKey,
}

/// Who writes what where.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) tenant_id: TenantId,
    pub(crate) stores: Vec<StoreId>,
    pub(crate) agents: Vec<BenchAgent>,
    /// Events in one body.
    pub(crate) batch: u64,
    /// Bytes of one payload, about.
    pub(crate) payload_bytes: usize,
}

impl Workload {
    /// Builds the bodies `from..to`.
    pub(crate) fn bodies(&self, from: u64, to: u64) -> Result<Vec<Bytes>, Rejection> {
        let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
        let share = (to - from).div_ceil(threads).max(1);
        let built: Vec<Result<Vec<Bytes>, Rejection>> = thread::scope(|scope| {
            let starts = (from..to).step_by(share as usize);
            let workers: Vec<_> = starts
                .map(|start| {
                    let end = to.min(start + share);
                    scope.spawn(move || (start..end).map(|index| self.body(index)).collect())
                })
                .collect();
            // A worker that panicked has no bodies; the run then ends early and says so.
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Ok(Vec::new()))).collect()
        });
        built.into_iter().try_fold(Vec::new(), |mut all, part| {
            all.append(&mut part?);
            Ok(all)
        })
    }

    fn body(&self, index: u64) -> Result<Bytes, Rejection> {
        let store_id = self.stores[(index % self.stores.len() as u64) as usize];
        let stream = StreamId::new(self.tenant_id, store_id);
        let agent = &self.agents[(index / self.stores.len() as u64 % self.agents.len() as u64) as usize];
        let created_at = SystemClock.now().to_string();
        let mut body = format!("{{\"agentId\":\"{}\",\"events\":[", agent.agent_id);
        body.reserve(self.batch as usize * (1_100 + self.payload_bytes));
        for number in 0..self.batch {
            let order = index * self.batch + number;
            let draft = Draft {
                stream,
                event_id: EventId::random(),
                source_agent_id: agent.agent_id,
                agent_key_id: 1,
                entity_type: "order".to_owned(),
                entity_id: format!("order-{order}"),
                event_type: "order.created".to_owned(),
                created_at: created_at.clone(),
                payload: payload(order, self.payload_bytes).into(),
                command_id: None,
                base_version: None,
            };
            if number > 0 {
                body.push(',');
            }
            body.push_str(&sign_envelope(draft, &agent.key)?.to_json());
        }
        body.push_str("]}");
        Ok(body.into())
    }
}

/// An order of about that many bytes, never less than its fields need.
pub(crate) fn payload(order: u64, bytes: usize) -> String {
    let fields = format!(
        r#"{{"order_id":"order-{order}","customer_id":"customer-{}","currency":"EUR","amount_cents":{},"lines":[{{"sku":"sku-{}","quantity":{}}}],"note":""#,
        order % 9_973,
        100 + order % 99_900,
        order % 499,
        1 + order % 7,
    );
    let padding = bytes.saturating_sub(fields.len() + 2);
    format!("{fields}{}\"}}", "n".repeat(padding))
}

/// A sequencer with a fresh key, for a store without a node.
pub(crate) fn signer() -> Result<Arc<SequencerSigner>> {
    let (sequencer_id, key) = (uuid::Uuid::new_v4(), SecretKey::random()?);
    Ok(Arc::new(SequencerSigner { sequencer_id, key_version: 1, key }))
}

/// Bodies that are handed out once each.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    bodies: Vec<Bytes>,
    taken: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(bodies: Vec<Bytes>) -> Self {
        Self { bodies, taken: AtomicUsize::new(0) }
    }

    /// The next body, or nothing if all are taken.
    pub(crate) fn take(&self) -> Option<Bytes> {
        self.bodies.get(self.taken.fetch_add(1, Ordering::Relaxed)).cloned()
    }

    /// Those that nobody took.
    pub(crate) fn rest(self) -> Vec<Bytes> {
        let taken = self.taken.into_inner().min(self.bodies.len());
        self.bodies.into_iter().skip(taken).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bowline_ves::{Envelope, verify};
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        agent_id: AgentId,
        events: Vec<Box<RawValue>>,
    }

    #[test]
    fn every_event_is_valid_and_streams_and_agents_take_turns() {
        let agents = (0..AGENTS)
            .map(|_| BenchAgent { agent_id: AgentId::random(), key: SecretKey::random().unwrap() });
        let workload = Workload {
            tenant_id: TenantId::random(),
            stores: vec![StoreId::random(), StoreId::random()],
            agents: agents.collect(),
            batch: 3,
            payload_bytes: 200,
        };
        let bodies = workload.bodies(0, 8).unwrap();
        let mut pairs = HashSet::new();
        for body in &bodies {
            let body: Body = serde_json::from_slice(body).unwrap();
            let agent = workload.agents.iter().find(|agent| agent.agent_id == body.agent_id).unwrap();
            assert_eq!(body.events.len(), 3);
            for event in body.events {
                let envelope = Envelope::parse(event.get()).unwrap();
                pairs.insert((envelope.stream, envelope.source_agent_id));
                assert_eq!(envelope.payload.text().len(), 200);
                verify(envelope, Ok(&agent.key.public())).unwrap();
            }
        }
        assert_eq!((bodies.len(), pairs.len()), (8, 2 * AGENTS));
    }

    #[test]
    fn a_body_is_handed_out_once() {
        let pool = Pool::new(vec![Bytes::from("a"), Bytes::from("b"), Bytes::from("c")]);
        assert_eq!((pool.take().unwrap(), pool.take().unwrap()), (Bytes::from("a"), Bytes::from("b")));
        assert_eq!(pool.rest(), ["c"]);
    }
}

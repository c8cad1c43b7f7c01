//! Random batches on both stores at a time: each must answer as a model of twenty lines does, and both must
//! store the same bytes.

use std::sync::Arc;

use bowline_store::LineStore;
use bowline_types::{CommandId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Draft, VerifiedEvent, leaf_hash};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use crate::support::{Engine, Place, run};
use bowline_conformance::events::{append_at, at, draft, signed, whole, words};

const CASES: u32 = 40;

/// An event out of so few that batches often repeat, contradict and overtake each other.
#[derive(Debug, Clone)]
struct Choice {
    stream: u128,
    id: u128,
    content: u8,
    entity: u8,
    command: Option<u128>,
    base_version: Option<u64>,
}

fn choice() -> impl Strategy<Value = Choice> {
    let command = prop::option::weighted(0.3, 0_u128..6);
    let base_version = prop::option::weighted(0.4, 0_u64..3);
    (0_u128..2, 0_u128..14, 0_u8..10, 0_u8..2, command, base_version).prop_map(
        |(stream, id, content, entity, command, base_version)| {
            // Most repetitions of an id are replays.
            Choice { stream, id, content: content / 9, entity, command, base_version }
        },
    )
}

/// Batches with the moments at which they come, which need not ascend.
fn history() -> impl Strategy<Value = Vec<(Vec<Choice>, i64)>> {
    prop::collection::vec((prop::collection::vec(choice(), 0..8), 0_i64..5), 1..8)
}

impl Choice {
    fn signed(&self, tenant_id: TenantId) -> VerifiedEvent {
        let stream = stream(tenant_id, self.stream);
        signed(Draft {
            event_id: EventId::new(Uuid::from_u128(self.id + 1)),
            entity_id: format!("e-{}", self.entity),
            payload: format!("[{},{}]", self.content, self.entity).into(),
            command_id: self.command.map(|command| CommandId::new(Uuid::from_u128(command + 1))),
            base_version: self.base_version,
            ..draft(stream)
        })
    }

    fn same_content(&self, other: &Self) -> bool {
        (self.content, self.entity) == (other.content, other.entity)
    }
}

fn stream(tenant_id: TenantId, stream: u128) -> StreamId {
    StreamId::new(tenant_id, StoreId::new(Uuid::from_u128(stream)))
}

/// The events that one stream took, and when.
#[derive(Debug, Default)]
struct Model {
    taken: Vec<(Choice, Timestamp)>,
}

impl Model {
    fn append(&mut self, event: &Choice, now: Timestamp) -> String {
        if let Some(index) = self.taken.iter().position(|(earlier, _)| earlier.id == event.id) {
            let same = self.taken[index].0.same_content(event);
            return if same { format!("replayed {}", index + 1) } else { "duplicate_event_id".to_owned() };
        }
        if event.command.is_some() && self.taken.iter().any(|(earlier, _)| earlier.command == event.command) {
            return "duplicate_command_id".to_owned();
        }
        let actual = self.entity_version(event, self.taken.len());
        if let Some(expected) = event.base_version.filter(|expected| *expected != actual) {
            return format!("version_conflict: expected {expected}, actual {actual}");
        }
        let last = self.taken.last().map_or(now, |(_, last)| *last);
        self.taken.push((event.clone(), now.max(last)));
        format!("accepted {}", self.taken.len())
    }

    fn entity_version(&self, event: &Choice, before: usize) -> u64 {
        self.taken[..before].iter().filter(|(earlier, _)| earlier.entity == event.entity).count() as u64
    }
}

#[test]
fn both_stores_answer_as_the_model_does() {
    run(Engine::Sqlite, |folder: Arc<Place>| async move {
        tokio::task::spawn_blocking(move || {
            run(Engine::Postgres, |database: Arc<Place>| async move {
                let stores = [folder.open().await, database.open().await];
                tokio::task::spawn_blocking(move || check(&stores)).await.unwrap();
            });
        })
        .await
        .unwrap();
    });
}

fn check(stores: &[Arc<dyn LineStore>; 2]) {
    let runtime = tokio::runtime::Handle::current();
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let ran = TestRunner::new(config).run(&history(), |history| {
        // Streams of its own, so that no case sees another one's events.
        runtime.block_on(replay(stores, &history, TenantId::random()))
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn replay(
    stores: &[Arc<dyn LineStore>; 2],
    history: &[(Vec<Choice>, i64)],
    tenant_id: TenantId,
) -> Result<(), TestCaseError> {
    let mut models = [Model::default(), Model::default()];
    for (batch, moment) in history {
        let now = at(*moment);
        let expected: Vec<String> =
            batch.iter().map(|event| models[event.stream as usize].append(event, now)).collect();
        let batch: Vec<VerifiedEvent> = batch.iter().map(|event| event.signed(tenant_id)).collect();
        for store in stores {
            let report = append_at(store, batch.clone(), now).await;
            prop_assert_eq!(&words(&report), &expected, "{}", store.engine().name());
            for (stream_id, head) in report.heads {
                let model = &models[stream_id.store_id.uuid().as_u128() as usize];
                prop_assert_eq!(head, model.taken.len() as u64, "{}", store.engine().name());
            }
        }
    }
    for (index, model) in models.iter().enumerate() {
        let stream = stream(tenant_id, index as u128);
        let stored = whole(&stores[0], stream).await;
        prop_assert_eq!(&stored, &whole(&stores[1], stream).await);
        prop_assert_eq!(stored.len(), model.taken.len());
        for (place, (event, (taken, moment))) in stored.iter().zip(&model.taken).enumerate() {
            prop_assert_eq!(&event.envelope, &taken.signed(tenant_id).envelope);
            prop_assert_eq!(event.entity_version, model.entity_version(taken, place) + 1);
            prop_assert_eq!(event.receipt.sequenced_at, *moment);
        }
        let Some(last) = stored.last().map(|event| event.receipt.sequence_number) else { continue };
        let leaf = |e: &bowline_store::StoredEvent| {
            leaf_hash(stream, e.receipt.sequence_number, &e.signing_hash, &e.envelope.agent_signature)
        };
        for store in stores {
            let leaves = store.leaves(stream, 1, last).await.unwrap();
            prop_assert_eq!(leaves, stored.iter().map(leaf).collect::<Vec<_>>());
        }
    }
    Ok(())
}

//! Opening, migrating, closing: what a process finds when it comes back, and what it is told after it left.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{
    AgentKeyFilter, AgentKeyRecord, AgentKeyStatus, ApiKeyFilter, ApiKeyRecord, CommitmentFilter,
    CommitmentOrigin, CursorRecord, KeyChange, KeyRotation, LineStore, ReadQuery, Retire, Schema,
    SchemaFilter, SchemaStatus, StoreError,
};
use bowline_types::{AgentId, BatchId, EventId, TenantId};
use bowline_ves::{Commitment, Hash, Tree};
use uuid::Uuid;

use crate::support::{Place, soon};
use bowline_conformance::events::{
    append, at, fresh, grow, new_events, new_stream, receipts, signer, whole, words,
};

pub(crate) async fn everything_is_there_after_reopening(place: Arc<Place>) {
    let (stream, neighbour) = (new_stream(), new_stream());
    let mut sent = Vec::new();
    for round in 0_u64..4 {
        let store = place.open().await;
        let batch = new_events(stream, 20);
        let accepted = receipts(&append(&store, batch.clone()).await);
        assert_eq!(accepted[0].sequence_number, round * 20 + 1);
        sent.extend(batch.into_iter().zip(accepted));
        grow(&store, neighbour, 1).await;
        // A process that is killed closes nothing.
        if round % 2 == 0 {
            store.close().await;
        }
        drop(store);
        let store = place.open().await;
        let stored = whole(&store, stream).await;
        assert_eq!(stored.len(), sent.len());
        for (stored, (event, receipt)) in stored.iter().zip(&sent) {
            assert_eq!(
                (&stored.envelope, stored.receipt.signed().as_ref()),
                (&event.envelope, Some(receipt))
            );
        }
        assert_eq!(whole(&store, neighbour).await.len() as u64, round + 1);
        store.close().await;
    }
}

pub(crate) async fn migrations_are_applied_once(place: Arc<Place>) {
    let (store, applied) = place.try_open(true).await.unwrap();
    let versions: Vec<i64> = applied.iter().map(|migration| migration.version).collect();
    assert_eq!(versions, (1..=Schema::default().version()).collect::<Vec<_>>());
    assert_eq!(applied[0].name, "0001_line");
    store.close().await;
    for migrate in [true, false] {
        let (store, applied) = place.try_open(migrate).await.unwrap();
        assert!(applied.is_empty(), "{applied:?}");
        store.close().await;
    }
}

pub(crate) async fn a_newer_schema_is_refused(place: Arc<Place>) {
    place.open().await.close().await;
    place.execute("INSERT INTO schema_migrations VALUES (9999, '9999_later', '2031-01-01T00:00:00Z')").await;
    for migrate in [true, false] {
        let error = place.try_open(migrate).await.unwrap_err();
        let StoreError::NewerSchema { found: 9999, known } = error else { panic!("{error}") };
        assert_eq!(known, Schema::default().version());
        assert!(!error.retryable() && error.to_string().contains("9999"), "{error}");
    }
}

pub(crate) async fn an_old_schema_is_only_migrated_with_leave(place: Arc<Place>) {
    for _ in 0..2 {
        let error = place.try_open(false).await.unwrap_err();
        let StoreError::NeedsMigration { found: 0, needed } = error else { panic!("{error}") };
        assert_eq!(needed, Schema::default().version());
    }
    assert!(!place.try_open(true).await.unwrap().1.is_empty());
}

pub(crate) async fn a_closed_store_is_unavailable(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let receipt = grow(&store, stream, 2).await.remove(0);
    store.ping().await.unwrap();
    soon(store.close()).await;
    soon(store.close()).await;

    let answers = soon(every_call(&store, stream, receipt.event_id)).await;
    for (call, answer) in answers {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{call}: {answer:?}");
    }
    assert_eq!(whole(&place.open().await, stream).await.len(), 2);
}

async fn every_call(
    store: &Arc<dyn LineStore>,
    stream: bowline_types::StreamId,
    event_id: EventId,
) -> Vec<(&'static str, Result<(), StoreError>)> {
    let (tenant_id, agent_id, batch_id) = (TenantId::random(), AgentId::random(), BatchId::random());
    let tree = Tree::new(vec![Hash::ZERO]);
    let commitment = Commitment::seal(batch_id, stream, &tree, 1, 1, Hash::ZERO, at(0)).unwrap();
    let agent_key = AgentKeyRecord {
        tenant_id,
        agent_id,
        key_id: 1,
        public_key: [1; 32],
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        revoked_at: None,
        revoked_reason: None,
        created_at: at(0),
    };
    let api_key = ApiKeyRecord {
        key_hash: Hash::ZERO,
        tenant_id,
        agent_id: None,
        permissions: Vec::new(),
        store_ids: Vec::new(),
        active: true,
        expires_at: None,
        revoked_at: None,
        rate_limit: None,
        created_at: at(0),
    };
    let (name, change) = (agent_key.name(), KeyChange::Revoke { reason: None });
    let rotation = KeyRotation {
        tenant_id,
        agent_id,
        key_id: None,
        public_key: [2; 32],
        valid_to: None,
        old_key_id: None,
        retire: Retire::At(at(9)),
        now: at(0),
    };
    let api_keys = ApiKeyFilter { tenant_id, agent_id: None, hashes: None, limit: 9 };
    let budget = crate::budgets::budget("x", 1);
    let schema = crate::schemas::schema(tenant_id, "t", 1);
    let schema_id = schema.schema_id;
    let schemas = SchemaFilter { tenant_id, event_type: None, version: None, limit: 9 };
    let cursor = CursorRecord { follower: "audit".to_owned(), stream, sequence_number: 1 };
    let filter = CommitmentFilter { stream, from: 1, unanchored_only: false, limit: 1 };
    let origin = CommitmentOrigin::Client;
    vec![
        ("append", store.append(fresh(new_events(stream, 1)), signer(), at(0)).await.map(drop)),
        ("read", store.read(ReadQuery::from(stream, 1, 9)).await.map(drop)),
        ("event", store.event(stream, event_id).await.map(drop)),
        ("head", store.head(stream).await.map(drop)),
        ("streams", store.streams().await.map(drop)),
        ("leaves", store.leaves(stream, 1, 2).await.map(drop)),
        ("insert_commitment", store.insert_commitment(commitment, Vec::new(), origin).await.map(drop)),
        ("commitment", store.commitment(batch_id).await.map(drop)),
        ("last_commitment", store.last_commitment(stream).await.map(drop)),
        ("commitment_covering", store.commitment_covering(stream, 1).await.map(drop)),
        ("commitments", store.commitments(filter).await.map(drop)),
        ("commitment_upper_levels", store.commitment_upper_levels(batch_id).await.map(drop)),
        ("register_agent_key", store.register_agent_key(agent_key).await.map(drop)),
        ("agent_key", store.agent_key(tenant_id, agent_id, 1).await.map(drop)),
        ("agent_keys", store.agent_keys(AgentKeyFilter::of(tenant_id, None, 9)).await.map(drop)),
        ("change_agent_key", store.change_agent_key(name, change, at(0)).await.map(drop)),
        ("rotate_agent_key", store.rotate_agent_key(rotation).await.map(drop)),
        ("api_keys", store.api_keys(api_keys).await.map(drop)),
        ("revoke_api_key", store.revoke_api_key(Hash::ZERO, at(0)).await.map(drop)),
        ("put_api_key", store.put_api_key(api_key).await),
        ("api_key", store.api_key(Hash::ZERO).await.map(drop)),
        ("register_sequencer_key", store.register_sequencer_key(Uuid::nil(), [1; 32], at(0)).await.map(drop)),
        ("sequencer_keys", store.sequencer_keys().await.map(drop)),
        ("cursor", store.cursor("audit", stream).await.map(drop)),
        ("advance_cursor", store.advance_cursor(cursor).await),
        ("ping", store.ping().await),
        ("budget", store.budget("x").await.map(drop)),
        ("swap_budget", store.swap_budget(budget, None, at(0)).await.map(drop)),
        ("insert_schema", store.insert_schema(schema, 9).await.map(drop)),
        ("schema", store.schema(schema_id).await.map(drop)),
        ("schemas", store.schemas(schemas).await.map(drop)),
        ("active_schema", store.active_schema(tenant_id, "t").await.map(drop)),
        ("schema_head", store.schema_head(tenant_id, "t").await.map(drop)),
        (
            "set_schema_status",
            store.set_schema_status(schema_id, SchemaStatus::Active, at(0)).await.map(drop),
        ),
        ("delete_schema", store.delete_schema(schema_id, at(0)).await.map(drop)),
    ]
}

pub(crate) async fn closing_finishes_what_is_under_way(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let batches: Vec<_> = (0..12).map(|_| new_events(stream, 10)).collect();
    let appends: Vec<_> = batches
        .iter()
        .map(|batch| {
            let (store, batch) = (Arc::clone(&store), batch.clone());
            tokio::spawn(async move { store.append(fresh(batch), signer(), at(0)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    soon(store.close()).await;
    let mut acknowledged = Vec::new();
    for (append, batch) in appends.into_iter().zip(batches) {
        match soon(append).await.unwrap() {
            Ok(report) => acknowledged.push((batch, receipts(&report))),
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    let store = place.open().await;
    assert_eq!(whole(&store, stream).await.len(), acknowledged.len() * 10);
    for (batch, first) in acknowledged {
        let report = append(&store, batch).await;
        assert!(words(&report).iter().all(|word| word.starts_with("replayed")));
        assert_eq!(receipts(&report), first);
    }
}

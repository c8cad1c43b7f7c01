//! Agent keys, API keys, sequencer keys and the followers' cursors.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{
    AgentKeyFilter, AgentKeyRecord, AgentKeyStatus, ApiKeyRecord, CursorRecord, LineStore, Permission,
    RegisterKey,
};
use bowline_types::{AgentId, StoreId, StreamId, TenantId};
use bowline_ves::Hash;
use uuid::Uuid;

use crate::support::Place;
use bowline_conformance::events::{at, grow, new_stream};

pub(crate) fn agent_key(tenant_id: TenantId, agent_id: AgentId, key_id: u32) -> AgentKeyRecord {
    AgentKeyRecord {
        tenant_id,
        agent_id,
        key_id,
        public_key: [key_id as u8; 32],
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        revoked_at: None,
        revoked_reason: None,
        created_at: at(i64::from(key_id)),
    }
}

pub(crate) async fn an_agent_key_id_is_bound_to_one_key(place: Arc<Place>) {
    let store = place.open().await;
    let (tenant, agent) = (TenantId::random(), AgentId::random());
    let key = AgentKeyRecord {
        key_id: u32::MAX,
        valid_from: Some(at(-10)),
        valid_to: Some(at(10)),
        status: AgentKeyStatus::Expired,
        ..agent_key(tenant, agent, 3)
    };
    assert_eq!(store.register_agent_key(key.clone()).await.unwrap(), RegisterKey::Created);
    let later = AgentKeyRecord { created_at: at(500), status: AgentKeyStatus::Active, ..key.clone() };
    assert_eq!(store.register_agent_key(later.clone()).await.unwrap(), RegisterKey::Unchanged);
    let other = AgentKeyRecord { public_key: [99; 32], ..later.clone() };
    assert_eq!(store.register_agent_key(other).await.unwrap(), RegisterKey::Conflict);
    let elsewhere = AgentKeyRecord { tenant_id: TenantId::random(), ..later };
    assert_eq!(store.register_agent_key(elsewhere.clone()).await.unwrap(), RegisterKey::Created);
    store.close().await;

    let store = place.open().await;
    assert_eq!(store.agent_key(tenant, agent, u32::MAX).await.unwrap(), Some(key));
    assert_eq!(store.agent_key(elsewhere.tenant_id, agent, u32::MAX).await.unwrap(), Some(elsewhere));
    assert_eq!(store.agent_key(tenant, agent, 3).await.unwrap(), None);
    assert_eq!(store.agent_key(tenant, AgentId::random(), u32::MAX).await.unwrap(), None);
}

pub(crate) async fn agent_keys_are_listed_oldest_first(place: Arc<Place>) {
    let store = place.open().await;
    let (tenant, agent, colleague) = (TenantId::random(), AgentId::random(), AgentId::random());
    let key = |agent_id, key_id| agent_key(tenant, agent_id, key_id);
    let list = async |store: &Arc<dyn LineStore>, agent, limit| {
        store.agent_keys(AgentKeyFilter::of(tenant, agent, limit)).await.unwrap()
    };
    let mut keys = vec![key(agent, 5), key(colleague, 2), key(agent, 1), key(colleague, 4), key(agent, 3)];
    for key in &keys {
        store.register_agent_key(key.clone()).await.unwrap();
    }
    store.register_agent_key(agent_key(TenantId::random(), agent, 6)).await.unwrap();
    keys.sort_by_key(|key| key.created_at);
    assert_eq!(list(&store, None, usize::MAX).await, keys);
    assert_eq!(list(&store, None, 2).await, keys[..2]);
    keys.retain(|key| key.agent_id == agent);
    assert_eq!(list(&store, Some(agent), 10).await, keys);
    assert!(list(&store, Some(AgentId::random()), 10).await.is_empty());
}

pub(crate) async fn of_two_keys_registered_at_a_time_one_wins(place: Arc<Place>) {
    let stores = place.open_two().await;
    let (tenant, agent) = (TenantId::random(), AgentId::random());
    for key_id in 1..=10 {
        let register = |user: usize, public_key| {
            let (store, key) = (Arc::clone(&stores[user]), agent_key(tenant, agent, key_id));
            async move { store.register_agent_key(AgentKeyRecord { public_key, ..key }).await.unwrap() }
        };
        let (first, second) = tokio::join!(
            tokio::spawn(register(0, [1; 32])),
            tokio::spawn(register(1, if key_id % 2 == 0 { [1; 32] } else { [2; 32] }))
        );
        let loser = if key_id % 2 == 0 { RegisterKey::Unchanged } else { RegisterKey::Conflict };
        let outcomes = [first.unwrap(), second.unwrap()];
        assert!(outcomes.contains(&RegisterKey::Created) && outcomes.contains(&loser), "{outcomes:?}");
    }
}

pub(crate) fn api_key() -> ApiKeyRecord {
    ApiKeyRecord {
        key_hash: Hash::new([4; 32]),
        tenant_id: TenantId::random(),
        agent_id: Some(AgentId::random()),
        permissions: vec![Permission::Write, Permission::Read],
        store_ids: vec![StoreId::random(), StoreId::random()],
        active: true,
        expires_at: Some(at(90)),
        revoked_at: None,
        rate_limit: Some(u32::MAX),
        created_at: at(0),
    }
}

pub(crate) async fn an_api_key_is_kept_and_replaced_whole(place: Arc<Place>) {
    let store = place.open().await;
    let key = api_key();
    assert_eq!(store.api_key(key.key_hash).await.unwrap(), None);
    store.put_api_key(key.clone()).await.unwrap();
    assert_eq!(store.api_key(key.key_hash).await.unwrap(), Some(key.clone()));

    let replaced = ApiKeyRecord {
        key_hash: key.key_hash,
        tenant_id: TenantId::NIL,
        agent_id: None,
        permissions: Vec::new(),
        store_ids: Vec::new(),
        active: false,
        expires_at: None,
        revoked_at: Some(at(8)),
        rate_limit: None,
        created_at: at(9),
    };
    store.put_api_key(replaced.clone()).await.unwrap();
    let other = ApiKeyRecord { key_hash: Hash::new([6; 32]), permissions: Permission::ALL.to_vec(), ..key };
    store.put_api_key(other.clone()).await.unwrap();
    store.close().await;

    let store = place.open().await;
    assert_eq!(store.api_key(replaced.key_hash).await.unwrap(), Some(replaced));
    assert_eq!(store.api_key(other.key_hash).await.unwrap(), Some(other));
    assert_eq!(store.api_key(Hash::new([5; 32])).await.unwrap(), None);
}

/// A newer binary may have written them.
pub(crate) async fn words_that_this_binary_does_not_know_grant_nothing(place: Arc<Place>) {
    let store = place.open().await;
    let (tenant, agent) = (TenantId::random(), AgentId::random());
    store.register_agent_key(agent_key(tenant, agent, 1)).await.unwrap();
    place.execute("UPDATE agent_keys SET status = 'suspended'").await;
    let key = store.agent_key(tenant, agent, 1).await.unwrap().unwrap();
    assert_eq!(key.status, AgentKeyStatus::Revoked);

    let key = api_key();
    for change in ["permissions = 'read,fly'", "permissions = 'read', store_ids = 'all-but-one'"] {
        store.put_api_key(key.clone()).await.unwrap();
        place.execute(&format!("UPDATE api_keys SET {change}")).await;
        let found = store.api_key(key.key_hash).await.unwrap().unwrap();
        assert!(!found.active && found.permissions.is_empty(), "{found:?}");
    }
}

pub(crate) async fn a_sequencer_key_keeps_its_version(place: Arc<Place>) {
    let stores = place.open_two().await;
    assert!(stores[0].sequencer_keys().await.unwrap().is_empty());
    let mut known = Vec::new();
    for key in 1..=6 {
        let register = |user: usize| {
            let store = Arc::clone(&stores[user]);
            let sequencer = Uuid::from_u128(u128::from(key % 2));
            async move { store.register_sequencer_key(sequencer, [key; 32], at(i64::from(key))).await.unwrap() }
        };
        let (first, second) = tokio::join!(tokio::spawn(register(0)), tokio::spawn(register(1)));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first, second);
        assert_eq!((first.public_key, first.sequencer_id.as_u128()), ([key; 32], u128::from(key % 2)));
        known.push(first);
    }
    assert!(known.is_sorted_by(|a, b| a.key_version < b.key_version) && known[0].key_version >= 1);
    // The same bytes under another id are another sequencer's key.
    let stranger = stores[0].register_sequencer_key(Uuid::from_u128(9), [1; 32], at(60)).await.unwrap();
    let again = stores[1].register_sequencer_key(Uuid::from_u128(1), [1; 32], at(99)).await.unwrap();
    assert_eq!(again, known[0]);
    known.push(stranger);
    drop(stores);
    assert_eq!(place.open().await.sequencer_keys().await.unwrap(), known);
}

pub(crate) async fn a_cursor_never_goes_back(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    grow(&store, stream, 9).await;
    grow(&store, neighbour, 9).await;
    assert_eq!(store.cursor("audit", stream).await.unwrap(), 0);
    for (moved_to, expected) in [(3, 3), (7, 7), (5, 7), (0, 7), (7, 7), (9, 9)] {
        advance(&store, "audit", stream, moved_to).await;
        assert_eq!(store.cursor("audit", stream).await.unwrap(), expected);
    }
    advance(&store, "audit", neighbour, 1).await;
    advance(&store, "mirror", stream, 2).await;
    // No effect of an event can be done in a stream that has none.
    let unborn = new_stream();
    advance(&store, "audit", unborn, 4).await;
    store.close().await;

    let store = place.open().await;
    assert_eq!(store.cursor("audit", stream).await.unwrap(), 9);
    assert_eq!(store.cursor("audit", neighbour).await.unwrap(), 1);
    assert_eq!(store.cursor("mirror", stream).await.unwrap(), 2);
    assert_eq!(store.cursor("mirror", neighbour).await.unwrap(), 0);
    assert_eq!(store.cursor("audit", unborn).await.unwrap(), 0);
    assert_eq!(store.streams().await.unwrap().len(), 2);
}

async fn advance(store: &Arc<dyn LineStore>, follower: &str, stream: StreamId, sequence_number: u64) {
    let cursor = CursorRecord { follower: follower.to_owned(), stream, sequence_number };
    store.advance_cursor(cursor).await.unwrap();
}

//! The life of keys: rotation, revocation, validity, and that nothing is written under a key as it was before.
//!
//! Each test runs on both stores through the contract alone; what only PostgreSQL can show, an append that is
//! under way in another process, stands at the end.

use std::sync::Arc;

use bowline_store::{
    AgentKeyFilter, AgentKeyName, AgentKeyRecord, AgentKeyStatus, ApiKeyFilter, ApiKeyRecord, ChangeKind,
    ChangedKey, HashPrefix, KeyChange, KeyRotation, LineStore, RegisterKey, Retire, RotatedKey, StoreError,
    VerifiedBatch,
};
use bowline_types::{AgentId, StreamId, TenantId};
use bowline_ves::Hash;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use crate::keys::{agent_key, api_key};
use crate::support::{Engine, Place, run, soon, until};
use bowline_conformance::events::{at, fresh, grow, new_events, new_stream, signer, whole};

/// An agent whose key 1 is registered.
async fn agent_with_key(store: &Arc<dyn LineStore>) -> AgentKeyName {
    let key = agent_key(TenantId::random(), AgentId::random(), 1);
    assert_eq!(store.register_agent_key(key.clone()).await.unwrap(), RegisterKey::Created);
    key.name()
}

fn rotation(name: AgentKeyName, public_key: u8) -> KeyRotation {
    KeyRotation {
        tenant_id: name.tenant_id,
        agent_id: name.agent_id,
        key_id: None,
        public_key: [public_key; 32],
        valid_to: None,
        old_key_id: None,
        retire: Retire::At(at(100)),
        now: at(10),
    }
}

async fn rotate(store: &Arc<dyn LineStore>, rotation: KeyRotation) -> (AgentKeyRecord, Vec<AgentKeyRecord>) {
    match store.rotate_agent_key(rotation).await.unwrap() {
        RotatedKey::Rotated { key, retired } => (key, retired),
        other => panic!("{other:?}"),
    }
}

fn revoke() -> KeyChange {
    KeyChange::Revoke { reason: Some("laptop lost".to_owned()) }
}

async fn key_of(store: &Arc<dyn LineStore>, name: AgentKeyName) -> AgentKeyRecord {
    store.agent_key(name.tenant_id, name.agent_id, name.key_id).await.unwrap().unwrap()
}

fn epoch(store: &Arc<dyn LineStore>) -> u64 {
    store.changes().epoch(ChangeKind::AGENT_KEYS)
}

pub(crate) async fn a_rotation_registers_the_next_key_and_lets_the_old_one_run_out(place: Arc<Place>) {
    let store = place.open().await;
    let name = agent_with_key(&store).await;
    let before = epoch(&store);
    let (key, retired) = rotate(&store, KeyRotation { valid_to: Some(at(999)), ..rotation(name, 7) }).await;
    assert_eq!((key.key_id, key.status, key.valid_to), (2, AgentKeyStatus::Active, Some(at(999))));
    assert_eq!(
        retired.iter().map(|old| (old.key_id, old.valid_to)).collect::<Vec<_>>(),
        [(1, Some(at(100)))]
    );
    assert_eq!(
        (key_of(&store, name).await, key_of(&store, key.name()).await),
        (retired[0].clone(), key.clone())
    );
    assert!(epoch(&store) > before);

    // An answer that was lost: the same again, a little later, moves nothing.
    let again = KeyRotation { now: at(20), retire: Retire::At(at(110)), ..rotation(name, 7) };
    assert_eq!(rotate(&store, again).await, (key.clone(), Vec::new()));
    let refused = store.rotate_agent_key(KeyRotation { key_id: Some(1), ..rotation(name, 9) }).await.unwrap();
    assert_eq!(refused, RotatedKey::Conflict(1));
    let refused =
        store.rotate_agent_key(KeyRotation { old_key_id: Some(5), ..rotation(name, 9) }).await.unwrap();
    assert_eq!(refused, RotatedKey::UnknownOld(5));

    let back = store.rotate_agent_key(KeyRotation { key_id: Some(1), ..rotation(name, 1) }).await.unwrap();
    assert_eq!(back, RotatedKey::Outdated(1));
    let retire = Retire::Revoke { reason: None };
    let (third, retired) =
        rotate(&store, KeyRotation { key_id: Some(30), retire, ..rotation(name, 9) }).await;
    let ids: Vec<_> = retired.iter().map(|old| (old.key_id, old.status, old.revoked_at)).collect();
    let revoked = |id| (id, AgentKeyStatus::Revoked, Some(at(10)));
    assert_eq!((third.key_id, ids), (30, vec![revoked(1), revoked(2)]));
    store.close().await;
    let all = AgentKeyFilter::of(name.tenant_id, Some(name.agent_id), 9);
    let statuses: Vec<_> = place
        .open()
        .await
        .agent_keys(all)
        .await
        .unwrap()
        .iter()
        .map(|key| (key.key_id, key.status))
        .collect();
    use AgentKeyStatus::{Active, Revoked};
    assert_eq!(statuses, [(1, Revoked), (2, Revoked), (30, Active)]);
}

pub(crate) async fn a_revocation_is_for_ever(place: Arc<Place>) {
    let store = place.open().await;
    let name = agent_with_key(&store).await;
    let unknown = AgentKeyName { key_id: 2, ..name };
    assert_eq!(store.change_agent_key(unknown, revoke(), at(5)).await.unwrap(), ChangedKey::Unknown);
    let before = epoch(&store);
    let ChangedKey::Changed(key) = store.change_agent_key(name, revoke(), at(5)).await.unwrap() else {
        panic!("not revoked")
    };
    assert_eq!((key.status, key.revoked_at), (AgentKeyStatus::Revoked, Some(at(5))));
    assert_eq!(key.revoked_reason.as_deref(), Some("laptop lost"));
    let raised = epoch(&store);
    assert!(raised > before);

    let again = store.change_agent_key(name, KeyChange::Revoke { reason: None }, at(50)).await.unwrap();
    assert_eq!(again, ChangedKey::Revoked(key.clone()));
    let longer = KeyChange::Validity { valid_from: None, valid_to: Some(None) };
    assert_eq!(store.change_agent_key(name, longer, at(50)).await.unwrap(), ChangedKey::Revoked(key.clone()));
    // The bytes themselves are burnt, under every id of the agent.
    for key_id in [1, 2] {
        let same = AgentKeyRecord { key_id, ..agent_key(name.tenant_id, name.agent_id, 1) };
        assert_eq!(store.register_agent_key(same).await.unwrap(), RegisterKey::Revoked);
    }
    assert_eq!(store.rotate_agent_key(rotation(name, 1)).await.unwrap(), RotatedKey::Revoked(1));
    let colleague =
        AgentKeyRecord { agent_id: AgentId::random(), ..agent_key(name.tenant_id, name.agent_id, 1) };
    assert_eq!(store.register_agent_key(colleague).await.unwrap(), RegisterKey::Created);
    assert_eq!((key_of(&store, name).await, epoch(&store)), (key, raised));
}

pub(crate) async fn a_validity_is_changed_in_parts(place: Arc<Place>) {
    let store = place.open().await;
    let name = agent_with_key(&store).await;
    let change = async |valid_from, valid_to| {
        store.change_agent_key(name, KeyChange::Validity { valid_from, valid_to }, at(0)).await.unwrap()
    };
    let bounds = async || {
        let key = key_of(&store, name).await;
        (key.valid_from, key.valid_to)
    };
    let before = epoch(&store);
    assert!(matches!(change(Some(Some(at(10))), Some(Some(at(20)))).await, ChangedKey::Changed(_)));
    assert!(matches!(change(None, Some(Some(at(30)))).await, ChangedKey::Changed(_)));
    assert_eq!(bounds().await, (Some(at(10)), Some(at(30))));
    let raised = epoch(&store);
    assert!(raised > before + 1);
    assert!(matches!(change(None, Some(Some(at(30)))).await, ChangedKey::Unchanged(_)));
    assert_eq!(change(None, Some(Some(at(9)))).await, ChangedKey::Inverted);
    assert_eq!(bounds().await, (Some(at(10)), Some(at(30))));
    assert_eq!(epoch(&store), raised);
    assert!(matches!(change(Some(None), Some(Some(at(9)))).await, ChangedKey::Changed(_)));
    assert!(matches!(change(None, Some(None)).await, ChangedKey::Changed(_)));
    assert_eq!(bounds().await, (None, None));
}

pub(crate) async fn keys_are_listed_by_their_status_of_the_moment(place: Arc<Place>) {
    let store = place.open().await;
    let (tenant, agent) = (TenantId::random(), AgentId::random());
    let ends = [None, Some(at(50)), Some(at(100)), None];
    for (key_id, valid_to) in (1..).zip(ends) {
        let key = AgentKeyRecord { valid_to, ..agent_key(tenant, agent, key_id) };
        store.register_agent_key(key.clone()).await.unwrap();
        if key_id == 4 {
            store.change_agent_key(key.name(), revoke(), at(9)).await.unwrap();
        }
    }
    let listed = async |status, now| {
        let filter =
            AgentKeyFilter { status: Some((status, at(now))), ..AgentKeyFilter::of(tenant, None, 9) };
        let keys = store.agent_keys(filter).await.unwrap();
        assert!(keys.iter().all(|key| key.status_at(at(now)) == status));
        keys.iter().map(|key| key.key_id).collect::<Vec<_>>()
    };
    assert_eq!(listed(AgentKeyStatus::Active, 50).await, [1, 2, 3]);
    assert_eq!(listed(AgentKeyStatus::Active, 51).await, [1, 3]);
    assert_eq!(listed(AgentKeyStatus::Expired, 51).await, [2]);
    assert_eq!(listed(AgentKeyStatus::Revoked, 51).await, [4]);
    place.execute("UPDATE agent_keys SET status = 'suspended' WHERE key_id = 1").await;
    assert_eq!(listed(AgentKeyStatus::Revoked, 51).await, [1, 4]);
}

pub(crate) async fn of_two_rotations_at_a_time_both_keys_stand(place: Arc<Place>) {
    let stores = place.open_two().await;
    for _ in 0..5 {
        let name = agent_with_key(&stores[0]).await;
        let start = |user: usize| {
            let (store, rotation) = (Arc::clone(&stores[user]), rotation(name, 10 + user as u8));
            tokio::spawn(async move { rotate(&store, rotation).await.0.key_id })
        };
        let (first, second) = (start(0), start(1));
        let mut ids = [first.await.unwrap(), second.await.unwrap()];
        ids.sort_unstable();
        assert_eq!(ids, [2, 3]);
        let later = key_of(&stores[0], AgentKeyName { key_id: 3, ..name }).await;
        assert_eq!((later.status, later.valid_to), (AgentKeyStatus::Active, None));
        let earlier = key_of(&stores[1], AgentKeyName { key_id: 2, ..name }).await;
        assert_eq!(earlier.valid_to, Some(at(100)));
    }
}

async fn append_as_of(
    store: &Arc<dyn LineStore>,
    stream: StreamId,
    keys_epoch: u64,
) -> Result<(), StoreError> {
    let batch = VerifiedBatch { events: new_events(stream, 2), keys_epoch };
    store.append(batch, signer(), at(0)).await.map(drop)
}

pub(crate) async fn a_batch_that_was_verified_before_a_change_is_refused(place: Arc<Place>) {
    let stores = place.open_two().await;
    let stream = new_stream();
    let name = agent_with_key(&stores[0]).await;
    let old = epoch(&stores[1]);
    let known = new_events(stream, 2);
    let report = stores[1].append(fresh(known.clone()), signer(), at(0)).await.unwrap();
    append_as_of(&stores[1], stream, old).await.unwrap();
    // The database is changed past the stores: nobody is notified, so only the append itself can tell.
    place.execute("UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = 'agent_keys'").await;
    let refused = append_as_of(&stores[1], stream, old).await.unwrap_err();
    assert!(matches!(refused, StoreError::KeysChanged { epoch } if epoch == old + 1), "{refused}");
    assert!(refused.retryable());
    assert_eq!(epoch(&stores[1]), old + 1, "the append tells its process");
    assert_eq!(whole(&stores[1], stream).await.len(), 4);
    append_as_of(&stores[1], stream, epoch(&stores[1])).await.unwrap();
    // What writes nothing needs no key: a replay gets its receipt.
    let replay = VerifiedBatch { events: known, keys_epoch: old };
    let again = stores[0].append(replay, signer(), at(9)).await.unwrap();
    assert_eq!(bowline_conformance::events::receipts(&again), bowline_conformance::events::receipts(&report));

    // The same by a revocation in the other process, whether its news have arrived or not.
    let stale = epoch(&stores[1]);
    let revoked = stores[0].change_agent_key(name, revoke(), at(5)).await.unwrap();
    assert!(matches!(revoked, ChangedKey::Changed(_)), "{revoked:?}");
    let refused = append_as_of(&stores[1], stream, stale).await.unwrap_err();
    assert!(matches!(refused, StoreError::KeysChanged { .. }), "{refused}");
    // One that changes nothing disturbs nobody.
    let current = epoch(&stores[0]);
    let again = stores[0].change_agent_key(name, revoke(), at(6)).await.unwrap();
    assert!(matches!(again, ChangedKey::Revoked(_)), "{again:?}");
    append_as_of(&stores[1], stream, current).await.unwrap();
    assert_eq!(whole(&stores[0], stream).await.len(), 8);
}

pub(crate) async fn a_registration_disturbs_nobody(place: Arc<Place>) {
    let stores = place.open_two().await;
    let (stream, old) = (new_stream(), epoch(&stores[0]));
    let name = agent_with_key(&stores[0]).await;
    let fresh_agent = KeyRotation { agent_id: AgentId::random(), ..rotation(name, 3) };
    assert_eq!(rotate(&stores[0], fresh_agent).await.0.key_id, 1);
    append_as_of(&stores[1], stream, old).await.unwrap();
    assert_eq!(epoch(&stores[0]), old);
}

pub(crate) async fn api_keys_are_listed_and_revoked(place: Arc<Place>) {
    let store = place.open().await;
    let first = api_key();
    let other_agent =
        ApiKeyRecord { key_hash: Hash::new([5; 32]), agent_id: None, created_at: at(1), ..first.clone() };
    let elsewhere =
        ApiKeyRecord { key_hash: Hash::new([6; 32]), tenant_id: TenantId::random(), ..first.clone() };
    for key in [&other_agent, &first, &elsewhere] {
        store.put_api_key(key.clone()).await.unwrap();
    }
    let heard = || store.changes().epoch(ChangeKind::API_KEYS);
    let before = heard();
    let filter = ApiKeyFilter { tenant_id: first.tenant_id, agent_id: None, hashes: None, limit: 9 };
    let list = async |filter| store.api_keys(filter).await.unwrap();
    assert_eq!(list(filter).await, [first.clone(), other_agent.clone()]);
    assert_eq!(list(ApiKeyFilter { limit: 1, ..filter }).await, std::slice::from_ref(&first));
    let of_agent = ApiKeyFilter { agent_id: first.agent_id, ..filter };
    assert_eq!(list(of_agent).await, std::slice::from_ref(&first));
    let prefixed = |digits: &str| ApiKeyFilter { hashes: HashPrefix::parse(digits), ..filter };
    assert_eq!(list(prefixed("0505050505050505")).await, [other_agent]);
    assert!(list(prefixed("0505050505050506")).await.is_empty());
    assert!(list(prefixed("0606060606060606")).await.is_empty());

    let revoked = ApiKeyRecord { active: false, revoked_at: Some(at(7)), ..first.clone() };
    assert_eq!(store.revoke_api_key(first.key_hash, at(7)).await.unwrap(), Some(revoked.clone()));
    assert!(heard() > before);
    assert_eq!(store.revoke_api_key(first.key_hash, at(70)).await.unwrap(), Some(revoked.clone()));
    assert_eq!(store.revoke_api_key(Hash::ZERO, at(7)).await.unwrap(), None);
    assert_eq!(store.api_key(first.key_hash).await.unwrap(), Some(revoked));
    // A record that is replaced was cached by somebody, perhaps; one that is new by nobody.
    let known = heard();
    store.put_api_key(elsewhere.clone()).await.unwrap();
    let raised = heard();
    assert!(raised > known);
    store.put_api_key(ApiKeyRecord { key_hash: Hash::new([8; 32]), ..elsewhere }).await.unwrap();
    assert_eq!(heard(), raised);
}

/// Whether a statement that names this waits for a lock.
async fn waits(looker: &mut PgConnection, named: &str) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
               AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%')";
    sqlx::query_scalar(sql).bind(named).fetch_one(looker).await.unwrap()
}

async fn until_waiting(place: &Place, named: &str) {
    let mut looker = place.connect().await;
    soon(async {
        while !waits(&mut looker, named).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn revoking(store: &Arc<dyn LineStore>, name: AgentKeyName) -> JoinHandle<Result<ChangedKey, StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.change_agent_key(name, revoke(), at(5)).await })
}

async fn until_revoked(store: &Arc<dyn LineStore>, name: AgentKeyName) {
    until(|| async { key_of(store, name).await.status == AgentKeyStatus::Revoked }).await;
}

/// Two processes: the append waits for its stream while another process revokes the key.
#[test]
fn an_append_that_is_under_way_at_a_revocation_is_refused() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let stores = place.open_two().await;
        let stream = new_stream();
        grow(&stores[0], stream, 1).await;
        let name = agent_with_key(&stores[0]).await;
        let old = epoch(&stores[1]);
        let mut holder = place.connect().await;
        let mut lock = holder.begin().await.unwrap();
        sqlx::raw_sql("SELECT * FROM sequence_counters FOR UPDATE").execute(&mut *lock).await.unwrap();
        let appender = Arc::clone(&stores[1]);
        let waiting = tokio::spawn(async move { append_as_of(&appender, stream, old).await });
        until_waiting(&place, "sequence_counters").await;
        let revocation = revoking(&stores[0], name);
        until_revoked(&stores[0], name).await;
        lock.rollback().await.unwrap();
        let refused = soon(waiting).await.unwrap().unwrap_err();
        assert!(matches!(refused, StoreError::KeysChanged { .. }), "{refused}");
        assert!(matches!(soon(revocation).await.unwrap().unwrap(), ChangedKey::Changed(_)));
        assert_eq!(whole(&stores[0], stream).await.len(), 1);
    });
}

/// An append holds the epoch's row until its commit; a stranger's transaction delays nobody.
#[test]
fn a_revocation_comes_after_the_appends_that_write_and_waits_for_nobody_else() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = place.open().await;
        let name = agent_with_key(&store).await;
        let mut stranger = place.connect().await;
        let mut strange = stranger.begin().await.unwrap();
        sqlx::raw_sql("SELECT pg_current_xact_id()").execute(&mut *strange).await.unwrap();

        let mut writer = place.connect().await;
        let mut writing = writer.begin().await.unwrap();
        sqlx::raw_sql("SELECT * FROM change_epochs FOR SHARE").execute(&mut *writing).await.unwrap();
        let revocation = revoking(&store, name);
        until_waiting(&place, "change_epochs").await;
        writing.rollback().await.unwrap();
        assert!(matches!(soon(revocation).await.unwrap().unwrap(), ChangedKey::Changed(_)));
        strange.rollback().await.unwrap();
    });
}

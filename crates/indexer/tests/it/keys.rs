//! Keys that change under a running indexer, and a stop that is asked for.

use std::sync::Arc;

use bowline_indexer::{Dependencies, Service, lease_name};
use bowline_runtime::{Shutdown, SystemClock};
use bowline_store::{AgentKeyName, AgentKeyRecord, AgentKeyStatus, KeyChange};
use bowline_types::{AgentId, TenantId, Timestamp, chain_agent, public_tenant};
use bowline_ves::{SecretKey, SequencerSigner};
use uuid::Uuid;

use crate::rig::{CHAIN, Rig, start};
use bowline_neighbours::soon;

#[tokio::test]
async fn other_keys_may_change_and_its_own_stops_it_until_it_has_another_one() {
    let rig = Rig::new().await;
    rig.register(0..3).await;
    let running = rig.start();
    rig.settled(&running).await;
    // Somebody else's key: the epoch of all keys grows, and the indexer goes on.
    let name = AgentKeyName { tenant_id: TenantId::random(), agent_id: AgentId::random(), key_id: 1 };
    let key = AgentKeyRecord {
        tenant_id: name.tenant_id,
        agent_id: name.agent_id,
        key_id: 1,
        public_key: SecretKey::from_seed([77; 32]).public().to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        revoked_at: None,
        revoked_reason: None,
        created_at: Timestamp::from_micros(0),
    };
    rig.store.register_agent_key(key).await.unwrap();
    let revoke = |name| {
        rig.store.change_agent_key(name, KeyChange::Revoke { reason: None }, Timestamp::from_micros(1))
    };
    revoke(name).await.unwrap();
    rig.register(3..6).await;
    rig.settled(&running).await;

    let own = AgentKeyName { tenant_id: public_tenant(), agent_id: chain_agent(CHAIN), key_id: 1 };
    revoke(own).await.unwrap();
    rig.register(6..8).await;
    let status = running.until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("key is revoked"));
    assert_eq!(rig.events().await.len(), 24);
    running.kill().await;
    let running = start(&rig.config, &rig.store, 2);
    let events = rig.settled(&running).await;
    assert_eq!(events.last().unwrap().envelope.agent_key_id, 2);
}

#[tokio::test]
async fn a_stop_that_is_asked_for_gives_the_chain_back_at_once() {
    let rig = Rig::new().await;
    rig.register(0..3).await;
    let mut config = rig.config.clone();
    config.lease_secs = 3_600;
    let key = || SecretKey::from_seed([1; 32]);
    let signer = SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: 1, key: key() };
    let dependencies = Dependencies {
        store: Arc::clone(&rig.store),
        clock: Arc::new(SystemClock),
        signer: Arc::new(signer),
        key: Arc::new(key()),
    };
    let (service, handle) = Service::build(&config, dependencies).unwrap();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(service.run(shutdown.clone()));
    soon(|| async { handle.status()[0].block.map(drop) }).await;
    assert!(rig.store.lease(&lease_name(CHAIN)).await.unwrap().is_some());
    shutdown.begin();
    soon(|| async { task.is_finished().then_some(()) }).await;
    assert_eq!(rig.store.lease(&lease_name(CHAIN)).await.unwrap(), None);
    let running = start(&config, &rig.store, 1);
    rig.settled(&running).await;
}

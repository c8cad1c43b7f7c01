//! Sources: a chain's checkpoint moves with its events or not at all, and of two processes one moves it.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{
    AgentKeyName, AgentKeyRecord, AgentKeyStatus, AppendOutcome, ChainAdvance, ChainCheckpoint, KeyChange,
    LineStore, StoreError, StoredEvent, StoredReceipt, VerifiedBatch, sign_receipts,
};
use bowline_types::{AgentId, EvmHash, chain_stream};
use bowline_ves::{Hash, SecretKey, SequencerSigner, VerifiedEvent};

use crate::support::{Place, soon};
use bowline_conformance::events::{agent_key, at, fresh, grow, new_events, signer, whole};

const CHAIN: u64 = 84_532;

fn hash(number: u64) -> EvmHash {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    EvmHash::new(bytes)
}

/// A step from block `from` (0 is before the first one) with one mark a number.
fn step(from: u64, marks: &[(u64, u64)]) -> ChainAdvance {
    ChainAdvance {
        chain_id: CHAIN,
        stream: chain_stream(CHAIN),
        expected: (0, (from > 0).then(|| (from, hash(from)))),
        generation: 0,
        forget_above: None,
        marks: marks.iter().map(|(number, count)| (*number, hash(*number), *count)).collect(),
    }
}

async fn take(
    store: &Arc<dyn LineStore>,
    advance: ChainAdvance,
    events: Vec<VerifiedEvent>,
) -> Result<u64, StoreError> {
    store.append_from_chain(advance, fresh(events), signer(), at(0)).await
}

fn new(count: usize) -> Vec<VerifiedEvent> {
    new_events(chain_stream(CHAIN), count)
}

async fn place(store: &Arc<dyn LineStore>) -> Option<(u64, u64, u64)> {
    let checkpoint = store.chain_checkpoint(CHAIN).await.unwrap()?;
    assert_eq!(checkpoint.stream, chain_stream(CHAIN));
    let block = checkpoint.block?;
    assert_eq!(block.hash, hash(block.number));
    Some((checkpoint.generation, block.number, block.head))
}

async fn marks(store: &Arc<dyn LineStore>) -> Vec<(u64, u64)> {
    store.block_marks(CHAIN).await.unwrap().iter().map(|mark| (mark.number, mark.head)).collect()
}

pub(crate) async fn a_checkpoint_moves_with_its_events(place_: Arc<Place>) {
    let store = place_.open().await;
    let mut woken = store.tail().watch(chain_stream(CHAIN));
    assert_eq!(store.chain_checkpoint(CHAIN).await.unwrap(), None);
    assert!(store.chain_checkpoints().await.unwrap().is_empty() && marks(&store).await.is_empty());

    // Without events there is a checkpoint, and no stream yet.
    assert_eq!(take(&store, step(0, &[(9, 0)]), Vec::new()).await.unwrap(), 0);
    assert_eq!(place(&store).await, Some((0, 9, 0)));
    assert_eq!(store.head(chain_stream(CHAIN)).await.unwrap(), None);

    let events = new(5);
    assert_eq!(take(&store, step(9, &[(10, 2), (12, 2), (13, 5)]), events.clone()).await.unwrap(), 5);
    assert_eq!(place(&store).await, Some((0, 13, 5)));
    assert_eq!(marks(&store).await, [(13, 5), (12, 2), (10, 2), (9, 0)]);
    soon(woken.wait_for(|head| *head == 5)).await.unwrap();
    let stored = whole(&store, chain_stream(CHAIN)).await;
    assert!(stored.iter().zip(&events).all(|(stored, event)| stored.envelope == event.envelope));

    // Others may write to the stream too; marks tell where it really was.
    grow(&store, chain_stream(CHAIN), 1).await;
    assert_eq!(take(&store, step(13, &[(14, 1)]), new(1)).await.unwrap(), 7);
    assert_eq!(marks(&store).await[0], (14, 7));
    let all = store.chain_checkpoints().await.unwrap();
    let [ChainCheckpoint { chain_id: CHAIN, updated_at, .. }] = all[..] else { panic!("{all:?}") };
    assert_eq!(updated_at, at(0));
    place_.execute("SELECT 1 / count(*) FROM streams WHERE name = 'evm/84532'").await;

    store.close().await;
    let store = place_.open().await;
    assert_eq!(place(&store).await, Some((0, 14, 7)));
}

pub(crate) async fn a_step_from_elsewhere_changes_nothing(place_: Arc<Place>) {
    let store = place_.open().await;
    take(&store, step(0, &[(9, 1)]), new(1)).await.unwrap();
    let mut other_hash = step(9, &[(10, 1)]);
    other_hash.expected = (0, Some((9, hash(8))));
    let mut other_generation = step(9, &[(10, 1)]);
    (other_generation.expected.0, other_generation.generation) = (1, 1);
    for advance in [step(0, &[(10, 1)]), step(8, &[(10, 1)]), other_hash, other_generation] {
        let refused = take(&store, advance, new(1)).await;
        assert!(matches!(refused, Err(StoreError::SourceMoved(CHAIN))), "{refused:?}");
    }
    // What can be no step at all.
    let mut elsewhere = step(9, &[(10, 1)]);
    elsewhere.stream = chain_stream(1);
    let mut skips = step(9, &[(10, 1)]);
    skips.generation = 2;
    let wrong = [step(9, &[(9, 1)]), step(9, &[(11, 1), (10, 1)]), step(9, &[(10, 2)]), elsewhere, skips];
    for advance in wrong {
        let refused = take(&store, advance, new(1)).await;
        assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    }
    assert_eq!((place(&store).await, marks(&store).await), (Some((0, 9, 1)), vec![(9, 1)]));
    assert_eq!(whole(&store, chain_stream(CHAIN)).await.len(), 1);
}

pub(crate) async fn an_event_that_is_not_new_fails_the_whole_step(place_: Arc<Place>) {
    let store = place_.open().await;
    let first = new(2);
    take(&store, step(0, &[(9, 2)]), first.clone()).await.unwrap();
    let replayed = [new(1), first[..1].to_vec(), new(1)].concat();
    let one = new(1);
    let twice = [one.clone(), one].concat();
    for events in [replayed, twice] {
        let count = events.len() as u64;
        let refused = take(&store, step(9, &[(10, count)]), events).await;
        assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    }
    assert_eq!(place(&store).await, Some((0, 9, 2)));
    assert_eq!(whole(&store, chain_stream(CHAIN)).await.len(), 2);
}

pub(crate) async fn a_reorganization_forgets_marks_and_counts_a_generation(place_: Arc<Place>) {
    let store = place_.open().await;
    take(&store, step(0, &[(9, 0)]), Vec::new()).await.unwrap();
    take(&store, step(9, &[(10, 1), (11, 2), (12, 3)]), new(3)).await.unwrap();
    // Two events are taken back; the block that both chains have is marked anew, where the stream is now.
    let back = ChainAdvance { generation: 1, forget_above: Some(10), ..step(12, &[(10, 2)]) };
    assert_eq!(take(&store, back.clone(), new(2)).await.unwrap(), 5);
    assert_eq!(place(&store).await, Some((1, 10, 5)));
    assert_eq!(marks(&store).await, [(10, 5), (9, 0)]);
    assert!(matches!(take(&store, back, new(2)).await, Err(StoreError::SourceMoved(CHAIN))));
    // Without a mark of its own a step ends at the highest one that is left, or nowhere.
    let further = ChainAdvance {
        expected: (1, Some((10, hash(10)))),
        generation: 2,
        forget_above: Some(9),
        ..step(0, &[])
    };
    take(&store, further, Vec::new()).await.unwrap();
    assert_eq!(place(&store).await, Some((2, 9, 0)));
    let all = ChainAdvance {
        expected: (2, Some((9, hash(9)))),
        generation: 3,
        forget_above: Some(0),
        ..step(0, &[])
    };
    take(&store, all, Vec::new()).await.unwrap();
    assert_eq!(store.chain_checkpoint(CHAIN).await.unwrap().unwrap().block, None);
    let again = ChainAdvance { expected: (3, None), generation: 3, ..step(0, &[(9, 1)]) };
    assert_eq!(take(&store, again, new(1)).await.unwrap(), 6);
}

pub(crate) async fn the_newest_marks_are_kept(place_: Arc<Place>) {
    let store = place_.open().await;
    let numbers: Vec<(u64, u64)> = (1..=2_000).map(|number| (number, 0)).collect();
    take(&store, step(0, &numbers), Vec::new()).await.unwrap();
    take(&store, step(2_000, &[(2_001, 0)]), Vec::new()).await.unwrap();
    let kept = marks(&store).await;
    assert_eq!((kept.len(), kept[0].0, kept[1_023].0), (1_024, 2_001, 978));
}

pub(crate) async fn of_two_steps_at_a_time_one_is_taken(place_: Arc<Place>) {
    let stores = place_.open_two().await;
    for round in 0..20_u64 {
        let tasks: Vec<_> = (0..6_usize)
            .map(|user| {
                let store = Arc::clone(&stores[user % 2]);
                let count = user % 3;
                tokio::spawn(async move {
                    take(&store, step(round, &[(round + 1, count as u64)]), new(count)).await.map(|_| count)
                })
            })
            .collect();
        let mut taken = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(count) => taken.push(count),
                Err(StoreError::SourceMoved(CHAIN)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(taken.len(), 1, "round {round}");
        let (_, number, head) = place(&stores[0]).await.unwrap();
        assert_eq!((number, head), (round + 1, whole(&stores[1], chain_stream(CHAIN)).await.len() as u64));
    }
}

pub(crate) async fn a_dropped_step_is_whole_or_absent(place_: Arc<Place>) {
    let store = place_.open().await;
    let mut from = 0;
    for round in 0..20_u64 {
        let task = tokio::spawn({
            let store = Arc::clone(&store);
            async move { take(&store, step(from, &[(round + 1, 3)]), new(3)).await }
        });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
        // What was handed over may still be on its way, and is then written between two looks.
        let number = loop {
            let (_, number, head) = place(&store).await.unwrap_or_default();
            let events = whole(&store, chain_stream(CHAIN)).await.len() as u64;
            if place(&store).await.unwrap_or_default().2 == head {
                assert_eq!(events, head);
                break number;
            }
        };
        from = number;
    }
}

pub(crate) async fn a_step_that_was_signed_before_a_change_of_keys_is_refused(place_: Arc<Place>) {
    let store = place_.open().await;
    let name = AgentKeyName {
        tenant_id: chain_stream(CHAIN).tenant_id,
        agent_id: AgentId::from_bytes([2; 16]),
        key_id: 1,
    };
    let key = AgentKeyRecord {
        tenant_id: name.tenant_id,
        agent_id: name.agent_id,
        key_id: name.key_id,
        public_key: agent_key().public().to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        revoked_at: None,
        revoked_reason: None,
        created_at: at(0),
    };
    store.register_agent_key(key).await.unwrap();
    store.change_agent_key(name, KeyChange::Revoke { reason: None }, at(1)).await.unwrap();
    let batch = VerifiedBatch { events: new(1), keys_epoch: 0 };
    let refused = store.append_from_chain(step(0, &[(9, 1)]), batch, signer(), at(0)).await;
    let Err(StoreError::KeysChanged { epoch }) = refused else { panic!("{refused:?}") };
    assert_eq!(place(&store).await, None);
    let batch = VerifiedBatch { events: new(1), keys_epoch: epoch };
    store.append_from_chain(step(0, &[(9, 1)]), batch, signer(), at(0)).await.unwrap();
    assert_eq!(place(&store).await, Some((0, 9, 1)));
}

pub(crate) async fn receipts_of_a_chain_are_signed_when_somebody_asks(place_: Arc<Place>) {
    let store = place_.open().await;
    let events = new(3);
    take(&store, step(0, &[(9, 3)]), events.clone()).await.unwrap();
    let kept = whole(&store, chain_stream(CHAIN)).await;
    assert!(kept.iter().all(|event| event.receipt.signatures.is_none() && event.receipt.signed().is_none()));
    let mut signed = kept.clone();
    sign_receipts(&mut signed, &signer());
    for (kept, event) in kept.iter().zip(&signed) {
        let receipt = event.receipt.signed().unwrap();
        receipt.verify(Some(&event.signing_hash), &signer().key.public()).unwrap();
        let StoredEvent { receipt: before, signing_hash, .. } = kept;
        assert!(before.is_of(signing_hash) && !before.is_of(&Hash::ZERO));
        let of = |r: &StoredReceipt| {
            (r.event_id, r.sequence_number, r.sequenced_at, r.receipt_hash, r.key_version)
        };
        assert_eq!(of(before), of(&event.receipt));
    }
    // Who sends such an event, which is public, gets the same receipt, every time.
    for _ in 0..2 {
        let report = store.append(fresh(events.clone()), signer(), at(5)).await.unwrap();
        let receipts = signed.iter().filter_map(|event| event.receipt.signed()).map(AppendOutcome::Replayed);
        assert!(report.outcomes.into_iter().eq(receipts));
    }
    // Another key signs under its own version, and what is signed already stays as it is.
    let other = SequencerSigner { key_version: 9, key: SecretKey::from_seed([9; 32]), ..(*signer()).clone() };
    let mut by_other = kept;
    sign_receipts(&mut by_other, &other);
    for event in &by_other {
        let receipt = event.receipt.signed().unwrap();
        assert_eq!(receipt.key_version, 9);
        receipt.verify(Some(&event.signing_hash), &other.key.public()).unwrap();
    }
    let before = signed.clone();
    sign_receipts(&mut signed, &other);
    assert_eq!(signed, before);
}

//! The contract that stands for a deployed one of the original kind behaves like it.
//!
//! What a node calls of it is in the crate's interface; the rest of the original interface is declared here.

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::{Revert, SolCall, SolError, sol};
use bowline_anchor::abi::OriginalAnchor::{
    CommitmentAnchored, anchorBatchCall, anchorCall, getLatestSequenceCall, isAnchoredCall,
    verifyEventsRootCall,
};

use crate::support::Chain;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct Kept {
        bytes32 eventsRoot;
        bytes32 stateRoot;
        uint64 sequenceStart;
        uint64 sequenceEnd;
        uint32 eventCount;
        uint256 timestamp;
        bool exists;
    }

    function getCommitment(bytes32 batchId) external view returns (Kept memory);
    function getAnchoredCount() external view returns (uint256);
    function transferOwnership(address to) external;
    function setPermissionless(bool allowed) external;
}

/// Events `start..=end` of the one stream here.
fn anchor(batch: &str, start: u64, end: u64) -> anchorCall {
    anchorCall {
        batchId: keccak256(batch),
        tenantId: B256::with_last_byte(1),
        storeId: B256::with_last_byte(2),
        eventsRoot: keccak256("events"),
        stateRoot: keccak256("state"),
        sequenceStart: start,
        sequenceEnd: end,
        eventCount: u32::try_from(end - start + 1).unwrap(),
    }
}

fn columns(calls: &[anchorCall]) -> anchorBatchCall {
    anchorBatchCall {
        batchIds: calls.iter().map(|call| call.batchId).collect(),
        tenantIds: calls.iter().map(|call| call.tenantId).collect(),
        storeIds: calls.iter().map(|call| call.storeId).collect(),
        eventsRoots: calls.iter().map(|call| call.eventsRoot).collect(),
        stateRoots: calls.iter().map(|call| call.stateRoot).collect(),
        sequenceStarts: calls.iter().map(|call| call.sequenceStart).collect(),
        sequenceEnds: calls.iter().map(|call| call.sequenceEnd).collect(),
        eventCounts: calls.iter().map(|call| call.eventCount).collect(),
    }
}

async fn words_of_refusal<C: SolCall>(chain: &Chain, from: Address, call: &C) -> String {
    Revert::abi_decode(&chain.reverted(from, call).await).unwrap().reason
}

#[tokio::test]
async fn a_batch_is_anchored_once_and_found_again() {
    let chain = Chain::original().await;
    let first = anchor("first", 1, 10);
    let mined = chain.send(chain.owner, &first).await;
    let event = mined.events::<CommitmentAnchored>().remove(0);
    let time = chain.time_of(mined.block).await;
    assert_eq!((event.batchId, event.sequenceEnd, event.timestamp.to::<u64>()), (first.batchId, 10, time));
    assert_eq!(words_of_refusal(&chain, chain.owner, &first).await, "Already anchored");

    assert!(chain.ask(&isAnchoredCall { batchId: first.batchId }).await);
    assert!(!chain.ask(&isAnchoredCall { batchId: B256::ZERO }).await);
    let verify = |root| verifyEventsRootCall { batchId: first.batchId, eventsRoot: root };
    assert!(chain.ask(&verify(first.eventsRoot)).await && !chain.ask(&verify(first.stateRoot)).await);
    let kept = chain.ask(&getCommitmentCall { batchId: first.batchId }).await;
    assert_eq!((kept.sequenceStart, kept.sequenceEnd, kept.eventCount, kept.exists), (1, 10, 10, true));
    assert_eq!((kept.eventsRoot, kept.stateRoot), (first.eventsRoot, first.stateRoot));
    let latest = getLatestSequenceCall { tenantId: first.tenantId, storeId: first.storeId };
    assert_eq!(chain.ask(&latest).await, 10);
}

#[tokio::test]
async fn columns_of_unequal_length_and_repetitions_anchor_nothing() {
    let chain = Chain::original().await;
    let calls = [anchor("first", 1, 10), anchor("second", 11, 20), anchor("first", 21, 30)];
    let refused = words_of_refusal(&chain, chain.owner, &columns(&calls)).await;
    assert_eq!(refused, "Already anchored");
    let mut short = columns(&calls[..2]);
    short.eventCounts.pop();
    assert_eq!(words_of_refusal(&chain, chain.owner, &short).await, "Length mismatch");
    assert_eq!(chain.ask(&getAnchoredCountCall {}).await.to::<u64>(), 0);
    let mined = chain.send(chain.owner, &columns(&calls[..2])).await;
    assert_eq!(mined.events::<CommitmentAnchored>().len(), 2);
    assert_eq!(chain.ask(&getAnchoredCountCall {}).await.to::<u64>(), 2);
}

#[tokio::test]
async fn only_the_owner_anchors_unless_everybody_may() {
    let chain = Chain::original().await;
    let (owner, stranger) = (chain.owner, chain.stranger);
    let call = anchor("first", 1, 1);
    assert_eq!(words_of_refusal(&chain, stranger, &call).await, "Not authorized");
    let open = setPermissionlessCall { allowed: true };
    assert_eq!(words_of_refusal(&chain, stranger, &open).await, "Only owner");
    chain.send(owner, &open).await;
    chain.send(stranger, &call).await;
    chain.send(owner, &setPermissionlessCall { allowed: false }).await;
    chain.send(owner, &transferOwnershipCall { to: stranger }).await;
    chain.send(stranger, &anchor("second", 2, 2)).await;
    assert_eq!(words_of_refusal(&chain, owner, &anchor("third", 3, 3)).await, "Not authorized");
}

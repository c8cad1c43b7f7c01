//! Inclusion proofs: from stored tiles and levels to the commitment's root, and the refusals.
//!
//! Proofs are made where tiles of 1,024 leaves begin and end, in trees just below, at and above that size.

use bowline_line::ProveError;
use bowline_store::{EventStore as _, ReadQuery};
use bowline_types::{BatchId, Code, StreamId};
use bowline_ves::leaf_hash;

use crate::events::new_stream;
use crate::support::{Line, soon};

const TILE: u64 = 1 << bowline_store::TILE_HEIGHT;

async fn refused(line: &Line, stream: StreamId, number: u64, batch_id: Option<BatchId>) -> (String, Code) {
    let error: ProveError = soon(line.handle.commitments.prove(stream, number, batch_id)).await.unwrap_err();
    (error.to_string(), error.code())
}

/// Proves the event and checks the proof against the commitment and the event itself.
async fn prove(line: &Line, stream: StreamId, number: u64, batch_id: Option<BatchId>) -> BatchId {
    let answer = soon(line.handle.commitments.prove(stream, number, batch_id)).await.unwrap();
    answer.proof.verify(&answer.commitment.merkle_root).unwrap();
    assert_eq!(answer.proof.path.len(), answer.commitment.tree_depth as usize);
    assert_eq!(answer.proof.leaf_index, number - answer.commitment.sequence_start);
    let event = line.store.read(ReadQuery::from(stream, number, 1)).await.unwrap().events.remove(0);
    let leaf = leaf_hash(stream, number, &event.signing_hash, &event.envelope.agent_signature);
    assert_eq!((answer.proof.leaf_hash, answer.sequence_number), (leaf, number));
    answer.commitment.batch_id
}

#[tokio::test]
async fn proofs_lead_to_the_root_across_all_tile_borders() {
    let line = Line::start().await;
    let stream = new_stream();
    // One leaf, one full tile, one leaf more than a tile, and two tiles and a bit.
    let sizes = [1, TILE, TILE + 1, 2 * TILE + 52];
    line.grow(stream, usize::try_from(sizes.iter().sum::<u64>()).unwrap()).await;
    let mut start = 1;
    for size in sizes {
        let commitment = line.commit(stream, start, start + size - 1).await.commitment;
        let mut indices = vec![0, 1, TILE - 1, TILE, TILE + 1, 2 * TILE - 1, 2 * TILE, size / 2, size - 1];
        indices.retain(|index| *index < size);
        for index in indices {
            assert_eq!(prove(&line, stream, start + index, None).await, commitment.batch_id);
            prove(&line, stream, start + index, Some(commitment.batch_id)).await;
        }
        start += size;
    }
}

#[tokio::test]
async fn without_a_covering_commitment_there_is_no_proof() {
    let line = Line::start().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    line.grow(stream, 9).await;
    line.grow(neighbour, 9).await;
    let first = line.commit(stream, 3, 5).await.commitment.batch_id;
    let second = line.commit(stream, 6, 7).await.commitment.batch_id;
    assert_eq!(prove(&line, stream, 5, None).await, first);
    assert_eq!(prove(&line, stream, 6, None).await, second);

    for number in [1, 2, 8, 9] {
        let wanted = (format!("no commitment covers event {number} yet"), Code::NotCommitted);
        assert_eq!(refused(&line, stream, number, None).await, wanted);
    }
    for number in [0, 10, u64::MAX] {
        let wanted = (format!("the stream has no event {number}"), Code::EventNotFound);
        assert_eq!(refused(&line, stream, number, None).await, wanted);
    }
    for number in [2, 6, 99] {
        let wanted = (format!("commitment {first} covers 3 to 5, not {number}"), Code::InvalidFieldValue);
        assert_eq!(refused(&line, stream, number, Some(first)).await, wanted);
    }
    // Another stream's commitment is none of this one.
    for (batch_id, number) in [(first, 4), (BatchId::random(), 4)] {
        let wanted = (format!("the stream has no commitment {batch_id}"), Code::BatchNotFound);
        assert_eq!(refused(&line, neighbour, number, Some(batch_id)).await, wanted);
    }
    assert_eq!(refused(&line, neighbour, 4, None).await.1, Code::NotCommitted);
}

//! Commitments and inclusion proofs, from stored leaves: no payload is read.
//!
//! A commitment is made outside of any lock and then inserted if its predecessor is still the last one; who
//! loses that race starts anew. A proof reads the leaves of one tile and the stored levels above it.

use std::sync::Arc;
use std::time::Instant;

use bowline_runtime::Clock;
use bowline_store::{
    ChainPlace, CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment, LineStore,
    StoreError, TILE_HEIGHT,
};
use bowline_types::{BatchId, Code, StreamId};
use bowline_ves::{Commitment, CommitmentError, Hash, InclusionProof, Tree, proof_from_tile};
use metrics::{counter, histogram};

use crate::metrics::{COMMIT_SECONDS, COMMITMENTS};

/// Tries to find the end of the chain against competitors, each of whom must have succeeded meanwhile.
pub(crate) const RACES_MAX: u32 = 8;

/// What to commit: `sequence_start` follows the last commitment and `sequence_end` is the head if not given.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommitRange {
    /// First sequence number.
    pub sequence_start: Option<u64>,
    /// Last sequence number.
    pub sequence_end: Option<u64>,
}

/// Why a commitment was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The range does not begin where the last commitment ended.
    #[error("non-contiguous sequence: the next commitment begins at {expected}, not at {given}")]
    NonContiguous {
        /// Where it must begin.
        expected: u64,
        /// Where it was to begin.
        given: u64,
    },
    /// A commitment begins there already, with another end.
    #[error("a commitment of {start} to {end} exists already")]
    Exists {
        /// Its first number.
        start: u64,
        /// Its last number.
        end: u64,
    },
    /// The range has no events, or ends beyond the head.
    #[error("the range {start} to {end} is not all there: the stream's head is {head}")]
    OutOfRange {
        /// First number asked for.
        start: u64,
        /// Last number asked for.
        end: u64,
        /// The stream's head.
        head: u64,
    },
    /// Nothing is left to commit.
    #[error("all {head} events of the stream are committed")]
    NothingToCommit {
        /// The stream's head.
        head: u64,
    },
    /// More events than one commitment may cover.
    #[error("the range has {count} events; one commitment covers {max} at most")]
    TooWide {
        /// Events asked for.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// Others kept committing the stream at the same time.
    #[error("other commitments of the stream were faster {RACES_MAX} times; try again")]
    Raced,
    /// The pieces do not fit together, which is a defect.
    #[error(transparent)]
    Rules(#[from] CommitmentError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CommitError {
    /// The code that a client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::NonContiguous { .. } | Self::Exists { .. } | Self::OutOfRange { .. } => Code::SequenceGap,
            Self::NothingToCommit { .. } | Self::TooWide { .. } => Code::InvalidFieldValue,
            Self::Raced => Code::ServiceUnavailable,
            Self::Rules(_) => Code::InternalError,
            Self::Store(error) => error.code(),
        }
    }
}

/// Why there is no proof.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProveError {
    /// The stream does not reach that far.
    #[error("the stream has no event {0}")]
    NoEvent(u64),
    /// No commitment covers the event yet.
    #[error("no commitment covers event {0} yet")]
    NotCommitted(u64),
    /// There is no such commitment in the stream.
    #[error("the stream has no commitment {0}")]
    NoBatch(BatchId),
    /// The named commitment does not cover the event.
    #[error("commitment {batch_id} covers {start} to {end}, not {sequence_number}")]
    NotCovered {
        /// The commitment.
        batch_id: BatchId,
        /// Its first number.
        start: u64,
        /// Its last number.
        end: u64,
        /// The number asked for.
        sequence_number: u64,
    },
    /// The stored levels and leaves do not give the stored root.
    #[error(
        "the stored tree of commitment {0} does not give its root: see `bowline commitments check`, and correct it"
    )]
    Corrupt(BatchId),
    /// The named commitment is wrong, and another one replaces it.
    #[error("commitment {batch_id} was corrected: {corrected_by} replaces it")]
    Corrected {
        /// The commitment.
        batch_id: BatchId,
        /// The one to ask for instead.
        corrected_by: BatchId,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProveError {
    /// The code that a client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::NoEvent(_) => Code::EventNotFound,
            Self::NotCommitted(_) => Code::NotCommitted,
            Self::NoBatch(_) => Code::BatchNotFound,
            Self::NotCovered { .. } => Code::InvalidFieldValue,
            Self::Corrupt(_) => Code::InternalError,
            Self::Corrected { .. } => Code::CommitmentCorrected,
            Self::Store(error) => error.code(),
        }
    }
}

/// A proof with the commitment that it leads to.
#[derive(Debug, Clone)]
pub struct ProofAnswer {
    /// The event's number.
    pub sequence_number: u64,
    /// The commitment.
    pub commitment: Commitment,
    /// From the event's leaf to the commitment's root.
    pub proof: InclusionProof,
}

/// Makes, finds and proves commitments; cheap to clone.
#[derive(Debug, Clone)]
pub struct Commitments {
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) clock: Arc<dyn Clock>,
    events_max: u64,
}

/// What the next commitment of a stream has to continue.
#[derive(Debug, Clone, Copy)]
struct ChainEnd {
    head: u64,
    /// The highest committed number; none before the first commitment.
    committed: Option<u64>,
    state_root: Hash,
}

impl Commitments {
    /// Commitments of the line in `store`, of `events_max` events at most each.
    pub fn new(store: Arc<dyn LineStore>, clock: Arc<dyn Clock>, events_max: u64) -> Self {
        Self { store, clock, events_max }
    }

    /// Commits a range. Asking for a range that was committed before returns that commitment.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(
        &self,
        stream: StreamId,
        range: CommitRange,
        origin: CommitmentOrigin,
    ) -> Result<CommitmentRecord, CommitError> {
        let began = Instant::now();
        for _ in 0..RACES_MAX {
            let last = self.store.last_commitment(stream).await?;
            let head = self.store.head(stream).await?;
            // The last one may be a correction, which lies behind the highest committed number.
            let committed = head.filter(|_| last.is_some()).map(|head| head.committed);
            if let Some(existing) = self.existing(stream, range, committed).await? {
                return Ok(existing);
            }
            let end = ChainEnd {
                head: head.map_or(0, |head| head.head),
                committed,
                state_root: last.as_ref().map_or(Hash::ZERO, |last| last.commitment.new_state_root),
            };
            let (commitment, upper) = self.seal(stream, range, end).await?;
            if self.store.insert_commitment(commitment.clone(), upper, origin).await?
                == InsertCommitment::Inserted
            {
                counter!(COMMITMENTS, "origin" => origin.as_str()).increment(1);
                histogram!(COMMIT_SECONDS).record(began.elapsed());
                let (start, end) = (commitment.sequence_start, commitment.sequence_end);
                tracing::info!(component = "line", %stream, start, end, batch_id = %commitment.batch_id, "Commitment made");
                let position = last.map_or(0, |last| last.chain.position) + 1;
                let chain = ChainPlace { position, ..ChainPlace::default() };
                return Ok(CommitmentRecord { commitment, origin, chain, anchor: None });
            }
        }
        Err(CommitError::Raced)
    }

    /// The commitment that a repeated request means.
    async fn existing(
        &self,
        stream: StreamId,
        range: CommitRange,
        committed: Option<u64>,
    ) -> Result<Option<CommitmentRecord>, CommitError> {
        let (Some(start), Some(committed)) = (range.sequence_start, committed) else { return Ok(None) };
        if start > committed {
            return Ok(None);
        }
        let there = self.store.commitment_covering(stream, start).await?;
        let Some(there) = there.filter(|record| record.commitment.sequence_start == start) else {
            return Err(CommitError::NonContiguous { expected: committed + 1, given: start });
        };
        match range.sequence_end {
            Some(end) if end != there.commitment.sequence_end => {
                Err(CommitError::Exists { start, end: there.commitment.sequence_end })
            }
            _ => Ok(Some(there)),
        }
    }

    async fn seal(
        &self,
        stream: StreamId,
        range: CommitRange,
        chain_end: ChainEnd,
    ) -> Result<(Commitment, Vec<u8>), CommitError> {
        let ChainEnd { head, committed, state_root } = chain_end;
        let expected = committed.map_or(1, |committed| committed + 1);
        let start = range.sequence_start.unwrap_or(expected);
        // The first commitment of a stream may begin anywhere, as in the original API.
        if committed.is_some() && start != expected {
            return Err(CommitError::NonContiguous { expected, given: start });
        }
        if range.sequence_end.is_none() && start == expected && start > head {
            return Err(CommitError::NothingToCommit { head });
        }
        let end = range.sequence_end.unwrap_or_else(|| head.min(start.saturating_add(self.events_max - 1)));
        if start == 0 || end < start || end > head {
            return Err(CommitError::OutOfRange { start, end, head });
        }
        let count = end + 1 - start;
        if count > self.events_max {
            return Err(CommitError::TooWide { count, max: self.events_max });
        }
        Ok(self.seal_leaves(stream, start, end, state_root).await??)
    }

    /// A commitment of the stored leaves of a range, and its tree's upper levels.
    pub(crate) async fn seal_leaves(
        &self,
        stream: StreamId,
        start: u64,
        end: u64,
        prev: Hash,
    ) -> Result<Result<(Commitment, Vec<u8>), CommitmentError>, StoreError> {
        let leaves = self.store.leaves(stream, start, end).await?;
        let now = self.clock.now();
        let sealed = tokio::task::spawn_blocking(move || {
            let tree = Tree::new(leaves);
            let commitment = Commitment::seal(BatchId::random(), stream, &tree, start, end, prev, now)?;
            Ok::<_, CommitmentError>((commitment, tree.upper(TILE_HEIGHT)))
        });
        sealed.await.map_err(|e| StoreError::Internal(e.to_string()))
    }

    /// The inclusion proof of an event, in the commitment that covers it or in the one named.
    ///
    /// # Errors
    /// See [`ProveError`].
    pub async fn prove(
        &self,
        stream: StreamId,
        sequence_number: u64,
        batch_id: Option<BatchId>,
    ) -> Result<ProofAnswer, ProveError> {
        let commitment = match batch_id {
            Some(batch_id) => self.named(stream, sequence_number, batch_id).await?,
            None => self.covering(stream, sequence_number).await?,
        };
        let (start, end) = (commitment.sequence_start, commitment.sequence_end);
        let index = sequence_number - start;
        let tile_start = start + (index >> TILE_HEIGHT << TILE_HEIGHT);
        let tile_end = end.min(tile_start + (1 << TILE_HEIGHT) - 1);
        let batch_id = commitment.batch_id;
        let leaves = self.store.leaves(stream, tile_start, tile_end).await?;
        let upper =
            self.store.commitment_upper_levels(batch_id).await?.ok_or(ProveError::NoBatch(batch_id))?;
        let proof = proof_from_tile(u64::from(commitment.leaf_count), index, TILE_HEIGHT, &leaves, &upper)
            .map_err(|_| ProveError::Corrupt(batch_id))?;
        // A proof that would not verify must never leave the house.
        proof.verify(&commitment.merkle_root).map_err(|_| ProveError::Corrupt(batch_id))?;
        Ok(ProofAnswer { sequence_number, commitment, proof })
    }

    async fn covering(&self, stream: StreamId, sequence_number: u64) -> Result<Commitment, ProveError> {
        if let Some(record) = self.store.commitment_covering(stream, sequence_number).await? {
            return Ok(record.commitment);
        }
        let head = self.store.head(stream).await?.map_or(0, |head| head.head);
        let exists = (1..=head).contains(&sequence_number);
        Err(if exists {
            ProveError::NotCommitted(sequence_number)
        } else {
            ProveError::NoEvent(sequence_number)
        })
    }

    async fn named(
        &self,
        stream: StreamId,
        sequence_number: u64,
        batch_id: BatchId,
    ) -> Result<Commitment, ProveError> {
        let record = self.store.commitment(batch_id).await?;
        let found = record.filter(|record| record.commitment.stream == stream);
        let CommitmentRecord { commitment, chain, .. } = found.ok_or(ProveError::NoBatch(batch_id))?;
        if let Some(corrected_by) = chain.corrected_by {
            return Err(ProveError::Corrected { batch_id, corrected_by });
        }
        let (start, end) = (commitment.sequence_start, commitment.sequence_end);
        if (start..=end).contains(&sequence_number) {
            Ok(commitment)
        } else {
            Err(ProveError::NotCovered { batch_id, start, end, sequence_number })
        }
    }

    /// One commitment.
    ///
    /// # Errors
    /// The store's.
    pub async fn get(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.store.commitment(batch_id).await
    }

    /// Commitments of a stream, ascending.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.store.commitments(filter).await
    }
}

//! Corrections: whether a stored commitment is right, and a new one in place of one that is not.
//!
//! A correction stands at the end of the chain and covers the range of the commitment that it corrects, with the
//! root of the stored leaves. Nothing is deleted: the wrong commitment stays, marked. Refuses to correct what is
//! right, and a range that does not fit between its neighbours, since nobody knows any more which one was meant.

use std::time::Instant;

use bowline_store::{
    ChainPlace, ChainQuery, CommitmentFilter, CommitmentRecord, InsertCommitment, NewCorrection, StoreError,
};
use bowline_types::{BatchId, Code, StreamId};
use bowline_ves::{Commitment, CommitmentError, Hash};
use metrics::{counter, histogram};

use crate::commitments::{Commitments, RACES_MAX};
use crate::metrics::{COMMIT_SECONDS, CORRECTIONS};

/// Characters of the reason that is kept with a correction.
pub const CORRECTION_REASON_CHARS_MAX: usize = 1_000;

/// What is wrong with a commitment; nothing if it is right.
#[derive(Debug, Clone)]
pub struct CommitmentCheck {
    /// The commitment.
    pub record: CommitmentRecord,
    /// The root of the stored leaves in its range; none if its range is not all there.
    pub computed_root: Option<Hash>,
    /// What is wrong, for people.
    pub problems: Vec<String>,
}

/// What to correct, and why.
#[derive(Debug, Clone)]
pub struct Correction {
    /// The wrong commitment.
    pub batch_id: BatchId,
    /// Why, for people.
    pub reason: String,
    /// Also if nothing is wrong with it.
    pub force: bool,
}

/// Why a commitment was not corrected.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CorrectError {
    /// There is no such commitment.
    #[error("there is no commitment {0}")]
    NoBatch(BatchId),
    /// It was corrected before.
    #[error("commitment {batch_id} was corrected already: {corrected_by} replaces it")]
    Corrected {
        /// The commitment.
        batch_id: BatchId,
        /// The one that replaces it.
        corrected_by: BatchId,
    },
    /// It is right.
    #[error(
        "commitment {0} is right: its root is that of the stored events and its state root follows; nothing to correct"
    )]
    Intact(BatchId),
    /// Its range is not the one that it was made for.
    #[error("commitment {batch_id} can't be corrected: {problem}; restore it from a backup")]
    Range {
        /// The commitment.
        batch_id: BatchId,
        /// What does not fit.
        problem: String,
    },
    /// No reason, or too long a one.
    #[error("the reason has {0} characters; 1 to {CORRECTION_REASON_CHARS_MAX} are due")]
    Reason(usize),
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

impl CorrectError {
    /// The code that a client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::NoBatch(_) => Code::BatchNotFound,
            Self::Corrected { .. } => Code::CommitmentCorrected,
            Self::Intact(_) => Code::CommitmentIntact,
            Self::Range { .. } => Code::SequenceGap,
            Self::Reason(_) => Code::InvalidFieldValue,
            Self::Raced => Code::ServiceUnavailable,
            Self::Rules(_) => Code::InternalError,
            Self::Store(error) => error.code(),
        }
    }
}

impl Commitments {
    /// Recomputes a commitment from the stored leaves and from what stands before it in the chain.
    ///
    /// # Errors
    /// The store's.
    pub async fn check(&self, batch_id: BatchId) -> Result<Option<CommitmentCheck>, StoreError> {
        let Some(record) = self.store.commitment(batch_id).await? else { return Ok(None) };
        let (computed_root, mut problems) = self.own_problems(&record).await?;
        problems.extend(self.link_problem(&record).await?);
        Ok(Some(CommitmentCheck { record, computed_root, problems }))
    }

    /// Puts a correction in the place of a wrong commitment.
    ///
    /// # Errors
    /// See [`CorrectError`].
    pub async fn correct(&self, correction: Correction) -> Result<CommitmentRecord, CorrectError> {
        let Correction { batch_id, reason, force } = correction;
        let reason = reason.trim().to_owned();
        let chars = reason.chars().count();
        if chars == 0 || chars > CORRECTION_REASON_CHARS_MAX || reason.contains('\0') {
            return Err(CorrectError::Reason(chars));
        }
        let began = Instant::now();
        for _ in 0..RACES_MAX {
            let check = self.check(batch_id).await?.ok_or(CorrectError::NoBatch(batch_id))?;
            if let Some(corrected_by) = check.record.chain.corrected_by {
                return Err(CorrectError::Corrected { batch_id, corrected_by });
            }
            if check.problems.is_empty() && !force {
                return Err(CorrectError::Intact(batch_id));
            }
            let wrong = check.record;
            self.range_fits(&wrong.commitment).await?;
            if let Some(record) = self.insert_correction(&wrong, &reason).await? {
                counter!(CORRECTIONS).increment(1);
                histogram!(COMMIT_SECONDS).record(began.elapsed());
                let (stream, by) = (wrong.commitment.stream, record.commitment.batch_id);
                tracing::warn!(component = "line", %stream, %batch_id, corrected_by = %by, reason, "Commitment corrected");
                return Ok(record);
            }
        }
        Err(CorrectError::Raced)
    }

    /// The correction; none if another commitment was faster.
    async fn insert_correction(
        &self,
        wrong: &CommitmentRecord,
        reason: &str,
    ) -> Result<Option<CommitmentRecord>, CorrectError> {
        let Commitment { batch_id, stream, sequence_start: start, sequence_end: end, .. } = wrong.commitment;
        let last = self.store.last_commitment(stream).await?.ok_or(CorrectError::NoBatch(batch_id))?;
        let prev = last.commitment.new_state_root;
        let (commitment, upper_levels) = self.seal_leaves(stream, start, end, prev).await??;
        let commitment = commitment.correcting(batch_id);
        let new = NewCorrection {
            commitment: commitment.clone(),
            upper_levels,
            origin: wrong.origin,
            reason: reason.to_owned(),
        };
        if self.store.insert_correction(new).await? == InsertCommitment::Superseded {
            return Ok(None);
        }
        let chain = ChainPlace {
            position: last.chain.position + 1,
            corrected_by: None,
            reason: Some(reason.to_owned()),
        };
        Ok(Some(CommitmentRecord { commitment, origin: wrong.origin, chain, anchor: None }))
    }

    /// What is wrong with a commitment in itself, and the root of the stored leaves.
    async fn own_problems(
        &self,
        record: &CommitmentRecord,
    ) -> Result<(Option<Hash>, Vec<String>), StoreError> {
        let commitment = &record.commitment;
        let (stream, start, end) = (commitment.stream, commitment.sequence_start, commitment.sequence_end);
        let mut problems = Vec::new();
        problems.extend(commitment.check().err().map(|error| error.to_string()));
        let head = self.store.head(stream).await?.map_or(0, |head| head.head);
        let width_max = u64::from(u32::MAX >> 1) + 1;
        if start == 0 || end < start || end > head || end - start >= width_max {
            problems
                .push(format!("the range {start} to {end} is not all there: the stream's head is {head}"));
            return Ok((None, problems));
        }
        let sealed = self.seal_leaves(stream, start, end, commitment.prev_state_root).await?;
        let (right, levels) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                problems.push(error.to_string());
                return Ok((None, problems));
            }
        };
        if right.merkle_root != commitment.merkle_root {
            let (computed, found) = (right.merkle_root, commitment.merkle_root);
            problems.push(format!("the stored events have Merkle root {computed}, it says {found}"));
        }
        let stored = self.store.commitment_upper_levels(commitment.batch_id).await?;
        if stored.is_none_or(|stored| stored != levels) {
            problems.push("its stored tree is not that of the stored events".to_owned());
        }
        Ok((Some(right.merkle_root), problems))
    }

    /// Whether a commitment continues the one before it. If it does not, the one at fault is the one before where
    /// that is wrong too, in itself or as a continuation of its own predecessor.
    async fn link_problem(&self, record: &CommitmentRecord) -> Result<Option<String>, StoreError> {
        let commitment = &record.commitment;
        let Some(before) = self.before(record).await? else {
            let found = commitment.prev_state_root;
            let problem = || format!("the first commitment has the previous state root {found}, not zero");
            return Ok((found != Hash::ZERO).then(problem));
        };
        let (found, due) = (commitment.prev_state_root, before.commitment.new_state_root);
        if found == due {
            return Ok(None);
        }
        let earlier =
            self.before(&before).await?.map_or(Hash::ZERO, |earlier| earlier.commitment.new_state_root);
        let at_fault =
            before.commitment.prev_state_root != earlier || !self.own_problems(&before).await?.1.is_empty();
        let problem = || format!("its previous state root is {found}, the commitment before it has {due}");
        Ok((!at_fault).then(problem))
    }

    /// What stands before a commitment in its chain.
    async fn before(&self, record: &CommitmentRecord) -> Result<Option<CommitmentRecord>, StoreError> {
        let Some(after) = record.chain.position.checked_sub(2) else { return Ok(None) };
        let query = ChainQuery { stream: record.commitment.stream, after, corrections_only: false, limit: 1 };
        Ok(self.store.chain(query).await?.pop())
    }

    /// A disk that damaged the numbers themselves leaves nothing to recompute the range from.
    async fn range_fits(&self, wrong: &Commitment) -> Result<(), CorrectError> {
        let (batch_id, stream) = (wrong.batch_id, wrong.stream);
        let refuse = |problem: String| Err(CorrectError::Range { batch_id, problem });
        let head = self.store.head(stream).await?.map_or(0, |head| head.head);
        let (start, end) = (wrong.sequence_start, wrong.sequence_end);
        if start == 0 || end < start || end > head {
            return refuse(format!(
                "its range {start} to {end} is not all there, the stream's head is {head}"
            ));
        }
        if start > 1 {
            let before = self.store.commitment_covering(stream, start - 1).await?;
            if before.is_none_or(|before| before.commitment.sequence_end + 1 != start)
                && !self.is_first(stream, start).await?
            {
                return refuse(format!("its range begins at {start} and no commitment ends before that"));
            }
        }
        let after = self.store.commitment_covering(stream, end + 1).await?;
        if after.is_some_and(|after| after.commitment.sequence_start != end + 1) {
            return refuse(format!("its range ends at {end}, within that of another commitment"));
        }
        Ok(())
    }

    /// Whether no commitment of the stream begins before that number.
    async fn is_first(&self, stream: StreamId, start: u64) -> Result<bool, StoreError> {
        let first = self
            .store
            .commitments(CommitmentFilter { stream, from: 0, unanchored_only: false, limit: 1 })
            .await?;
        Ok(first.first().is_none_or(|first| first.commitment.sequence_start >= start))
    }
}

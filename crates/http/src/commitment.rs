//! The commitment that a path names, for the principals that may read its stream.
//!
//! The line's routes and those of every subsystem that acts on commitments look one up here, so that all of them refuse
//! alike: a principal that may not read the stream does not learn that the commitment exists.

use bowline_store::{CommitmentRecord, LineStore};
use bowline_types::{BatchId, Code};

use crate::auth::Principal;
use crate::error::ApiError;

/// The commitment, if the principal may read its stream.
///
/// # Errors
/// `BATCH_NOT_FOUND`, or the store's.
pub async fn readable_commitment(
    store: &dyn LineStore,
    principal: &Principal,
    batch_id: BatchId,
) -> Result<CommitmentRecord, ApiError> {
    let record = store.commitment(batch_id).await?;
    let record = record.filter(|record| principal.may_read(record.commitment.stream));
    record.ok_or_else(|| ApiError::new(Code::BatchNotFound, format!("there is no commitment {batch_id}")))
}

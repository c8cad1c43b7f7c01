//! Errors of the line as clients see them.
//!
//! It chooses the code and the particulars of each; what a database says of itself stays in the log.

use bowline_http::ApiError;
use bowline_line::{AppendError, CommitError, CorrectError, ProveError};
use serde_json::json;

/// Events that were not taken.
pub(super) fn of_append(error: AppendError) -> ApiError {
    match error {
        AppendError::Store(error) => error.into(),
        AppendError::Overloaded { retry_after_secs, .. } => {
            ApiError::new(error.code(), error.to_string()).with_retry_after(retry_after_secs)
        }
        AppendError::Draining => ApiError::new(error.code(), error.to_string()),
    }
}

/// A range that can't be committed.
pub(super) fn of_commit(error: CommitError) -> ApiError {
    match error {
        CommitError::Store(error) => error.into(),
        _ => ApiError::new(error.code(), error.to_string()),
    }
}

/// An event that can't be proven.
pub(super) fn of_proof(error: ProveError) -> ApiError {
    match error {
        ProveError::Store(error) => error.into(),
        ProveError::Corrected { corrected_by, .. } => ApiError::new(error.code(), error.to_string())
            .with_details(json!({ "corrected_by": corrected_by })),
        _ => ApiError::new(error.code(), error.to_string()),
    }
}

/// A commitment that can't be corrected.
pub(super) fn of_correction(error: CorrectError) -> ApiError {
    match error {
        CorrectError::Store(error) => error.into(),
        CorrectError::Corrected { corrected_by, .. } => ApiError::new(error.code(), error.to_string())
            .with_details(json!({ "corrected_by": corrected_by })),
        _ => ApiError::new(error.code(), error.to_string()),
    }
}

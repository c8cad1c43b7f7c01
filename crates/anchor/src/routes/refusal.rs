//! Errors of anchoring, and of the line that these routes ask, as clients see them.
//!
//! It chooses codes and particulars; no message is made here.

use bowline_http::ApiError;
use bowline_line::CommitError;
use bowline_types::Code;
use serde_json::{Value, json};

use crate::AnchorError;

impl From<AnchorError> for ApiError {
    fn from(error: AnchorError) -> Self {
        let advice = error.advice().map(|(code, fix)| json!({ "code": code, "fix": fix }));
        match error {
            AnchorError::Store(error) => error.into(),
            // It does not go by itself, so there is nothing to wait for.
            AnchorError::NotConfigured => Self::new(error.code(), error.to_string()).without_retry_after(),
            AnchorError::Refused { ref code, ref message, .. } if code == "ANCHORS_ITSELF" => {
                advised(Self::new(Code::AnchorConflict, message), advice)
            }
            _ => advised(Self::new(error.code(), error.to_string()), advice),
        }
    }
}

/// A range that can't be committed.
pub(super) fn of_commit(error: CommitError) -> ApiError {
    match error {
        CommitError::Store(error) => error.into(),
        _ => ApiError::new(error.code(), error.to_string()),
    }
}

fn advised(error: ApiError, advice: Option<Value>) -> ApiError {
    match advice {
        Some(advice) => error.with_details(advice),
        None => error,
    }
}

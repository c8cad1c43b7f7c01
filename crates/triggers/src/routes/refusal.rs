//! Errors of triggers as clients see them.
//!
//! It chooses codes and particulars; no message is made here.

use bowline_http::ApiError;
use bowline_types::Code;
use serde_json::json;

use crate::{Missing, TriggerError};

impl From<TriggerError> for ApiError {
    fn from(error: TriggerError) -> Self {
        let message = error.to_string();
        match error {
            TriggerError::Invalid(problems) => {
                Self::new(Code::InvalidTrigger, message).with_details(json!(problems))
            }
            TriggerError::Absent(Missing::Trigger) => Self::new(Code::TriggerNotFound, message),
            TriggerError::Absent(Missing::Event) => Self::new(Code::EventNotFound, message),
            TriggerError::Absent(Missing::Condition | Missing::Action) => {
                Self::new(Code::TriggerPartNotFound, message)
            }
            TriggerError::Changed { revision } => {
                Self::new(Code::TriggerChanged, message).with_details(json!({ "revision": revision }))
            }
            TriggerError::TooMany { .. } => Self::new(Code::TooManyTriggers, message),
            TriggerError::Busy { retry_after_secs, .. } => {
                Self::new(Code::BacktestsBusy, message).with_retry_after(retry_after_secs)
            }
            TriggerError::Store(error) => error.into(),
        }
    }
}

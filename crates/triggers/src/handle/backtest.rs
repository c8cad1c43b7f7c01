//! Tries a trigger on the events of the past: when it would have fired, had it been there.
//!
//! What conditions remember begins empty, events that the chain took back count for nothing, and `created_at` does
//! not matter. A back-test looks at so many events and takes so long at most; the rest is had with its cursor.

use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Handle, Rule};
use crate::TriggerError;

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BacktestQuery {
    /// The stream; by default the trigger's chain, and without one every chain, one after the other.
    #[serde(skip)]
    pub stream: Option<StreamId>,
    /// Only events that happened then or later.
    pub since: Option<Timestamp>,
    /// Only events that happened before then.
    pub until: Option<Timestamp>,
    /// Events to look at, at most; 100,000 if absent, and 1,000,000 at most.
    pub events_max: Option<u64>,
    /// Times of firing that are listed; 100 if absent, and 1,000 at most. All are counted.
    pub fired_max: Option<usize>,
    /// Where an earlier back-test of the same trigger and range ended.
    pub cursor: Option<String>,
}

/// What a back-test found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backtest {
    /// Events that were looked at.
    pub events_looked_at: u64,
    /// How often it would have fired.
    pub count: u64,
    /// How often it would have fired on an event that the chain took back; not in `count`.
    pub retracted: u64,
    /// The first ones.
    pub fired: Vec<Fired>,
    /// The first time, by the events' own time.
    pub first: Option<Timestamp>,
    /// The last time.
    pub last: Option<Timestamp>,
    /// Seconds that a bucket is long.
    pub bucket_secs: u64,
    /// How often in each span of time, from `first` on, without gaps: 60 at most.
    pub buckets: Vec<Bucket>,
    /// The buckets as one line of block characters.
    pub sparkline: String,
    /// Where to go on; none if everything was looked at.
    pub cursor: Option<String>,
    /// Whether what conditions remembered was too much for the cursor: then the next part begins with nothing.
    pub memory_lost: bool,
}

/// One time of firing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// The event.
    pub event_id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its number.
    pub sequence_number: u64,
    /// Its type.
    pub event_type: String,
    /// Its agent.
    pub agent_id: Option<String>,
    /// When it happened.
    pub happened_at: Timestamp,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// When it begins.
    pub from: Timestamp,
    /// How often it would have fired.
    pub count: u64,
}

impl Handle {
    /// When a trigger would have fired.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], [`TriggerError::Invalid`] (also of a cursor that is none), or the store's.
    pub async fn backtest(
        &self,
        _tenant_id: TenantId,
        _rule: Rule,
        _query: BacktestQuery,
    ) -> Result<Backtest, TriggerError> {
        Err(bowline_store::StoreError::Internal("not here yet".to_owned()).into())
    }
}

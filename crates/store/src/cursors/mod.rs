//! Cursors: how far each follower of the line is in each stream.
//!
//! A cursor only moves forward. A follower that writes its effects into the same database moves its cursor in the same
//! transaction (`projection`); one whose effects are elsewhere moves it after them (invariant 5).

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::StreamId;

use crate::StoreError;

/// How far a follower is in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorRecord {
    /// The follower's name.
    pub follower: String,
    /// The stream.
    pub stream: StreamId,
    /// The last sequence number whose effects are done.
    pub sequence_number: u64,
}

/// A follower's step over the events behind `from`, up to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorStep {
    /// The follower's name.
    pub follower: &'static str,
    /// The stream.
    pub stream: StreamId,
    /// Where the cursor is.
    pub from: u64,
    /// Where it is after the step.
    pub to: u64,
}

/// A stream that a follower has not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorLag {
    /// The stream.
    pub stream: StreamId,
    /// The follower's cursor in it; 0 if it has none.
    pub cursor: u64,
    /// The stream's last number.
    pub head: u64,
}

/// Where cursors live.
#[async_trait]
pub trait CursorStore: Debug + Send + Sync + 'static {
    /// The last sequence number whose effects a follower finished in a stream; 0 if none.
    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError>;

    /// Moves a follower's cursor forward; a lower number than the stored one changes nothing, and neither
    /// does a stream that has no event.
    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError>;

    /// The streams whose head is beyond the follower's cursor, ascending by id from behind `after`, `limit` at most.
    async fn lagging(
        &self,
        follower: &str,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<CursorLag>, StoreError>;
}

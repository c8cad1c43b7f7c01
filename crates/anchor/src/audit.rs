//! What an audit of a store looks for among anchors: a mark that no anchored send gave, and an anchored send whose
//! commitments carry no mark.
//!
//! It reads one moment of the store and changes nothing.

use bowline_store::{Snapshot, SnapshotConnection, StoreError};
use bowline_types::StreamId;

use crate::tables::{self, AnchorBreak};

/// Commitments whose mark and sends tell different things, `limit` at most of each kind; of one stream, or of all.
///
/// # Errors
/// The store can't be read.
pub async fn breaks(
    snapshot: &mut dyn Snapshot,
    of: Option<StreamId>,
    limit: usize,
) -> Result<Vec<AnchorBreak>, StoreError> {
    match snapshot.connection() {
        SnapshotConnection::Sqlite(file) => {
            file.run(move |connection| tables::sqlite::breaks(connection, of, limit)).await
        }
        SnapshotConnection::Postgres(connection) => tables::postgres::breaks(connection, of, limit)
            .await
            .map_err(|error| bowline_store::tables::postgres::refuse(&error)),
    }
}

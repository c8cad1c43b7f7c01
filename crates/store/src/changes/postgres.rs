//! The epochs of cached records, in the transaction that changes them.

use sqlx::{PgConnection, PgPool};

use crate::{ChangeKind, Changes};

/// The channel that names an epoch which has grown: `kind epoch`.
pub(crate) const CHANNEL: &str = "bowline_changes";

/// Raises the epoch of that kind, and tells the other processes when the transaction commits; the caller
/// observes it then. A database that was put back in time must not give an epoch that a process remembers, so epochs
/// are at least the time. Callers raise it as their last statement, since its row is locked until the commit.
pub async fn bump(connection: &mut PgConnection, kind: ChangeKind) -> sqlx::Result<u64> {
    let epoch: i64 = sqlx::query_scalar(
        "WITH raised AS (INSERT INTO change_epochs AS c VALUES
                 ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
             ON CONFLICT (kind) DO UPDATE SET epoch = greatest(c.epoch + 1, excluded.epoch) RETURNING epoch)
         SELECT epoch FROM raised, LATERAL (SELECT pg_notify($2, $1 || ' ' || epoch)) AS told",
    )
    .bind(kind.as_str())
    .bind(CHANNEL)
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(epoch).unwrap_or_default())
}

/// Takes note of all stored epochs.
pub(crate) async fn load(pool: &PgPool, changes: &Changes) -> sqlx::Result<()> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT kind, epoch FROM change_epochs").fetch_all(pool).await?;
    for (kind, epoch) in rows {
        changes.hear(&kind, u64::try_from(epoch).unwrap_or_default());
    }
    Ok(())
}

/// Takes note of a notification; none if it can't be read.
pub(crate) fn hear(payload: &str, changes: &Changes) -> Option<()> {
    let (kind, epoch) = payload.split_once(' ')?;
    changes.hear(kind, epoch.parse().ok()?);
    Some(())
}

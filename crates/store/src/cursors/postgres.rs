//! Cursors in PostgreSQL.
//! A step locks the cursor's row first, so of two processes with the same step one finds that it moved.

use async_trait::async_trait;
use bowline_types::{StoreId, StreamId, TenantId};
use sqlx::{PgConnection, PgPool, Row};

use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{signed, stream, unsigned};
use crate::{CursorLag, CursorRecord, CursorStep, CursorStore, StoreError};

#[async_trait]
impl CursorStore for PostgresStore {
    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError> {
        self.counted(stored(self.pool()?, follower, stream).await)
    }

    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError> {
        self.counted(advance(self.pool()?, &cursor).await)
    }

    async fn lagging(
        &self,
        follower: &str,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<CursorLag>, StoreError> {
        let lagging = async { lagging(self.pool()?, follower, after, limit).await.map_err(|e| refuse(&e)) };
        self.counted(lagging.await)
    }
}

pub(crate) async fn stored(pool: &PgPool, follower: &str, of: StreamId) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT sequence_number FROM follower_cursors WHERE follower = $1 AND tenant_id = $2 AND store_id = $3",
    )
    .bind(follower)
    .bind(of.tenant_id.uuid())
    .bind(of.store_id.uuid())
    .fetch_optional(pool)
    .await
    .map_err(|e| refuse(&e))?;
    let Some(row) = row else { return Ok(0) };
    let number: i64 = row.try_get("sequence_number").map_err(|e| refuse(&e))?;
    Ok(number.unsigned_abs())
}

pub(crate) async fn advance(pool: &PgPool, cursor: &CursorRecord) -> Result<(), StoreError> {
    let (tenant, store): (TenantId, StoreId) = (cursor.stream.tenant_id, cursor.stream.store_id);
    sqlx::query(
        "INSERT INTO follower_cursors AS c
         SELECT $1::text, tenant_id, store_id, $4::bigint FROM sequence_counters
         WHERE tenant_id = $2 AND store_id = $3 AND current_sequence > 0
         ON CONFLICT (follower, tenant_id, store_id)
         DO UPDATE SET sequence_number = greatest(c.sequence_number, excluded.sequence_number)",
    )
    .bind(&cursor.follower)
    .bind(tenant.uuid())
    .bind(store.uuid())
    .bind(signed(cursor.sequence_number))
    .execute(pool)
    .await
    .map(drop)
    .map_err(|e| refuse_commit(&e))
}

/// Moves a cursor from where a step begins to where it ends; refuses if it is elsewhere.
pub(crate) async fn step(connection: &mut PgConnection, step: &CursorStep) -> Result<(), StoreError> {
    let (tenant, store) = (step.stream.tenant_id.uuid(), step.stream.store_id.uuid());
    if step.from == 0 {
        sqlx::query("INSERT INTO follower_cursors VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING")
            .bind(step.follower)
            .bind(tenant)
            .bind(store)
            .execute(&mut *connection)
            .await
            .map_err(|e| refuse(&e))?;
    }
    let at: Option<i64> = sqlx::query_scalar(
        "SELECT sequence_number FROM follower_cursors WHERE follower = $1 AND tenant_id = $2 AND store_id = $3
         FOR UPDATE",
    )
    .bind(step.follower)
    .bind(tenant)
    .bind(store)
    .fetch_optional(&mut *connection)
    .await
    .map_err(|e| refuse(&e))?;
    let at = at.unwrap_or(0).unsigned_abs();
    if at != step.from {
        return Err(StoreError::CursorMoved { at, expected: step.from });
    }
    sqlx::query(
        "UPDATE follower_cursors SET sequence_number = $4 WHERE follower = $1 AND tenant_id = $2 AND store_id = $3",
    )
    .bind(step.follower)
    .bind(tenant)
    .bind(store)
    .bind(signed(step.to))
    .execute(connection)
    .await
    .map(drop)
    .map_err(|e| refuse(&e))
}

async fn lagging(
    pool: &PgPool,
    follower: &str,
    after: Option<StreamId>,
    limit: usize,
) -> sqlx::Result<Vec<CursorLag>> {
    let rows = sqlx::query(
        "SELECT c.tenant_id, c.store_id, coalesce(f.sequence_number, 0) AS cursor, c.current_sequence AS head
         FROM sequence_counters c LEFT JOIN follower_cursors f
             ON f.follower = $1 AND f.tenant_id = c.tenant_id AND f.store_id = c.store_id
         WHERE c.current_sequence > coalesce(f.sequence_number, 0)
             AND ($2::uuid IS NULL OR (c.tenant_id, c.store_id) > ($2, $3))
         ORDER BY c.tenant_id, c.store_id LIMIT $4",
    )
    .bind(follower)
    .bind(after.map(|stream| stream.tenant_id.uuid()))
    .bind(after.map(|stream| stream.store_id.uuid()))
    .bind(signed(limit as u64))
    .fetch_all(pool)
    .await?;
    let lag = |row| {
        Ok(CursorLag { stream: stream(row)?, cursor: unsigned(row, "cursor")?, head: unsigned(row, "head")? })
    };
    rows.iter().map(lag).collect()
}

/// Forgets all cursors of a follower.
pub(crate) async fn forget(connection: &mut PgConnection, follower: &str) -> Result<(), StoreError> {
    let forgotten = sqlx::query("DELETE FROM follower_cursors WHERE follower = $1").bind(follower);
    forgotten.execute(connection).await.map(drop).map_err(|e| refuse(&e))
}

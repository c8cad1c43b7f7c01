//! Leases: one row each, whose lock orders takeovers and what is written under the lease.
//! The database's clock alone decides when one has run out; what is done under a lease is not looked at here.

use std::time::Duration;

use async_trait::async_trait;
use bowline_types::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::leases::lost;
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{moment, signed, unsigned};
use crate::{Lease, LeaseStore, StoreError};

/// Seconds that a lease is given for at most: a century.
const SECONDS_MAX: f64 = 3_155_760_000.0;

/// Keeps the lease from being taken until the transaction ends; refuses if it was taken.
pub async fn share(connection: &mut PgConnection, lease: &Lease) -> Result<(), StoreError> {
    check(connection, lease, "SHARE").await
}

/// Like [`share`], and nothing else is written under the lease meanwhile.
pub async fn seize(connection: &mut PgConnection, lease: &Lease) -> Result<(), StoreError> {
    check(connection, lease, "UPDATE").await
}

async fn check(connection: &mut PgConnection, lease: &Lease, lock: &str) -> Result<(), StoreError> {
    let sql = format!("SELECT 1 FROM leases WHERE name = $1 AND holder = $2 AND epoch = $3 FOR {lock}");
    let held = sqlx::query(AssertSqlSafe(sql))
        .bind(&lease.name)
        .bind(lease.holder)
        .bind(signed(lease.epoch))
        .fetch_optional(connection)
        .await
        .map_err(|e| refuse(&e))?;
    held.map(drop).ok_or_else(|| lost(lease))
}

fn lease(row: &PgRow) -> sqlx::Result<Lease> {
    Ok(Lease {
        name: row.try_get("name")?,
        holder: row.try_get("holder")?,
        epoch: unsigned(row, "epoch")?,
        expires_at: moment(row, "expires_at")?,
    })
}

async fn take(pool: &PgPool, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<Lease>, StoreError> {
    // The clock is asked again in the update: it may have waited for the row.
    let row = sqlx::query(
        "INSERT INTO leases AS held VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 second')
         ON CONFLICT (name) DO UPDATE SET holder = $2,
             epoch = held.epoch + (held.holder IS DISTINCT FROM $2)::int,
             expires_at = clock_timestamp() + $3 * interval '1 second'
         WHERE held.holder IS NULL OR held.holder = $2 OR held.expires_at <= clock_timestamp()
         RETURNING *",
    )
    .bind(name)
    .bind(holder)
    .bind(ttl.as_secs_f64().min(SECONDS_MAX))
    .fetch_optional(pool)
    .await
    .map_err(|e| refuse_commit(&e))?;
    row.as_ref().map(lease).transpose().map_err(|e| refuse(&e))
}

async fn release(pool: &PgPool, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query("UPDATE leases SET holder = NULL WHERE name = $1 AND holder = $2 AND epoch = $3")
        .bind(&lease.name)
        .bind(lease.holder)
        .bind(signed(lease.epoch))
        .execute(pool)
        .await
        .map(drop)
}

async fn find(pool: &PgPool, name: &str) -> sqlx::Result<Option<Lease>> {
    let found = sqlx::query("SELECT * FROM leases WHERE name = $1 AND holder IS NOT NULL");
    found.bind(name).fetch_optional(pool).await?.as_ref().map(lease).transpose()
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn take_lease(
        &self,
        name: &str,
        holder: Uuid,
        ttl: Duration,
        _now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        self.counted(take(self.pool()?, name, holder, ttl).await)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.counted(release(self.pool()?, lease).await.map_err(|e| refuse_commit(&e)))
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        self.counted(find(self.pool()?, name).await.map_err(|e| refuse(&e)))
    }
}

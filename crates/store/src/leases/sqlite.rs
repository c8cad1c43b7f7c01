//! Leases. The file belongs to one process, so whoever asks gets one at once; the epoch still fences what an earlier
//! holder left running.

use std::time::Duration;

use async_trait::async_trait;
use bowline_types::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use crate::leases::lost;
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, moment, signed, unsigned};
use crate::{Lease, LeaseStore, StoreError};

const COLUMNS: &str = "name, holder, epoch, expires_at";

/// Refuses what was begun under a lease that is somebody else's now.
pub fn check(connection: &Connection, lease: &Lease) -> Result<(), Failure> {
    let held = connection
        .prepare_cached("SELECT 1 FROM leases WHERE name = ?1 AND holder = ?2 AND epoch = ?3")?
        .exists((&lease.name, lease.holder.as_bytes(), signed(lease.epoch)))?;
    if held { Ok(()) } else { Err(lost(lease).into()) }
}

fn lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        name: row.get(0)?,
        holder: Uuid::from_bytes(fixed(row, 1)?),
        epoch: unsigned(row, 2)?,
        expires_at: moment(row, 3)?,
    })
}

fn take(connection: &Connection, name: &str, holder: Uuid, until: Timestamp) -> Result<Lease, Failure> {
    let sql = format!(
        "INSERT INTO leases VALUES (?1, ?2, 1, ?3)
         ON CONFLICT (name) DO UPDATE SET epoch = epoch + (holder IS NOT excluded.holder),
             holder = excluded.holder, expires_at = excluded.expires_at
         RETURNING {COLUMNS}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row((name, holder.as_bytes(), until.micros()), lease)?)
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn take_lease(
        &self,
        name: &str,
        holder: Uuid,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let name = name.to_owned();
        let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        let until = Timestamp::from_micros(now.micros().saturating_add(ttl));
        self.with_writer(move |connection| take(connection, &name, holder, until).map(Some)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        let release = move |connection: &mut Connection| {
            connection
                .prepare_cached(
                    "UPDATE leases SET holder = NULL WHERE name = ?1 AND holder = ?2 AND epoch = ?3",
                )?
                .execute((&lease.name, lease.holder.as_bytes(), signed(lease.epoch)))?;
            Ok(())
        };
        self.with_writer(release).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        let name = name.to_owned();
        let find = move |connection: &mut Connection| {
            let sql = format!("SELECT {COLUMNS} FROM leases WHERE name = ?1 AND holder IS NOT NULL");
            Ok(connection.prepare_cached(&sql)?.query_row([&name], lease).optional()?)
        };
        self.with_reader(find).await
    }
}

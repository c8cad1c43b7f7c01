//! The engines as subsystems use them: each keeps its own tables in the line's database, and one transaction may hold
//! writes of several owners.
//!
//! A subsystem writes native SQL twice, once an engine, and composes it over [`Tx`]: "insert these jobs, move that
//! cursor, remember this state" is one sequence of calls on either engine. [`Engine::transact`] commits all of it or
//! nothing. This module refuses to know a table, and to build SQL.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;
use sqlx::PgConnection;

use crate::cursors::CursorStep;
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::{ChangeKind, Changes, Lease, StoreError, Tail, changes, cursors, leases};

/// The database under the line; cheap to clone.
#[derive(Debug, Clone)]
pub enum Engine {
    /// One file, one process.
    Sqlite(SqliteStore),
    /// A server, several processes.
    Postgres(PostgresStore),
}

/// What a transaction's work returns: a future over the [`Tx`] that it was given.
pub type TxWork<'t, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 't>>;

/// A transaction under way, on either engine.
#[derive(Debug)]
pub struct Tx<'c> {
    connection: TxConnection<'c>,
    raised: Vec<ChangeKind>,
}

/// The connection of a transaction: which engine's SQL it takes.
#[derive(Debug)]
pub enum TxConnection<'c> {
    /// The writer's connection. Statements answer at once; a future over it never waits.
    Sqlite(&'c mut Connection),
    /// A connection of the pool.
    Postgres(&'c mut PgConnection),
}

impl Tx<'_> {
    /// The connection, to run the engine's own statements on.
    pub fn connection(&mut self) -> TxConnection<'_> {
        match &mut self.connection {
            TxConnection::Sqlite(connection) => TxConnection::Sqlite(connection),
            TxConnection::Postgres(connection) => TxConnection::Postgres(connection),
        }
    }

    /// Refuses what was begun under a lease that another process holds by now, and keeps the lease from being taken
    /// until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn hold(&mut self, lease: &Lease) -> Result<(), Failure> {
        match &mut self.connection {
            TxConnection::Sqlite(connection) => leases::sqlite::check(connection, lease),
            TxConnection::Postgres(connection) => Ok(leases::postgres::share(connection, lease).await?),
        }
    }

    /// Moves a follower's cursor from `from` to `to`, which is behind it.
    ///
    /// # Errors
    /// [`StoreError::CursorMoved`] if the cursor is not at `from`: another process was faster.
    pub async fn move_cursor(&mut self, step: &CursorStep) -> Result<(), Failure> {
        match &mut self.connection {
            TxConnection::Sqlite(connection) => cursors::sqlite::step(connection, step),
            TxConnection::Postgres(connection) => Ok(cursors::postgres::step(connection, step).await?),
        }
    }

    /// Forgets all cursors of a follower, which then reads the line from its beginning.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_cursors(&mut self, follower: &str) -> Result<(), Failure> {
        match &mut self.connection {
            TxConnection::Sqlite(connection) => cursors::sqlite::forget(connection, follower),
            TxConnection::Postgres(connection) => Ok(cursors::postgres::forget(connection, follower).await?),
        }
    }

    /// Raises the epoch of that kind when the transaction commits. The epoch's row is locked from then until the end
    /// of the commit, so it is the transaction's last statement.
    pub fn raise(&mut self, kind: ChangeKind) {
        if !self.raised.contains(&kind) {
            self.raised.push(kind);
        }
    }
}

impl Engine {
    /// The engine's name, `sqlite` or `postgres`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The followers' wake-up when a stream grows, also by other processes.
    pub const fn tail(&self) -> &Tail {
        match self {
            Self::Sqlite(store) => &store.tail,
            Self::Postgres(store) => &store.tail,
        }
    }

    /// The epochs of cached records.
    pub const fn changes(&self) -> &Changes {
        match self {
            Self::Sqlite(store) => &store.changes,
            Self::Postgres(store) => &store.changes,
        }
    }

    /// Runs `work` in one transaction that writes, and commits it if `work` succeeds.
    ///
    /// `work` MUST await nothing but statements of its transaction: on SQLite it runs on the writer's thread, where a
    /// future that has to wait is refused and rolled back.
    ///
    /// # Errors
    /// Those of `work`, after which nothing is changed; [`StoreError::OutcomeUnknown`] if the commit broke off.
    pub async fn transact<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<'_>) -> TxWork<'t, T> + Send + 'static,
    {
        match self {
            Self::Sqlite(store) => {
                let heard = store.changes.clone();
                store.with_writer(move |connection| on_sqlite(connection, &heard, work)).await
            }
            Self::Postgres(store) => store.counted(on_postgres(store, work).await),
        }
    }
}

fn on_sqlite<T, F>(connection: &mut Connection, heard: &Changes, work: F) -> Result<T, Failure>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> TxWork<'t, T>,
{
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = write_on_sqlite(connection, work).and_then(|written| {
        connection.execute_batch("COMMIT")?;
        Ok(written)
    });
    match written {
        Ok((done, raised)) => {
            for (kind, epoch) in raised {
                heard.observe(kind, epoch);
            }
            Ok(done)
        }
        Err(failure) => {
            // After some failures SQLite has rolled back by itself, and has nothing left to roll back.
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::warn!(component = "store", %error, "Transaction not rolled back");
            }
            Err(failure)
        }
    }
}

type Written<T> = (T, Vec<(ChangeKind, u64)>);

fn write_on_sqlite<T, F>(connection: &mut Connection, work: F) -> Result<Written<T>, Failure>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> TxWork<'t, T>,
{
    let mut tx = Tx { connection: TxConnection::Sqlite(connection), raised: Vec::new() };
    let polled = pin!(work(&mut tx)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(done) = polled else {
        let text = "a transaction waited for something else than its own statements";
        return Err(StoreError::Internal(text.to_owned()).into());
    };
    let (done, kinds) = (done?, tx.raised);
    let mut raised = Vec::with_capacity(kinds.len());
    for kind in kinds {
        raised.push((kind, changes::sqlite::bump(connection, kind)?));
    }
    Ok((done, raised))
}

async fn on_postgres<T, F>(store: &PostgresStore, work: F) -> Result<T, StoreError>
where
    F: for<'t> FnOnce(&'t mut Tx<'_>) -> TxWork<'t, T>,
{
    let mut transaction = store.pool()?.begin().await.map_err(|e| refuse(&e))?;
    let mut tx = Tx { connection: TxConnection::Postgres(&mut transaction), raised: Vec::new() };
    let done = work(&mut tx).await?;
    let kinds = tx.raised;
    let mut raised = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let epoch = changes::postgres::bump(&mut transaction, kind).await.map_err(|e| refuse(&e))?;
        raised.push((kind, epoch));
    }
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    for (kind, epoch) in raised {
        store.changes.observe(kind, epoch);
    }
    Ok(done)
}

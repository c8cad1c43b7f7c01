//! The epochs of cached records, in the transaction that changes them.

use rusqlite::Connection;

use crate::sqlite::pool::Failure;
use crate::sqlite::rows::unsigned;
use crate::{ChangeKind, Changes};

/// Raises the epoch of that kind; the caller observes it once the transaction is committed.
pub fn bump(transaction: &Connection, kind: ChangeKind) -> Result<u64, Failure> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO change_epochs VALUES (?1, 1) ON CONFLICT (kind) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
    )?;
    Ok(statement.query_row([kind.as_str()], |row| unsigned(row, 0))?)
}

/// The epoch of that kind, as the transaction sees it.
pub(crate) fn read(transaction: &Connection, kind: ChangeKind) -> Result<u64, Failure> {
    let mut statement = transaction.prepare_cached("SELECT epoch FROM change_epochs WHERE kind = ?1")?;
    Ok(statement.query_row([kind.as_str()], |row| unsigned(row, 0))?)
}

/// Takes note of all stored epochs.
pub(crate) fn load(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT kind, epoch FROM change_epochs")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        changes.hear(&row.get::<_, String>(0)?, unsigned(row, 1)?);
    }
    Ok(())
}

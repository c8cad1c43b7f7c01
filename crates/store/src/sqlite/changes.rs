//! The epochs of cached records, in the transaction that changes them.

use rusqlite::{Connection, Transaction};

use super::pool::Failure;
use super::rows::unsigned;
use crate::{ChangeKind, Changes};

/// Raises the epoch of that kind; the caller observes it once the transaction is committed.
pub(super) fn bump(transaction: &Transaction<'_>, kind: ChangeKind) -> Result<u64, Failure> {
    let mut statement = transaction
        .prepare_cached("UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = ?1 RETURNING epoch")?;
    Ok(statement.query_row([kind.as_str()], |row| unsigned(row, 0))?)
}

/// Takes note of all stored epochs.
pub(super) fn load(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT kind, epoch FROM change_epochs")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Some(kind) = ChangeKind::parse(&row.get::<_, String>(0)?) {
            changes.observe(kind, unsigned(row, 1)?);
        }
    }
    Ok(())
}

//! Rate budgets: one row each, replaced by who knows its version.
//!
//! What a budget means is decided elsewhere.

use async_trait::async_trait;
use bowline_types::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{moment, signed, unsigned};
use crate::{BudgetRecord, BudgetStore, StoreError};

/// Expired budgets that one new budget removes at most.
const REMOVED_MAX: i64 = 100;

#[async_trait]
impl BudgetStore for SqliteStore {
    async fn budget(&self, name: &str) -> Result<Option<BudgetRecord>, StoreError> {
        let name = name.to_owned();
        self.with_reader(move |connection| find(connection, name)).await
    }

    async fn swap_budget(
        &self,
        budget: BudgetRecord,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with_writer(move |connection| swap(connection, &budget, expected, now)).await
    }
}

fn find(connection: &Connection, name: String) -> Result<Option<BudgetRecord>, Failure> {
    let found = connection
        .prepare_cached("SELECT version, charges, expires_at FROM rate_budgets WHERE name = ?1")?
        .query_row([&name], |row| {
            Ok(BudgetRecord {
                name: name.clone(),
                version: unsigned(row, 0)?,
                charges: row.get(1)?,
                expires_at: moment(row, 2)?,
            })
        })
        .optional()?;
    Ok(found)
}

fn swap(
    connection: &mut Connection,
    budget: &BudgetRecord,
    expected: Option<u64>,
    now: Timestamp,
) -> Result<bool, Failure> {
    let BudgetRecord { name, version, charges, expires_at } = budget;
    let (version, expires_at) = (signed(*version), expires_at.micros());
    if let Some(expected) = expected {
        let changed = connection
            .prepare_cached(
                "UPDATE rate_budgets SET version = ?2, charges = ?3, expires_at = ?4
                 WHERE name = ?1 AND version = ?5",
            )?
            .execute((name, version, charges, expires_at, signed(expected)))?;
        return Ok(changed == 1);
    }
    connection
        .prepare_cached(
            "DELETE FROM rate_budgets WHERE name IN
             (SELECT name FROM rate_budgets WHERE expires_at < ?1 LIMIT ?2)",
        )?
        .execute((now.micros(), REMOVED_MAX))?;
    let inserted = connection
        .prepare_cached("INSERT INTO rate_budgets VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute((name, version, charges, expires_at))?;
    Ok(inserted == 1)
}

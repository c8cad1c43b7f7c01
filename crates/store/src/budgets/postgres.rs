//! Rate budgets: one row each, replaced by who knows its version.
//!
//! What a budget means is decided elsewhere.

use async_trait::async_trait;
use bowline_types::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{moment, signed, unsigned};
use crate::{BudgetRecord, BudgetStore, StoreError};

/// Expired budgets that one new budget removes at most.
const REMOVED_MAX: i64 = 100;

#[async_trait]
impl BudgetStore for PostgresStore {
    async fn budget(&self, name: &str) -> Result<Option<BudgetRecord>, StoreError> {
        self.counted(find(self.pool()?, name).await)
    }

    async fn swap_budget(
        &self,
        budget: BudgetRecord,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.counted(swap(self.pool()?, &budget, expected, now).await)
    }
}

async fn find(pool: &PgPool, name: &str) -> Result<Option<BudgetRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM rate_budgets WHERE name = $1").bind(name).fetch_optional(pool).await;
    row.map_err(|e| refuse(&e))?.as_ref().map(budget_row).transpose().map_err(|e| refuse(&e))
}

fn budget_row(row: &PgRow) -> sqlx::Result<BudgetRecord> {
    Ok(BudgetRecord {
        name: row.try_get("name")?,
        version: unsigned(row, "version")?,
        charges: row.try_get("charges")?,
        expires_at: moment(row, "expires_at")?,
    })
}

async fn swap(
    pool: &PgPool,
    budget: &BudgetRecord,
    expected: Option<u64>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let swapped = match expected {
        Some(expected) => sqlx::query(
            "UPDATE rate_budgets SET version = $2, charges = $3, expires_at = $4
                 WHERE name = $1 AND version = $5",
        )
        .bind(&budget.name)
        .bind(signed(budget.version))
        .bind(&budget.charges)
        .bind(budget.expires_at.to_chrono())
        .bind(signed(expected)),
        // Others may remove the same ones: rows that they hold are skipped.
        None => sqlx::query(
            "WITH removed AS (
                 DELETE FROM rate_budgets WHERE name IN (
                     SELECT name FROM rate_budgets WHERE expires_at < $5 AND name <> $1
                     LIMIT $6 FOR UPDATE SKIP LOCKED))
             INSERT INTO rate_budgets VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(&budget.name)
        .bind(signed(budget.version))
        .bind(&budget.charges)
        .bind(budget.expires_at.to_chrono())
        .bind(now.to_chrono())
        .bind(REMOVED_MAX),
    };
    let swapped = swapped.execute(pool).await.map_err(|e| refuse_commit(&e))?;
    Ok(swapped.rows_affected() == 1)
}

//! The contract of shared rate budgets: a value that is replaced only by who knows its last version.
//!
//! It takes one round trip to change a budget, and nothing here knows what a budget means.

pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::Timestamp;

use crate::{BudgetRecord, StoreError};

/// Where processes share what is taken of a rate limit.
#[async_trait]
pub trait BudgetStore: Debug + Send + Sync + 'static {
    /// The budget of that name.
    async fn budget(&self, name: &str) -> Result<Option<BudgetRecord>, StoreError>;

    /// Puts a budget in the place of the version `expected`, or where there is none; answers whether it did.
    ///
    /// Of several that expect the same version, one succeeds. A new budget makes room: some that expired before
    /// `now` are removed.
    async fn swap_budget(
        &self,
        budget: BudgetRecord,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}

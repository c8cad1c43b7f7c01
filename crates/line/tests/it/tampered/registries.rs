//! Budgets and schemas of the tampered store: nobody tampers with these, so they go to SQLite as they are.
//!
//! The line asks for neither; the contract has them.

use async_trait::async_trait;
use bowline_store::{
    BudgetRecord, BudgetStore, InsertSchema, SchemaFilter, SchemaHead, SchemaRecord, SchemaStatus,
    SchemaStore, StoreError,
};
use bowline_types::{SchemaId, TenantId, Timestamp};

use super::TamperedStore;

#[async_trait]
impl BudgetStore for TamperedStore {
    async fn budget(&self, name: &str) -> Result<Option<BudgetRecord>, StoreError> {
        self.store.budget(name).await
    }

    async fn swap_budget(
        &self,
        budget: BudgetRecord,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.swap_budget(budget, expected, now).await
    }
}

#[async_trait]
impl SchemaStore for TamperedStore {
    async fn insert_schema(
        &self,
        schema: SchemaRecord,
        schemas_max: usize,
    ) -> Result<InsertSchema, StoreError> {
        self.store.insert_schema(schema, schemas_max).await
    }

    async fn schema(&self, schema_id: SchemaId) -> Result<Option<SchemaRecord>, StoreError> {
        self.store.schema(schema_id).await
    }

    async fn schemas(&self, filter: SchemaFilter) -> Result<Vec<SchemaRecord>, StoreError> {
        self.store.schemas(filter).await
    }

    async fn active_schema(
        &self,
        tenant_id: TenantId,
        event_type: &str,
    ) -> Result<Option<SchemaRecord>, StoreError> {
        self.store.active_schema(tenant_id, event_type).await
    }

    async fn schema_head(&self, tenant_id: TenantId, event_type: &str) -> Result<SchemaHead, StoreError> {
        self.store.schema_head(tenant_id, event_type).await
    }

    async fn set_schema_status(
        &self,
        schema_id: SchemaId,
        status: SchemaStatus,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.set_schema_status(schema_id, status, now).await
    }

    async fn delete_schema(&self, schema_id: SchemaId, now: Timestamp) -> Result<bool, StoreError> {
        self.store.delete_schema(schema_id, now).await
    }
}

//! The contract of payload schemas: versions that only grow, and an epoch for those who cache them.
//!
//! Every change that makes a cached schema wrong raises the epoch of [`crate::ChangeKind::SCHEMAS`] in its own
//! transaction.

pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{SchemaId, TenantId, Timestamp};

use crate::{InsertSchema, SchemaFilter, SchemaHead, SchemaRecord, SchemaStatus, StoreError};

/// Where payload schemas are kept.
#[async_trait]
pub trait SchemaStore: Debug + Send + Sync + 'static {
    /// Keeps a schema under its number, unless that was given before or the tenant has `schemas_max` already.
    async fn insert_schema(
        &self,
        schema: SchemaRecord,
        schemas_max: usize,
    ) -> Result<InsertSchema, StoreError>;

    /// The schema of that id; none if it was deleted.
    async fn schema(&self, schema_id: SchemaId) -> Result<Option<SchemaRecord>, StoreError>;

    /// A tenant's schemas, without those that were deleted.
    async fn schemas(&self, filter: SchemaFilter) -> Result<Vec<SchemaRecord>, StoreError>;

    /// The newest active schema of an event type: the one that judges its payloads.
    async fn active_schema(
        &self,
        tenant_id: TenantId,
        event_type: &str,
    ) -> Result<Option<SchemaRecord>, StoreError>;

    /// Where the versions of an event type stand.
    async fn schema_head(&self, tenant_id: TenantId, event_type: &str) -> Result<SchemaHead, StoreError>;

    /// Changes the status; answers whether the schema is there.
    async fn set_schema_status(
        &self,
        schema_id: SchemaId,
        status: SchemaStatus,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Removes the schema and keeps its number; answers whether it was there.
    async fn delete_schema(&self, schema_id: SchemaId, now: Timestamp) -> Result<bool, StoreError>;
}

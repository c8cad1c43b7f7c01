//! Payload schemas: their rows, and the epoch that tells of their changes.
//!
//! A word that this binary does not know must never let a schema judge anything: such a row is read as archived.

use async_trait::async_trait;
use bowline_types::{SchemaId, TenantId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row};

use crate::changes::postgres::bump;
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{moment, signed, small};
use crate::{
    ChangeKind, Changes, InsertSchema, SchemaCompatibility, SchemaFilter, SchemaHead, SchemaRecord,
    SchemaStatus, SchemaStore, StoreError,
};

const COLUMNS: &str = "id, tenant_id, event_type, version, schema_json, status, compatibility, description, \
     created_at, updated_at, created_by";

#[async_trait]
impl SchemaStore for PostgresStore {
    async fn insert_schema(
        &self,
        schema: SchemaRecord,
        schemas_max: usize,
    ) -> Result<InsertSchema, StoreError> {
        self.counted(insert(self.pool()?, &self.changes, &schema, schemas_max).await)
    }

    async fn schema(&self, schema_id: SchemaId) -> Result<Option<SchemaRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM event_schemas WHERE id = $1 AND status <> 'deleted'");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(schema_id.uuid()).fetch_optional(self.pool()?).await;
        self.counted(one(row))
    }

    async fn schemas(&self, filter: SchemaFilter) -> Result<Vec<SchemaRecord>, StoreError> {
        self.counted(list(self.pool()?, &filter).await)
    }

    async fn active_schema(
        &self,
        tenant_id: TenantId,
        event_type: &str,
    ) -> Result<Option<SchemaRecord>, StoreError> {
        self.counted(newest(self.pool()?, tenant_id, event_type, "'active'").await)
    }

    async fn schema_head(&self, tenant_id: TenantId, event_type: &str) -> Result<SchemaHead, StoreError> {
        self.counted(head(self.pool()?, tenant_id, event_type).await)
    }

    async fn set_schema_status(
        &self,
        schema_id: SchemaId,
        status: SchemaStatus,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql =
            "UPDATE event_schemas SET status = $3, updated_at = $2 WHERE id = $1 AND status <> 'deleted'";
        self.change(sql, schema_id, now, status.as_str()).await
    }

    async fn delete_schema(&self, schema_id: SchemaId, now: Timestamp) -> Result<bool, StoreError> {
        let sql =
            "UPDATE event_schemas SET status = $3, schema_json = 'true', description = NULL, updated_at = $2
                   WHERE id = $1 AND status <> 'deleted'";
        self.change(sql, schema_id, now, "deleted").await
    }
}

impl PostgresStore {
    /// Runs a statement on one schema, and raises the epoch if it changed it.
    async fn change(
        &self,
        sql: &'static str,
        schema_id: SchemaId,
        now: Timestamp,
        word: &'static str,
    ) -> Result<bool, StoreError> {
        let change = async {
            let mut transaction = self.pool()?.begin().await.map_err(|e| refuse(&e))?;
            let changed = sqlx::query(sql)
                .bind(schema_id.uuid())
                .bind(now.to_chrono())
                .bind(word)
                .execute(&mut *transaction)
                .await
                .map_err(|e| refuse(&e))?;
            if changed.rows_affected() == 0 {
                return Ok(false);
            }
            let epoch = bump(&mut transaction, ChangeKind::SCHEMAS).await.map_err(|e| refuse(&e))?;
            transaction.commit().await.map_err(|e| refuse_commit(&e))?;
            self.changes.observe(ChangeKind::SCHEMAS, epoch);
            Ok(true)
        };
        self.counted(change.await)
    }
}

async fn insert(
    pool: &PgPool,
    changes: &Changes,
    schema: &SchemaRecord,
    schemas_max: usize,
) -> Result<InsertSchema, StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM event_schemas WHERE tenant_id = $1 AND status <> 'deleted'")
            .bind(schema.tenant_id.uuid())
            .fetch_one(&mut *transaction)
            .await
            .map_err(|e| refuse(&e))?;
    if count >= signed(schemas_max as u64) {
        return Ok(InsertSchema::TooMany);
    }
    let sql = format!(
        "INSERT INTO event_schemas ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (tenant_id, event_type, version) DO NOTHING"
    );
    let inserted = sqlx::query(AssertSqlSafe(sql))
        .bind(schema.schema_id.uuid())
        .bind(schema.tenant_id.uuid())
        .bind(&schema.event_type)
        .bind(i64::from(schema.version))
        .bind(&schema.schema_json)
        .bind(schema.status.as_str())
        .bind(schema.compatibility.as_str())
        .bind(&schema.description)
        .bind(schema.created_at.to_chrono())
        .bind(schema.updated_at.to_chrono())
        .bind(&schema.created_by)
        .execute(&mut *transaction)
        .await
        .map_err(|e| refuse(&e))?;
    if inserted.rows_affected() == 0 {
        return Ok(InsertSchema::Superseded);
    }
    let epoch = bump(&mut transaction, ChangeKind::SCHEMAS).await.map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    changes.observe(ChangeKind::SCHEMAS, epoch);
    Ok(InsertSchema::Inserted)
}

async fn list(pool: &PgPool, filter: &SchemaFilter) -> Result<Vec<SchemaRecord>, StoreError> {
    // Ordered by bytes, as the other store does it, whatever the database's collation is.
    let sql = format!(
        "SELECT {COLUMNS} FROM event_schemas
         WHERE tenant_id = $1 AND ($2::text IS NULL OR event_type = $2) AND ($3::bigint IS NULL OR version = $3)
           AND status <> 'deleted'
         ORDER BY event_type COLLATE \"C\", version LIMIT $4"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.tenant_id.uuid())
        .bind(&filter.event_type)
        .bind(filter.version.map(i64::from))
        .bind(signed(filter.limit as u64))
        .fetch_all(pool)
        .await
        .map_err(|e| refuse(&e))?;
    rows.iter().map(schema_row).collect::<Result<_, _>>().map_err(|e| refuse(&e))
}

/// The newest version whose status is among `statuses`, a list in SQL.
async fn newest(
    pool: &PgPool,
    tenant_id: TenantId,
    event_type: &str,
    statuses: &str,
) -> Result<Option<SchemaRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM event_schemas WHERE tenant_id = $1 AND event_type = $2 AND status IN ({statuses})
         ORDER BY version DESC LIMIT 1"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(tenant_id.uuid()).bind(event_type);
    one(query.fetch_optional(pool).await)
}

async fn head(pool: &PgPool, tenant_id: TenantId, event_type: &str) -> Result<SchemaHead, StoreError> {
    // The number first: a version that comes in between makes it too low, and the caller's insert is superseded.
    let last: i64 = sqlx::query_scalar(
        "SELECT coalesce(max(version), 0) FROM event_schemas WHERE tenant_id = $1 AND event_type = $2",
    )
    .bind(tenant_id.uuid())
    .bind(event_type)
    .fetch_one(pool)
    .await
    .map_err(|e| refuse(&e))?;
    let current = newest(pool, tenant_id, event_type, "'active', 'deprecated'").await?;
    Ok(SchemaHead { last_version: u32::try_from(last).unwrap_or(u32::MAX), current })
}

fn one(row: sqlx::Result<Option<PgRow>>) -> Result<Option<SchemaRecord>, StoreError> {
    row.map_err(|e| refuse(&e))?.as_ref().map(schema_row).transpose().map_err(|e| refuse(&e))
}

fn schema_row(row: &PgRow) -> sqlx::Result<SchemaRecord> {
    let (status, compatibility): (String, String) = (row.try_get("status")?, row.try_get("compatibility")?);
    Ok(SchemaRecord {
        schema_id: SchemaId::new(row.try_get("id")?),
        tenant_id: TenantId::new(row.try_get("tenant_id")?),
        event_type: row.try_get("event_type")?,
        version: small(row, "version")?,
        schema_json: row.try_get("schema_json")?,
        status: SchemaStatus::parse(&status).unwrap_or(SchemaStatus::Archived),
        compatibility: SchemaCompatibility::parse(&compatibility).unwrap_or(SchemaCompatibility::Full),
        description: row.try_get("description")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        created_by: row.try_get("created_by")?,
    })
}

//! Payload schemas: their rows, and the epoch that tells of their changes.
//!
//! A word that this binary does not know must never let a schema judge anything: such a row is read as archived.

use async_trait::async_trait;
use bowline_types::{SchemaId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use crate::changes::sqlite::bump;
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, moment, signed};
use crate::{
    ChangeKind, InsertSchema, SchemaCompatibility, SchemaFilter, SchemaHead, SchemaRecord, SchemaStatus,
    SchemaStore, StoreError,
};

const COLUMNS: &str = "id, tenant_id, event_type, version, schema_json, status, compatibility, description, \
     created_at, updated_at, created_by";

#[async_trait]
impl SchemaStore for SqliteStore {
    async fn insert_schema(
        &self,
        schema: SchemaRecord,
        schemas_max: usize,
    ) -> Result<InsertSchema, StoreError> {
        let changes = self.changes.clone();
        let insert = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let inserted = insert(&transaction, &schema, schemas_max)?;
            if inserted != InsertSchema::Inserted {
                return Ok(inserted);
            }
            let epoch = bump(&transaction, ChangeKind::SCHEMAS)?;
            transaction.commit()?;
            changes.observe(ChangeKind::SCHEMAS, epoch);
            Ok(inserted)
        };
        self.with_writer(insert).await
    }

    async fn schema(&self, schema_id: SchemaId) -> Result<Option<SchemaRecord>, StoreError> {
        self.with_reader(move |connection| by_id(connection, schema_id)).await
    }

    async fn schemas(&self, filter: SchemaFilter) -> Result<Vec<SchemaRecord>, StoreError> {
        self.with_reader(move |connection| list(connection, &filter)).await
    }

    async fn active_schema(
        &self,
        tenant_id: TenantId,
        event_type: &str,
    ) -> Result<Option<SchemaRecord>, StoreError> {
        let event_type = event_type.to_owned();
        self.with_reader(move |connection| newest(connection, tenant_id, &event_type, "'active'")).await
    }

    async fn schema_head(&self, tenant_id: TenantId, event_type: &str) -> Result<SchemaHead, StoreError> {
        let event_type = event_type.to_owned();
        self.with_reader(move |connection| head(connection, tenant_id, &event_type)).await
    }

    async fn set_schema_status(
        &self,
        schema_id: SchemaId,
        status: SchemaStatus,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql =
            "UPDATE event_schemas SET status = ?3, updated_at = ?2 WHERE id = ?1 AND status <> 'deleted'";
        self.change(sql, schema_id, now, Some(status.as_str())).await
    }

    async fn delete_schema(&self, schema_id: SchemaId, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE event_schemas SET status = 'deleted', schema_json = 'true', description = NULL,
                       updated_at = ?2 WHERE id = ?1 AND status <> 'deleted'";
        self.change(sql, schema_id, now, None).await
    }
}

impl SqliteStore {
    /// Runs a statement on one schema, and raises the epoch if it changed it.
    async fn change(
        &self,
        sql: &'static str,
        schema_id: SchemaId,
        now: Timestamp,
        word: Option<&'static str>,
    ) -> Result<bool, StoreError> {
        let changes = self.changes.clone();
        let change = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = match word {
                Some(word) => transaction.execute(sql, (schema_id.as_bytes(), now.micros(), word))?,
                None => transaction.execute(sql, (schema_id.as_bytes(), now.micros()))?,
            };
            if changed == 0 {
                return Ok(false);
            }
            let epoch = bump(&transaction, ChangeKind::SCHEMAS)?;
            transaction.commit()?;
            changes.observe(ChangeKind::SCHEMAS, epoch);
            Ok(true)
        };
        self.with_writer(change).await
    }
}

fn insert(
    transaction: &Transaction<'_>,
    schema: &SchemaRecord,
    schemas_max: usize,
) -> Result<InsertSchema, Failure> {
    let count: i64 = transaction.query_row(
        "SELECT count(*) FROM event_schemas WHERE tenant_id = ?1 AND status <> 'deleted'",
        [schema.tenant_id.as_bytes()],
        |row| row.get(0),
    )?;
    if count >= signed(schemas_max as u64) {
        return Ok(InsertSchema::TooMany);
    }
    let sql = format!(
        "INSERT INTO event_schemas ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (tenant_id, event_type, version) DO NOTHING"
    );
    let inserted = transaction.execute(
        &sql,
        rusqlite::params![
            schema.schema_id.as_bytes(),
            schema.tenant_id.as_bytes(),
            schema.event_type,
            schema.version,
            schema.schema_json,
            schema.status.as_str(),
            schema.compatibility.as_str(),
            schema.description,
            schema.created_at.micros(),
            schema.updated_at.micros(),
            schema.created_by,
        ],
    )?;
    Ok(if inserted == 1 { InsertSchema::Inserted } else { InsertSchema::Superseded })
}

fn by_id(connection: &Connection, schema_id: SchemaId) -> Result<Option<SchemaRecord>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM event_schemas WHERE id = ?1 AND status <> 'deleted'");
    Ok(connection.prepare_cached(&sql)?.query_row([schema_id.as_bytes()], schema_row).optional()?)
}

fn list(connection: &Connection, filter: &SchemaFilter) -> Result<Vec<SchemaRecord>, Failure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM event_schemas
         WHERE tenant_id = ?1 AND (?2 IS NULL OR event_type = ?2) AND (?3 IS NULL OR version = ?3)
           AND status <> 'deleted'
         ORDER BY event_type, version LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = signed(filter.limit as u64);
    let schemas = statement
        .query_map((filter.tenant_id.as_bytes(), &filter.event_type, filter.version, limit), schema_row)?;
    Ok(schemas.collect::<Result<_, _>>()?)
}

/// The newest version whose status is among `statuses`, a list in SQL.
fn newest(
    connection: &Connection,
    tenant_id: TenantId,
    event_type: &str,
    statuses: &str,
) -> Result<Option<SchemaRecord>, Failure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM event_schemas WHERE tenant_id = ?1 AND event_type = ?2 AND status IN ({statuses})
         ORDER BY version DESC LIMIT 1"
    );
    let found = connection
        .prepare_cached(&sql)?
        .query_row((tenant_id.as_bytes(), event_type), schema_row)
        .optional()?;
    Ok(found)
}

fn head(connection: &mut Connection, tenant_id: TenantId, event_type: &str) -> Result<SchemaHead, Failure> {
    let transaction = connection.transaction()?;
    let last_version = transaction.query_row(
        "SELECT coalesce(max(version), 0) FROM event_schemas WHERE tenant_id = ?1 AND event_type = ?2",
        (tenant_id.as_bytes(), event_type),
        |row| row.get(0),
    )?;
    let current = newest(&transaction, tenant_id, event_type, "'active', 'deprecated'")?;
    Ok(SchemaHead { last_version, current })
}

fn schema_row(row: &Row<'_>) -> rusqlite::Result<SchemaRecord> {
    let (status, compatibility): (String, String) = (row.get(5)?, row.get(6)?);
    Ok(SchemaRecord {
        schema_id: SchemaId::from_bytes(fixed(row, 0)?),
        tenant_id: TenantId::from_bytes(fixed(row, 1)?),
        event_type: row.get(2)?,
        version: row.get(3)?,
        schema_json: row.get(4)?,
        status: SchemaStatus::parse(&status).unwrap_or(SchemaStatus::Archived),
        compatibility: SchemaCompatibility::parse(&compatibility).unwrap_or(SchemaCompatibility::Full),
        description: row.get(7)?,
        created_at: moment(row, 8)?,
        updated_at: moment(row, 9)?,
        created_by: row.get(10)?,
    })
}

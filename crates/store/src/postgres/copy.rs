//! A database's tables as streams of `COPY` in binary form, out of one snapshot and into one transaction.
//!
//! Out: every table of the line as of the snapshot's moment. In: [`PostgresRestore`] builds the tables in a schema
//! of its own within one transaction, where they can be audited, and puts them in the place of the old ones at its
//! end. Until the commit nobody sees anything of it; what was there before moves into another schema, whole.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::MIGRATION_LOCK;
use super::error::{refuse, refuse_commit};
use crate::migrations::{Migration, Schema};
use crate::snapshot::postgres::{PostgresSnapshot, connect};
use crate::{Snapshot, StoreError};

/// A table and the columns that are copied: all but those that the database computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLayout {
    /// The table.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
}

impl TableLayout {
    fn copy(&self, direction: &str) -> String {
        format!("COPY {} ({}) {direction} (FORMAT binary)", self.name, self.columns.join(", "))
    }
}

impl PostgresSnapshot {
    /// The tables of the line that hold rows themselves, ascending by name.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn tables(&mut self, schema: &Schema) -> Result<Vec<TableLayout>, StoreError> {
        layouts(self.client(), schema).await.map_err(|e| refuse(&e))
    }

    /// A table's rows as `COPY` gives them.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn copy_out(
        &mut self,
        table: &TableLayout,
    ) -> Result<BoxStream<'_, Result<Bytes, StoreError>>, StoreError> {
        let copied = self.client().copy_out_raw(&table.copy("TO STDOUT")).await.map_err(|e| refuse(&e))?;
        Ok(copied.map(|chunk| chunk.map_err(|e| refuse(&e))).boxed())
    }
}

/// What a restore is of.
#[derive(Debug, Clone)]
pub struct RestoreTarget {
    /// The database.
    pub url: String,
    /// The schema version of what is brought back.
    pub schema_version: i64,
    /// Ends the names of the schemas that the restore makes: letters, digits and `_`.
    pub label: String,
    /// The name that nodes show in `pg_stat_activity`.
    pub node_application_name: String,
    /// The tables that this binary knows.
    pub schema: Schema,
}

/// A restore under way: a transaction that holds new tables.
#[derive(Debug)]
pub struct PostgresRestore {
    snapshot: PostgresSnapshot,
    label: String,
    /// Where the tables are to be in the end.
    home: String,
    node_application_name: String,
    schema: Schema,
}

/// A table that rows are being copied into.
pub struct TableLoad<'c> {
    copy: sqlx::postgres::PgCopyIn<&'c mut PgConnection>,
}

impl std::fmt::Debug for TableLoad<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableLoad").finish_non_exhaustive()
    }
}

impl TableLoad<'_> {
    /// Hands over bytes of `COPY`.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.copy.send(bytes).await.map(drop).map_err(|e| refuse(&e))
    }

    /// Ends the table; returns how many rows it got.
    ///
    /// # Errors
    /// The bytes are no rows of this table.
    pub async fn finish(self) -> Result<u64, StoreError> {
        self.copy.finish().await.map_err(|e| refuse(&e))
    }
}

impl PostgresRestore {
    /// Begins the transaction and makes empty tables of that schema version in it.
    ///
    /// # Errors
    /// The database can't be reached, the version is none that this binary knows, or a schema can't be made.
    pub async fn begin(target: RestoreTarget) -> Result<Self, StoreError> {
        let version = target.schema_version;
        let known = target.schema.version();
        if !(1..=known).contains(&version) {
            return Err(StoreError::NewerSchema { found: version, known });
        }
        let mut connection = connect(&target.url, "bowline restore").await?;
        let home = prepare(&mut connection, &target.label).await.map_err(|e| refuse(&e))?;
        let mut restore = Self {
            snapshot: PostgresSnapshot::of(connection, version),
            label: target.label,
            home,
            node_application_name: target.node_application_name,
            schema: target.schema,
        };
        restore.migrate(|migration| migration.version <= version).await?;
        restore.empty().await?;
        Ok(restore)
    }

    /// The tables, as they are in this version.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn tables(&mut self) -> Result<Vec<TableLayout>, StoreError> {
        self.snapshot.tables(&self.schema).await
    }

    /// Begins to fill a table.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn load(&mut self, table: &TableLayout) -> Result<TableLoad<'_>, StoreError> {
        let copy = self.snapshot.client().copy_in_raw(&table.copy("FROM STDIN")).await;
        Ok(TableLoad { copy: copy.map_err(|e| refuse(&e))? })
    }

    /// When all tables are filled: sets what counts on from them, and migrates to what this binary knows.
    ///
    /// # Errors
    /// A statement failed.
    pub async fn complete(&mut self) -> Result<(), StoreError> {
        let connection = self.snapshot.client();
        reset_identities(connection).await.map_err(|e| refuse(&e))?;
        let version = self.snapshot.schema_version();
        self.migrate(|migration| migration.version > version).await?;
        self.snapshot.set_schema_version(self.schema.version());
        self.run("ANALYZE ves_events").await
    }

    /// What was brought back, seen from within the transaction.
    pub fn snapshot(&mut self) -> &mut PostgresSnapshot {
        &mut self.snapshot
    }

    /// What stands in the way of putting the tables in their place: `replace` allows that there are others.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn obstacle(&mut self, replace: bool) -> Result<Option<RestoreObstacle>, StoreError> {
        let found = self.find_obstacle(replace).await;
        found.map_err(|e| refuse(&e))
    }

    async fn find_obstacle(&mut self, replace: bool) -> sqlx::Result<Option<RestoreObstacle>> {
        let sessions: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND application_name IN ('bowline', 'api-gateway', 'event-processor', 'action-workers', 'ponder-indexers', $1)",
        )
        .bind(&self.node_application_name)
        .fetch_one(self.snapshot.client())
        .await?;
        if sessions > 0 {
            return Ok(Some(RestoreObstacle::NodesConnected(sessions.unsigned_abs())));
        }
        let taken = !replace && self.home_has_rows().await?;
        Ok(taken.then_some(RestoreObstacle::NotEmpty))
    }

    /// Puts the tables in their place and commits. Returns the schema that holds the old ones, if there were any
    /// with rows.
    ///
    /// # Errors
    /// Nothing was changed, unless it is [`StoreError::OutcomeUnknown`].
    pub async fn publish(mut self) -> Result<Option<String>, StoreError> {
        let aside = self.swap().await.map_err(|e| refuse(&e))?;
        let committed = sqlx::raw_sql("COMMIT").execute(self.snapshot.client()).await;
        committed.map_err(|e| refuse_commit(&e))?;
        Ok(aside)
    }

    /// Leaves everything as it was.
    ///
    /// # Errors
    /// The connection broke, which leaves everything as it was, too.
    pub async fn abandon(mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await
    }

    async fn swap(&mut self) -> sqlx::Result<Option<String>> {
        let aside = if self.home_has_rows().await? {
            let aside = format!("before_restore_{}", self.label);
            self.execute(&format!("CREATE SCHEMA {aside}")).await?;
            let home = self.home.clone();
            self.move_tables(&home, &aside).await?;
            Some(aside)
        } else {
            for table in present(self.snapshot.client(), &self.schema, &self.home).await? {
                let home = &self.home;
                let drop = format!("DROP TABLE IF EXISTS {home}.{table} CASCADE");
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(self.snapshot.client()).await?;
            }
            let home = self.home.clone();
            for function in present_functions(self.snapshot.client(), &self.schema, &home).await? {
                self.execute(&format!("DROP FUNCTION {home}.{function}()")).await?;
            }
            None
        };
        let (new, home) = (new_schema(&self.label), self.home.clone());
        self.move_tables(&new, &home).await?;
        self.execute(&format!("DROP SCHEMA {new}")).await?;
        Ok(aside)
    }

    async fn move_tables(&mut self, from: &str, to: &str) -> sqlx::Result<()> {
        for table in present(self.snapshot.client(), &self.schema, from).await? {
            self.execute(&format!("ALTER TABLE {from}.{table} SET SCHEMA {to}")).await?;
        }
        for view in present_views(self.snapshot.client(), &self.schema, from).await? {
            self.execute(&format!("ALTER VIEW {from}.{view} SET SCHEMA {to}")).await?;
        }
        for function in present_functions(self.snapshot.client(), &self.schema, from).await? {
            self.execute(&format!("ALTER FUNCTION {from}.{function}() SET SCHEMA {to}")).await?;
        }
        Ok(())
    }

    async fn home_has_rows(&mut self) -> sqlx::Result<bool> {
        let home = self.home.clone();
        let connection = self.snapshot.client();
        for table in present(connection, &self.schema, &home).await? {
            // These two hold rows in a store that nobody has used yet.
            if ["schema_migrations", "change_epochs"].contains(&table.as_str()) {
                continue;
            }
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {home}.{table})");
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn migrate(&mut self, due: impl Fn(&Migration) -> bool) -> Result<(), StoreError> {
        let schema = self.schema.clone();
        for (_, migration) in schema.migrations().filter(|(_, migration)| due(migration)) {
            self.run(migration.postgres).await?;
            let version = migration.version;
            let noted = format!(
                "INSERT INTO schema_migrations (version, name) VALUES ({version}, '{}')",
                migration.name
            );
            self.run(&noted).await?;
        }
        Ok(())
    }

    /// Takes out what migrations put into the tables: the rows are brought back as they were.
    async fn empty(&mut self) -> Result<(), StoreError> {
        for table in self.tables().await? {
            self.run(&format!("DELETE FROM {}", table.name)).await?;
        }
        Ok(())
    }

    async fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        self.execute(sql).await.map_err(|e| refuse(&e))
    }

    async fn execute(&mut self, sql: &str) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.snapshot.client()).await.map(drop)
    }
}

/// Why restored tables can't be put in their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreObstacle {
    /// Nodes use the database.
    #[error("{0} sessions of nodes are connected to the database")]
    NodesConnected(u64),
    /// There is a store.
    #[error("the database holds a store already")]
    NotEmpty,
}

fn new_schema(label: &str) -> String {
    format!("restoring_{label}")
}

/// Begins the transaction within a new schema; returns the schema that is used otherwise.
async fn prepare(connection: &mut PgConnection, label: &str) -> sqlx::Result<String> {
    let home = "SELECT quote_ident(coalesce(current_schema(), 'public'))";
    let home: String = sqlx::query_scalar(home).fetch_one(&mut *connection).await?;
    let new = new_schema(label);
    // The lock keeps nodes from starting meanwhile: whoever migrates waits for it.
    let begin = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); CREATE SCHEMA {new}; SET LOCAL search_path = {new};
         CREATE TABLE schema_migrations (
             version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    );
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
    Ok(home)
}

/// Every table that a migration makes.
fn table_names(known: &Schema) -> Vec<&'static str> {
    made(known, "CREATE TABLE ").chain(["schema_migrations"]).collect()
}

/// Every function that a migration makes; none takes anything.
fn function_names(known: &Schema) -> Vec<&'static str> {
    made(known, "CREATE FUNCTION ").collect()
}

/// The names in the lines of migrations that begin like this.
fn made(known: &Schema, beginning: &'static str) -> impl Iterator<Item = &'static str> {
    let name = move |line: &'static str| {
        line.strip_prefix(beginning)?.trim_start_matches("IF NOT EXISTS ").split([' ', '(']).next()
    };
    known.migrations().flat_map(|(_, migration)| migration.postgres.lines()).filter_map(name)
}

/// The line's functions that a schema holds.
async fn present_functions(
    connection: &mut PgConnection,
    known: &Schema,
    schema: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT proname::text FROM pg_proc WHERE proname = ANY($1) AND pronargs = 0
         AND pronamespace = $2::regnamespace ORDER BY 1",
    )
    .bind(function_names(known))
    .bind(schema)
    .fetch_all(connection)
    .await
}

/// The line's views that a schema holds.
async fn present_views(
    connection: &mut PgConnection,
    known: &Schema,
    schema: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'v' AND relname = ANY($1)
         AND relnamespace = $2::regnamespace ORDER BY 1",
    )
    .bind(made(known, "CREATE VIEW ").collect::<Vec<_>>())
    .bind(schema)
    .fetch_all(connection)
    .await
}

/// The line's tables that a schema holds, those with rows of their own and those made of partitions.
async fn present(connection: &mut PgConnection, known: &Schema, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND relname = ANY($1)
         AND relnamespace = $2::regnamespace ORDER BY 1",
    )
    .bind(table_names(known))
    .bind(schema)
    .fetch_all(connection)
    .await
}

async fn layouts(connection: &mut PgConnection, known: &Schema) -> sqlx::Result<Vec<TableLayout>> {
    let rows = sqlx::query(
        "SELECT c.relname::text AS name,
                array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relkind = 'r' AND c.relname = ANY($1) AND c.relnamespace = current_schema()::regnamespace
           AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         GROUP BY c.relname ORDER BY c.relname",
    )
    .bind(table_names(known))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok(TableLayout { name: row.try_get("name")?, columns: row.try_get("columns")? }))
        .collect()
}

/// Lets numbers that the database gives go on after the highest one that is there.
async fn reset_identities(connection: &mut PgConnection) -> sqlx::Result<()> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE a.attidentity <> '' AND c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, column) in columns {
        let set = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 1), count(*) > 0)
             FROM {table}"
        );
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_migrations_is_known() {
        let known = Schema::default();
        let names = table_names(&known);
        for name in ["ves_events", "events", "sequence_counters", "change_epochs", "schema_migrations"] {
            assert!(names.contains(&name), "{name}");
        }
        let made = known.migrations().map(|(_, m)| m.postgres.matches("CREATE TABLE").count()).sum::<usize>();
        assert_eq!(names.len(), made + 1);
        assert!(function_names(&known).contains(&"bowline_breaker_turned"));
    }
}

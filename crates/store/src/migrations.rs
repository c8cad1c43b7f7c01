//! The schema's history: one file a change, equal names for both stores, only ever appended to.
//!
//! The table `schema_migrations` keeps which were applied. A database that knows more than this binary is
//! refused: an older binary must not write into a newer schema.

/// One schema change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("migrations/postgres/", $name, ".sql")),
        },)*]
    };
}

pub(crate) const MIGRATIONS: &[Migration] = migrations![
    1 "0001_line",
    2 "0002_change_epochs",
    3 "0003_revoked_reason",
    4 "0004_api_key_expiry",
    5 "0005_api_key_rate_limits",
    6 "0006_rate_budgets",
    7 "0007_event_schemas",
    8 "0008_corrections",
    9 "0009_dead_letters",
    10 "0010_anchors",
    11 "0011_sources",
    12 "0012_triggers",
    13 "0013_jobs",
    14 "0014_operators_view",
    15 "0015_queue_order",
    16 "0016_stalled_jobs",
];

/// From this version on commitments may be corrected, and have a place in their chain.
pub(crate) const CORRECTIONS_SINCE: i64 = 8;

/// The schema version that this binary reads and writes.
pub fn schema_version() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0)
}

/// A migration that `migrate` just applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: &'static str,
}

/// The migrations that a database at `found` lacks.
///
/// # Errors
/// The database is newer than this binary, or lacks some and `apply` is off.
pub(crate) fn pending(found: i64, apply: bool) -> Result<&'static [Migration], crate::StoreError> {
    let known = schema_version();
    if found > known {
        return Err(crate::StoreError::NewerSchema { found, known });
    }
    if found < known && !apply {
        return Err(crate::StoreError::NeedsMigration { found, needed: known });
    }
    let first = MIGRATIONS.iter().position(|m| m.version > found).unwrap_or(MIGRATIONS.len());
    Ok(MIGRATIONS.get(first..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_ascend_without_a_gap_and_names_begin_with_them() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i64::try_from(index).unwrap() + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }

    #[test]
    fn a_newer_schema_is_refused_and_an_older_one_only_migrated_with_leave() {
        assert!(matches!(pending(schema_version() + 1, true), Err(crate::StoreError::NewerSchema { .. })));
        assert!(matches!(pending(0, false), Err(crate::StoreError::NeedsMigration { .. })));
        assert_eq!(pending(0, true).unwrap().len(), MIGRATIONS.len());
        assert!(pending(schema_version(), false).unwrap().is_empty());
    }
}

//! The schema's history: one file a change, equal names for both stores, only ever appended to.
//!
//! A database has one history, whose numbers grow; each number belongs to the subsystem that registers it
//! ([`SubsystemMigrations`]), so a binary without a subsystem leaves its numbers out. The table `schema_migrations`
//! keeps which were applied. A database that knows more than this binary is refused: an older binary must not write
//! into a newer schema.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::StoreError;

/// One schema change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number in the database's history; no two subsystems use the same one.
    pub version: i64,
    /// Its name, which begins with the number in four digits.
    pub name: &'static str,
    /// The statements for SQLite.
    pub sqlite: &'static str,
    /// The statements for PostgreSQL.
    pub postgres: &'static str,
}

/// The migrations of one subsystem, ascending by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubsystemMigrations {
    /// The name of the subsystem that they belong to.
    pub subsystem: &'static str,
    /// What it changes.
    pub migrations: &'static [Migration],
}

/// Lists migrations whose statements lie in `migrations/sqlite/NAME.sql` and `migrations/postgres/NAME.sql` beside the
/// file that calls it.
#[macro_export]
macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        &[$($crate::Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("migrations/postgres/", $name, ".sql")),
        },)*]
    };
}

/// What the line itself needs.
const LINE: SubsystemMigrations = SubsystemMigrations {
    subsystem: "line",
    migrations: migrations![
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
    ],
};

/// From this version on commitments may be corrected, and have a place in their chain.
pub(crate) const CORRECTIONS_SINCE: i64 = 8;

/// The migrations that a binary knows: the line's and its subsystems', in the order of their numbers. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(Arc<[(&'static str, Migration)]>);

impl Default for Schema {
    /// The line alone.
    fn default() -> Self {
        Self::with(&[])
    }
}

impl Schema {
    /// The line's tables and those of `subsystems`.
    pub fn with(subsystems: &[SubsystemMigrations]) -> Self {
        let of = |set: &SubsystemMigrations| {
            let subsystem = set.subsystem;
            set.migrations.iter().map(move |migration| (subsystem, *migration))
        };
        let mut all: Vec<_> = [LINE].iter().chain(subsystems).flat_map(of).collect();
        all.sort_by_key(|(_, migration)| migration.version);
        Self(all.into())
    }

    /// The highest number: the schema version that this binary reads and writes.
    pub fn version(&self) -> i64 {
        self.0.last().map_or(0, |(_, migration)| migration.version)
    }

    /// Every migration with its subsystem, ascending by number.
    pub fn migrations(&self) -> impl Iterator<Item = &(&'static str, Migration)> {
        self.0.iter()
    }

    /// The migrations that a database with the numbers `applied` lacks, in their order.
    ///
    /// # Errors
    /// The database is newer than this binary, or lacks some and `apply` is off.
    pub(crate) fn pending(
        &self,
        applied: &BTreeSet<i64>,
        apply: bool,
    ) -> Result<Vec<(&'static str, Migration)>, StoreError> {
        let found = applied.last().copied().unwrap_or(0);
        self.refuse_newer(found)?;
        let lacks = |(_, migration): &&(&str, Migration)| !applied.contains(&migration.version);
        let pending: Vec<_> = self.0.iter().filter(lacks).copied().collect();
        match pending.is_empty() || apply {
            true => Ok(pending),
            false => Err(StoreError::NeedsMigration { found, needed: self.version() }),
        }
    }

    /// Refuses a database that knows more than this binary.
    pub(crate) fn refuse_newer(&self, found: i64) -> Result<(), StoreError> {
        match found > self.version() {
            true => Err(StoreError::NewerSchema { found, known: self.version() }),
            false => Ok(()),
        }
    }
}

/// A migration that was just applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: &'static str,
    /// The subsystem that it belongs to.
    pub subsystem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: SubsystemMigrations = SubsystemMigrations {
        subsystem: "other",
        migrations: &[Migration { version: 9_000, name: "9000_other", sqlite: "", postgres: "" }],
    };

    fn numbers(schema: &Schema) -> BTreeSet<i64> {
        schema.migrations().map(|(_, migration)| migration.version).collect()
    }

    #[test]
    fn numbers_ascend_and_names_begin_with_them() {
        let schema = Schema::default();
        assert_eq!(numbers(&schema).len(), schema.migrations().count());
        for (_, migration) in schema.migrations() {
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }

    #[test]
    fn a_newer_schema_is_refused_and_an_older_one_only_migrated_with_leave() {
        let schema = Schema::default();
        let newer = BTreeSet::from([schema.version() + 1]);
        assert!(matches!(schema.pending(&newer, true), Err(StoreError::NewerSchema { .. })));
        let empty = BTreeSet::new();
        assert!(matches!(schema.pending(&empty, false), Err(StoreError::NeedsMigration { .. })));
        assert_eq!(schema.pending(&empty, true).unwrap().len(), schema.migrations().count());
        assert!(schema.pending(&numbers(&schema), false).unwrap().is_empty());
    }

    #[test]
    fn a_subsystem_that_comes_later_brings_only_its_own() {
        let applied = numbers(&Schema::default());
        let pending = Schema::with(&[OTHER]).pending(&applied, true).unwrap();
        assert_eq!(
            pending.iter().map(|(name, m)| (*name, m.version)).collect::<Vec<_>>(),
            [("other", 9_000)]
        );
    }

    #[test]
    fn what_a_missing_subsystem_left_behind_is_no_hindrance() {
        let mut applied = numbers(&Schema::default());
        applied.insert(9_000);
        let newest = Migration { version: 9_001, name: "9001_newest", sqlite: "", postgres: "" };
        let newest: &'static [Migration] = Box::leak(Box::new([newest]));
        let schema = Schema::with(&[SubsystemMigrations { subsystem: "newest", migrations: newest }]);
        assert_eq!(schema.pending(&applied, true).unwrap().len(), 1);
    }
}

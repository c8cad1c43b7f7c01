//! Both stores migrate in step: a migration of one has a file of the same name for the other.
//!
//! The contents differ, since each store has its own native SQL; the order is one. That a released
//! migration never changes is kept by the stores themselves, which remember its checksum.

use std::collections::BTreeSet;

use super::tree::Tree;
use super::{Finding, Repo};

const FOLDERS: [&str; 2] = ["crates/store/src/migrations/sqlite/", "crates/store/src/migrations/postgres/"];

/// The two folders of migrations hold equal names.
pub(super) fn same_names(repo: &Repo) -> Vec<Finding> {
    check(&repo.tree)
}

fn check(tree: &Tree) -> Vec<Finding> {
    let [sqlite, postgres] = FOLDERS.map(|folder| names_in(tree, folder));
    let mut findings = missing(&sqlite, &postgres, FOLDERS[1]);
    findings.extend(missing(&postgres, &sqlite, FOLDERS[0]));
    findings
}

fn names_in<'a>(tree: &'a Tree, folder: &str) -> BTreeSet<&'a str> {
    tree.ending_with(".sql").filter_map(|file| file.path.strip_prefix(folder)).collect()
}

fn missing(wanted: &BTreeSet<&str>, present: &BTreeSet<&str>, folder: &str) -> Vec<Finding> {
    wanted
        .difference(present)
        .map(|name| {
            let mend = "add the same change in this store's own SQL, even if it is only a comment";
            Finding::new(
                &format!("{folder}{name}"),
                1,
                "this migration exists for the other store only",
                mend,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_of_one_store_alone_is_found() {
        let [sqlite, postgres] = FOLDERS.map(|folder| format!("{folder}0001_line.sql"));
        let extra = format!("{}0002_cursors.sql", FOLDERS[1]);
        assert_eq!(check(&Tree::of(&[(&sqlite, ""), (&postgres, "")])), []);
        let findings = check(&Tree::of(&[(&sqlite, ""), (&postgres, ""), (&extra, "")]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, format!("{}0002_cursors.sql", FOLDERS[0]));
    }
}

//! Which crate of the workspace may depend on which: the layers of `ARCHITECTURE.md` as a table.
//!
//! Normal and build dependencies must be in the crate's row. Tests may use any crate of the same
//! layer or below. A crate without a row is a finding, and so is a row without a crate, so that the
//! table stays the truth. Invariant: the pure crates name neither an HTTP server nor a database.

use std::collections::BTreeSet;

use cargo_metadata::DependencyKind;

use super::{Finding, Repo};

/// One crate of the workspace and what it may be built on.
struct Row {
    name: &'static str,
    layer: u8,
    may_use: &'static [&'static str],
}

const CONFORMANCE: &str = "bowline-conformance";
const NEIGHBOURS: &str = "bowline-neighbours";
const PROJECTION: &str = "bowline-projection";
const TYPES: &str = "bowline-types";
const VES: &str = "bowline-ves";
const RUNTIME: &str = "bowline-runtime";
const STORE: &str = "bowline-store";
const HTTP: &str = "bowline-http";
const EVM: &str = "bowline-evm";
const LINE: &str = "bowline-line";
const SCHEMAS: &str = "bowline-schemas";
const DELIVERIES: &str = "bowline-deliveries";
const ANCHOR: &str = "bowline-anchor";
const INDEXER: &str = "bowline-indexer";
const TRIGGERS: &str = "bowline-triggers";
const GATEWAY: &str = "bowline-gateway";
const NODE: &str = "bowline-node";
const CLIENT: &str = "bowline-client";
const CLI: &str = "bowline-cli";
const BENCH: &str = "bowline-bench";

const LAYERS: &[Row] = &[
    Row { name: TYPES, layer: 0, may_use: &[] },
    Row { name: VES, layer: 0, may_use: &[TYPES] },
    Row { name: RUNTIME, layer: 0, may_use: &[TYPES] },
    Row { name: NEIGHBOURS, layer: 0, may_use: &[] },
    Row { name: STORE, layer: 1, may_use: &[TYPES, VES, RUNTIME] },
    Row { name: PROJECTION, layer: 1, may_use: &[TYPES, RUNTIME, STORE] },
    Row { name: CONFORMANCE, layer: 1, may_use: &[TYPES, VES, STORE] },
    Row { name: HTTP, layer: 1, may_use: &[TYPES, VES, RUNTIME, STORE] },
    Row { name: EVM, layer: 1, may_use: &[TYPES, RUNTIME] },
    Row { name: LINE, layer: 2, may_use: &[TYPES, VES, RUNTIME, STORE] },
    Row { name: SCHEMAS, layer: 2, may_use: &[TYPES, VES, RUNTIME, STORE] },
    Row { name: DELIVERIES, layer: 2, may_use: &[TYPES, VES, RUNTIME, STORE, LINE] },
    Row { name: ANCHOR, layer: 3, may_use: &[TYPES, VES, RUNTIME, STORE, PROJECTION, HTTP, EVM, LINE] },
    Row { name: INDEXER, layer: 3, may_use: &[TYPES, VES, RUNTIME, STORE, PROJECTION, HTTP, EVM, LINE] },
    Row { name: TRIGGERS, layer: 3, may_use: &[TYPES, VES, RUNTIME, STORE, HTTP, LINE, DELIVERIES] },
    Row {
        name: GATEWAY,
        layer: 4,
        may_use: &[TYPES, VES, RUNTIME, STORE, HTTP, LINE, SCHEMAS, DELIVERIES, ANCHOR, INDEXER, TRIGGERS],
    },
    Row {
        name: NODE,
        layer: 5,
        may_use: &[
            TYPES, VES, RUNTIME, STORE, HTTP, EVM, LINE, SCHEMAS, DELIVERIES, ANCHOR, INDEXER, TRIGGERS,
            GATEWAY,
        ],
    },
    Row { name: CLIENT, layer: 6, may_use: &[TYPES, VES] },
    Row {
        name: CLI,
        layer: 6,
        may_use: &[
            TYPES, VES, RUNTIME, STORE, HTTP, EVM, LINE, DELIVERIES, ANCHOR, INDEXER, TRIGGERS, NODE, CLIENT,
        ],
    },
    Row {
        name: BENCH,
        layer: 6,
        may_use: &[
            TYPES, VES, RUNTIME, STORE, EVM, LINE, DELIVERIES, ANCHOR, INDEXER, TRIGGERS, NODE, CLIENT,
            NEIGHBOURS,
        ],
    },
    Row { name: "xtask", layer: 6, may_use: &[] },
];

/// Crates whose contracts must stay usable without a server and without a database.
const PURE: [&str; 3] = [TYPES, VES, LINE];
const KEPT_OUT: [&str; 2] = ["axum", "sqlx"];

/// One crate of the workspace with everything that it names as a dependency.
#[derive(Debug)]
struct Crate {
    name: String,
    /// The manifest's path relative to the root.
    manifest: String,
    manifest_text: String,
    dependencies: Vec<(String, DependencyKind)>,
}

impl Crate {
    /// The manifest's line that names the dependency.
    fn line_of(&self, dependency: &str) -> usize {
        let named = self.manifest_text.lines().position(|line| {
            line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        });
        named.map_or(1, |index| index + 1)
    }
}

/// Dependencies between the crates of the workspace point down, by the table.
pub(super) fn layers(repo: &Repo) -> Vec<Finding> {
    check_layers(&crates_of(repo))
}

/// The pure crates name none of the crates that do I/O for others.
pub(super) fn pure_crates(repo: &Repo) -> Vec<Finding> {
    check_pure(&crates_of(repo))
}

fn crates_of(repo: &Repo) -> Vec<Crate> {
    let root = &repo.metadata.workspace_root;
    let mut crates = Vec::new();
    for package in repo.metadata.workspace_packages() {
        let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path).to_string();
        let manifest_text = repo.tree.file(&manifest).map_or(String::new(), |file| file.text.clone());
        let dependencies = package
            .dependencies
            .iter()
            .map(|dependency| (dependency.name.clone(), dependency.kind))
            .collect();
        crates.push(Crate { name: package.name.to_string(), manifest, manifest_text, dependencies });
    }
    crates.sort_by(|left, right| left.name.cmp(&right.name));
    crates
}

fn check_layers(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for krate in crates {
        match LAYERS.iter().find(|row| row.name == krate.name) {
            Some(row) => findings.extend(check_row(krate, row, crates)),
            None => findings.push(Finding::new(
                &krate.manifest,
                1,
                format!("crate {} is missing from the table of layers", krate.name),
                "give it a row in LAYERS of xtask/src/tidy/edges.rs and in ARCHITECTURE.md",
            )),
        }
    }
    let names: BTreeSet<&str> = crates.iter().map(|krate| krate.name.as_str()).collect();
    for row in LAYERS.iter().filter(|row| !names.contains(row.name)) {
        findings.push(Finding::new(
            "xtask/src/tidy/edges.rs",
            1,
            format!("the table of layers has a row for {}, which is not in the workspace", row.name),
            "remove the row",
        ));
    }
    findings
}

fn check_row(krate: &Crate, row: &Row, crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, kind) in &krate.dependencies {
        if !crates.iter().any(|other| other.name == *name) {
            continue;
        }
        let for_tests = *kind == DependencyKind::Development;
        let layer = LAYERS.iter().find(|row| row.name == *name).map(|row| row.layer);
        let allowed = row.may_use.contains(&name.as_str())
            || (for_tests && layer.is_some_and(|layer| layer <= row.layer));
        if !allowed {
            findings.push(Finding::new(
                &krate.manifest,
                krate.line_of(name),
                format!("{} must not {} on {name}", krate.name, verb(for_tests)),
                format!(
                    "it may be built on: {}; move the code down a layer or meet on the line",
                    list(row.may_use)
                ),
            ));
        }
    }
    findings
}

fn verb(for_tests: bool) -> &'static str {
    if for_tests { "depend in its tests" } else { "depend" }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no crate of the workspace".to_owned() } else { names.join(", ") }
}

fn check_pure(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for krate in crates.iter().filter(|krate| PURE.contains(&krate.name.as_str())) {
        for (name, _) in krate.dependencies.iter().filter(|(name, _)| KEPT_OUT.contains(&name.as_str())) {
            findings.push(Finding::new(
                &krate.manifest,
                krate.line_of(name),
                format!("{} must not depend on {name}", krate.name),
                "keep HTTP in bowline-http and SQL in bowline-store",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(name: &str, dependencies: &[(&str, DependencyKind)]) -> Crate {
        Crate {
            name: name.to_owned(),
            manifest: format!("crates/{}/Cargo.toml", name.trim_start_matches("bowline-")),
            manifest_text:
                "[dependencies]\naxum.workspace = true\nbowline-gateway = { path = \"../gateway\" }\n"
                    .to_owned(),
            dependencies: dependencies.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        }
    }

    fn clean_workspace() -> Vec<Crate> {
        LAYERS
            .iter()
            .map(|row| {
                let uses: Vec<_> = row.may_use.iter().map(|name| (*name, DependencyKind::Normal)).collect();
                krate(row.name, &uses)
            })
            .collect()
    }

    #[test]
    fn the_table_itself_is_clean() {
        assert_eq!(check_layers(&clean_workspace()), []);
    }

    #[test]
    fn no_row_allows_what_is_not_below_or_beside_it() {
        for row in LAYERS {
            for name in row.may_use {
                let below = LAYERS.iter().find(|other| other.name == *name).unwrap();
                assert!(below.layer <= row.layer, "{} may not use {name}", row.name);
                assert!(!below.may_use.contains(&row.name), "{} and {name} form a ring", row.name);
            }
        }
    }

    #[test]
    fn an_edge_that_points_up_is_found_for_every_way_to_build() {
        for kind in [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development] {
            let mut crates = clean_workspace();
            let store = LAYERS.iter().position(|row| row.name == STORE).unwrap();
            crates[store].dependencies.push((GATEWAY.to_owned(), kind));
            let findings = check_layers(&crates);
            assert_eq!(findings.len(), 1, "{kind:?}");
            assert_eq!((findings[0].path.as_str(), findings[0].line), ("crates/store/Cargo.toml", 3));
            assert!(findings[0].what.ends_with("on bowline-gateway"), "{}", findings[0]);
        }
    }

    #[test]
    fn tests_may_use_the_same_layer_but_code_may_not() {
        let mut crates = clean_workspace();
        crates[1].dependencies.push((RUNTIME.to_owned(), DependencyKind::Development));
        assert_eq!(check_layers(&crates), []);
        crates[1].dependencies.push((RUNTIME.to_owned(), DependencyKind::Normal));
        assert_eq!(check_layers(&crates).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
        let mut crates = clean_workspace();
        crates.push(krate("bowline-extra", &[]));
        crates.retain(|krate| krate.name != NODE);
        let findings = check_layers(&crates);
        let texts: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert!(texts.iter().any(|text| text.contains("bowline-extra is missing")), "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("row for bowline-node")), "{texts:?}");
    }

    #[test]
    fn foreign_crates_are_not_the_tables_business_but_pure_crates_name_no_server() {
        let mut crates = clean_workspace();
        let line = crates.iter_mut().find(|krate| krate.name == LINE).unwrap();
        line.dependencies.push(("axum".to_owned(), DependencyKind::Normal));
        assert_eq!(check_layers(&crates), []);
        let findings = check_pure(&crates);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
        assert_eq!(findings[0].what, "bowline-line must not depend on axum");
    }
}

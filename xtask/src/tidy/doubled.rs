//! No dependency is compiled twice in incompatible versions, unless a reason is written down.
//!
//! Two versions are compatible when cargo would unify them: equal majors, or for `0.x` equal minors.
//! Only what the workspace's normal dependencies reach on the release platform counts. The graph is
//! read from `cargo tree`, because `cargo metadata` also lists optional dependencies that no feature
//! turns on. A row of `DOUBLED` that is no longer needed is a finding too, so that the list can only
//! describe the present.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::semver::Version;

use super::{Finding, Repo};

/// Dependencies that may be there twice: name, why.
const DOUBLED: &[(&str, &str)] = &[
    ("base64", "the HTTP client and the YAML reader moved on, the token library and ours have not"),
    ("block-buffer", "comes with sha2"),
    ("const-oid", "comes with digest"),
    ("cpufeatures", "comes with sha2"),
    ("crypto-common", "comes with sha2"),
    ("darling", "at compile time only"),
    ("darling_core", "at compile time only"),
    ("darling_macro", "at compile time only"),
    ("digest", "comes with sha2"),
    ("getrandom", "ring is on 0.2, the metrics recorder's rand on 0.3"),
    ("hashbrown", "the SQL clients and the metrics recorder are one minor version behind indexmap"),
    ("hmac", "the signatures of EVM transactions are one version behind"),
    ("itertools", "the EVM types are one version behind the client of buckets"),
    ("rand", "the metrics recorder is one version behind the PostgreSQL client"),
    ("rand_chacha", "comes with rand"),
    ("rand_core", "comes with rand"),
    ("sha2", "the PostgreSQL client is still on 0.10"),
    ("signature", "the token library is one version behind ed25519-dalek"),
    ("syn", "at compile time only"),
];

const DEPENDENTS_SHOWN_MAX: usize = 4;

/// A package of the resolved graph.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    version: Version,
    /// Indices of the packages that it is built on.
    uses: Vec<usize>,
}

/// The resolved graph; `roots` are the crates of the workspace.
#[derive(Debug, Default)]
struct Graph {
    packages: Vec<Package>,
    roots: Vec<usize>,
}

/// Each dependency has one version, or a row in `DOUBLED`.
pub(super) fn versions(repo: &Repo) -> Vec<Finding> {
    let graph = match Graph::parse(&repo.dependency_tree) {
        Ok(graph) => graph,
        Err(what) => return vec![Finding::new("Cargo.lock", 1, what, "look at `cargo tree --prefix depth`")],
    };
    let mut findings = check(&graph, DOUBLED);
    for (name, finding) in &mut findings {
        if finding.path == "Cargo.lock" {
            finding.line = repo.tree.lock_line(name);
        }
    }
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn check(graph: &Graph, allowed: &[(&str, &str)]) -> Vec<(String, Finding)> {
    let parents = graph.parents();
    let mut found = Vec::new();
    let mut doubled = BTreeSet::new();
    for (name, packages) in graph.reached_by_name(&parents) {
        let distinct: BTreeSet<_> =
            packages.iter().map(|at| compatible(&graph.packages[*at].version)).collect();
        if distinct.len() < 2 {
            continue;
        }
        doubled.insert(name);
        if !allowed.iter().any(|(allowed, _)| *allowed == name) {
            let each: Vec<String> = packages.iter().map(|at| graph.pulled_by(*at, &parents)).collect();
            let what = format!(
                "{name} is built in {} incompatible versions: {}",
                distinct.len(),
                each.join("; and ")
            );
            let mend = format!(
                "bring them together (`cargo tree --workspace -e normal -i {name}@VERSION` shows each), or add a row with the reason to DOUBLED of xtask/src/tidy/doubled.rs"
            );
            found.push((name.to_owned(), Finding::new("Cargo.lock", 1, what, mend)));
        }
    }
    for (name, _) in allowed.iter().filter(|(name, _)| !doubled.contains(name)) {
        let what = format!("DOUBLED has a row for {name}, which is no longer there twice");
        found
            .push(((*name).to_owned(), Finding::new("xtask/src/tidy/doubled.rs", 1, what, "remove the row")));
    }
    found
}

/// What cargo unifies by: versions with an equal key never stand side by side.
fn compatible(version: &Version) -> (u64, u64, u64) {
    match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    }
}

impl Graph {
    /// Reads `cargo tree --prefix depth --format {p}`: on each line the depth, the name, the version
    /// and remarks, as in `2digest v0.11.3 (*)`.
    fn parse(text: &str) -> Result<Graph, String> {
        let mut graph = Graph::default();
        let mut index: BTreeMap<(String, Version), usize> = BTreeMap::new();
        let mut path: Vec<usize> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let unreadable = || format!("cargo tree printed `{line}`, which cannot be read");
            let (depth, name, version) = parse_line(line).ok_or_else(unreadable)?;
            let at = *index.entry((name.to_owned(), version.clone())).or_insert_with(|| {
                graph.packages.push(Package { name: name.to_owned(), version, uses: Vec::new() });
                graph.packages.len() - 1
            });
            path.truncate(depth);
            match path.last() {
                _ if path.len() != depth => return Err(unreadable()),
                None => graph.roots.push(at),
                Some(user) if !graph.packages[*user].uses.contains(&at) => {
                    graph.packages[*user].uses.push(at)
                }
                Some(_) => {}
            }
            path.push(at);
        }
        if graph.roots.is_empty() { Err("cargo tree printed no package".to_owned()) } else { Ok(graph) }
    }

    /// For every package that the roots reach, the package through which it was reached first.
    fn parents(&self) -> BTreeMap<usize, Option<usize>> {
        let mut parents: BTreeMap<usize, Option<usize>> = self.roots.iter().map(|at| (*at, None)).collect();
        let mut queue: VecDeque<usize> = self.roots.iter().copied().collect();
        while let Some(at) = queue.pop_front() {
            for used in &self.packages[at].uses {
                if !parents.contains_key(used) {
                    parents.insert(*used, Some(at));
                    queue.push_back(*used);
                }
            }
        }
        parents
    }

    fn reached_by_name(&self, parents: &BTreeMap<usize, Option<usize>>) -> BTreeMap<&str, Vec<usize>> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for at in parents.keys() {
            by_name.entry(self.packages[*at].name.as_str()).or_default().push(*at);
        }
        for packages in by_name.values_mut() {
            packages.sort_by(|left, right| self.packages[*left].version.cmp(&self.packages[*right].version));
        }
        by_name
    }

    /// `1.2.3 by a 1.0.0, b 2.0.0 (a ← c ← bowline-store)`
    fn pulled_by(&self, at: usize, parents: &BTreeMap<usize, Option<usize>>) -> String {
        let users = parents.keys().filter(|user| self.packages[**user].uses.contains(&at));
        let mut users: Vec<String> = users
            .map(|user| format!("{} {}", self.packages[*user].name, self.packages[*user].version))
            .collect();
        users.sort();
        let more = users.len().saturating_sub(DEPENDENTS_SHOWN_MAX);
        users.truncate(DEPENDENTS_SHOWN_MAX);
        if more > 0 {
            users.push(format!("{more} more"));
        }
        let mut chain = Vec::new();
        let mut step = parents.get(&at).copied().flatten();
        while let Some(parent) = step {
            chain.push(self.packages[parent].name.as_str());
            step = parents.get(&parent).copied().flatten();
        }
        format!("{} by {} ({})", self.packages[at].version, users.join(", "), chain.join(" ← "))
    }
}

fn parse_line(line: &str) -> Option<(usize, &str, Version)> {
    let (depth, rest) = line.split_at(line.find(|c: char| !c.is_ascii_digit())?);
    let (name, rest) = rest.split_once(" v")?;
    let version = rest.split(' ').next()?.parse().ok()?;
    Some((depth.parse().ok()?, name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0bowline-store v0.1.0 (crates/store)
1rusqlite v0.39.0
2hashbrown v0.16.1
1sqlx v0.9.0
2hashbrown v0.15.2
2sqlx-macros v0.9.0 (proc-macro)
3hashbrown v0.15.2 (*)

0bowline-ves v0.1.0 (crates/ves)
1hashbrown v0.16.1
";

    fn doubled() -> Graph {
        Graph::parse(TREE).unwrap()
    }

    #[test]
    fn incompatible_versions_are_found_with_who_pulls_which() {
        let findings = check(&doubled(), &[]);
        assert_eq!(findings.len(), 1);
        let text = findings[0].1.to_string();
        assert!(text.contains("hashbrown is built in 2 incompatible versions"), "{text}");
        assert!(text.contains("0.15.2 by sqlx 0.9.0, sqlx-macros 0.9.0 (sqlx ← bowline-store)"), "{text}");
        assert!(text.contains("0.16.1 by bowline-ves 0.1.0, rusqlite 0.39.0 (bowline-ves)"), "{text}");
    }

    #[test]
    fn a_row_excuses_it_and_a_stale_row_is_found() {
        assert!(check(&doubled(), &[("hashbrown", "two databases")]).is_empty());
        let findings = check(&doubled(), &[("hashbrown", "two databases"), ("syn", "macros")]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].1.what.contains("row for syn"), "{}", findings[0].1);
    }

    #[test]
    fn a_tree_that_cannot_be_read_is_no_empty_graph() {
        for text in ["", "\n", "bowline-store v0.1.0", "0bowline-store", "0a v1.0.0\n2b v1.0.0\n", "0a vx\n"]
        {
            assert!(Graph::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn compatibility_is_cargos() {
        let same = |left: &str, right: &str| {
            compatible(&left.parse().unwrap()) == compatible(&right.parse().unwrap())
        };
        assert!(same("1.2.0", "1.9.3") && same("0.3.1", "0.3.9"));
        assert!(!same("1.0.0", "2.0.0") && !same("0.3.0", "0.4.0") && !same("0.0.1", "0.0.2"));
    }
}

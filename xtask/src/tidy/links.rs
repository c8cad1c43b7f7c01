//! Every relative link of every Markdown file leads to a file of the repository.
//!
//! Links to other hosts are not followed, and anchors inside a file are not resolved. Code, fenced or
//! between backticks, holds no links. Inline links, images and link definitions are understood.

use super::tree::{SourceFile, Tree};
use super::{Finding, Repo};

/// No relative link is dead.
pub(super) fn relative(repo: &Repo) -> Vec<Finding> {
    check(&repo.tree)
}

fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending_with(".md").flat_map(|file| check_file(file, tree)).collect()
}

fn check_file(file: &SourceFile, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_fence = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            in_fence = !in_fence;
            continue;
        }
        if in_fence {
            continue;
        }
        for target in targets(&without_code(line)) {
            if let Some(path) = resolve(&file.path, &target)
                && !path.as_deref().is_some_and(|path| tree.contains(path))
            {
                let what = format!("the link to `{target}` leads nowhere");
                findings.push(Finding::new(&file.path, index + 1, what, "correct the path, or add the file"));
            }
        }
    }
    findings
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The targets of inline links and images, and of a link definition.
fn targets(line: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for (at, _) in line.match_indices("](") {
        let rest = &line[at + 2..];
        if let Some(end) = rest.find(')') {
            targets.push(bare(&rest[..end]));
        }
    }
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        targets.push(bare(target));
    }
    targets.retain(|target| !target.is_empty());
    targets
}

/// The target without a title, angle brackets, anchor and encoded spaces.
fn bare(target: &str) -> String {
    let target = target.trim();
    let target = match target.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((inner, _)) => inner,
        None => target.split_whitespace().next().unwrap_or(""),
    };
    target.split('#').next().unwrap_or("").replace("%20", " ")
}

/// `None`: not a relative link. `Some(None)`: it leaves the repository. Else the path from the root.
fn resolve(from: &str, target: &str) -> Option<Option<String>> {
    let scheme = target.split(':').next().unwrap_or("");
    let has_scheme = scheme.len() < target.len() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    if has_scheme || target.starts_with("//") {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        parts.extend(from.split('/'));
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Some(None);
                }
            }
            name => parts.push(name),
        }
    }
    Some(Some(parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(text: &str) -> Vec<String> {
        let tree =
            Tree::of(&[("docs/a.md", text), ("docs/b.md", ""), ("samples/x y.gz", ""), ("README.md", "")]);
        check(&tree).into_iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn links_to_files_and_folders_are_found_alive() {
        let text = "[b](b.md) [b](./b.md#part \"title\") ![up](../README.md)\n\
                    [samples](../samples) [root](/docs/b.md) [space](<../samples/x y.gz>)\n\
                    [coded](../samples/x%20y.gz) [out](https://example.org/x.md) [mail](mailto:a@b.c) [here](#part)\n\
                    \n[b]: b.md\n";
        assert_eq!(dead(text), Vec::<String>::new());
    }

    #[test]
    fn dead_links_are_found_with_their_line() {
        assert_eq!(dead("x\n[c](c.md)\n"), ["2: the link to `c.md` leads nowhere"]);
        assert_eq!(dead("[c]: ../c.md\n"), ["1: the link to `../c.md` leads nowhere"]);
        assert_eq!(dead("[out](../../elsewhere.md)\n").len(), 1);
        assert_eq!(dead("[b](b.md) and ![c](img/c.png)\n").len(), 1);
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(dead("`[c](c.md)`\n```text\n[c](c.md)\n```\n"), Vec::<String>::new());
        assert_eq!(dead("```text\n```\n[c](c.md)\n").len(), 1);
    }
}

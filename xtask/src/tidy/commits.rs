//! The rule for commits: each has a body, since a subject says what changed and never why.
//!
//! History before `SINCE` is exempt, and so are merges. The body is read, not judged: whether it says previously, now
//! and why is for the reviewer. A clone that lacks `SINCE` (a shallow one, an unpacked release) and a machine without
//! git can't tell, and say so: the rule never passes over commits that it did not see.

use std::path::Path;
use std::process::Command;

use super::{Finding, Repo};

/// The last commit that may lack a body.
const SINCE: &str = "125fd1f8806a87f4d8f4d7a0b6411d61a8e697e8";
/// Letters of a commit's hash in a finding.
const HASH_LETTERS_COUNT: usize = 10;
/// Between the fields of a commit, and after it; no message has them.
const FIELD_END: char = '\x1f';
const COMMIT_END: char = '\x1e';

/// One commit that is no merge.
#[derive(Debug, PartialEq)]
pub(super) struct Commit {
    hash: String,
    subject: String,
    body: String,
}

impl Commit {
    /// Lines such as `Signed-off-by: …` say who, not why.
    fn has_body(&self) -> bool {
        self.body.lines().any(|line| !line.trim().is_empty() && !is_trailer(line))
    }
}

/// What git knows of the commits since `SINCE`.
pub(super) enum History {
    Known(Vec<Commit>),
    /// Why it does not know them.
    Unknown(String),
}

impl History {
    /// Asks git for the commits of the branch that is checked out in `root`.
    pub(super) fn read(root: &Path) -> History {
        match commits_since(root, SINCE) {
            Ok(commits) => History::Known(commits),
            Err(reason) => History::Unknown(reason),
        }
    }

    pub(super) fn unknown_because(&self) -> Option<&str> {
        match self {
            History::Known(_) => None,
            History::Unknown(reason) => Some(reason),
        }
    }
}

/// Every commit says in its body what was before, what is now and why.
pub(super) fn bodies(repo: &Repo) -> Vec<Finding> {
    match &repo.history {
        History::Known(commits) => check(commits),
        History::Unknown(_) => Vec::new(),
    }
}

fn check(commits: &[Commit]) -> Vec<Finding> {
    commits
        .iter()
        .filter(|commit| !commit.has_body())
        .map(|Commit { hash, subject, .. }| {
            let hash = &hash[..hash.len().min(HASH_LETTERS_COUNT)];
            let what = format!("`{subject}` has no body");
            Finding::new(&format!("commit {hash}"), 0, what, "say previously / now / why")
        })
        .collect()
}

fn commits_since(root: &Path, since: &str) -> Result<Vec<Commit>, String> {
    if git(root, &["rev-parse", "--quiet", "--verify", &format!("{since}^{{commit}}")]).is_err() {
        // Tells a clone that lacks the commit from a folder that is no clone, or a machine without git.
        git(root, &["rev-parse", "--git-dir"])?;
        let short = &since[..since.len().min(HASH_LETTERS_COUNT)];
        return Err(format!("this clone has no commit {short}; `git fetch --unshallow` brings it"));
    }
    let format = format!("--format=%H{FIELD_END}%s{FIELD_END}%b{COMMIT_END}");
    let log = git(root, &["log", "--no-merges", &format, &format!("{since}..HEAD")])?;
    Ok(parse(&log))
}

fn parse(log: &str) -> Vec<Commit> {
    let commit = |text: &str| {
        let mut fields = text.trim_start().splitn(3, FIELD_END).map(str::to_owned);
        Some(Commit { hash: fields.next()?, subject: fields.next()?, body: fields.next()? })
    };
    log.split(COMMIT_END).filter_map(commit).collect()
}

/// What git prints, or why it can't.
fn git(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output();
    let output = output.map_err(|error| format!("git can't be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it gave no reason");
    Err(format!("git can't tell: {first}"))
}

/// `Signed-off-by: name`: words joined by `-` before the colon, at least two.
fn is_trailer(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(key, _)| {
        key.contains('-') && key.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '-')
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn run(root: &Path, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"];
        git(root, &[&identity, arguments].concat()).unwrap().trim().to_owned()
    }

    fn commit(root: &Path, messages: &[&str]) -> String {
        let mut arguments = vec!["commit", "--quiet", "--allow-empty"];
        arguments.extend(messages.iter().flat_map(|message| ["-m", message]));
        run(root, &arguments);
        run(root, &["rev-parse", "HEAD"])
    }

    #[test]
    fn commits_without_a_body_are_found_and_merges_and_what_came_before_are_exempt() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        run(root, &["init", "--quiet", "--initial-branch=main"]);
        commit(root, &["[a] older than the rule"]);
        let since = commit(root, &["[a] the last that may"]);
        run(root, &["checkout", "--quiet", "-b", "side"]);
        commit(
            root,
            &["[a] told", "Previously so. Now so, because of that.\nSigned-off-by: t <t@localhost>"],
        );
        run(root, &["checkout", "--quiet", "main"]);
        let bare = commit(root, &["[b] untold", "Signed-off-by: t <t@localhost>"]);
        run(root, &["merge", "--quiet", "--no-ff", "side", "-m", "a merge"]);
        let findings = check(&commits_since(root, &since).unwrap());
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let expected = format!("commit {} `[b] untold` has no body; say previously / now / why", &bare[..10]);
        assert_eq!(said, [expected]);
    }

    #[test]
    fn a_clone_without_the_commit_and_a_folder_without_git_say_that_they_do_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        // A repository around the temporary folder would be asked instead.
        fs::write(root.join(".git"), "no folder").unwrap();
        let reason = commits_since(root, SINCE).unwrap_err();
        assert!(reason.starts_with("git can't tell: "), "{reason}");
        fs::remove_file(root.join(".git")).unwrap();
        run(root, &["init", "--quiet"]);
        commit(root, &["[a] no body"]);
        let reason = commits_since(root, "1234567").unwrap_err();
        assert_eq!(reason, "this clone has no commit 1234567; `git fetch --unshallow` brings it");
    }
}

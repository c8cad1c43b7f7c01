//! Which programs are measured: those of this tree, those of another commit, or files that are given.
//!
//! A build is two programs, and they are kept apart: the node, which is under measurement, and the generator, which puts
//! load on a node, or measures the code that is linked into itself. In a comparison one generator, this tree's, drives the
//! nodes of both builds. A commit is built in a worktree below the target folder with a target folder of its own, so
//! that neither the working tree nor its build output is touched, and a later run finds both again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

const NODE: &str = "bowline";
const NODE_PACKAGE: &str = "bowline-cli";
/// The generator, where it is a crate of its own; in older commits it is a command of the node's binary.
const GENERATOR: &str = "bowline-bench";
const GENERATOR_MANIFEST: &str = "crates/bench/Cargo.toml";
/// Below the target folder: a folder for each commit that was built for a comparison.
const BASES: &str = "bench-base";
/// Letters of a commit's hash in names.
const HASH_LETTERS_COUNT: usize = 12;

/// A program with the arguments that come before all others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    fn new(path: PathBuf, arguments: &[&str]) -> Program {
        Program { path, arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }

    /// As one would type it, for messages: `bowline bench`.
    pub(super) fn name(&self) -> String {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        [vec![file], self.arguments.clone()].concat().join(" ")
    }
}

/// One build of the product.
#[derive(Debug, Clone)]
pub(super) struct Build {
    /// For people: a commit, or a file's name.
    pub(super) name: String,
    pub(super) node: PathBuf,
    pub(super) generator: Program,
}

impl Build {
    /// What the working tree is now, built in release.
    pub(super) fn of_tree(workspace: &Workspace) -> Result<Build> {
        let target = workspace.metadata()?.target_directory.into_std_path_buf();
        compile(workspace, workspace.root(), &target, &tree_name(workspace))
    }

    /// A commit, built in a worktree and a target folder of its own.
    pub(super) fn of_commit(workspace: &Workspace, commit: &str) -> Result<Build> {
        let hash = git(workspace.root(), &["rev-parse", "--verify", &format!("{commit}^{{commit}}")])?;
        let short = &hash[..hash.len().min(HASH_LETTERS_COUNT)];
        let target = workspace.metadata()?.target_directory.into_std_path_buf();
        let folder = target.join(BASES).join(short);
        let source = folder.join("source");
        if !source.join("Cargo.toml").is_file() {
            let path = source.to_str().context("the target folder's path is not UTF-8")?;
            // By force: git may remember a worktree whose folder went with a former target folder.
            git(workspace.root(), &["worktree", "add", "--force", "--detach", path, &hash])?;
        }
        eprintln!("the base {short} is built in {}", folder.display());
        compile(workspace, &source, &folder.join("target"), short)
    }

    /// A node's binary that is there already; its generator stands beside it, or is a command of it.
    pub(super) fn of_file(node: &Path) -> Result<Build> {
        let node = node.canonicalize().with_context(|| format!("{} is not there", node.display()))?;
        let name = node.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = node.with_file_name(GENERATOR);
        let generator =
            if beside.is_file() { Program::new(beside, &[]) } else { Program::new(node.clone(), &["bench"]) };
        Ok(Build { name, node, generator })
    }
}

/// Builds the release binaries of the sources in `source`.
fn compile(workspace: &Workspace, source: &Path, target: &Path, name: &str) -> Result<Build> {
    let has_generator = source.join(GENERATOR_MANIFEST).is_file();
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--package", NODE_PACKAGE]);
    if has_generator {
        command.args(["--package", GENERATOR]);
    }
    command.current_dir(source).env("CARGO_TARGET_DIR", target);
    let status = command.status().context("cannot run cargo build")?;
    if !status.success() {
        bail!("the release binary of {name} does not build; its errors are above");
    }
    let node = target.join("release").join(NODE);
    if !node.is_file() {
        bail!("{} was not built; does {NODE_PACKAGE} still have a binary of that name?", node.display());
    }
    let generator = if has_generator {
        Program::new(node.with_file_name(GENERATOR), &[])
    } else {
        Program::new(node.clone(), &["bench"])
    };
    Ok(Build { name: name.to_owned(), node, generator })
}

/// The commit that is checked out, and whether the files differ from it.
fn tree_name(workspace: &Workspace) -> String {
    let Ok(hash) = git(workspace.root(), &["rev-parse", "HEAD"]) else { return "this tree".to_owned() };
    let short = &hash[..hash.len().min(HASH_LETTERS_COUNT)];
    match git(workspace.root(), &["status", "--porcelain", "--untracked-files=no"]) {
        Ok(changes) if changes.is_empty() => short.to_owned(),
        _ => format!("{short} with changes"),
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output();
    let output = output.context("cannot run git, which a comparison with a commit needs")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("`git {}` ended with {}: {said}", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_generator_of_a_file_stands_beside_it_or_is_a_command_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("bowline");
        fs::write(&node, "").unwrap();
        let build = Build::of_file(&node).unwrap();
        assert_eq!(build.generator.name(), "bowline bench");
        let beside = folder.path().join(GENERATOR);
        fs::write(&beside, "").unwrap();
        let build = Build::of_file(&node).unwrap();
        assert_eq!(build.generator.name(), "bowline-bench");
        assert_eq!(build.node.file_name(), node.file_name());
        assert!(Build::of_file(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn a_program_is_called_with_its_leading_arguments_first() {
        let program = Program::new(PathBuf::from("bowline"), &["bench"]);
        let mut command = program.command();
        command.arg("verify");
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["bench", "verify"]);
    }
}

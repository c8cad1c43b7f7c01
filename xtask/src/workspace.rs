//! Where the repository is, and how to call its cargo.
//!
//! The one place that builds a `cargo` command: it runs in the repository root with the variables
//! that cargo set for xtask itself taken out, because build scripts that watch them (`ring` is one)
//! would otherwise be run again by every `cargo xtask`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The platform that releases are built for and that dependencies are resolved for.
pub(crate) const RELEASE_TARGET: &str = "x86_64-unknown-linux-gnu";

/// What `cargo run` sets for the program that it starts.
const OWN_VARIABLES: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE"];

/// The repository that the command was called in.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Walks up from the current directory to the folder that holds `xtask/Cargo.toml`.
    pub(crate) fn find() -> Result<Workspace> {
        let start = std::env::current_dir().context("the current directory cannot be read")?;
        match start.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file()) {
            Some(root) => Ok(Workspace { root: root.to_path_buf() }),
            None => bail!("{} is not inside the repository; change into it and try again", start.display()),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A `cargo` command that runs in the repository root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root);
        for name in own_variables() {
            command.env_remove(name);
        }
        command
    }

    /// What the workspace's normal dependencies are on the release platform, with the features that
    /// are really turned on: `cargo tree` with the depth in front of each package.
    pub(crate) fn dependency_tree(&self) -> Result<String> {
        let mut command = self.cargo();
        command.args(["tree", "--workspace", "--edges", "normal", "--target", RELEASE_TARGET]);
        command.args(["--prefix", "depth", "--format", "{p}"]).stderr(Stdio::inherit());
        command.env("CARGO_TERM_COLOR", "never");
        let output = command.output().context("cannot run cargo tree")?;
        if !output.status.success() {
            bail!("`cargo tree` ended with {}; what it said is above", output.status);
        }
        String::from_utf8(output.stdout).context("`cargo tree` printed something else than UTF-8")
    }

    /// The resolved dependency graph for the release platform, with all of the workspace's features.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let mut command = MetadataCommand::new();
        command.cargo_path(cargo_program()).current_dir(&self.root);
        command.other_options(["--filter-platform".to_owned(), RELEASE_TARGET.to_owned()]);
        for name in own_variables() {
            command.env_remove(name);
        }
        command
            .exec()
            .context("`cargo metadata` failed; run `cargo metadata --format-version 1` to see it alone")
    }
}

fn cargo_program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn own_variables() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| OWN_VARIABLES.iter().any(|own| name.starts_with(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_a_folder_below_it() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root().join("Cargo.toml").is_file());
        assert!(workspace.root().join("xtask/src/workspace.rs").is_file());
    }

    #[test]
    fn cargo_is_called_without_the_variables_of_xtask() {
        let workspace = Workspace::find().unwrap();
        let command = workspace.cargo();
        let removed = command.get_envs().any(|(name, value)| name == "CARGO_PKG_NAME" && value.is_none());
        assert!(removed, "cargo sets CARGO_PKG_NAME for tests, so it must be among the removed");
    }
}

//! `cargo xtask release`: what is given to people who do not build: a stripped binary, a Debian package, an image.
//!
//! Neither a container engine nor Debian's tools are needed: the archives are written here, with fixed times and sorted
//! names, so that one binary gives the same bytes on every machine of one distribution. Nothing is uploaded or signed;
//! `SHA256SUMS` names each file's hash. A binary above the budgets of `size.rs` is not released.

mod archive;
mod deb;
mod image;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::size;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Write into DIR instead of the folder `release-artifacts` of the target folder
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Release this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What all artifacts are made of.
struct Source<'a> {
    /// The repository, for units, settings and licences.
    root: &'a Path,
    version: String,
    /// The stripped binary.
    binary: Vec<u8>,
}

impl Source<'_> {
    fn file(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    fn text(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }
}

/// Makes all artifacts; `false` if the binary is over its budget, and then nothing is made.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => size::build(workspace)?,
    };
    let output = match &options.output {
        Some(output) => output.clone(),
        None => workspace.metadata()?.target_directory.into_std_path_buf().join("release-artifacts"),
    };
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let version = version(workspace)?;
    let stripped = output.join(format!("bowline-{version}-{}-linux", std::env::consts::ARCH));
    tools::strip(&binary, &stripped)?;
    if !size::check(workspace, &stripped)? {
        fs::remove_file(&stripped).context("cannot remove a binary that is over its budget")?;
        return Ok(false);
    }
    let content = fs::read(&stripped).context("cannot read the stripped binary")?;
    let source = Source { root: workspace.root(), version, binary: content };
    let package = output.join(deb::file_name(&source.version)?);
    write(&package, &deb::package(&source)?)?;
    deb::verify(&package)?;
    let image = output.join(image::file_name(&source.version)?);
    write(&image, &image::archive(&source, &image::Base::of_this_machine(&stripped)?)?)?;
    sum(&output, &[&stripped, &package, &image])?;
    println!("{}", output.display());
    Ok(true)
}

fn version(workspace: &Workspace) -> Result<String> {
    let metadata = workspace.metadata()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "bowline-cli");
    Ok(package.context("the workspace has no bowline-cli")?.version.to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn sum(folder: &Path, files: &[&Path]) -> Result<()> {
    let mut lines = String::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("{}  {name}\n", tools::sha256(&bytes)?);
        println!("{} bytes  {name}", bytes.len());
        lines.push_str(&line);
    }
    write(&folder.join("SHA256SUMS"), lines.as_bytes())
}

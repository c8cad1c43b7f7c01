//! `cargo xtask soak`: what the tests do a few times, for as long as one likes.
//!
//! Nodes are killed under load, while they anchor and while they index, match and deliver, until the time is over;
//! every system call of the embedded store fails once; the queue of jobs gets as deep as it may; and with `--fuzz`
//! libFuzzer looks for inputs that break the laws of the byte rules. Fuzzing needs a C++ compiler and no other
//! toolchain than the tests. It changes nothing in the repository but for the input that broke a law, which
//! it puts beside the seeds: from then on every run of the tests tries it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::test;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Go on for so many minutes: killing nodes, and with --fuzz fuzzing, which has them to itself
    #[arg(long, default_value_t = 10, value_name = "MINUTES")]
    minutes: u64,

    /// Fuzz the byte rules, and nothing else
    #[arg(long)]
    fuzz: bool,
}

/// The tests that know how to go on.
const TESTS: [&str; 5] = [
    "what_was_acknowledged_survives_every_kill",
    "a_node_that_is_killed_while_it_anchors",
    "a_node_with_all_roles_is_killed",
    "a_disk_that_fails",
    // Once, with as many jobs as the limits of the settings are.
    "a_deep_queue_holds_matching",
];
/// Every target in `fuzz/targets`; the time is shared evenly.
const TARGETS: [&str; 3] = ["canonical", "envelope", "evidence"];
/// Bytes of an input, at most.
const INPUT_BYTES_MAX: u32 = 32_768;
/// Seconds after which one input counts as one that never ends.
const INPUT_SECS_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 1_024;
/// Without it cargo would instrument build scripts as well.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// libFuzzer's view into the program; these are what cargo-fuzz passes, and stable.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs for as long as it was told; `true` if nothing was found.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let secs = options.minutes.saturating_mul(60).max(1);
    if options.fuzz {
        return fuzz(workspace, secs);
    }
    let mut lines = Vec::new();
    let mut all_passed = true;
    for filter in TESTS {
        let options = test::Options {
            filter: Some(filter.to_owned()),
            cargo_args: ["--", "--nocapture"].map(str::to_owned).into(),
            soak_secs: Some(secs),
        };
        let outcome = test::run(workspace, &options)?;
        all_passed &= outcome.is_success();
        lines.push(format!("{filter}: {}", outcome.last_line()));
    }
    println!("{}", lines.join("\n"));
    Ok(all_passed)
}

fn fuzz(workspace: &Workspace, secs: u64) -> Result<bool> {
    let folder = workspace.root().join("fuzz");
    let target = workspace.metadata()?.target_directory.into_std_path_buf().join("fuzz");
    build(workspace, &folder, &target)?;
    let each = (secs / TARGETS.len() as u64).max(1);
    let mut broken = Vec::new();
    for name in TARGETS {
        let found = fuzz_one(&folder, &target, name, each)?;
        broken.extend(found.map(|input| format!("{name}: {} breaks the law", input.display())));
    }
    if broken.is_empty() {
        println!("fuzz: {} targets, {each} s each, no findings", TARGETS.len());
    } else {
        println!("{}", broken.join("\n"));
    }
    Ok(broken.is_empty())
}

fn build(workspace: &Workspace, folder: &Path, target: &Path) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--bins", "--target", PLATFORM]).current_dir(folder);
    command.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", COVERAGE);
    let built = command.status().context("cannot run cargo build")?;
    if !built.success() {
        bail!(
            "the fuzz targets do not build; cargo's errors are above, and libFuzzer needs a C++ compiler (`apt-get install g++`)"
        );
    }
    Ok(())
}

/// Fuzzes one target; returns the input that broke its law, if one did, kept among the seeds.
fn fuzz_one(folder: &Path, target: &Path, name: &str, secs: u64) -> Result<Option<PathBuf>> {
    let seeds = folder.join("seeds").join(name);
    let corpus = target.join("corpus").join(name);
    let findings = target.join("findings").join(name);
    fs::create_dir_all(&corpus).context("cannot make a folder for the corpus")?;
    fs::create_dir_all(&findings).context("cannot make a folder for the findings")?;
    let mut command = Command::new(target.join(PLATFORM).join("release").join(name));
    command.args([
        format!("-max_total_time={secs}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        format!("-artifact_prefix={}/", findings.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    command.arg(&corpus).arg(&seeds).current_dir(target);
    let ended = command.status().with_context(|| format!("cannot run the fuzz target {name}"))?;
    if ended.success() {
        return Ok(None);
    }
    let newest = fs::read_dir(&findings)?
        .filter_map(|entry| {
            Some((entry.as_ref().ok()?.metadata().ok()?.modified().ok()?, entry.ok()?.path()))
        })
        .max();
    let Some((_, input)) = newest else {
        bail!("the fuzz target {name} ended with {ended} and left no input; its output above says why");
    };
    let kept = seeds.join(input.file_name().unwrap_or_default());
    fs::copy(&input, &kept).with_context(|| format!("cannot keep {}", input.display()))?;
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_file_and_its_seeds() {
        let folder = Workspace::find().unwrap().root().join("fuzz");
        for name in TARGETS {
            assert!(folder.join("targets").join(name).with_extension("rs").is_file(), "{name}");
            assert!(fs::read_dir(folder.join("seeds").join(name)).unwrap().count() > 0, "{name}");
        }
        assert_eq!(fs::read_dir(folder.join("targets")).unwrap().count(), TARGETS.len());
    }
}

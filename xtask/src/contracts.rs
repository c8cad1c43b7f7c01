//! `cargo xtask contracts`: compiles the Solidity contracts into the artifacts that are checked in.
//!
//! The compiler's version and settings are fixed and its output carries no hash of comments or paths, so whoever
//! compiles a contract in this way gets the same bytes, also those of a deployed one. A run of the tests refuses
//! artifacts that are not what the sources give. It deploys nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::npm;
use crate::postgres::last_lines;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Change nothing; fail if an artifact is not what its source gives
    #[arg(long)]
    check: bool,
}

/// A source, the contract in it and where its artifact stands.
struct Contract {
    source: &'static str,
    name: &'static str,
    artifact: &'static str,
}

const CONTRACTS: [Contract; 5] = [
    Contract {
        source: "contracts/BowlineAnchor.sol",
        name: "BowlineAnchor",
        artifact: "contracts/artifacts/BowlineAnchor.json",
    },
    Contract {
        source: "contracts/test/OriginalAnchor.sol",
        name: "OriginalAnchor",
        artifact: "contracts/artifacts/test/OriginalAnchor.json",
    },
    Contract {
        source: "contracts/test/ERC8004Identity.sol",
        name: "ERC8004Identity",
        artifact: "contracts/artifacts/test/ERC8004Identity.json",
    },
    Contract {
        source: "contracts/test/ERC8004Reputation.sol",
        name: "ERC8004Reputation",
        artifact: "contracts/artifacts/test/ERC8004Reputation.json",
    },
    Contract {
        source: "contracts/test/ERC8004Validation.sol",
        name: "ERC8004Validation",
        artifact: "contracts/artifacts/test/ERC8004Validation.json",
    },
];

/// The version that the sources' pragma demands.
const SOLC: &str = "0.8.30";
const LOG_LINES_SHOWN: usize = 15;

/// An array of standard JSON from stdin, the answers to stdout; the argument is the compiler's folder.
const PROGRAM: &str = "\
const solc = require(process.argv[1]);
const inputs = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const outputs = inputs.map((input) => JSON.parse(solc.compile(JSON.stringify(input))));
process.stdout.write(JSON.stringify({ version: solc.version(), outputs }));
";

/// What an artifact file holds. Bytes are in hex with `0x`, a method's identifier without.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    contract: String,
    compiler: String,
    settings: Value,
    abi: Value,
    bytecode: String,
    deployed_bytecode: String,
    method_identifiers: BTreeMap<String, String>,
}

/// Writes the artifacts, or with `--check` tells which are not what the sources give; `false` if there is one.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    if options.check {
        let stale = stale(workspace)?;
        for finding in &stale {
            println!("{finding}");
        }
        println!("contracts: {} checked, {} stale", CONTRACTS.len(), stale.len());
        return Ok(stale.is_empty());
    }
    for (contract, text) in compiled(workspace)? {
        let path = workspace.root().join(contract.artifact);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let changed = fs::read_to_string(&path).ok().as_ref() != Some(&text);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {}", contract.artifact, if changed { "written" } else { "unchanged" });
    }
    Ok(true)
}

/// What to say of each artifact that is missing or is not what its source gives.
fn stale(workspace: &Workspace) -> Result<Vec<String>> {
    let compiled = compiled(workspace)?;
    let stale = compiled.into_iter().filter(|(contract, text)| {
        fs::read_to_string(workspace.root().join(contract.artifact)).ok().as_ref() != Some(text)
    });
    Ok(stale
        .map(|(Contract { source, artifact, .. }, _)| {
            format!("{artifact} is not what {source} gives; run `cargo xtask contracts`")
        })
        .collect())
}

/// The same for the tests, which run often: compiles only if a source or an artifact is not as when nothing was stale.
pub(crate) fn stale_since_checked(workspace: &Workspace) -> Result<Vec<String>> {
    let stamp = workspace.metadata()?.target_directory.into_std_path_buf().join("contracts-checked");
    let mut state = format!("{SOLC} {}\n", settings());
    for path in CONTRACTS.iter().flat_map(|contract| [contract.source, contract.artifact]) {
        state += &fs::read_to_string(workspace.root().join(path)).unwrap_or_default();
    }
    if fs::read_to_string(&stamp).is_ok_and(|checked| checked == state) {
        return Ok(Vec::new());
    }
    let stale = stale(workspace)?;
    if stale.is_empty() {
        fs::write(&stamp, state).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(stale)
}

/// Each contract with the text that its artifact must have. Each is compiled alone: its bytes must not depend on what
/// else there is.
fn compiled(workspace: &Workspace) -> Result<Vec<(&'static Contract, String)>> {
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let modules = npm::find_or_install(&target, &format!("solc-{SOLC}"), &[&format!("solc@{SOLC}")])?;
    let inputs: Result<Vec<Value>> =
        CONTRACTS.iter().map(|contract| input_of(workspace.root(), contract)).collect();
    let Answer { version, outputs } = ask(&modules.join("solc"), &Value::from(inputs?).to_string())?;
    if outputs.len() != CONTRACTS.len() {
        bail!("the compiler was asked {} times and answered {} times", CONTRACTS.len(), outputs.len());
    }
    let artifacts = CONTRACTS.iter().zip(outputs);
    artifacts.map(|(contract, output)| Ok((contract, artifact_of(contract, &version, output)?))).collect()
}

fn input_of(root: &Path, Contract { source, name, .. }: &Contract) -> Result<Value> {
    let text = fs::read_to_string(root.join(source)).with_context(|| format!("cannot read {source}"))?;
    let mut settings = settings();
    settings["outputSelection"] = json!({ (*source): { (*name): [
        "abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.methodIdentifiers"
    ] } });
    Ok(json!({ "language": "Solidity", "sources": { (*source): { "content": text } }, "settings": settings }))
}

fn artifact_of(contract: &Contract, compiler: &str, mut output: Output) -> Result<String> {
    let Contract { source, name, .. } = contract;
    if !output.errors.is_empty() {
        let said: Vec<String> = output.errors.into_iter().map(|error| error.formatted_message).collect();
        bail!("{source} must compile without errors and warnings:\n{}", said.join("\n"));
    }
    let found = output.contracts.get_mut(*source).and_then(|found| found.remove(*name));
    let found = found.with_context(|| format!("{source} has no contract {name}"))?;
    let artifact = Artifact {
        contract: (*name).to_owned(),
        compiler: compiler.to_owned(),
        settings: settings(),
        abi: found.abi,
        bytecode: format!("0x{}", found.evm.bytecode.object),
        deployed_bytecode: format!("0x{}", found.evm.deployed_bytecode.object),
        method_identifiers: found.evm.method_identifiers,
    };
    Ok(serde_json::to_string_pretty(&artifact).context("an artifact cannot be written as JSON")? + "\n")
}

/// Instructions that every EVM chain has, and a call's gas before a deployment's.
fn settings() -> Value {
    json!({
        "evmVersion": "paris",
        "metadata": { "appendCBOR": false, "bytecodeHash": "none" },
        "optimizer": { "enabled": true, "runs": 10_000 },
        "viaIR": true,
    })
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    /// Errors and warnings.
    #[serde(default)]
    errors: Vec<Said>,
    #[serde(default)]
    contracts: BTreeMap<String, BTreeMap<String, Compiled>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    formatted_message: String,
}

#[derive(Deserialize)]
struct Compiled {
    abi: Value,
    evm: Evm,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Evm {
    bytecode: Bytecode,
    deployed_bytecode: Bytecode,
    method_identifiers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Bytecode {
    object: String,
}

fn ask(solc: &Path, input: &str) -> Result<Answer> {
    let mut command = Command::new(npm::node()?);
    command.args(["-e", PROGRAM]).arg(solc);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run node")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("the compiler does not read its input")?;
    }
    let output = child.wait_with_output().context("cannot wait for the compiler")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the compiler ended with {}:\n{}", output.status, last_lines(&said, LOG_LINES_SHOWN));
    }
    serde_json::from_slice(&output.stdout).context("the compiler's answer cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_compiled_with_the_version_that_it_demands() {
        let workspace = Workspace::find().unwrap();
        let mut found = 0;
        for folder in ["contracts", "contracts/test"] {
            for entry in fs::read_dir(workspace.root().join(folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(".sol") {
                    let path = format!("{folder}/{name}");
                    assert!(CONTRACTS.iter().any(|contract| contract.source == path), "{path}");
                    found += 1;
                }
            }
        }
        assert_eq!(found, CONTRACTS.len());
        for Contract { source, .. } in &CONTRACTS {
            let text = fs::read_to_string(workspace.root().join(source)).unwrap();
            assert!(text.contains(&format!("pragma solidity {SOLC};")), "{source}");
        }
    }
}

//! The development node of a run: one that is given, or an anvil that ends with the run.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bowline_neighbours::Anvil;
use clap::Args;

/// Which development node (chain 31337) it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChainArgs {
    /// A development node on this machine (chain 31337); without it one is started for each run
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
    /// The program of the development node that is started
    #[arg(long, env = "BOWLINE_ANVIL", value_name = "FILE")]
    anvil: Option<PathBuf>,
}

impl ChainArgs {
    /// The given node, or a fresh one.
    pub(crate) fn start(&self) -> Result<Anvil> {
        if let Some(url) = &self.rpc_url {
            return Ok(Anvil::at(url));
        }
        let program =
            self.anvil.as_deref().context("no chain is named: give --rpc-url, or a program with --anvil")?;
        Ok(Anvil::of(program, &[]))
    }
}

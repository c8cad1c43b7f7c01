//! `bowline anchors deploy-contract`: puts a new `BowlineAnchor` on a chain.
//!
//! What it costs is shown first, and nothing is sent before a person or `--yes` said so. The private key comes from a
//! file or the environment, never from the command line, where others on the machine could read it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_anchor::deploy::{DeployError, Deployed, Deployment, Plan};
use bowline_anchor::{Config, Wallet};
use bowline_types::{EvmAddress, Secret};
use clap::Args;
use serde_json::json;

use crate::chains::endpoint;
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;
use crate::verify::read_document;

/// The environment variable of the private key.
const KEY_VARIABLE: &str = "SEQUENCER_PRIVATE_KEY";

/// Wei.
const GWEI: u128 = 1_000_000_000;

/// `bowline anchors deploy-contract`.
#[derive(Debug, Args)]
#[command(after_help = "\
The private key is read from --private-key-file or from SEQUENCER_PRIVATE_KEY.
Nothing is sent if the chain has another id than --chain-id.")]
pub(crate) struct Options {
    /// The chain's JSON-RPC endpoint; several with commas between them
    #[arg(long, env = "L2_RPC_URL", value_name = "URL", hide_env_values = true)]
    rpc_url: Option<String>,
    /// The chain's id
    #[arg(long, env = "L2_CHAIN_ID", value_name = "ID", default_value_t = Config::default().chain_id)]
    chain_id: u64,
    /// A file with the private key of the account that pays, 64 hex digits
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,
    /// Who decides which accounts may commit [default: the account that pays]
    #[arg(long, value_name = "ADDRESS")]
    owner: Option<EvmAddress>,
    /// The account that nodes will anchor with [default: the account that pays]
    #[arg(long, value_name = "ADDRESS")]
    committer: Option<EvmAddress>,
    /// Gwei a unit of gas at most
    #[arg(long, env = "ANCHOR_FEE_GWEI_MAX", value_name = "GWEI", default_value_t = Config::default().fee_gwei_max)]
    fee_gwei_max: u64,
    /// How long to wait for a block that has the transaction
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
    /// Do not ask before sending
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    let wallet = wallet(options.private_key_file.as_deref())?;
    let rpc = endpoint::connect(options.rpc_url.as_deref())?;
    let sender = wallet.address();
    let deployment = Deployment {
        chain_id: options.chain_id,
        owner: options.owner.unwrap_or(sender),
        committer: options.committer.unwrap_or(sender),
        fee_cap: u128::from(options.fee_gwei_max) * GWEI,
    };
    let plan =
        until_interrupted(async { Plan::make(&rpc, sender, deployment).await.map_err(failed) }).await?;
    show(&plan);
    if !options.yes {
        until_interrupted(agreed()).await?;
    }
    let sent = plan.send(&rpc, &wallet).await.map_err(failed)?;
    output::talk(&format!("sent transaction {}, waiting for a block that has it", sent.tx_hash()));
    let wait = Duration::from_secs(options.wait);
    let deployed = until_interrupted(async { sent.mined(&rpc, wait).await.map_err(failed) }).await?;
    report(context, &options, deployment, &deployed)?;
    Ok(Exit::Done)
}

fn wallet(file: Option<&Path>) -> Result<Wallet, Failure> {
    let next = "name a file with --private-key-file, or set SEQUENCER_PRIVATE_KEY";
    let (key, from) = match file {
        Some(path) => (read_document(path)?, path.display().to_string()),
        None => {
            let key = std::env::var(KEY_VARIABLE).ok().filter(|key| !key.trim().is_empty());
            let key = key.ok_or_else(|| Failure::usage("no private key is given").next(next))?;
            (key, KEY_VARIABLE.to_owned())
        }
    };
    Wallet::new(&Secret::new(key)).map_err(|problem| Failure::usage(format!("{from}: {problem}")).next(next))
}

fn show(plan: &Plan) {
    let Deployment { chain_id, owner, committer, .. } = plan.deployment();
    output::talk(&format!(
        "A new BowlineAnchor on chain {chain_id}:\n  owner      {owner}\n  committer  {committer}\n  paid by    {}, which has {} \
         ether\n  gas        {} for {} bytes\n  cost       about {} ether, at most {} ether",
        plan.sender(),
        plan.balance_ether(),
        plan.gas(),
        plan.bytes(),
        plan.cost_ether(),
        plan.cost_max_ether()
    ));
}

/// A person says yes; where nobody can be asked, only `--yes` does.
async fn agreed() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("nothing was sent: there is no terminal to ask on").next("give --yes to send it")
        );
    }
    output::talk("Send it? [y/N]");
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = answer.await.ok().and_then(Result::ok).unwrap_or_default();
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::no("nothing was sent")),
    }
}

fn report(
    context: &Context,
    options: &Options,
    deployment: Deployment,
    deployed: &Deployed,
) -> Result<(), Failure> {
    let Deployment { chain_id, owner, committer, .. } = deployment;
    if context.is_json() {
        return output::line(
            &json!({
                "chain_id": chain_id, "contract": deployed.contract, "owner": owner, "committer": committer,
                "tx_hash": deployed.tx_hash, "block_number": deployed.block_number, "gas_used": deployed.gas_used,
                "cost_ether": deployed.cost_ether(),
            })
            .to_string(),
        );
    }
    output::fields([
        ("contract", deployed.contract.to_string()),
        ("chain", chain_id.to_string()),
        ("transaction", deployed.tx_hash.to_string()),
        ("block", deployed.block_number.to_string()),
        ("gas", deployed.gas_used.to_string()),
        ("cost", deployed.cost_ether().map_or_else(|| "-".to_owned(), |cost| format!("{cost} ether"))),
    ])?;
    let urls = endpoint::shown(options.rpc_url.as_deref().unwrap_or_default());
    output::talk(&format!(
        "\nA node anchors there with\n  L2_RPC_URL={urls}\n  L2_CHAIN_ID={chain_id}\n  SET_REGISTRY_ADDRESS={}\n  \
         SEQUENCER_PRIVATE_KEY=(the key of {committer})",
        deployed.contract
    ));
    Ok(())
}

fn failed(error: DeployError) -> Failure {
    let text = error.to_string();
    match error {
        DeployError::WrongChain { found, .. } => Failure::usage(text)
            .next(format!("give --chain-id {found} if that is the chain you mean, or another --rpc-url")),
        DeployError::NoBaseFee => Failure::no(text).next("use a chain with EIP-1559"),
        DeployError::AboveCap(_) => {
            Failure::no(text).next("wait until gas is cheaper, or raise --fee-gwei-max")
        }
        DeployError::Funds { account, .. } => Failure::no(text).next(format!("send ether to {account}")),
        DeployError::Unsignable(_) => Failure::usage(text),
        DeployError::Broadcast { tx_hash, .. } | DeployError::NotMined { tx_hash, .. } => {
            Failure::new(Exit::Unreachable, text).next(format!(
                "look {tx_hash} up at the chain before you try again: it may still make the contract"
            ))
        }
        DeployError::Reverted(_) => Failure::no(text).next("look the transaction up at the chain to see why"),
        DeployError::NotAsAsked { .. } => Failure::no(text).next("do not use what stands there; try again"),
        DeployError::Rpc(error) => endpoint::failed(&error),
    }
}

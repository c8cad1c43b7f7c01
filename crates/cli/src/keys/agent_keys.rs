//! `bowline keys`: agents' keys on this machine and on the server, and the sequencer's public keys.
//!
//! It refuses to print a secret: a generated seed goes to its file and nowhere else.

mod change;

use bowline_client::answers::{AgentKeys, SequencerKeys};
use bowline_client::{Call, answers};
use bowline_types::{AgentId, TenantId};
use bowline_ves::{AgentPublicKey, Signature};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::local::{Agent, parse_agent_name};
use crate::terminal::output;

/// `bowline keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show the agent keys that the server knows
    List(ListOptions),
    /// Show one agent key
    Show(change::KeyArgs),
    /// Register an agent's public key at the server
    Register(RegisterOptions),
    /// Register an agent's next key, and let the older ones run out or revoke them
    Rotate(change::RotateOptions),
    /// Change from when and until when an agent key is valid
    Validity(change::ValidityOptions),
    /// Revoke an agent key for ever: nothing that it signed is accepted any more
    Revoke(change::RevokeOptions),
    /// Make an agent's key on this machine, in DATA/agents/NAME.json
    Generate(GenerateOptions),
    /// Show the sequencer's public keys, for `bowline verify`
    Sequencer,
}

/// `bowline keys list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Only of this agent
    #[arg(long, alias = "agent-id", value_name = "UUID")]
    agent: Option<AgentId>,
    /// Only keys that are `active`, `expired` or `revoked`
    #[arg(long, value_name = "STATUS", value_parser = ["active", "expired", "revoked"])]
    status: Option<String>,
}

/// `bowline keys register`.
#[derive(Debug, Args)]
pub(crate) struct RegisterOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Register the key of this agent of this machine, with proof that it is here
    #[arg(long, value_name = "NAME", value_parser = parse_agent_name)]
    #[arg(conflicts_with_all = ["agent", "key_id", "public_key", "proof"])]
    name: Option<String>,
    /// The agent that has the key
    #[arg(long, alias = "agent-id", value_name = "UUID", required_unless_present = "name")]
    agent: Option<AgentId>,
    /// Which of the agent's keys it is; 1 if left out
    #[arg(long, value_name = "N")]
    key_id: Option<u32>,
    /// The Ed25519 public key, 32 bytes of hex
    #[arg(long, value_name = "HEX", value_parser = AgentPublicKey::parse_hex, required_unless_present = "name")]
    public_key: Option<AgentPublicKey>,
    /// The key's signature over SHA-256("VES_POP_V1" and the public key), 64 bytes of hex
    #[arg(long, value_name = "HEX", value_parser = Signature::parse_hex)]
    proof: Option<Signature>,
}

/// `bowline keys generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateOptions {
    /// The agent's name on this machine
    #[arg(long, value_name = "NAME", value_parser = parse_agent_name)]
    agent: String,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::List(options) => list(context, options).await,
        What::Show(key) => change::show(context, key).await,
        What::Register(options) => register(context, options).await,
        What::Rotate(options) => change::rotate(context, options).await,
        What::Validity(options) => change::validity(context, options).await,
        What::Revoke(options) => change::revoke(context, options).await,
        What::Generate(options) => generate(context, &options.agent),
        What::Sequencer => sequencer(context).await,
    }
}

/// What must be given where no agent of this machine is named; clap has seen to it.
fn whose(
    agent: Option<AgentId>,
    public_key: Option<AgentPublicKey>,
) -> Result<(AgentId, AgentPublicKey), Failure> {
    agent.zip(public_key).ok_or_else(|| {
        Failure::usage("neither --name nor --agent and --public-key are given").next("give one of both")
    })
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let call = Call::get(&["api", "v1", "agents", "keys"])
        .query("tenant_id", Some(context.tenant(options.tenant)?))
        .query("agent_id", options.agent)
        .query("status", options.status);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let keys = answers::parse::<AgentKeys>(&text)?.keys;
    if keys.is_empty() {
        output::talk("no such key in this tenant; `bowline append` registers one");
        return Ok(Exit::Done);
    }
    let rows = keys.into_iter().map(|key| {
        let until = |bound: Option<String>| bound.unwrap_or_else(|| "-".to_owned());
        let (from, to) = (until(key.valid_from), until(key.valid_to));
        [key.agent_id, key.key_id.to_string(), key.status, from, to, key.public_key]
    });
    output::table(["agent", "key", "status", "valid from", "valid to", "public key"], rows)?;
    Ok(Exit::Done)
}

async fn register(context: &Context, options: RegisterOptions) -> Outcome {
    let tenant = context.tenant(options.tenant)?;
    let (agent_id, key_id, call) = match &options.name {
        Some(name) => {
            let path = Agent::path(context.data(), name);
            let (agent, made) = Agent::load_or_create(&path)?;
            if made {
                output::talk(&format!("made agent {} with a key in {}", agent.agent_id, path.display()));
            }
            (
                agent.agent_id,
                agent.key_id,
                Call::register_agent(tenant, agent.agent_id, agent.key_id, &agent.key)?,
            )
        }
        None => {
            let (agent, public_key) = whose(options.agent, options.public_key)?;
            let key_id = options.key_id.unwrap_or(1);
            (agent, key_id, Call::register_agent_key(tenant, agent, key_id, (public_key, options.proof))?)
        }
    };
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    match context.is_json() {
        true => output::line(&text)?,
        false => output::talk(&format!("key {key_id} of agent {agent_id} is registered")),
    }
    Ok(Exit::Done)
}

fn generate(context: &Context, name: &str) -> Outcome {
    context.refuse_curl()?;
    let path = Agent::path(context.data(), name);
    let (agent, made) = Agent::load_or_create(&path)?;
    if !made {
        output::talk(&format!("{} was there already and is unchanged", path.display()));
    }
    let (id, key_id, public_key) = (agent.agent_id, agent.key_id, agent.key.public());
    if context.is_json() {
        let shown = json!({"agent_id": id, "key_id": key_id, "public_key": public_key, "made": made});
        output::line(&shown.to_string())?;
    } else {
        output::fields([
            ("agent", id.to_string()),
            ("key", key_id.to_string()),
            ("public key", format!("0x{public_key}")),
            ("file", path.display().to_string()),
        ])?;
    }
    Ok(Exit::Done)
}

async fn sequencer(context: &Context) -> Outcome {
    let call = Call::get(&["api", "v1", "sequencer", "keys"]);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let SequencerKeys { current_key_version, keys } = answers::parse(&text)?;
    let rows = keys.into_iter().map(|key| {
        let current = if key.key_version == current_key_version { "current" } else { "" };
        [key.sequencer_id, key.key_version.to_string(), current.to_owned(), key.public_key]
    });
    output::table(["sequencer", "key", "", "public key"], rows)?;
    Ok(Exit::Done)
}

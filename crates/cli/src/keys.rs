//! `bowline keys`: agents' keys on this machine and on the server, and the sequencer's public keys.
//!
//! It refuses to print a secret: a generated seed goes to its file and nowhere else.

mod api_key;

use bowline_types::{AgentId, TenantId};
use bowline_ves::AgentPublicKey;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::answers::{self, AgentKeys, SequencerKeys};
use crate::client::Call;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::local::{Agent, parse_agent_name};
use crate::output;

/// `bowline keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show the agent keys that the server knows
    List(ListOptions),
    /// Register an agent's public key at the server
    Register(RegisterOptions),
    /// Make an agent's key on this machine, in DATA/agents/NAME.json
    Generate(GenerateOptions),
    /// Make an API key for an agent; it is shown once
    Api(api_key::Options),
    /// Show the sequencer's public keys, for `bowline verify`
    Sequencer,
}

/// `bowline keys list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Only of this agent
    #[arg(long, value_name = "UUID")]
    agent: Option<AgentId>,
}

/// `bowline keys register`.
#[derive(Debug, Args)]
pub(crate) struct RegisterOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// The agent that has the key
    #[arg(long, value_name = "UUID")]
    agent: AgentId,
    /// Which of the agent's keys it is
    #[arg(long, value_name = "N")]
    key_id: u32,
    /// The Ed25519 public key, 32 bytes of hex
    #[arg(long, value_name = "HEX", value_parser = AgentPublicKey::parse_hex)]
    public_key: AgentPublicKey,
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
        What::Register(options) => register(context, options).await,
        What::Generate(options) => generate(context, &options.agent),
        What::Api(options) => api_key::run(context, options).await,
        What::Sequencer => sequencer(context).await,
    }
}

/// The call that registers a key; registering the same key again changes nothing.
pub(crate) fn registration(
    tenant_id: TenantId,
    agent_id: AgentId,
    key_id: u32,
    public_key: AgentPublicKey,
) -> Result<Call, Failure> {
    let body = json!({
        "tenantId": tenant_id, "agentId": agent_id, "keyId": key_id, "publicKey": public_key,
    });
    Call::post(&["api", "v1", "agents", "keys"], &body)
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let call = Call::get(&["api", "v1", "agents", "keys"])
        .query("tenant_id", Some(context.tenant(options.tenant)?))
        .query("agent_id", options.agent);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let keys = answers::parse::<AgentKeys>(&text)?.keys;
    if keys.is_empty() {
        output::talk("no agent of this tenant has a key; `bowline append` registers one");
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
    let call = registration(tenant, options.agent, options.key_id, options.public_key)?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    match context.is_json() {
        true => output::line(&text)?,
        false => output::talk(&format!("key {} of agent {} is registered", options.key_id, options.agent)),
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

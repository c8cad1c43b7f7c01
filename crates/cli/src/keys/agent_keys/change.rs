//! `bowline keys show|rotate|validity|revoke`: an agent key after its registration.
//!
//! A rotation of an agent of this machine makes the next key here, has it registered, and only then lets the
//! agent's file name it. If it is interrupted, the same command finishes it with the same key.

use bowline_client::answers::AgentKey;
use bowline_client::{Call, answers};
use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::{AgentPublicKey, SecretKey, Signature};
use clap::Args;
use serde_json::{Map, Value, json};

use super::whose;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::local::{Agent, parse_agent_name};
use crate::terminal::output;

/// One key at the server.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
    /// The agent that has the key
    #[arg(long, alias = "agent-id", value_name = "UUID")]
    agent: AgentId,
    /// Which of the agent's keys
    #[arg(long, value_name = "N")]
    key_id: u32,
}

impl KeyArgs {
    fn path(&self, more: &[&str]) -> Vec<String> {
        let (agent, key) = (self.agent.to_string(), self.key_id.to_string());
        let fixed = ["api", "v1", "agents", &agent, "keys", &key];
        fixed.iter().chain(more).map(|segment| (*segment).to_owned()).collect()
    }
}

/// `bowline keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Make the next key of this agent of this machine, and sign with it from then on
    #[arg(long, value_name = "NAME", value_parser = parse_agent_name, conflicts_with_all = ["agent", "public_key", "proof"])]
    name: Option<String>,
    /// The agent that gets the key
    #[arg(long, alias = "agent-id", value_name = "UUID", required_unless_present = "name")]
    agent: Option<AgentId>,
    /// The new key's id; the next one if left out
    #[arg(long, value_name = "N")]
    new_key_id: Option<u32>,
    /// The new Ed25519 public key, 32 bytes of hex
    #[arg(long, value_name = "HEX", value_parser = AgentPublicKey::parse_hex, required_unless_present = "name")]
    public_key: Option<AgentPublicKey>,
    /// The new key's signature over SHA-256("VES_POP_V1" and the public key), 64 bytes of hex
    #[arg(long, value_name = "HEX", value_parser = Signature::parse_hex)]
    proof: Option<Signature>,
    /// Retire only this older key; all that are in use if left out
    #[arg(long, value_name = "N")]
    old_key_id: Option<u32>,
    /// How long the older keys stay valid; an hour if left out
    #[arg(long, value_name = "SECONDS", conflicts_with = "revoke_old")]
    overlap_secs: Option<u64>,
    /// Revoke the older keys at once
    #[arg(long)]
    revoke_old: bool,
    /// Why, if they are revoked
    #[arg(long, value_name = "TEXT", requires = "revoke_old")]
    reason: Option<String>,
}

/// `bowline keys validity`.
#[derive(Debug, Args)]
pub(crate) struct ValidityOptions {
    #[command(flatten)]
    key: KeyArgs,
    /// The first moment, RFC 3339, or `none` for no bound
    #[arg(long, value_name = "TIME", value_parser = parse_bound, required_unless_present = "valid_to")]
    valid_from: Option<Bound>,
    /// The last moment, RFC 3339, or `none` for no bound
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    valid_to: Option<Bound>,
}

/// A moment, or no bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound(Option<Timestamp>);

fn parse_bound(text: &str) -> Result<Bound, String> {
    match text {
        "none" => Ok(Bound(None)),
        _ => text
            .parse()
            .map(|moment| Bound(Some(moment)))
            .map_err(|error: bowline_types::ParseTimestampError| error.to_string()),
    }
}

/// `bowline keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeOptions {
    #[command(flatten)]
    key: KeyArgs,
    /// Why, for the list of keys
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn show(context: &Context, key: KeyArgs) -> Outcome {
    let tenant = context.tenant(key.tenant)?;
    let call = Call::get(&borrowed(&key.path(&[]))).query("tenant_id", Some(tenant));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let key: AgentKey = answers::parse(&text)?;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    output::fields([
        ("agent", key.agent_id),
        ("key", key.key_id.to_string()),
        ("public key", key.public_key),
        ("status", key.status),
        ("valid from", or_dash(key.valid_from)),
        ("valid to", or_dash(key.valid_to)),
        ("grace until", or_dash(key.grace_until)),
        ("revoked at", or_dash(key.revoked_at)),
        ("reason", or_dash(key.revoked_reason)),
    ])?;
    Ok(Exit::Done)
}

pub(super) async fn revoke(context: &Context, options: RevokeOptions) -> Outcome {
    let body = json!({ "tenantId": context.tenant(options.key.tenant)?, "reason": options.reason });
    let call = Call::post(&borrowed(&options.key.path(&["revoke"])), &body)?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    tell(context, &text, &format!("key {} of agent {}", options.key.key_id, options.key.agent))
}

pub(super) async fn validity(context: &Context, options: ValidityOptions) -> Outcome {
    let mut body = Map::new();
    body.insert("tenantId".to_owned(), json!(context.tenant(options.key.tenant)?));
    for (name, bound) in [("validFrom", options.valid_from), ("validTo", options.valid_to)] {
        body.extend(bound.map(|Bound(moment)| (name.to_owned(), json!(moment))));
    }
    let call = Call::patch(&borrowed(&options.key.path(&[])), &Value::Object(body))?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    tell(context, &text, &format!("key {} of agent {}", options.key.key_id, options.key.agent))
}

/// Prints the answer, or says what the server says of the key.
fn tell(context: &Context, text: &str, key: &str) -> Outcome {
    if context.is_json() {
        output::line(text)?;
    } else {
        let answer: answers::Message = answers::parse(text)?;
        output::talk(&format!("{key}: {}", output::shown(&answer.message, 200)));
    }
    Ok(Exit::Done)
}

pub(super) async fn rotate(context: &Context, mut options: RotateOptions) -> Outcome {
    let Some(name) = options.name.take() else {
        let (agent, public_key) = whose(options.agent, options.public_key)?;
        let call = rotation(context, &options, agent, public_key, options.proof)?;
        let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
        return report(context, &text);
    };
    context.refuse_curl()?;
    let path = Agent::path(context.data(), &name);
    let Some(agent) = Agent::load(&path)? else {
        return Err(Failure::usage(format!("there is no agent {name}: {} is missing", path.display()))
            .next("make it with `bowline keys generate`, or name the agent with --agent and --public-key"));
    };
    let next: SecretKey = Agent::next_key(&path, &agent)?;
    let proof = bowline_client::possession_proof(&next);
    let call = rotation(context, &options, agent.agent_id, next.public(), Some(proof))?;
    let text = context.client()?.text(&call).await?;
    let answer: answers::Rotated = answers::parse(&text)?;
    Agent { agent_id: agent.agent_id, key_id: answer.key_id, key: next }.replace(&path)?;
    output::talk(&format!("{} holds key {} from now on", path.display(), answer.key_id));
    report(context, &text)
}

fn rotation(
    context: &Context,
    options: &RotateOptions,
    agent: AgentId,
    public_key: AgentPublicKey,
    proof: Option<Signature>,
) -> Result<Call, Failure> {
    let body = json!({
        "tenantId": context.tenant(options.tenant)?,
        "agentId": agent,
        "newKeyId": options.new_key_id,
        "publicKey": public_key,
        "proofOfPossession": proof,
        "oldKeyId": options.old_key_id,
        "overlapSecs": options.overlap_secs,
        "revokeOld": options.revoke_old,
        "reason": options.reason,
    });
    Ok(Call::post(&["api", "v1", "agents", "keys", "rotate"], &body)?)
}

fn report(context: &Context, text: &str) -> Outcome {
    if context.is_json() {
        output::line(text)?;
        return Ok(Exit::Done);
    }
    let answer: answers::Rotated = answers::parse(text)?;
    let rows = std::iter::once(answer.key).chain(answer.retired);
    output::table(
        ["key", "status", "valid to", "public key"],
        rows.map(|key| {
            let until = key.valid_to.unwrap_or_else(|| "-".to_owned());
            [key.key_id.to_string(), key.status, until, key.public_key]
        }),
    )?;
    Ok(Exit::Done)
}

fn borrowed(segments: &[String]) -> Vec<&str> {
    segments.iter().map(String::as_str).collect()
}

//! `bowline api-keys`: make, list, show and revoke the keys that open the API.
//!
//! A key is printed once, by `create`; afterwards it is named by the first digits of its hash.

use bowline_client::answers::{ApiKey, ApiKeys, MadeApiKey};
use bowline_client::{Call, answers};
use bowline_types::{AgentId, StoreId, TenantId, Timestamp};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline api-keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Make an API key for an agent; it is shown this once
    Create(CreateOptions),
    /// Show a tenant's API keys, without their secrets
    List(ListOptions),
    /// Show one API key, without its secret
    Show(KeyOptions),
    /// Revoke an API key for ever
    Revoke(KeyOptions),
}

/// `bowline api-keys create`.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
    /// The agent that the key is bound to
    #[arg(long, alias = "agent-id", value_name = "UUID")]
    agent: AgentId,
    /// A store that the key may touch, once for each; all of the tenant's if left out
    #[arg(long = "store", alias = "store-id", value_name = "UUID")]
    stores: Vec<StoreId>,
    /// Only for reading
    #[arg(long, conflicts_with = "admin")]
    read_only: bool,
    /// Also for administrating the tenant
    #[arg(long)]
    admin: bool,
    /// Requests and events that it may bring a minute; as many as its tenant may if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: Option<u32>,
    /// The key's last moment, RFC 3339; it never expires if left out
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

/// `bowline api-keys list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Only of this agent
    #[arg(long, alias = "agent-id", value_name = "UUID")]
    agent: Option<AgentId>,
}

/// One API key.
#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// The first 16 or more hex digits of the key's hash, as `list` shows them
    #[arg(value_name = "PREFIX")]
    prefix: String,
    /// The tenant; the remembered one if left out
    #[arg(long, alias = "tenant-id", value_name = "UUID")]
    tenant: Option<TenantId>,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::Create(options) => create(context, options).await,
        What::List(options) => list(context, options).await,
        What::Show(options) => show(context, options).await,
        What::Revoke(options) => revoke(context, options).await,
    }
}

async fn create(context: &Context, options: CreateOptions) -> Outcome {
    let body = json!({
        "tenantId": context.tenant(options.tenant)?,
        "storeIds": options.stores,
        "readOnly": options.read_only,
        "admin": options.admin,
        "expiresAt": options.expires_at,
        "rateLimit": options.rate_limit,
    });
    let call = Call::post(&["api", "v1", "agents", &options.agent.to_string(), "api-keys"], &body)?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let made: MadeApiKey = answers::parse(&text)?;
    output::fields([
        ("API key", made.api_key.reveal().to_owned()),
        ("prefix", made.key_hash_prefix),
        ("permissions", made.permissions),
        ("expires at", made.expires_at.unwrap_or_else(|| "-".to_owned())),
        ("rate limit", per_minute(made.rate_limit)),
    ])?;
    output::talk("keep the key: nobody can show it again");
    Ok(Exit::Done)
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let agent = options.agent.map(|agent| agent.to_string());
    let call = match &agent {
        Some(agent) => Call::get(&["api", "v1", "agents", agent, "api-keys"]),
        None => Call::get(&["api", "v1", "api-keys"]),
    };
    let call = call.query("tenant_id", Some(context.tenant(options.tenant)?));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let keys = answers::parse::<ApiKeys>(&text)?.api_keys;
    if keys.is_empty() {
        output::talk("this tenant has no API key; `bowline api-keys create` makes one");
        return Ok(Exit::Done);
    }
    let rows = keys.into_iter().map(|key| {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let stores =
            if key.store_ids.is_empty() { "all".to_owned() } else { key.store_ids.len().to_string() };
        [
            key.key_prefix,
            key.status,
            or_dash(key.agent_id),
            key.permissions.join(","),
            stores,
            or_dash(key.expires_at),
            per_minute(key.rate_limit),
        ]
    });
    output::table(["prefix", "status", "agent", "permissions", "stores", "expires at", "rate limit"], rows)?;
    Ok(Exit::Done)
}

/// A key's own limit in requests and events.
fn per_minute(limit: Option<u32>) -> String {
    limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit} a minute"))
}

async fn show(context: &Context, options: KeyOptions) -> Outcome {
    let call = Call::get(&["api", "v1", "api-keys", &options.prefix])
        .query("tenant_id", Some(context.tenant(options.tenant)?));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let key: ApiKey = answers::parse(&text)?;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    output::fields([
        ("prefix", key.key_prefix),
        ("status", key.status),
        ("agent", or_dash(key.agent_id)),
        ("permissions", key.permissions.join(",")),
        ("stores", if key.store_ids.is_empty() { "all".to_owned() } else { key.store_ids.join(",") }),
        ("created at", key.created_at),
        ("expires at", or_dash(key.expires_at)),
        ("revoked at", or_dash(key.revoked_at)),
    ])?;
    Ok(Exit::Done)
}

async fn revoke(context: &Context, options: KeyOptions) -> Outcome {
    let call = Call::delete(&["api", "v1", "api-keys", &options.prefix])
        .query("tenant_id", Some(context.tenant(options.tenant)?));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    match context.is_json() {
        true => output::line(&text)?,
        false => {
            let answer: answers::Message = answers::parse(&text)?;
            output::talk(&format!("{}: {}", options.prefix, output::shown(&answer.message, 200)));
        }
    }
    Ok(Exit::Done)
}

//! `bowline keys api`: an API key for an agent, with its scope and its own rate limit.
//!
//! The key is printed once, on stdout, and kept nowhere on this machine.

use bowline_types::{AgentId, StoreId, TenantId};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::answers;
use crate::client::Call;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::output;

/// `bowline keys api`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The agent that the key is bound to
    #[arg(long, value_name = "UUID")]
    agent: AgentId,
    /// The tenant; the remembered one if left out
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// A store that the key may touch; all of the tenant's if left out
    #[arg(long = "store", value_name = "UUID")]
    stores: Vec<StoreId>,
    /// Only to read
    #[arg(long, conflicts_with = "admin")]
    read_only: bool,
    /// Also to register keys and schemas, for this tenant
    #[arg(long)]
    admin: bool,
    /// Requests and events that it may bring a minute; as many as its tenant may if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    api_key: String,
    key_hash_prefix: String,
    permissions: String,
    rate_limit: Option<u32>,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    let agent = options.agent.to_string();
    let body = json!({
        "tenantId": context.tenant(options.tenant)?, "storeIds": options.stores,
        "readOnly": options.read_only, "admin": options.admin, "rateLimit": options.rate_limit,
    });
    let call = Call::post(&["api", "v1", "agents", &agent, "api-keys"], &body)?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let Made { api_key, key_hash_prefix, permissions, rate_limit } = answers::parse(&text)?;
    let limit =
        rate_limit.map_or_else(|| "that of its tenant".to_owned(), |limit| format!("{limit} a minute"));
    output::fields([
        ("API key", api_key),
        ("known as", key_hash_prefix),
        ("permissions", permissions),
        ("rate limit", limit),
    ])?;
    output::talk("this is the only time that the key is shown");
    Ok(Exit::Done)
}

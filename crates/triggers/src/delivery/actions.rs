//! The kinds of actions: how one is checked and kept, how it is made ready, and how it is carried out.
//! Each kind has a file of its own; this one only tells them apart.

use std::sync::Arc;

use bowline_runtime::Clock;
use bowline_store::{ActionRecord, LineStore};
use bowline_types::TenantId;
use reqwest::Url;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::action::{Action, Kind, Parcel, Readied};
use super::config::DeliveryConfig;
use super::mcp::McpAction;
use super::outcome::{Failure, Outcome};
use super::pace::Pace;
use super::reading::Names;
use super::rest::RestAction;
use super::secrets::{MASK, masks_left, put_back, take_out};
use super::telegram::{self, TelegramAction, TelegramNode};
use super::vault::{Owner, Secrets, Vault};
use super::ways::Ways;
use crate::{ActionOwner, ActionRules, FieldProblem, SealedConfig};

/// The fields that events of the registries have, whichever event it is.
const FIELDS: [&str; 46] = [
    "chain_id",
    "block_number",
    "block_hash",
    "timestamp",
    "transaction_hash",
    "log_index",
    "address",
    "registry",
    "event_type",
    "occurrence",
    "agent_id",
    "owner",
    "token_uri",
    "updated_by",
    "metadata_key",
    "metadata_value",
    "client_address",
    "feedback_index",
    "value",
    "value_raw",
    "value_decimals",
    "score",
    "tag1",
    "tag2",
    "endpoint",
    "file_uri",
    "file_hash",
    "responder",
    "response_uri",
    "response_hash",
    "validator_address",
    "request_uri",
    "request_hash",
    "response",
    "tag",
    "from",
    "to",
    "approved",
    "operator",
    "topics",
    "data",
    "event_id",
    "sequence_number",
    "sequenced_at",
    "from_token_id",
    "to_token_id",
];

/// Registries whose events have no other fields. A trigger of all registries may use these alone: what only an
/// operator's own contract has would be missing in most of its events.
const REGISTRIES: [&str; 3] = ["identity", "reputation", "validation"];

/// The kinds of actions, with everything that carrying them out takes.
#[derive(Debug)]
pub(crate) struct Actions {
    vault: Vault,
    ways: Ways,
    telegram: TelegramNode,
    pace: Pace,
    /// Where programs are looked for; none if none may be started.
    programs: Option<String>,
}

impl Actions {
    pub(crate) fn new(
        config: &DeliveryConfig,
        secrets_key: &[u8; 32],
        store: &Arc<dyn LineStore>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Ok(Self {
            vault: Vault::new(secrets_key),
            ways: Ways::new(&config.allow, &config.allow_by_organization)?,
            telegram: TelegramNode {
                api: config.telegram_api()?,
                bot_token: config.telegram_bot_token.clone(),
            },
            pace: Pace::new(Arc::clone(store), Arc::clone(clock)),
            programs: config.mcp_stdio_allowed.then(|| config.mcp_path.clone()),
        })
    }

    /// An action of an organization as it is kept, with its secrets opened.
    pub(crate) fn ready(&self, tenant_id: TenantId, record: &ActionRecord) -> Readied {
        let unreadable = |problem: String| Failure::of_action("ACTION_UNREADABLE", problem);
        let secrets =
            self.vault.open(Owner { tenant_id, action_id: record.action_id }, record.sealed.as_deref());
        let secrets = secrets.map_err(|problem| Failure::of_action("SECRETS_UNREADABLE", problem))?;
        let mut config = object(&record.config).map_err(unreadable)?;
        put_back(&mut config, &secrets);
        self.ready_given(tenant_id, &record.action_type, &config).map_err(|problems| {
            // What was fine when it was saved may be forbidden since.
            unreadable(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })
    }

    /// An action as it was given.
    pub(crate) fn ready_given(
        &self,
        tenant_id: TenantId,
        kind: &str,
        config: &Map<String, Value>,
    ) -> Result<Arc<Action>, Vec<FieldProblem>> {
        let kind = self.parse(tenant_id, kind, config, &Names::Any)?;
        let attempts_max = config.get("max_attempts").and_then(Value::as_u64);
        let attempts_max = attempts_max.and_then(|max| u32::try_from(max).ok());
        let destination = self.destination(&kind);
        Ok(Arc::new(Action { kind, destination, attempts_max }))
    }

    /// Carries an action out once.
    pub(crate) async fn deliver(&self, action: &Action, parcel: &Parcel) -> Outcome {
        let web = self.ways.of(parcel.tenant_id);
        match &action.kind {
            Kind::Rest(action) => action.deliver(web, parcel).await.into(),
            Kind::Telegram(action) => action.deliver(web, &self.telegram, &self.pace, parcel).await,
            Kind::Mcp(action) => action.deliver(web, parcel).await.into(),
        }
    }

    fn destination(&self, kind: &Kind) -> String {
        match kind {
            Kind::Rest(action) => action.destination(),
            Kind::Telegram(_) => telegram::destination(&self.telegram),
            Kind::Mcp(action) => action.destination(),
        }
    }

    fn parse(
        &self,
        tenant_id: TenantId,
        kind: &str,
        config: &Map<String, Value>,
        names: &Names<'_>,
    ) -> Result<Kind, Vec<FieldProblem>> {
        let web = self.ways.of(tenant_id);
        match kind {
            "rest" => RestAction::parse(config, names, web).map(Kind::Rest),
            "telegram" => TelegramAction::parse(config, names).map(Kind::Telegram),
            "mcp" => McpAction::parse(config, names, web, self.programs.as_deref()).map(Kind::Mcp),
            _ => {
                let problem = format!("must be one of {}", Kind::WORDS.join(", "));
                Err(vec![FieldProblem::new("action_type", problem)])
            }
        }
    }

    /// The settings with the secrets in the place of masks that came back.
    fn whole(
        &self,
        tenant_id: TenantId,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Result<Map<String, Value>, FieldProblem> {
        let problem = |problem: String| FieldProblem::new("config", problem);
        let mut config =
            config.as_object().cloned().ok_or_else(|| problem("must be an object".to_owned()))?;
        let masked = masks_left(&mut config);
        if masked.is_empty() {
            return Ok(config);
        }
        let mut present = before.and_then(|before| object(&before.config).ok());
        let mut kept = match before {
            Some(before) => {
                let owner = Owner { tenant_id, action_id: before.action_id };
                self.vault.open(owner, before.sealed.as_deref()).map_err(problem)?
            }
            None => Secrets::new(),
        };
        // What was kept in the open before it was known for a secret.
        kept.extend(present.as_mut().map(take_out).unwrap_or_default());
        if let Some(changed) = present.and_then(|present| goes_elsewhere(&present, &config)) {
            let problem = format!("{MASK} is not taken where {changed} changes: give the secret itself");
            return Err(FieldProblem::new(format!("config.{}", masked[0]), problem));
        }
        put_back(&mut config, &kept);
        match masks_left(&mut config).first() {
            Some(place) => Err(FieldProblem::new(
                format!("config.{place}"),
                format!("{MASK} stands for a secret that there is none of"),
            )),
            None => Ok(config),
        }
    }
}

/// The setting by which secrets would go to somebody else, or would be others than they were.
fn goes_elsewhere(before: &Map<String, Value>, after: &Map<String, Value>) -> Option<&'static str> {
    // On one host each path may be somebody else's.
    let receiver = |config: &Map<String, Value>, name: &str| {
        let text = config.get(name)?.as_str()?;
        Some(Url::parse(text).map_or_else(
            |_| text.to_owned(),
            |url| format!("{}{}", url.origin().ascii_serialization(), url.path()),
        ))
    };
    let count =
        |config: &Map<String, Value>| config.get("signing_secrets").and_then(Value::as_array).map(Vec::len);
    let moved = ["url", "server_url", "command"]
        .into_iter()
        .find(|name| receiver(before, name) != receiver(after, name));
    moved.or_else(|| (count(before) != count(after)).then_some("the number of signing_secrets"))
}

impl ActionRules for Actions {
    fn check(
        &self,
        owner: ActionOwner<'_>,
        action_type: &str,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Vec<FieldProblem> {
        let names = match owner.registry {
            Some(registry) if !REGISTRIES.contains(&registry) => Names::Any,
            _ => Names::These(&FIELDS),
        };
        match self.whole(owner.tenant_id, config, before) {
            Ok(config) => self.parse(owner.tenant_id, action_type, &config, &names).err().unwrap_or_default(),
            Err(problem) => vec![problem],
        }
    }

    fn seal(
        &self,
        owner: ActionOwner<'_>,
        action_id: Uuid,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String> {
        let mut config =
            self.whole(owner.tenant_id, config, before).map_err(|problem| problem.to_string())?;
        let secrets = take_out(&mut config);
        let sealed = self.vault.seal(Owner { tenant_id: owner.tenant_id, action_id }, &secrets)?;
        Ok(SealedConfig { config: Value::Object(config).to_string(), sealed })
    }

    fn masked(&self, action: &ActionRecord) -> Value {
        // The secrets were taken out when it was saved, but for what was not known for one then.
        let mut config = object(&action.config).unwrap_or_default();
        drop(take_out(&mut config));
        Value::Object(config)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("the settings can't be read: {error}"))
}

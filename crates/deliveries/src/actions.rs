//! The kinds of actions: how one is checked and kept, how it is made ready, and how it is sent.
//! Each kind has a file in `channels`; this one only tells them apart. An action's secrets leave it before it is stored.

mod action;
mod rules;
mod secrets;
mod settings;
mod template;
mod url_secrets;
mod vault;

use std::sync::Arc;

use bowline_runtime::Clock;
use bowline_store::{ActionRecord, LineStore};
use bowline_types::TenantId;
use reqwest::Url;
use serde_json::{Map, Value};
use uuid::Uuid;

use self::action::Kind;
pub(crate) use self::action::{ACTION_TYPES, Action, AttemptInput, ReadyAction};
pub use self::rules::{ActionRules, ActionScope, SealedConfig, TemplateNames};
pub use self::secrets::mask_secrets;
use self::secrets::{MASK, masks_left, put_back, take_out};
pub(crate) use self::settings::SettingsReader;
pub(crate) use self::template::{Fields, JsonTemplate, Template, TemplateError};
use self::vault::{SecretBinding, Secrets, Vault};
use crate::channels::{McpAction, ReceiverLimits, TelegramAction, TelegramSettings, WebhookAction};
use crate::guard::Clients;
use crate::outcome::{Failure, FailureCode, Outcome};
use crate::{Config, FieldProblem};

/// The kinds of actions, with everything that sending takes.
#[derive(Debug)]
pub(crate) struct Actions {
    vault: Vault,
    clients: Clients,
    telegram: TelegramSettings,
    limits: ReceiverLimits,
    /// The search path of programs; none if actions may start none.
    programs: Option<String>,
}

impl Actions {
    pub(crate) fn new(
        config: &Config,
        secrets_key: &[u8; 32],
        store: &Arc<dyn LineStore>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Ok(Self {
            vault: Vault::new(secrets_key),
            clients: Clients::new(&config.allow, &config.allow_by_organization)?,
            telegram: TelegramSettings {
                api: config.telegram_api()?,
                bot_token: config.telegram_bot_token.clone(),
            },
            limits: ReceiverLimits::new(Arc::clone(store), Arc::clone(clock)),
            programs: config.mcp_stdio_allowed.then(|| config.mcp_path.clone()),
        })
    }

    /// An action of an organization as it is kept, with its secrets opened.
    pub(crate) fn ready(&self, tenant_id: TenantId, record: &ActionRecord) -> ReadyAction {
        let unreadable = |problem: String| Failure::of_action(FailureCode::ActionUnreadable, problem);
        let secrets = self
            .vault
            .open(SecretBinding { tenant_id, action_id: record.action_id }, record.sealed.as_deref());
        let secrets =
            secrets.map_err(|problem| Failure::of_action(FailureCode::SecretsUnreadable, problem))?;
        let mut config = object(&record.config).map_err(unreadable)?;
        put_back(&mut config, &secrets);
        self.ready_given(tenant_id, &record.action_type, &config).map_err(|problems| {
            // The node's settings may forbid since what they allowed when the action was saved.
            unreadable(FieldProblem::list(&problems))
        })
    }

    /// An action as it was given.
    pub(crate) fn ready_given(
        &self,
        tenant_id: TenantId,
        kind: &str,
        config: &Map<String, Value>,
    ) -> Result<Arc<Action>, Vec<FieldProblem>> {
        let kind = self.parse(tenant_id, kind, config, TemplateNames::Any)?;
        let attempts_max = config.get("max_attempts").and_then(Value::as_u64);
        let attempts_max = attempts_max.and_then(|max| u32::try_from(max).ok());
        let destination = self.destination(&kind);
        Ok(Arc::new(Action { kind, destination, attempts_max }))
    }

    /// Sends an action once.
    pub(crate) async fn deliver(&self, action: &Action, input: &AttemptInput) -> Outcome {
        let http = self.clients.of(input.tenant_id);
        match &action.kind {
            Kind::Webhook(action) => action.deliver(http, input).await.into(),
            Kind::Telegram(action) => action.deliver(http, &self.telegram, &self.limits, input).await,
            Kind::Mcp(action) => action.deliver(http, input).await.into(),
        }
    }

    fn destination(&self, kind: &Kind) -> String {
        match kind {
            Kind::Webhook(action) => action.destination(),
            Kind::Telegram(_) => self.telegram.destination(),
            Kind::Mcp(action) => action.destination(),
        }
    }

    fn parse(
        &self,
        tenant_id: TenantId,
        kind: &str,
        config: &Map<String, Value>,
        names: TemplateNames<'_>,
    ) -> Result<Kind, Vec<FieldProblem>> {
        let http = self.clients.of(tenant_id);
        match kind {
            "rest" => WebhookAction::parse(config, names, http).map(Kind::Webhook),
            "telegram" => TelegramAction::parse(config, names).map(Kind::Telegram),
            "mcp" => McpAction::parse(config, names, http, self.programs.as_deref()).map(Kind::Mcp),
            _ => {
                let problem = format!("must be one of {}", ACTION_TYPES.join(", "));
                Err(vec![FieldProblem::new("action_type", problem)])
            }
        }
    }

    /// The settings with secrets in the place of the masks that the user sent back.
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
                let owner = SecretBinding { tenant_id, action_id: before.action_id };
                self.vault.open(owner, before.sealed.as_deref()).map_err(problem)?
            }
            None => Secrets::new(),
        };
        // Values that were stored in the open before this release knew them for secrets.
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

/// The setting whose change would send kept secrets to another receiver, or mix them up.
fn goes_elsewhere(before: &Map<String, Value>, after: &Map<String, Value>) -> Option<&'static str> {
    // On one host each path may belong to another user.
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
        scope: ActionScope<'_>,
        action_type: &str,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Vec<FieldProblem> {
        let ActionScope { tenant_id, names } = scope;
        match self.whole(tenant_id, config, before) {
            Ok(config) => self.parse(tenant_id, action_type, &config, names).err().unwrap_or_default(),
            Err(problem) => vec![problem],
        }
    }

    fn seal(
        &self,
        scope: ActionScope<'_>,
        action_id: Uuid,
        config: &Value,
        before: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String> {
        let mut config =
            self.whole(scope.tenant_id, config, before).map_err(|problem| problem.to_string())?;
        let secrets = take_out(&mut config);
        let sealed = self.vault.seal(SecretBinding { tenant_id: scope.tenant_id, action_id }, &secrets)?;
        Ok(SealedConfig { config: Value::Object(config).to_string(), sealed })
    }

    fn masked(&self, action: &ActionRecord) -> Value {
        // Saving took the secrets out, but for values that an earlier release did not know for secrets.
        let mut config = object(&action.config).unwrap_or_default();
        drop(take_out(&mut config));
        Value::Object(config)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("the settings can't be read: {error}"))
}

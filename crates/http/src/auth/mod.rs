//! Who asks, and what they may do.
//!
//! A credential is an API key or a token; either becomes a [`Principal`], and every route asks the principal
//! before it touches a tenant or a store. Keys are compared as SHA-256 hashes in constant time.

mod keys;
mod origin;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use bowline_runtime::Clock;
use bowline_store::{ApiKeyRecord, ChangeKind, LineStore, Permission};
use bowline_types::{AgentId, Code, Secret, StoreId, StreamId, TenantId, Timestamp, public_tenant};
use bowline_ves::Hash;
use metrics::{counter, gauge};
use subtle::ConstantTimeEq;

pub use self::keys::ApiKeySecret;
pub use self::origin::Networks;
pub(crate) use self::origin::Origins;
pub use self::token::{TokenClaims, sign_token};
use crate::config::{AuthConfig, AuthMode};
use crate::error::ApiError;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The nil tenant may act for every tenant.
    pub tenant_id: TenantId,
    /// Bound to this agent, if any.
    pub agent_id: Option<AgentId>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The stores it may touch; empty for all of the tenant's.
    pub store_ids: Vec<StoreId>,
    /// Why it may not administrate from where it comes from, if it may not.
    pub admin_denied: Option<String>,
    /// The API key and what it may bring a minute, if it has a limit of its own.
    pub key_limit: Option<(Hash, u32)>,
}

impl Principal {
    fn superuser() -> Self {
        Self {
            tenant_id: TenantId::NIL,
            agent_id: None,
            permissions: Permission::ALL.to_vec(),
            store_ids: Vec::new(),
            admin_denied: None,
            key_limit: None,
        }
    }

    /// Refuses unless the principal has the permission, and for `admin` also comes from where it may.
    ///
    /// # Errors
    /// `INSUFFICIENT_PERMISSIONS`.
    pub fn require(&self, permission: Permission) -> Result<(), ApiError> {
        if let (Permission::Admin, Some(why)) = (permission, &self.admin_denied)
            && self.permissions.contains(&Permission::Admin)
        {
            return Err(ApiError::auth(Code::InsufficientPermissions, "ADMIN_IP_DENIED", why));
        }
        if self.permissions.contains(&permission) || self.permissions.contains(&Permission::Admin) {
            return Ok(());
        }
        let message = format!("the credential lacks the `{}` permission", permission.as_str());
        Err(ApiError::auth(Code::InsufficientPermissions, "insufficient_permissions", message))
    }

    /// Refuses unless the principal may do that to the tenant.
    ///
    /// # Errors
    /// `INSUFFICIENT_PERMISSIONS`.
    pub fn require_tenant(&self, permission: Permission, tenant_id: TenantId) -> Result<(), ApiError> {
        self.require(permission)?;
        if self.tenant_id == TenantId::NIL || self.tenant_id == tenant_id || is_public(permission, tenant_id)
        {
            return Ok(());
        }
        let message = format!("the credential is not for tenant {tenant_id}");
        Err(ApiError::auth(Code::InsufficientPermissions, "insufficient_permissions", message))
    }

    /// Refuses unless the principal may do that to the stream.
    ///
    /// # Errors
    /// `INSUFFICIENT_PERMISSIONS`.
    pub fn require_stream(&self, permission: Permission, stream: StreamId) -> Result<(), ApiError> {
        self.require_tenant(permission, stream.tenant_id)?;
        let is_listed = self.store_ids.is_empty() || self.store_ids.contains(&stream.store_id);
        if is_listed || is_public(permission, stream.tenant_id) {
            return Ok(());
        }
        let message = format!("the credential is not for store {}", stream.store_id);
        Err(ApiError::auth(Code::InsufficientPermissions, "store_access_denied", message))
    }

    /// Refuses unless the principal may administrate every stream of every tenant.
    ///
    /// # Errors
    /// `INSUFFICIENT_PERMISSIONS`.
    pub fn require_everything(&self) -> Result<(), ApiError> {
        self.require(Permission::Admin)?;
        if self.tenant_id == TenantId::NIL && self.store_ids.is_empty() {
            return Ok(());
        }
        let message = "only an administrator of every tenant may do this";
        Err(ApiError::auth(Code::InsufficientPermissions, "insufficient_permissions", message))
    }

    /// Refuses unless the principal may speak for the agent.
    ///
    /// # Errors
    /// `INSUFFICIENT_PERMISSIONS`.
    pub fn require_agent(&self, agent_id: AgentId) -> Result<(), ApiError> {
        match self.agent_id {
            Some(bound) if bound != agent_id => {
                let message = format!("the credential is bound to agent {bound}");
                Err(ApiError::auth(Code::InsufficientPermissions, "insufficient_permissions", message))
            }
            _ => Ok(()),
        }
    }

    /// Whether the principal may see the stream at all.
    pub fn may_read(&self, stream: StreamId) -> bool {
        self.require_stream(Permission::Read, stream).is_ok()
    }
}

/// What is of no organization may be read by whoever may read anything.
fn is_public(permission: Permission, tenant_id: TenantId) -> bool {
    permission == Permission::Read && tenant_id == public_tenant()
}

/// A principal that an API key was found to be.
#[derive(Debug)]
struct Cached {
    since: Instant,
    /// The keys' epoch that this process knew of before the key was read.
    epoch: u64,
    expires_at: Option<Timestamp>,
    principal: Principal,
}

/// Turns credentials into principals.
#[derive(Debug)]
pub(crate) struct Authenticator {
    mode: AuthMode,
    bootstrap: Option<Hash>,
    tokens: Option<token::Verifier>,
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    cache: Mutex<HashMap<Hash, Cached>>,
    ttl: Duration,
    entries_max: usize,
}

impl Authenticator {
    pub(crate) fn new(config: &AuthConfig, store: Arc<dyn LineStore>, clock: Arc<dyn Clock>) -> Self {
        for (name, value) in [("cache_hits_total", 0), ("cache_misses_total", 0)] {
            counter!(name, "cache" => "api_keys").absolute(value);
        }
        gauge!("cache_entries", "cache" => "api_keys").set(0.0);
        gauge!("cache_entries_max", "cache" => "api_keys").set(config.api_keys_cached_max.max(1) as f64);
        let hash = |secret: &Secret| keys::hash(secret.reveal());
        Self {
            mode: config.mode,
            bootstrap: config.bootstrap_admin_api_key.as_ref().map(hash),
            tokens: config.jwt_secret.as_ref().map(|secret| token::Verifier::new(secret, config)),
            store,
            clock,
            cache: Mutex::default(),
            ttl: Duration::from_secs(config.api_key_ttl_secs),
            entries_max: config.api_keys_cached_max.max(1),
        }
    }

    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, ApiError> {
        if self.mode == AuthMode::Disabled {
            return Ok(Principal::superuser());
        }
        let Some(credential) = credential(headers) else {
            let message = "send an API key (`Authorization: ApiKey …` or `x-api-key`) or a token (`Authorization: Bearer …`)";
            return Err(ApiError::auth(Code::AuthRequired, "missing_auth", message));
        };
        let hash = keys::hash(credential);
        if self.bootstrap.is_some_and(|bootstrap| bool::from(bootstrap.as_bytes().ct_eq(hash.as_bytes()))) {
            return Ok(Principal::superuser());
        }
        // Two dots make a token; API keys are base64url and have none.
        if credential.split('.').count() == 3 {
            return match &self.tokens {
                Some(tokens) => tokens.verify(credential, self.clock.now()),
                None => Err(ApiError::auth(Code::InvalidToken, "invalid_jwt", "this node accepts no tokens")),
            };
        }
        self.api_key(hash).await
    }

    async fn api_key(&self, hash: Hash) -> Result<Principal, ApiError> {
        if let Some(principal) = self.cached(hash) {
            counter!("cache_hits_total", "cache" => "api_keys").increment(1);
            return Ok(principal);
        }
        counter!("cache_misses_total", "cache" => "api_keys").increment(1);
        let (since, epoch) = (Instant::now(), self.epoch());
        let now = self.clock.now();
        let record = self.store.api_key(hash).await?.filter(|record| record.usable_at(now));
        let Some(record) = record else {
            return Err(ApiError::auth(
                Code::InvalidApiKey,
                "invalid_api_key",
                "the API key is unknown, revoked or expired",
            ));
        };
        let ApiKeyRecord { tenant_id, agent_id, permissions, store_ids, expires_at, rate_limit, .. } = record;
        let key_limit = rate_limit.map(|per_minute| (hash, per_minute));
        let principal =
            Principal { tenant_id, agent_id, permissions, store_ids, admin_denied: None, key_limit };
        self.remember(hash, Cached { since, epoch, expires_at, principal: principal.clone() });
        Ok(principal)
    }

    /// The epoch of the API keys as far as this process has heard of it: at most a second late.
    fn epoch(&self) -> u64 {
        self.store.changes().epoch(ChangeKind::API_KEYS)
    }

    fn is_fresh(&self, cached: &Cached) -> bool {
        cached.since.elapsed() < self.ttl && cached.epoch >= self.epoch()
    }

    fn cached(&self, hash: Hash) -> Option<Principal> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.get(&hash).filter(|cached| self.is_fresh(cached))?;
        let expired = found.expires_at.is_some_and(|end| self.clock.now() > end);
        (!expired).then(|| found.principal.clone())
    }

    fn remember(&self, hash: Hash, entry: Cached) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= self.entries_max {
            cache.retain(|_, cached| self.is_fresh(cached));
            // All are fresh: any one gives way. A wrong choice costs one look-up.
            if cache.len() >= self.entries_max
                && let Some(victim) = cache.keys().next().copied()
            {
                cache.remove(&victim);
            }
        }
        cache.insert(hash, entry);
        gauge!("cache_entries", "cache" => "api_keys").set(cache.len() as f64);
    }
}

/// The credential of a request: `Authorization: Bearer|ApiKey …`, the bare key there, or `x-api-key`.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let text =
        |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let from_authorization = text(header::AUTHORIZATION).map(|value| match value.split_once(' ') {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey") =>
        {
            rest.trim()
        }
        _ => value,
    });
    from_authorization
        .or_else(|| text(header::HeaderName::from_static("x-api-key")))
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_credential_is_found() {
        for (name, value) in [
            ("authorization", "ApiKey secret-key"),
            ("authorization", "Bearer secret-key"),
            ("authorization", "bearer  secret-key "),
            ("authorization", "secret-key"),
            ("x-api-key", "secret-key"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(credential(&headers), Some("secret-key"), "{name}: {value}");
        }
        assert_eq!(credential(&HeaderMap::new()), None);
    }

    #[test]
    fn scopes_only_narrow() {
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        let narrow = Principal {
            tenant_id: stream.tenant_id,
            agent_id: Some(AgentId::random()),
            permissions: vec![Permission::Read],
            store_ids: vec![stream.store_id],
            admin_denied: None,
            key_limit: None,
        };
        assert!(narrow.require_stream(Permission::Read, stream).is_ok());
        assert!(narrow.require_stream(Permission::Write, stream).is_err());
        assert!(
            narrow
                .require_stream(Permission::Read, StreamId::new(stream.tenant_id, StoreId::random()))
                .is_err()
        );
        assert!(
            narrow
                .require_stream(Permission::Read, StreamId::new(TenantId::random(), stream.store_id))
                .is_err()
        );
        let public = StreamId::new(public_tenant(), StoreId::random());
        assert!(narrow.require_stream(Permission::Read, public).is_ok());
        assert!(narrow.require_stream(Permission::Write, public).is_err());
        assert!(narrow.require_agent(AgentId::random()).is_err());
        let everything = Principal::superuser();
        assert!(everything.require_stream(Permission::Admin, stream).is_ok());
        assert!(everything.require_everything().is_ok());
        let admin = Principal { permissions: vec![Permission::Admin], ..narrow };
        assert!(
            admin.require_stream(Permission::Admin, stream).is_ok() && admin.require_everything().is_err()
        );
        let of_one_store = Principal { store_ids: vec![stream.store_id], ..everything.clone() };
        assert!(of_one_store.require_everything().is_err());
        let elsewhere = Principal { admin_denied: Some("no".to_owned()), ..everything };
        assert!(elsewhere.require_stream(Permission::Write, stream).is_ok());
        assert!(elsewhere.require_stream(Permission::Admin, stream).is_err());
    }
}

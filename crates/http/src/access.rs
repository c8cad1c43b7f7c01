//! Who may come in, how much they may bring, and the bounds of one request: everything that extractors need.
//!
//! The frame puts one [`Access`] into the extensions of every request, so that extractors work with any state. A request
//! without it never passes as anonymous: it is a defect of the listener, and answers 500.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use bowline_runtime::Clock;
use bowline_store::{BudgetStore, LineStore};
use bowline_types::{Code, Limits};
use tokio::sync::watch;

use crate::auth::{Authenticator, Networks, Origins, Principal};
use crate::config::{AuthConfig, RateLimitConfig};
use crate::error::ApiError;
use crate::limiter::Limiter;

/// Who may come in, and how much they may bring.
#[derive(Debug, Clone, Default)]
pub struct AccessConfig {
    /// How requests are authenticated.
    pub auth: AuthConfig,
    /// How many requests and events tenants and API keys may bring.
    pub rate_limits: RateLimitConfig,
    /// The addresses and networks that administrators may come from; anywhere if empty.
    pub administrators: Networks,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub proxies: Networks,
}

/// What a listener's extractors share; cheap to clone.
#[derive(Debug, Clone)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authenticator: Authenticator,
    origins: Origins,
    limiter: Limiter,
    limits: Limits,
    store: Arc<dyn LineStore>,
}

impl Access {
    /// API keys and budgets are those of the store.
    pub fn new(
        config: &AccessConfig,
        limits: Limits,
        store: Arc<dyn LineStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let authenticator = Authenticator::new(&config.auth, Arc::clone(&store), Arc::clone(&clock));
        let origins = Origins::new(config.administrators.clone(), config.proxies.clone());
        let budgets: Arc<dyn BudgetStore> = Arc::clone(&store) as _;
        let limiter = Limiter::new(config.rate_limits, budgets, clock);
        Self(Arc::new(Inner { authenticator, origins, limiter, limits, store }))
    }

    /// The value that the frame put into the request.
    ///
    /// # Errors
    /// `INTERNAL_ERROR`: the route is outside of the frame.
    pub fn of(extensions: &Extensions) -> Result<&Self, ApiError> {
        extensions.get().ok_or_else(|| {
            tracing::error!(component = "api", "A route outside of the listener's frame was asked");
            ApiError::new(
                Code::InternalError,
                "the route is outside of the listener's frame; nothing was done",
            )
        })
    }

    /// Who asks, and whether they may administrate from there. Charges nothing.
    ///
    /// # Errors
    /// No credential, or one that is not valid; the store's.
    pub async fn principal(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Result<Principal, ApiError> {
        let mut principal = self.0.authenticator.authenticate(headers).await?;
        principal.admin_denied = self.0.origins.denies_admin(extensions, headers);
        Ok(principal)
    }

    /// The bounds of one request.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.0.limiter
    }

    /// Wakes when a key was changed somewhere.
    pub(crate) fn key_changes(&self) -> watch::Receiver<u64> {
        self.0.store.changes().watch()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.extensions).cloned()
    }
}

//! Where a request pays: every principal that a route is given has been charged 1, except where the route charges by
//! the event itself.
//!
//! How the budget stands is noted on the request, and the frame around all routes writes it into the answer's headers.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bowline_store::StoreError;
use bowline_types::Code;

use crate::access::Access;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limiter::{Limit, Refusal, Refused, Standing};

/// How the tightest budget of a request stands, once it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Option<Standing>>>);

impl Meter {
    fn note(&self, standing: Option<Standing>) {
        if standing.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        }
    }

    /// Writes `X-RateLimit-Limit`, `-Remaining` and `-Reset`, the last in seconds since 1970.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let standing = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Standing { units, remaining, whole_at }) = standing else { return };
        for (name, value) in [
            ("x-ratelimit-limit", units),
            ("x-ratelimit-remaining", remaining),
            ("x-ratelimit-reset", whole_at.max(0).unsigned_abs().div_ceil(1_000_000)),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }

    fn of(parts: &Parts) -> Self {
        parts.extensions.get().cloned().unwrap_or_default()
    }

    async fn charge(&self, access: &Access, principal: &Principal, cost: u64) -> Result<(), Refusal> {
        match access.limiter().admit(principal, cost).await {
            Ok(standing) => {
                self.note(standing);
                Ok(())
            }
            Err(Refused { refusal, standing }) => {
                self.note(standing);
                Err(refusal)
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let access = Access::of(&parts.extensions)?;
        let principal = access.principal(&parts.extensions, &parts.headers).await?;
        let charged = Meter::of(parts).charge(access, &principal, 1).await;
        charged.map_err(|refusal| error(refusal, true))?;
        Ok(principal)
    }
}

/// A principal that has not been charged: the route does it, by the event.
#[derive(Debug)]
pub struct PayingByEvent {
    /// The principal that asks.
    pub principal: Principal,
    access: Access,
    meter: Meter,
}

impl PayingByEvent {
    /// Charges so many events; a request without one costs 1 like any other.
    ///
    /// # Errors
    /// `RATE_LIMIT_EXCEEDED`, `BATCH_TOO_LARGE` for more events than the whole limit, or the store's.
    pub async fn charge(&self, events: usize) -> Result<(), ApiError> {
        let charged = self.meter.charge(&self.access, &self.principal, events.max(1) as u64).await;
        charged.map_err(|refusal| error(refusal, false))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PayingByEvent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let access = Access::of(&parts.extensions)?;
        let principal = access.principal(&parts.extensions, &parts.headers).await?;
        Ok(Self { principal, access: access.clone(), meter: Meter::of(parts) })
    }
}

fn error(refusal: Refusal, is_authentication: bool) -> ApiError {
    let per =
        |limit: Limit| format!("{} requests and events in {} s", limit.units, limit.window_us / 1_000_000);
    match refusal {
        // A lease may have been taken, which nobody needs to find out; the request itself did nothing.
        Refusal::Store(StoreError::OutcomeUnknown(cause)) => StoreError::Unavailable(cause).into(),
        Refusal::Store(error) => error.into(),
        Refusal::Later { scope, limit, wait_us } => {
            let seconds = wait_us.max(1).unsigned_abs().div_ceil(1_000_000);
            let message =
                format!("the limit of this {} is {}; come back in {seconds} s", words(scope), per(limit));
            let refused = match is_authentication {
                true => ApiError::auth(Code::RateLimitExceeded, "rate_limited", message),
                false => ApiError::new(Code::RateLimitExceeded, message),
            };
            refused.with_retry_after(seconds)
        }
        Refusal::Never { scope, limit, cost } => {
            let message = format!(
                "the batch has {cost} events and the limit of this {} is {}: it can never pass; send {} at most",
                words(scope),
                per(limit),
                limit.units
            );
            ApiError::new(Code::BatchTooLarge, message)
        }
    }
}

fn words(scope: &str) -> &str {
    if scope == "api_key" { "API key" } else { scope }
}

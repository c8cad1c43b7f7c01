//! For which organization somebody asks: the tenant of the credential, or the one of `X-Organization-ID`.
//!
//! A credential with all rights over every tenant may leave the header out: then a list is of all organizations, and
//! a trigger or a delivery is found whosever it is.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use bowline_store::Permission;
use bowline_types::{Code, TenantId};
use serde_json::json;

use crate::auth::Principal;
use crate::error::ApiError;

/// The header, as it is written in messages.
const HEADER: &str = "X-Organization-ID";

/// Somebody who asks for an organization.
#[derive(Debug)]
pub struct Member {
    /// The principal that asks.
    pub principal: Principal,
    /// None for all organizations.
    organization: Option<TenantId>,
}

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let named = parts.headers.get(HEADER).map(|value| value.to_str().unwrap_or_default().trim());
        let organization = match named {
            Some(text) => {
                let id = text.parse().map_err(|_| ApiError::field(HEADER, "is no UUID"))?;
                Some(TenantId::new(id))
            }
            None => Some(principal.tenant_id).filter(|tenant| *tenant != TenantId::NIL),
        };
        Ok(Self { principal, organization })
    }
}

impl Member {
    /// The organization, if the principal may do that to it; none for all of them.
    ///
    /// # Errors
    /// It may not, or its credential is for single stores.
    pub fn any(&self, permission: Permission) -> Result<Option<TenantId>, ApiError> {
        match self.organization {
            Some(organization) => self.principal.require_tenant(permission, organization)?,
            None => self.principal.require(permission)?,
        }
        // What a trigger sees and sets off concerns every store of the organization.
        if !self.principal.store_ids.is_empty() {
            let message = "the credential is for single stores, and triggers are the whole organization's";
            return Err(ApiError::auth(Code::InsufficientPermissions, "store_access_denied", message));
        }
        Ok(self.organization)
    }

    /// The one organization, if the principal may do that to it.
    ///
    /// # Errors
    /// As of [`Self::any`]; and `MISSING_REQUIRED_FIELD` if the credential is for all organizations.
    pub fn one(&self, permission: Permission) -> Result<TenantId, ApiError> {
        self.any(permission)?.ok_or_else(|| {
            let problem = "name the organization: this credential is for all of them";
            ApiError::new(Code::MissingRequiredField, format!("{HEADER}: {problem}"))
                .with_details(json!([{ "field": HEADER, "problem": problem }]))
        })
    }

    /// Who it is, for the log of what operators did.
    pub fn who(&self) -> String {
        match (self.principal.agent_id, self.principal.tenant_id) {
            (Some(agent), _) => format!("agent {agent}"),
            (None, TenantId::NIL) => "administrator".to_owned(),
            (None, tenant) => format!("tenant {tenant}"),
        }
    }
}

//! Tokens: JWT with HS256 and nothing else, with the claims that the sequencer API defines.
//!
//! The library parses and validates; only HMAC-SHA256 is plugged into it, so no other algorithm can be chosen
//! by whoever sends a token.

use std::collections::HashSet;

use bowline_store::Permission;
use bowline_types::{AgentId, Code, Secret, StoreId, TenantId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Principal;
use crate::config::AuthConfig;
use crate::error::ApiError;

static HS256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(Keyed::new(key.as_bytes())?)),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(Keyed::new(key.try_get_as_bytes()?)?)),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Keyed(Hmac<Sha256>);

impl Keyed {
    fn new(secret: &[u8]) -> Result<Self, Error> {
        Hmac::new_from_slice(secret).map(Self).map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }
}

impl signature::Signer<Vec<u8>> for Keyed {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Keyed {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        self.0.clone().chain_update(message).verify_slice(tag).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Keyed {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Keyed {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaims {
    /// The tenant.
    pub sub: String,
    /// Who made it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// Seconds since 1970 after which it is not valid.
    pub exp: i64,
    /// Seconds since 1970 before which it is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Stores, separated by commas; empty for all.
    #[serde(default)]
    pub stores: String,
    /// The agent that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `read`, `write` and `admin`, separated by commas.
    #[serde(default)]
    pub perms: String,
}

/// Signs a token.
///
/// # Errors
/// The claims can't be written as JSON.
pub fn sign_token(secret: &Secret, claims: &TokenClaims) -> Result<String, Error> {
    install();
    jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret.reveal().as_bytes()),
    )
}

fn install() {
    // Fails when it is in place already, which is what is wanted.
    let _ = HS256.install_default();
}

/// Verifies tokens.
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    pub(super) fn new(secret: &Secret, config: &AuthConfig) -> Self {
        install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&config.jwt_issuer]);
        validation.set_audience(&[&config.jwt_audience]);
        validation.required_spec_claims =
            ["exp", "iss", "aud", "sub"].map(str::to_owned).into_iter().collect::<HashSet<_>>();
        // Times are judged below, by the node's own clock.
        validation.validate_exp = false;
        Self { key: DecodingKey::from_secret(secret.reveal().as_bytes()), validation }
    }

    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, ApiError> {
        let refuse =
            |problem: &str| ApiError::auth(Code::InvalidToken, "invalid_jwt", format!("the token {problem}"));
        let claims = jsonwebtoken::decode::<TokenClaims>(token, &self.key, &self.validation)
            .map_err(|error| refuse(&format!("is not valid: {error}")))?
            .claims;
        let now = now.micros().div_euclid(1_000_000);
        if now >= claims.exp {
            return Err(ApiError::auth(Code::TokenExpired, "token_expired", "the token has expired"));
        }
        if claims.nbf.is_some_and(|nbf| now < nbf) {
            return Err(refuse("is not valid yet"));
        }
        principal(&claims)
            .ok_or_else(|| refuse("names a tenant, store, agent or permission that can't be read"))
    }
}

/// A claim that can't be read makes the whole token useless: leaving it out could widen its scope.
fn principal(claims: &TokenClaims) -> Option<Principal> {
    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(',').map(str::trim).filter(|word| !word.is_empty())
    }
    let tenant_id: TenantId = claims.sub.parse().ok()?;
    // Only the bootstrap key may act for every tenant.
    if tenant_id == TenantId::NIL {
        return None;
    }
    Some(Principal {
        tenant_id,
        agent_id: claims.agent.as_deref().map(str::parse::<AgentId>).transpose().ok()?,
        permissions: words(&claims.perms).map(Permission::parse).collect::<Option<_>>()?,
        store_ids: words(&claims.stores).map(str::parse::<StoreId>).collect::<Result<_, _>>().ok()?,
        admin_denied: None,
        key_limit: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> TokenClaims {
        TokenClaims {
            sub: TenantId::random().to_string(),
            iss: "stateset-sequencer".to_owned(),
            aud: "stateset-api".to_owned(),
            exp: 2_000,
            nbf: Some(1_000),
            iat: None,
            jti: None,
            stores: String::new(),
            agent: None,
            perms: "read,write".to_owned(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_right_token_is_taken_and_each_wrong_one_is_not() {
        let secret = Secret::new("a secret of at least thirty-two bytes");
        let verifier = Verifier::new(&secret, &AuthConfig::default());
        let verify = |claims: &TokenClaims| verifier.verify(&sign_token(&secret, claims).unwrap(), at(1_500));
        assert_eq!(verify(&claims()).unwrap().permissions, [Permission::Read, Permission::Write]);
        let token = sign_token(&secret, &claims()).unwrap();
        assert_eq!(verifier.verify(&token, at(2_000)).unwrap_err().code(), Code::TokenExpired);
        assert_eq!(verifier.verify(&token, at(999)).unwrap_err().code(), Code::InvalidToken);
        let foreign = sign_token(&Secret::new("another secret of thirty-two bytes!!"), &claims()).unwrap();
        let wrong = [
            TokenClaims { iss: "somebody".to_owned(), ..claims() },
            TokenClaims { aud: "something".to_owned(), ..claims() },
            TokenClaims { sub: TenantId::NIL.to_string(), ..claims() },
            TokenClaims { stores: "not-a-store".to_owned(), ..claims() },
            TokenClaims { perms: "read,root".to_owned(), ..claims() },
        ];
        assert!(wrong.iter().all(|claims| verify(claims).is_err()));
        assert!(verifier.verify(&foreign, at(1_500)).is_err());
        // `{"alg":"none"}` with the right claims and no signature.
        let unsigned =
            token.split('.').nth(1).map(|claims| format!("eyJhbGciOiJub25lIn0.{claims}.")).unwrap();
        assert!(verifier.verify(&unsigned, at(1_500)).is_err());
    }
}

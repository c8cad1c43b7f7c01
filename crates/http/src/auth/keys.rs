//! API keys: made here, shown once, and kept only as their hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_types::{Secret, TenantId};
use bowline_ves::Hash;
use sha2::{Digest, Sha256};

/// A fresh API key.
#[derive(Debug, Clone)]
pub struct ApiKeySecret(Secret);

impl ApiKeySecret {
    /// `ss_`, the first 8 digits of the tenant, and 24 random bytes in base64url.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate(tenant_id: TenantId) -> Result<Self, getrandom::Error> {
        let mut random = [0; 24];
        getrandom::fill(&mut random)?;
        let tenant: String = tenant_id.to_string().chars().take(8).collect();
        Ok(Self(Secret::new(format!("ss_{tenant}{}", URL_SAFE_NO_PAD.encode(random)))))
    }

    /// The key, to be shown to its owner.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// What is kept of it.
    pub fn hash(&self) -> Hash {
        hash(self.reveal())
    }
}

pub(super) fn hash(key: &str) -> Hash {
    Hash::new(Sha256::digest(key.as_bytes()).into())
}

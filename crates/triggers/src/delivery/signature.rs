//! Signatures of webhooks after the convention of Standard Webhooks (standardwebhooks.com, version 1).
//!
//! The signed text is `id.timestamp.body`; a secret is `whsec_` and base64 of 24 to 64 bytes; with several secrets each
//! one signs, so that a receiver may change its secret without a gap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Secrets of one action at most.
pub(crate) const SECRETS_MAX: usize = 5;

/// A signing secret.
pub(crate) struct SigningSecret(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl SigningSecret {
    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// What is wrong with it, without any of it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.strip_prefix("whsec_").ok_or("a secret is `whsec_` and base64")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "what follows `whsec_` is not base64")?;
        let bytes = Zeroizing::new(bytes);
        if !(24..=64).contains(&bytes.len()) {
            return Err(format!("a secret has 24 to 64 bytes, this one {}", bytes.len()));
        }
        Ok(Self(bytes))
    }
}

/// The value of `webhook-signature`; none without a secret.
pub(crate) fn signature(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signed: Vec<String> = secrets.iter().filter_map(|secret| sign(secret, id, timestamp, body)).collect();
    (!signed.is_empty()).then(|| signed.join(" "))
}

fn sign(secret: &SigningSecret, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_convention_says() {
        // The example of the specification and of every library of it.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let value =
            signature(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(value.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(signature(&[], "a", 1, b""), None);
    }

    #[test]
    fn a_weak_or_wrong_secret_is_refused_without_being_repeated() {
        for bad in ["", "secret", "whsec_", "whsec_@@@@", "whsec_c2hvcnQ="] {
            let problem = SigningSecret::parse(bad).unwrap_err();
            assert!(bad.is_empty() || !problem.contains(bad) || bad == "whsec_", "{problem}");
        }
    }
}

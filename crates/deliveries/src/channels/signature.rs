//! Signatures of webhooks after the convention of Standard Webhooks (standardwebhooks.com, version 1).
//!
//! The signed text is `id.timestamp.body`; a secret is `whsec_` and base64 of 24 to 64 bytes; with several secrets each
//! one signs, so that a receiver may change its secret without a gap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowline_types::Timestamp;
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

/// Seconds by which a receiver's clock may differ from the time that was signed.
const TOLERANCE_SECS: u64 = 300;

/// A new secret, in its text form.
///
/// # Errors
/// That the system has no randomness.
pub fn new_signing_secret() -> Result<String, String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)))
}

/// A webhook as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct ArrivedWebhook<'a> {
    /// The header `webhook-id`.
    pub id: &'a str,
    /// The header `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'a str,
    /// The header `webhook-signature`.
    pub signature: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl ArrivedWebhook<'_> {
    /// What a receiver does: whether one of the signatures is this secret's, and the time that was signed is not long ago.
    ///
    /// # Errors
    /// Why it must not be believed.
    pub fn verify(&self, secret: &str, now: Timestamp) -> Result<(), String> {
        let secret = SigningSecret::parse(secret)?;
        let timestamp: i64 =
            self.timestamp.parse().map_err(|_| "webhook-timestamp is no number".to_owned())?;
        if (now.micros() / 1_000_000).abs_diff(timestamp) > TOLERANCE_SECS {
            return Err("webhook-timestamp is too far from now".to_owned());
        }
        let given =
            self.signature.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        // Compared in a time that does not tell how much of it is right.
        let is_ours = |given: Vec<u8>| {
            mac(&secret, self.id, timestamp, self.body).is_some_and(|mac| mac.verify_slice(&given).is_ok())
        };
        given.into_iter().any(is_ours).then_some(()).ok_or_else(|| "no signature is this secret's".to_owned())
    }
}

/// The value of `webhook-signature`; none without a secret.
pub(crate) fn signature(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signed: Vec<String> = secrets.iter().filter_map(|secret| sign(secret, id, timestamp, body)).collect();
    (!signed.is_empty()).then(|| signed.join(" "))
}

fn sign(secret: &SigningSecret, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let mac = mac(secret, id, timestamp, body)?;
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

fn mac(secret: &SigningSecret, id: &str, timestamp: i64, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(mac)
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
    fn a_receiver_believes_what_was_signed_and_nothing_else() {
        let (body, now) = (br#"{"test": 2432232314}"#, Timestamp::from_micros(1_614_265_400_000_000));
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let arrived = ArrivedWebhook {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: "1614265330",
            signature: "v1,AAAA v1a,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            body,
        };
        arrived.verify(secret, now).unwrap();
        let other = new_signing_secret().unwrap();
        assert!(arrived.verify(&other, now).is_err());
        assert!(ArrivedWebhook { body: b"{}", ..arrived }.verify(secret, now).is_err());
        assert!(ArrivedWebhook { id: "msg_2", ..arrived }.verify(secret, now).is_err());
        assert!(ArrivedWebhook { signature: "", ..arrived }.verify(secret, now).is_err());
        let late = Timestamp::from_micros(now.micros() + 600_000_000);
        assert!(arrived.verify(secret, late).unwrap_err().contains("too far"));
    }

    #[test]
    fn a_weak_or_wrong_secret_is_refused_without_being_repeated() {
        for bad in ["", "hunter2", "whsec_", "whsec_@@@@", "whsec_c2hvcnQ="] {
            let problem = SigningSecret::parse(bad).unwrap_err();
            assert!(
                !problem.contains("hunter2") && !problem.contains("@@@@") && !problem.contains("c2hv"),
                "{problem}"
            );
        }
    }
}

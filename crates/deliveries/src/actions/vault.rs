//! Encrypts the secrets of actions with the node's key. Each is bound to its organization, its action and its place in the
//! settings: a copy elsewhere does not open. Secrets of the first release, which are bound to no organization, still open.
//!
//! XChaCha20-Poly1305 with a random nonce of 24 bytes: two of them never meet, however many secrets there are.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowline_types::TenantId;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The first byte of sealed secrets: how they are bound.
const VERSION: u8 = 2;
/// Bound to the action alone.
const VERSION_WITHOUT_TENANT: u8 = 1;
const NONCE_BYTES: usize = 24;

/// What secrets are bound to: they open for no other organization and no other action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecretBinding {
    /// The organization.
    pub(crate) tenant_id: TenantId,
    /// Its action.
    pub(crate) action_id: Uuid,
}

impl SecretBinding {
    /// The associated data of a secret at that place.
    fn associated_data(self, version: u8, field: &str) -> Vec<u8> {
        let Self { tenant_id, action_id } = self;
        match version {
            VERSION_WITHOUT_TENANT => format!("{action_id}|{field}").into_bytes(),
            _ => format!("{tenant_id}|{action_id}|{field}").into_bytes(),
        }
    }
}

/// Seals and opens secrets.
pub(crate) struct Vault(XChaCha20Poly1305);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// Secrets by their place in the configuration.
pub(crate) type Secrets = BTreeMap<String, Zeroizing<String>>;

impl Vault {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(*key)))
    }

    /// Encrypts; none if there is nothing to encrypt.
    ///
    /// # Errors
    /// That the system has no randomness.
    pub(crate) fn seal(&self, binding: SecretBinding, secrets: &Secrets) -> Result<Option<Vec<u8>>, String> {
        let mut sealed = BTreeMap::new();
        for (field, secret) in secrets {
            let mut nonce = [0; NONCE_BYTES];
            getrandom::fill(&mut nonce).map_err(|error| format!("no randomness: {error}"))?;
            let payload = Payload { msg: secret.as_bytes(), aad: &binding.associated_data(VERSION, field) };
            let text = self.0.encrypt(&XNonce::from(nonce), payload);
            let text = text.map_err(|_| "a secret can't be encrypted".to_owned())?;
            sealed.insert(field, STANDARD.encode([&nonce[..], &text].concat()));
        }
        if sealed.is_empty() {
            return Ok(None);
        }
        let mut bytes = vec![VERSION];
        bytes.extend(serde_json::to_vec(&sealed).map_err(|error| error.to_string())?);
        Ok(Some(bytes))
    }

    /// Decrypts.
    ///
    /// # Errors
    /// That they were sealed with another key, for another organization's or another action, or were changed.
    pub(crate) fn open(&self, binding: SecretBinding, sealed: Option<&[u8]>) -> Result<Secrets, String> {
        let Some(sealed) = sealed else { return Ok(Secrets::new()) };
        let wrong =
            || "the secrets can't be opened: this node's key is not the one they were sealed with".to_owned();
        let (version, text) = sealed.split_first().ok_or_else(wrong)?;
        if ![VERSION, VERSION_WITHOUT_TENANT].contains(version) {
            return Err(wrong());
        }
        let fields: BTreeMap<String, String> = serde_json::from_slice(text).map_err(|_| wrong())?;
        let open = |(field, text): (String, String)| {
            let bytes = STANDARD.decode(text).ok()?;
            let (nonce, text) = bytes.split_at_checked(NONCE_BYTES)?;
            let nonce = XNonce::try_from(nonce).ok()?;
            let payload = Payload { msg: text, aad: &binding.associated_data(*version, &field) };
            let secret = String::from_utf8(self.0.decrypt(&nonce, payload).ok()?).ok()?;
            Some((field, Zeroizing::new(secret)))
        };
        fields.into_iter().map(|field| open(field).ok_or_else(wrong)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> SecretBinding {
        SecretBinding {
            tenant_id: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            action_id: Uuid::from_u128(2),
        }
    }

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let vault = Vault::new(&[7; 32]);
        let secrets = Secrets::from([("auth_token".to_owned(), Zeroizing::new("hunter2".to_owned()))]);
        let sealed = vault.seal(binding(), &secrets).unwrap().unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(vault.open(binding(), Some(&sealed)).unwrap(), secrets);
        assert_ne!(vault.seal(binding(), &secrets).unwrap().unwrap(), sealed);

        let other_action = SecretBinding { action_id: Uuid::from_u128(9), ..binding() };
        assert!(vault.open(other_action, Some(&sealed)).is_err());
        let other_tenant = SecretBinding { tenant_id: TenantId::random(), ..binding() };
        assert!(vault.open(other_tenant, Some(&sealed)).is_err());
        assert!(Vault::new(&[8; 32]).open(binding(), Some(&sealed)).is_err());
        let renamed = String::from_utf8(sealed.clone()).unwrap().replace("auth_token", "bot_token");
        assert!(vault.open(binding(), Some(renamed.as_bytes())).is_err());
        let without_tenant = [&[VERSION_WITHOUT_TENANT], &sealed[1..]].concat();
        assert!(vault.open(binding(), Some(&without_tenant)).is_err());
        assert!(vault.open(binding(), Some(&[])).is_err());
        assert_eq!(vault.open(binding(), None).unwrap(), Secrets::new());
        assert_eq!(vault.seal(binding(), &Secrets::new()).unwrap(), None);
    }

    #[test]
    fn what_was_sealed_without_an_organization_opens() {
        // Written by the first version: key 07…, action …0002, field auth_token.
        let key = Key::from([7; 32]);
        let payload = Payload { msg: b"hunter2", aad: b"00000000-0000-0000-0000-000000000002|auth_token" };
        let nonce = [5; NONCE_BYTES];
        let text = XChaCha20Poly1305::new(&key).encrypt(&XNonce::from(nonce), payload).unwrap();
        let fields = BTreeMap::from([("auth_token", STANDARD.encode([&nonce[..], &text].concat()))]);
        let sealed = [&[1], &serde_json::to_vec(&fields).unwrap()[..]].concat();
        let opened = Vault::new(&[7; 32]).open(binding(), Some(&sealed)).unwrap();
        assert_eq!(opened["auth_token"].as_str(), "hunter2");
    }
}

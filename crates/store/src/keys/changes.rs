//! What goes into the keys' contract and comes out of it, and the decisions about agent keys that both stores
//! share: they are pure, and made on the rows that the transaction holds.

use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;

use crate::{AgentKeyRecord, AgentKeyStatus, ApiKeyRecord};

/// Hex digits of an API key's hash that name it at least.
const PREFIX_DIGITS_MIN: usize = 16;

/// Which agent key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgentKeyName {
    /// The agent's tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// Which of the agent's keys.
    pub key_id: u32,
}

/// Which agent keys to list.
#[derive(Debug, Clone, Copy)]
pub struct AgentKeyFilter {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Only of this agent.
    pub agent_id: Option<AgentId>,
    /// Only keys that have this status at that moment.
    pub status: Option<(AgentKeyStatus, Timestamp)>,
    /// So many at most.
    pub limit: usize,
}

impl AgentKeyFilter {
    /// All keys of a tenant, or of one of its agents, `limit` at most.
    pub fn of(tenant_id: TenantId, agent_id: Option<AgentId>, limit: usize) -> Self {
        Self { tenant_id, agent_id, status: None, limit }
    }
}

/// A change of one agent key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// It may never sign again.
    Revoke {
        /// Why, for the list of keys.
        reason: Option<String>,
    },
    /// Its first and last moment; what is none stays, what is `Some(None)` has no bound any more.
    Validity {
        /// The first moment, inclusive.
        valid_from: Option<Option<Timestamp>>,
        /// The last moment, inclusive.
        valid_to: Option<Option<Timestamp>>,
    },
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedKey {
    /// The key as it is now.
    Changed(AgentKeyRecord),
    /// The key as it was and is: there was nothing to change.
    Unchanged(AgentKeyRecord),
    /// The key is revoked, and stays as it is.
    Revoked(AgentKeyRecord),
    /// The last moment would be before the first one.
    Inverted,
    /// There is no such key.
    Unknown,
}

/// What becomes of the older keys in a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retire {
    /// They stay valid until that moment, or until their own last one if that is earlier.
    At(Timestamp),
    /// They are revoked at once.
    Revoke {
        /// Why, for the list of keys.
        reason: Option<String>,
    },
}

/// A new key for an agent, and the end of its older ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// The agent's tenant.
    pub tenant_id: TenantId,
    /// The agent.
    pub agent_id: AgentId,
    /// The new key's id; the one after the agent's highest if none.
    pub key_id: Option<u32>,
    /// The new key.
    pub public_key: [u8; 32],
    /// The new key's last moment.
    pub valid_to: Option<Timestamp>,
    /// The one key that retires; every other one whose time has begun if none.
    pub old_key_id: Option<u32>,
    /// How they retire.
    pub retire: Retire,
    /// The moment of the rotation.
    pub now: Timestamp,
}

/// What became of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotatedKey {
    /// It is done, or was done before.
    Rotated {
        /// The new key.
        key: AgentKeyRecord,
        /// The keys whose end this rotation set.
        retired: Vec<AgentKeyRecord>,
    },
    /// Another key has the new id.
    Conflict(u32),
    /// These very bytes were revoked under that id.
    Revoked(u32),
    /// The key is there, and it has run out or the agent has a newer one: going back to it would leave the
    /// agent without a key one day.
    Outdated(u32),
    /// The agent has no key of the id that was to retire.
    UnknownOld(u32),
}

/// Which API keys to list.
#[derive(Debug, Clone, Copy)]
pub struct ApiKeyFilter {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Only of this agent.
    pub agent_id: Option<AgentId>,
    /// Only keys whose hash is among these.
    pub hashes: Option<HashPrefix>,
    /// So many at most.
    pub limit: usize,
}

/// All hashes that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashPrefix {
    /// The first of them.
    pub first: Hash,
    /// The last of them.
    pub last: Hash,
}

impl HashPrefix {
    /// Those of 16 to 64 hex digits; none if the text is something else.
    pub fn parse(digits: &str) -> Option<Self> {
        if !(PREFIX_DIGITS_MIN..=64).contains(&digits.len()) {
            return None;
        }
        let filled =
            |with: &str| Hash::parse_hex(&format!("{digits}{}", with.repeat(64 - digits.len()))).ok();
        Some(Self { first: filled("0")?, last: filled("f")? })
    }
}

impl AgentKeyRecord {
    /// Which key it is.
    pub fn name(&self) -> AgentKeyName {
        let Self { tenant_id, agent_id, key_id, .. } = *self;
        AgentKeyName { tenant_id, agent_id, key_id }
    }

    /// The status at a moment: a key whose last moment has passed is expired, whatever is written down.
    pub fn status_at(&self, now: Timestamp) -> AgentKeyStatus {
        match self.status {
            AgentKeyStatus::Active if self.valid_to.is_some_and(|to| now > to) => AgentKeyStatus::Expired,
            status => status,
        }
    }
}

impl ApiKeyRecord {
    /// Whether it may be used at that moment.
    pub fn usable_at(&self, now: Timestamp) -> bool {
        self.active && self.expires_at.is_none_or(|end| now <= end)
    }
}

/// The key after a change.
pub(crate) fn changed(key: AgentKeyRecord, change: KeyChange, now: Timestamp) -> ChangedKey {
    if key.status == AgentKeyStatus::Revoked {
        return ChangedKey::Revoked(key);
    }
    let mut after = key.clone();
    match change {
        KeyChange::Revoke { reason } => revoke(&mut after, reason, now),
        KeyChange::Validity { valid_from, valid_to } => {
            after.valid_from = valid_from.unwrap_or(key.valid_from);
            after.valid_to = valid_to.unwrap_or(key.valid_to);
        }
    }
    match (after.valid_from, after.valid_to) {
        (Some(from), Some(to)) if to < from && after.status != AgentKeyStatus::Revoked => {
            ChangedKey::Inverted
        }
        _ if after == key => ChangedKey::Unchanged(key),
        _ => ChangedKey::Changed(after),
    }
}

fn revoke(key: &mut AgentKeyRecord, reason: Option<String>, now: Timestamp) {
    key.status = AgentKeyStatus::Revoked;
    key.revoked_at = Some(now);
    key.revoked_reason = reason;
}

/// What a rotation does to the agent's keys, all of which are given: whether the new key is to be inserted,
/// and the rotation's outcome with the rows to update in it.
pub(crate) fn rotated(keys: &[AgentKeyRecord], rotation: &KeyRotation) -> (bool, RotatedKey) {
    let same = |key: &&AgentKeyRecord| key.public_key == rotation.public_key;
    if let Some(key) = keys.iter().filter(same).find(|key| key.status == AgentKeyStatus::Revoked) {
        return (false, RotatedKey::Revoked(key.key_id));
    }
    if let Some(old) = rotation.old_key_id
        && !keys.iter().any(|key| key.key_id == old)
    {
        return (false, RotatedKey::UnknownOld(old));
    }
    // A rotation that is sent again without an id must find its own key, not make another one.
    let known = keys.iter().find(|key| rotation.key_id.map_or_else(|| same(key), |id| key.key_id == id));
    let key = match known {
        Some(known) if known.public_key != rotation.public_key => {
            return (false, RotatedKey::Conflict(known.key_id));
        }
        Some(known) if is_outdated(known, keys, rotation.now) => {
            return (false, RotatedKey::Outdated(known.key_id));
        }
        Some(known) => known.clone(),
        None => {
            let highest = keys.iter().map(|key| key.key_id).max().unwrap_or(0);
            match rotation.key_id.or_else(|| highest.checked_add(1)) {
                Some(key_id) => new_key(rotation, key_id),
                None => return (false, RotatedKey::Conflict(highest)),
            }
        }
    };
    let retired = keys.iter().filter(|old| old.key_id != key.key_id).filter_map(|old| retired(old, rotation));
    (known.is_none(), RotatedKey::Rotated { retired: retired.collect(), key })
}

/// Whether a key is no longer the one that a rotation may lead to.
fn is_outdated(key: &AgentKeyRecord, keys: &[AgentKeyRecord], now: Timestamp) -> bool {
    let is_newer = |other: &AgentKeyRecord| {
        other.created_at > key.created_at
            && other.status_at(now) == AgentKeyStatus::Active
            && other.valid_from.is_none_or(|from| from <= now)
    };
    key.status_at(now) != AgentKeyStatus::Active || keys.iter().any(is_newer)
}

fn new_key(rotation: &KeyRotation, key_id: u32) -> AgentKeyRecord {
    AgentKeyRecord {
        tenant_id: rotation.tenant_id,
        agent_id: rotation.agent_id,
        key_id,
        public_key: rotation.public_key,
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: rotation.valid_to,
        revoked_at: None,
        revoked_reason: None,
        created_at: rotation.now,
    }
}

/// The older key with its end, if the rotation sets one.
fn retired(key: &AgentKeyRecord, rotation: &KeyRotation) -> Option<AgentKeyRecord> {
    let meant = match rotation.old_key_id {
        Some(old) => old == key.key_id,
        // A key for later is somebody's plan and not an older key.
        None => key.valid_from.is_none_or(|from| from <= rotation.now),
    };
    if !meant || key.status == AgentKeyStatus::Revoked {
        return None;
    }
    let mut after = key.clone();
    match &rotation.retire {
        Retire::Revoke { reason } => revoke(&mut after, reason.clone(), rotation.now),
        Retire::At(end) => {
            if key.status_at(*end) != AgentKeyStatus::Active {
                return None;
            }
            after.valid_to = Some(*end);
        }
    }
    (after != *key).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn rotation(public_key: u8) -> KeyRotation {
        KeyRotation {
            tenant_id: TenantId::NIL,
            agent_id: AgentId::from_bytes([1; 16]),
            key_id: None,
            public_key: [public_key; 32],
            valid_to: None,
            old_key_id: None,
            retire: Retire::At(at(100)),
            now: at(10),
        }
    }

    fn key(key_id: u32) -> AgentKeyRecord {
        AgentKeyRecord { created_at: at(0), ..new_key(&rotation(key_id as u8), key_id) }
    }

    fn ends(outcome: &(bool, RotatedKey)) -> Vec<(u32, Option<Timestamp>)> {
        match &outcome.1 {
            RotatedKey::Rotated { retired, .. } => {
                retired.iter().map(|key| (key.key_id, key.valid_to)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn older_keys_run_out_and_none_lives_longer_for_it() {
        let keys = [
            key(1),
            AgentKeyRecord { valid_to: Some(at(50)), ..key(2) },
            AgentKeyRecord { valid_to: Some(at(500)), ..key(3) },
            AgentKeyRecord { valid_from: Some(at(60)), ..key(4) },
            AgentKeyRecord { status: AgentKeyStatus::Expired, ..key(5) },
        ];
        let outcome = rotated(&keys, &rotation(9));
        assert!(outcome.0 && matches!(&outcome.1, RotatedKey::Rotated { key, .. } if key.key_id == 6));
        assert_eq!(ends(&outcome), [(1, Some(at(100))), (3, Some(at(100)))]);
        let only = KeyRotation { old_key_id: Some(4), ..rotation(9) };
        assert_eq!(ends(&rotated(&keys, &only)), [(4, Some(at(100)))]);
        let missing = KeyRotation { old_key_id: Some(7), ..rotation(9) };
        assert_eq!(rotated(&keys, &missing), (false, RotatedKey::UnknownOld(7)));
    }

    #[test]
    fn the_same_rotation_again_finds_its_key() {
        let later = KeyRotation { now: at(20), retire: Retire::At(at(110)), ..rotation(9) };
        let keys =
            [AgentKeyRecord { valid_to: Some(at(100)), ..key(1) }, AgentKeyRecord { key_id: 2, ..key(9) }];
        let again = rotated(&keys, &later);
        assert!(!again.0 && ends(&again).is_empty(), "{again:?}");
        let named = rotated(&keys, &KeyRotation { key_id: Some(2), ..later.clone() });
        assert_eq!(named, again);
        // A newer key is in use: the first rotation, come back late, must not retire it.
        let newer = AgentKeyRecord { created_at: at(15), ..key(3) };
        let late = [&keys[..], &[newer]].concat();
        assert_eq!(rotated(&late, &later), (false, RotatedKey::Outdated(2)));
        let planned = [&keys[..], &[AgentKeyRecord { valid_from: Some(at(99)), ..late[2].clone() }]].concat();
        assert_eq!(rotated(&planned, &later), again);
        // Nor does it lead to a key that has run out.
        let over = [AgentKeyRecord { valid_to: Some(at(19)), ..keys[1].clone() }];
        assert_eq!(rotated(&over, &later), (false, RotatedKey::Outdated(2)));
        let taken = rotated(&keys, &KeyRotation { key_id: Some(1), ..later });
        assert_eq!(taken, (false, RotatedKey::Conflict(1)));
    }

    #[test]
    fn what_was_revoked_never_comes_back() {
        let mut revoked = key(1);
        revoke(&mut revoked, Some("lost".to_owned()), at(5));
        assert_eq!(rotated(std::slice::from_ref(&revoked), &rotation(1)), (false, RotatedKey::Revoked(1)));
        let untouched = rotated(&[revoked.clone(), key(2)], &rotation(9));
        assert_eq!(ends(&untouched), [(2, Some(at(100)))]);
        for change in [
            KeyChange::Revoke { reason: None },
            KeyChange::Validity { valid_from: Some(None), valid_to: Some(None) },
        ] {
            assert_eq!(changed(revoked.clone(), change, at(9)), ChangedKey::Revoked(revoked.clone()));
        }
    }

    #[test]
    fn a_prefix_names_the_hashes_that_begin_with_it() {
        let prefix = HashPrefix::parse("00ff00ff00ff00FF").unwrap();
        assert!(prefix.first.to_string().starts_with("00ff00ff00ff00ff0000"));
        assert!(prefix.last.to_string().ends_with("ffff") && prefix.first < prefix.last);
        for bad in ["", "00ff00ff00ff00f", "00ff00ff00ff00fg", &"0".repeat(65)] {
            assert_eq!(HashPrefix::parse(bad), None, "{bad}");
        }
    }
}

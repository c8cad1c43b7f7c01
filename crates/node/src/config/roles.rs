//! The roles of a process: which of a node's parts run in it.
//!
//! A role that is switched off takes its tasks with it and nothing else: a process with any choice of roles starts.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// Two words are near if so much of them is alike (Jaro-Winkler).
const NEAR_MIN: f64 = 0.6;

/// What all roles together are called.
const ALL: &str = "all";

/// A part of a node that may run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The HTTP API, and what keeps the line: commitments and anchors.
    Gateway,
    /// Puts EVM chains' logs on the line.
    Indexer,
    /// Matches events against triggers, and queues jobs.
    Triggers,
    /// Delivers what is queued.
    Worker,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Indexer, Self::Triggers, Self::Worker];

    /// The word for settings and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Indexer => "indexer",
            Self::Triggers => "triggers",
            Self::Worker => "worker",
        }
    }

    /// What the database's activity shows of a process that has this role alone.
    const fn application_name(self) -> &'static str {
        match self {
            Self::Gateway => "api-gateway",
            Self::Indexer => "ponder-indexers",
            Self::Triggers => "event-processor",
            Self::Worker => "action-workers",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// One role or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

impl Default for Roles {
    fn default() -> Self {
        Self(Role::ALL.iter().fold(0, |bits, role| bits | role.bit()))
    }
}

impl Roles {
    /// Whether that role runs.
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether every role runs.
    pub fn is_all(self) -> bool {
        self == Self::default()
    }

    /// The words of those that run.
    pub fn words(self) -> Vec<&'static str> {
        Role::ALL.into_iter().filter(|role| self.has(*role)).map(Role::as_str).collect()
    }

    /// What the database's activity shows, if the settings don't say: the role's name if there is one alone.
    pub fn application_name(self) -> &'static str {
        let alone = Role::ALL.into_iter().find(|role| self.0 == role.bit());
        alone.map_or("bowline", Role::application_name)
    }

    /// Those roles of several words; each may be a list with commas.
    ///
    /// # Errors
    /// A word that is no role, with the nearest one that is; or none at all.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, String> {
        let words = words.into_iter().flat_map(|word| word.split(',')).map(str::trim);
        let mut bits = 0;
        for word in words.filter(|word| !word.is_empty()) {
            bits |= bits_of(word)?;
        }
        match bits {
            0 => Err(format!("name at least one role: {}", known())),
            bits => Ok(Self(bits)),
        }
    }
}

fn bits_of(word: &str) -> Result<u8, String> {
    if word == ALL {
        return Ok(Roles::default().0);
    }
    let found = Role::ALL.into_iter().find(|role| role.as_str() == word);
    found.map(Role::bit).ok_or_else(|| {
        let candidates = Role::ALL.into_iter().map(Role::as_str).chain([ALL]);
        let scored = candidates.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
        let near = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= NEAR_MIN);
        let near = near.map(|(_, near)| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("there is no role `{word}`{near} (there are {})", known())
    })
}

fn known() -> String {
    let words: Vec<&str> = [ALL].into_iter().chain(Role::ALL.into_iter().map(Role::as_str)).collect();
    words.join(", ")
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse([text])
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_all() {
            true => f.write_str(ALL),
            false => f.write_str(&self.words().join(",")),
        }
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

/// A text with commas, or a list of texts.
struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Roles;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "roles, one or a list: {}", known())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Roles, E> {
        Roles::parse([text]).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Roles, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element::<String>()? {
            words.push(word);
        }
        Roles::parse(words.iter().map(String::as_str)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_several_and_all_are_understood() {
        let parsed = |text: &str| text.parse::<Roles>().unwrap();
        assert!(parsed("all").is_all() && Roles::default().has(Role::Worker));
        assert_eq!(parsed("worker, gateway").words(), ["gateway", "worker"]);
        assert_eq!(parsed("worker,gateway").to_string(), "gateway,worker");
        assert_eq!(Roles::parse(["indexer", "worker"]).unwrap(), parsed("worker,indexer"));
        for (text, name) in [
            ("gateway", "api-gateway"),
            ("triggers", "event-processor"),
            ("worker", "action-workers"),
            ("indexer", "ponder-indexers"),
            ("all", "bowline"),
            ("worker,triggers", "bowline"),
        ] {
            assert_eq!(parsed(text).application_name(), name);
        }
    }

    #[test]
    fn a_word_that_is_no_role_names_the_nearest() {
        let refused = |text: &str| text.parse::<Roles>().unwrap_err();
        assert!(refused("workers").contains("did you mean `worker`?"), "{}", refused("workers"));
        assert!(refused("api").contains("gateway, indexer, triggers, worker"));
        assert!(refused(" , ").contains("at least one"));
        let list: Roles = serde_json::from_str(r#"["indexer","triggers"]"#).unwrap();
        assert_eq!(serde_json::to_string(&list).unwrap(), r#""indexer,triggers""#);
    }
}

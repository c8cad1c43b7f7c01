//! A moment in UTC with microsecond resolution: what both stores keep exactly.
//!
//! It prints as RFC 3339 with `+00:00` and 0, 3 or 6 fraction digits, the spelling that clients of the
//! VES API already parse. It refuses to read the clock: that is the rim's business.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A string that is not an RFC 3339 date and time within the years 1 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an RFC 3339 time: {cause}")]
pub struct ParseTimestampError {
    given: String,
    cause: String,
}

impl Timestamp {
    /// The moment that many microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// As a `chrono` value; a moment outside of its range becomes the epoch.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// From a `chrono` value; what is finer than a microsecond is cut off.
    pub fn from_chrono(moment: DateTime<Utc>) -> Self {
        Self(moment.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_chrono().to_rfc3339_opts(SecondsFormat::AutoSi, false))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |cause: String| ParseTimestampError { given: text.chars().take(64).collect(), cause };
        let moment = DateTime::parse_from_rfc3339(text).map_err(|e| refuse(e.to_string()))?.to_utc();
        let moment = Self::from_chrono(moment);
        // Both bounds are what PostgreSQL and RFC 3339 can both spell.
        if moment.0 < -62_135_596_800_000_000 || moment.0 > 253_402_300_799_999_999 {
            return Err(refuse("the year is outside of 1 to 9999".to_owned()));
        }
        Ok(moment)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_stable_and_offsets_become_utc() {
        let moment: Timestamp = "2025-12-20T19:51:10.243+02:00".parse().unwrap();
        assert_eq!(moment.to_string(), "2025-12-20T17:51:10.243+00:00");
        assert_eq!(Timestamp::from_micros(1_000_001).to_string(), "1970-01-01T00:00:01.000001+00:00");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00+00:00");
    }

    #[test]
    fn what_a_store_could_not_keep_is_refused() {
        for bad in ["", "yesterday", "2025-13-01T00:00:00Z", "2025-01-01", "0000-01-01T00:00:00Z"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}

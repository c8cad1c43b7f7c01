//! When a failed delivery is tried again: pure arithmetic.

use std::time::Duration;

use bowline_types::Timestamp;

/// The span of the first retry's random pause; doubled with each attempt.
const BASE_MS: u64 = 1_000;

/// The longest such span.
const SPAN_MS_MAX: u64 = 300_000;

/// The longest wait that a receiver may ask for.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The pause after the attempt of that number, from 1: random up to an exponentially growing span ("full jitter"), and at
/// least the time that the receiver asked for. `random` is any number.
pub(crate) fn pause(attempt: u32, asked: Option<Duration>, random: u64) -> Duration {
    let span = BASE_MS.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(SPAN_MS_MAX);
    let drawn = Duration::from_millis(random % (span + 1));
    match asked {
        // At least the time that was asked for, and spread: a receiver that asked many jobs to wait gets them one by one.
        Some(asked) => asked.min(RETRY_AFTER_MAX) + drawn.min(Duration::from_secs(1)),
        None => drawn,
    }
}

/// The value of `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let then = http_date(value)?;
    let micros = then.micros().saturating_sub(now.micros());
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(RETRY_AFTER_MAX))
}

/// The one form of dates that receivers still send: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(value: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = value.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    (parts.next()? == "GMT").then_some(())?;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

/// That much later.
pub(crate) fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

/// A random number of the system.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receiver_is_believed_up_to_an_hour() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let after = |value: &str| retry_after(value, now).map(|after| after.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("999999"), Some(3_600));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(after("Sun, 06 Nov 1993 08:49:37 GMT"), Some(0));
        for bad in ["", "soon", "-1", "Sun, 06 Nov 1994", "Sun, 06 Non 1994 08:49:37 GMT"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_stays_in_its_span(attempt in 1_u32..1_000, random: u64, asked in proptest::option::of(0_u64..100_000)) {
            let pause = pause(attempt, asked.map(Duration::from_secs), random);
            match asked {
                None => prop_assert!(pause <= Duration::from_millis(SPAN_MS_MAX.min(BASE_MS << (attempt - 1).min(20)))),
                Some(asked) => {
                    let asked = Duration::from_secs(asked).min(RETRY_AFTER_MAX);
                    prop_assert!(pause >= asked && pause <= asked + Duration::from_secs(1));
                }
            }
        }
    }
}

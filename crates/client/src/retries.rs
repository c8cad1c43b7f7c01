//! When the same call is sent again, and how long the caller waits before: the server's `Retry-After`, or a pause
//! that doubles.
//!
//! This decides and does not wait: the caller sleeps, and may say so. Every call of the API may be sent twice, since
//! the server takes an event id once.

use std::time::Duration;

use crate::ApiError;

/// Times that one call is sent at most.
pub const ATTEMPTS_MAX: u32 = 8;
/// The first pause; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause that a server can ask for.
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(30);

/// The attempts of one call.
#[derive(Debug)]
pub struct Retries {
    attempts: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 1 }
    }
}

impl Retries {
    /// How often the call was sent, the attempt under way included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait before the call is sent again; none if this error does not pass, or after [`ATTEMPTS_MAX`]
    /// attempts.
    pub fn pause_after(&mut self, error: &ApiError) -> Option<Duration> {
        if !error.retryable() || self.attempts >= ATTEMPTS_MAX {
            return None;
        }
        let pause = pause(self.attempts, error.retry_after());
        self.attempts += 1;
        Some(pause)
    }
}

/// The pause after so many attempts: what the server asks for, within bounds, or twice as long each time.
fn pause(attempts: u32, asked: Option<Duration>) -> Duration {
    match asked {
        Some(asked) => asked.min(PAUSE_ASKED_MAX),
        None => PAUSE_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_obey_the_server() {
        let millis = |attempts| pause(attempts, None).as_millis();
        assert_eq!([millis(1), millis(2), millis(5), millis(8)], [200, 400, 3_200, 5_000]);
        assert_eq!(pause(1, Some(Duration::from_secs(2))), Duration::from_secs(2));
        assert_eq!(pause(1, Some(Duration::from_secs(9_999))), PAUSE_ASKED_MAX);
    }

    #[test]
    fn attempts_end_and_what_does_not_pass_is_not_repeated() {
        let away = ApiError::Unreachable { url: "http://x".to_owned(), problem: "refused".to_owned() };
        let mut retries = Retries::default();
        let pauses = std::iter::from_fn(|| retries.pause_after(&away)).count();
        assert_eq!((pauses, retries.attempts()), (7, ATTEMPTS_MAX));
        let wrong = ApiError::Unexpected { problem: "not JSON".to_owned() };
        assert_eq!(Retries::default().pause_after(&wrong), None);
    }
}

//! How fast an endpoint may be asked: each request takes the next turn, and turns are evenly spaced after a short
//! burst. All clones of an endpoint share its pace.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Turns that may be taken at once, as a part of a second's.
const BURST_PER_SEC: u32 = 4;

/// The turns of one endpoint.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Between two turns; none if there is no limit.
    interval: Option<Duration>,
    burst: Duration,
    /// When the next turn would be if there had been no burst.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many turns a second; 0 is any number.
    pub(crate) fn new(requests_per_sec: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(requests_per_sec);
        let burst = interval.map_or(Duration::ZERO, |interval| interval * (requests_per_sec / BURST_PER_SEC));
        Self { interval, burst, next: Mutex::new(None) }
    }

    /// Waits for the caller's turn.
    pub(crate) async fn turn(&self) {
        if let Some(turn) = self.take(Instant::now()) {
            tokio::time::sleep_until(turn).await;
        }
    }

    /// Takes the next turn, which may be over already.
    fn take(&self, now: Instant) -> Option<Instant> {
        let interval = self.interval?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + interval);
        Some(turn.checked_sub(self.burst).unwrap_or(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spaced_after_a_burst() {
        let (pace, began) = (Pace::new(20), Instant::now());
        let turns: Vec<Instant> = (0..45).filter_map(|_| pace.take(began)).collect();
        assert!(turns[..6].iter().all(|turn| *turn <= began));
        // The last turn is the 45th, at 44 intervals of 50 ms, less a burst of 5.
        assert_eq!(turns[44] - began, Duration::from_millis(39 * 50));
        // What was not taken in time is not saved up.
        let later = began + Duration::from_secs(60);
        assert_eq!(pace.take(later), Some(later - pace.burst));
        assert_eq!(pace.take(later), Some(later - pace.burst + Duration::from_millis(50)));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        assert_eq!(Pace::new(0).take(Instant::now()), None);
    }
}

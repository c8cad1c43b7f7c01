//! How many blocks to ask for at once: fewer after a refusal, more after answers that came easily.
//! What was refused once is not tried again before many answers of less.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Logs of one answer beyond which fewer blocks are asked for.
const LOGS_MANY: usize = 4_000;
/// Answers in a row after which more is tried than was refused once.
const GOOD_ANSWERS: u32 = 50;

/// The size that fits, which all questions of a chain share.
#[derive(Debug)]
pub(crate) struct RangeSize(Mutex<Size>);

#[derive(Debug, Clone, Copy)]
struct Size {
    now: u64,
    /// The most that was not refused.
    ceiling: u64,
    max: u64,
    good: u32,
}

impl RangeSize {
    pub(crate) fn new(max: u64) -> Self {
        let max = max.max(1);
        Self(Mutex::new(Size { now: max.min(1_000), ceiling: max, max, good: 0 }))
    }

    /// Blocks to ask for.
    pub(crate) fn now(&self) -> u64 {
        self.lock().now
    }

    /// So many blocks were too many.
    pub(crate) fn refused(&self, blocks: u64) {
        let mut size = self.lock();
        size.good = 0;
        size.ceiling = size.ceiling.min(blocks.saturating_sub(1)).max(1);
        size.now = size.now.min(blocks / 2).max(1);
    }

    /// So many blocks had no answer in time, or the endpoint was away.
    pub(crate) fn slow(&self, blocks: u64) {
        let mut size = self.lock();
        size.good = 0;
        size.now = size.now.min(blocks / 2).max(1);
    }

    /// So many blocks were answered, with so many logs.
    pub(crate) fn answered(&self, blocks: u64, logs: usize) {
        let mut size = self.lock();
        if logs > LOGS_MANY {
            size.now = size.now.min(blocks * 3 / 5).max(1);
            return;
        }
        if blocks < size.now || logs > LOGS_MANY / 2 {
            return;
        }
        size.good += 1;
        if size.good >= GOOD_ANSWERS {
            (size.good, size.ceiling) = (0, size.ceiling.saturating_mul(2).min(size.max));
        }
        size.now = size.now.saturating_mul(2).min(size.ceiling);
    }

    fn lock(&self) -> MutexGuard<'_, Size> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_shrinks_by_refusals_and_grows_by_answers() {
        let size = RangeSize::new(10_000);
        assert_eq!(size.now(), 1_000);
        for _ in 0..10 {
            size.answered(size.now(), 10);
        }
        assert_eq!(size.now(), 10_000);
        size.refused(10_000);
        size.refused(5_000);
        assert_eq!(size.now(), 2_500);
        size.answered(2_500, 0);
        assert_eq!(size.now(), 4_999);
        // What was refused is tried again only after many answers.
        for _ in 0..GOOD_ANSWERS {
            size.answered(4_999, 0);
        }
        assert!(size.now() > 5_000);
        size.answered(size.now(), LOGS_MANY + 1);
        assert!(size.now() < 6_000);
        for _ in 0..20 {
            size.refused(size.now());
        }
        assert_eq!(size.now(), 1);
        size.answered(1, 0);
        assert_eq!(size.now(), 1);
        for _ in 0..GOOD_ANSWERS {
            size.answered(1, 0);
        }
        assert_eq!(size.now(), 2);
    }
}

//! How many events the next step takes: half as many after one that took too long, twice as many after some that did not.
//!
//! A page that is too much for a step gets smaller until it is not, and a single event that is too much is counted.

/// Steps in a row that are written before the next one is larger: what was too much may still be.
const GROWS_AFTER: u32 = 3;

/// The size of a lane's steps.
#[derive(Debug)]
pub(super) struct Stride {
    max: usize,
    now: usize,
    /// Steps in a row that were written.
    written: u32,
    /// The cursor in front of the event that took too long alone, and how often it did.
    alone: Option<(u64, u32)>,
}

impl Stride {
    /// Steps of `max` events, at first and at most.
    pub(super) fn new(max: usize) -> Self {
        Self { max, now: max, written: 0, alone: None }
    }

    /// Events of the next step at most.
    pub(super) fn events(&self) -> usize {
        self.now
    }

    /// A step is written.
    pub(super) fn succeeded(&mut self) {
        self.alone = None;
        self.written += 1;
        if self.written >= GROWS_AFTER {
            self.written = 0;
            self.now = self.now.saturating_mul(2).min(self.max);
        }
    }

    /// A step with so many events took too long.
    pub(super) fn shrink(&mut self, events: usize) {
        self.written = 0;
        self.now = (events / 2).clamp(1, self.max);
    }

    /// The event behind that cursor took too long alone, and nothing but the event is to blame; returns how often it
    /// did in a row.
    pub(super) fn blame(&mut self, cursor: u64) -> u32 {
        let before = self.alone.filter(|(at, _)| *at == cursor).map_or(0, |(_, times)| times);
        self.alone = Some((cursor, before + 1));
        before + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_to_one_event_and_grow_to_what_they_were() {
        let mut stride = Stride::new(500);
        let mut sizes = Vec::new();
        for _ in 0..10 {
            sizes.push(stride.events());
            stride.shrink(stride.events());
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1, 1]);
        let mut grown = 0;
        while stride.events() < 500 {
            stride.succeeded();
            grown += 1;
        }
        assert_eq!(grown, 9 * GROWS_AFTER);
        for _ in 0..GROWS_AFTER {
            stride.succeeded();
        }
        assert_eq!(stride.events(), 500);
        // A page that had fewer events than it could have had counts as what it was.
        stride.shrink(8);
        assert_eq!(stride.events(), 4);
    }

    #[test]
    fn an_event_is_blamed_by_its_place() {
        let mut stride = Stride::new(10);
        assert_eq!((stride.blame(7), stride.blame(7), stride.blame(8), stride.blame(7)), (1, 2, 1, 1));
        stride.succeeded();
        assert_eq!(stride.blame(7), 1);
    }
}

//! How many events the next page has: half as many after a page that took too long, twice as many after some that did not.
//!
//! A page that takes too long gets smaller until it does not, and a single event that takes too long is counted.

/// Pages in a row that are committed before the next one is larger.
const GROWS_AFTER: u32 = 3;

/// The size of a lane's pages.
#[derive(Debug)]
pub(super) struct PageSizer {
    max: usize,
    now: usize,
    /// Pages in a row that were committed.
    written: u32,
    /// The cursor in front of the event that took too long alone, and how often it did.
    alone: Option<(u64, u32)>,
}

impl PageSizer {
    /// Pages of `max` events, at first and at most.
    pub(super) fn new(max: usize) -> Self {
        Self { max, now: max, written: 0, alone: None }
    }

    /// Events of the next page at most.
    pub(super) fn events(&self) -> usize {
        self.now
    }

    /// A page is committed.
    pub(super) fn succeeded(&mut self) {
        self.alone = None;
        self.written += 1;
        if self.written >= GROWS_AFTER {
            self.written = 0;
            self.now = self.now.saturating_mul(2).min(self.max);
        }
    }

    /// A page with that many events took too long.
    pub(super) fn shrink(&mut self, events: usize) {
        self.written = 0;
        self.now = (events / 2).clamp(1, self.max);
    }

    /// The event behind that cursor took too long alone, by its evaluation; returns how often it did in a row.
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
    fn pages_shrink_to_one_event_and_grow_to_what_they_were() {
        let mut page_sizer = PageSizer::new(500);
        let mut sizes = Vec::new();
        for _ in 0..10 {
            sizes.push(page_sizer.events());
            page_sizer.shrink(page_sizer.events());
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1, 1]);
        let mut grown = 0;
        while page_sizer.events() < 500 {
            page_sizer.succeeded();
            grown += 1;
        }
        assert_eq!(grown, 9 * GROWS_AFTER);
        for _ in 0..GROWS_AFTER {
            page_sizer.succeeded();
        }
        assert_eq!(page_sizer.events(), 500);
        // A page that had fewer events than it could have had counts as what it was.
        page_sizer.shrink(8);
        assert_eq!(page_sizer.events(), 4);
    }

    #[test]
    fn an_event_is_blamed_by_its_place() {
        let mut page_sizer = PageSizer::new(10);
        assert_eq!(
            (page_sizer.blame(7), page_sizer.blame(7), page_sizer.blame(8), page_sizer.blame(7)),
            (1, 2, 1, 1)
        );
        page_sizer.succeeded();
        assert_eq!(page_sizer.blame(7), 1);
    }
}

//! The arithmetic of a limit: never more than its units in any window of its length, wherever the window begins.
//!
//! What is taken is kept as charges: units, and the end of the slot (a sixtieth of the window) up to which they may
//! have been used. A charge counts until a whole window after that end, so the sum of what counts bounds what was used
//! in any window that ends now. All of a limit may be taken at once; it comes back a window and at most a slot later.
//! This file knows no clock, no store and no request.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Slots of a window.
const SLOTS: i64 = 60;

/// A lease lasts a sixth of the window at most.
const LEASES: i64 = 6;

/// A lease takes a twentieth of the units if the request does not need more.
const SLICES: u64 = 20;

/// So many units in any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) units: u64,
    /// Microseconds.
    pub(crate) window_us: i64,
}

impl Limit {
    /// That many units a minute, counted over windows of so many seconds.
    pub(crate) fn per_minute(units: u64, window_secs: u64) -> Self {
        let units = (u128::from(units) * u128::from(window_secs) / 60).clamp(1, u128::from(u32::MAX));
        let window_us = i64::try_from(window_secs).unwrap_or(i64::MAX).saturating_mul(1_000_000).max(SLOTS);
        Self { units: u64::try_from(units).unwrap_or(u64::MAX), window_us }
    }

    /// How long a view of the charges is good enough to refuse by.
    pub(super) fn slot_us(self) -> i64 {
        self.window_us / SLOTS
    }

    /// The end of the slot in which a moment lies.
    pub(super) fn slot_end(self, now: i64) -> i64 {
        (now.div_euclid(self.slot_us()) + 1).saturating_mul(self.slot_us())
    }

    /// When a lease that is taken now ends.
    pub(super) fn lease_end(self, now: i64) -> i64 {
        self.slot_end(now.saturating_add(self.window_us / LEASES))
    }

    /// How many units to lease for a request where there is room for so many: more than it needs, so that the next
    /// ones need no lease, and not all, so that other processes get some.
    pub(super) fn slice(self, cost: u64, room: u64) -> u64 {
        cost.max((self.units / SLICES).min(room / 2))
    }
}

/// What is taken of a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Window {
    charges: BTreeMap<i64, u64>,
}

impl Window {
    /// Reads what [`Window::encode`] wrote.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut charges = BTreeMap::new();
        for charge in text.split(' ').filter(|charge| !charge.is_empty()) {
            let (end, units) = charge.split_once(':')?;
            let charge: &mut u64 = charges.entry(end.parse().ok()?).or_default();
            *charge = charge.saturating_add(units.parse().ok()?);
        }
        Some(Self { charges })
    }

    /// `end:units` for each charge, ascending.
    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        for (end, units) in &self.charges {
            let separator = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{end}:{units}");
        }
        text
    }

    /// Forgets what does not count any more. A charge that ends after every lease of now comes from a clock that was
    /// set back since, and is taken for one of now.
    pub(super) fn pass(&mut self, now: i64, limit: Limit) {
        self.charges.retain(|end, _| end.saturating_add(limit.window_us) > now);
        let last = limit.lease_end(now);
        let ahead = self.charges.split_off(&last.saturating_add(1));
        for units in ahead.into_values() {
            self.charge(last, units);
        }
    }

    pub(super) fn charge(&mut self, end: i64, units: u64) {
        if units > 0 {
            let charge = self.charges.entry(end).or_default();
            *charge = charge.saturating_add(units);
        }
    }

    /// Takes units of a charge back, if they still count.
    pub(super) fn release(&mut self, end: i64, units: u64) {
        if let Some(charged) = self.charges.get_mut(&end) {
            *charged = charged.saturating_sub(units);
            if *charged == 0 {
                self.charges.remove(&end);
            }
        }
    }

    /// Adds the charges of another one.
    pub(super) fn merge(&mut self, other: &Self) {
        for (end, units) in &other.charges {
            self.charge(*end, *units);
        }
    }

    pub(super) fn clear(&mut self) {
        self.charges.clear();
    }

    /// Units that may be taken now.
    pub(super) fn room(&self, limit: Limit) -> u64 {
        limit.units.saturating_sub(self.taken())
    }

    /// Microseconds until there is room for so many units, if nobody takes any; 0 if there is, none if there never is.
    pub(super) fn wait(&self, cost: u64, limit: Limit, now: i64) -> Option<i64> {
        if cost > limit.units {
            return None;
        }
        let mut taken = self.taken();
        if taken.saturating_add(cost) <= limit.units {
            return Some(0);
        }
        for (end, units) in &self.charges {
            taken = taken.saturating_sub(*units);
            if taken.saturating_add(cost) <= limit.units {
                return Some(end.saturating_add(limit.window_us).saturating_sub(now).max(0));
            }
        }
        None
    }

    fn taken(&self) -> u64 {
        self.charges.values().fold(0, |taken, units| taken.saturating_add(*units))
    }

    /// When the last charge stops to count.
    pub(super) fn whole_at(&self, limit: Limit) -> Option<i64> {
        self.charges.last_key_value().map(|(end, _)| end.saturating_add(limit.window_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_count_for_a_window_and_a_clock_that_goes_back_locks_nobody_out() {
        let limit = Limit::per_minute(100, 60);
        let second = 1_000_000;
        let mut window = Window::default();
        window.charge(limit.slot_end(0), 70);
        window.charge(limit.slot_end(10 * second), 30);
        assert_eq!((window.room(limit), window.wait(70, limit, 20 * second)), (0, Some(41 * second)));
        assert_eq!(window.wait(71, limit, 20 * second), Some(51 * second));
        assert_eq!((window.wait(101, limit, 0), window.whole_at(limit)), (None, Some(71 * second)));
        assert_eq!(Window::decode(&window.encode()), Some(window.clone()));
        assert_eq!(Window::decode("5:x"), None);
        window.pass(61 * second, limit);
        assert_eq!(window.room(limit), 70);
        window.charge(9_000 * second, 5);
        window.pass(30 * second, limit);
        assert_eq!(window.room(limit), 65);
        assert!(window.whole_at(limit).unwrap() <= limit.lease_end(30 * second) + limit.window_us);
    }

    #[test]
    fn a_limit_is_counted_over_its_window() {
        assert_eq!(Limit::per_minute(600, 1), Limit { units: 10, window_us: 1_000_000 });
        assert_eq!(Limit::per_minute(1, 1).units, 1);
        assert_eq!(Limit::per_minute(u64::MAX, 3_600).units, u64::from(u32::MAX));
        let limit = Limit::per_minute(100, 60);
        assert_eq!((limit.slice(1, 100), limit.slice(1, 1), limit.slice(40, 50)), (5, 1, 40));
    }
}

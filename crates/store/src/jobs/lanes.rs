//! The order in which tenants' jobs are claimed: turns among tenants, priority within a tenant.
//!
//! A job gets a tag when it begins to wait, and the lowest tag is claimed first. A tenant's jobs of one priority are a
//! lane: the next one gets one tag more than the last one of its lane and of those with higher priority, and at least one
//! more than the highest tag that was claimed. So whoever has nothing waiting is next, however many jobs others have; a
//! job overtakes its own tenant's jobs of lower priority; and a tenant gets a turn a lane, which is why lanes have a
//! limit. Nothing here reads a store.

use std::collections::BTreeMap;

use crate::jobs::records::{PRIORITY_MAX, PRIORITY_MIN};

/// Lanes of a tenant at most: so many turns it may have where another one has one. Jobs of a further priority join the
/// lane below them.
const LANES_MAX: usize = 4;

/// A tenant's lanes that have tags ahead of what was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lanes {
    claimed: i64,
    last: BTreeMap<i32, i64>,
}

/// A job's place: its lane, and its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    lane: i32,
    pub(crate) tag: i64,
}

impl Lanes {
    /// Lanes as they are kept. A tenant of which only the last tag is known has it at priority zero.
    pub(crate) fn read(text: &str, last_tag: i64, claimed: i64) -> Self {
        let lane = |word: &str| {
            let (priority, tag) = word.split_once(':')?;
            Some((priority.parse().ok()?, tag.parse().ok()?))
        };
        let mut last: BTreeMap<i32, i64> =
            text.split_whitespace().map(lane).collect::<Option<_>>().unwrap_or_default();
        if last.is_empty() {
            last.insert(0, last_tag);
        }
        last.retain(|_, tag| *tag > claimed);
        Self { claimed, last }
    }

    /// The place of the tenant's next job of that priority.
    pub(crate) fn next(&self, priority: i32) -> Place {
        let priority = priority.clamp(PRIORITY_MIN, PRIORITY_MAX);
        let has_room = self.last.contains_key(&priority) || self.last.len() < LANES_MAX;
        let lane = if has_room {
            priority
        } else {
            let below = self.last.range(..priority).next_back();
            below.or_else(|| self.last.first_key_value()).map_or(priority, |(lane, _)| *lane)
        };
        let ahead = self.last.range(lane.min(priority)..).map(|(_, tag)| *tag).max();
        Place { lane, tag: ahead.unwrap_or(0).max(self.claimed) + 1 }
    }

    /// A job has that place.
    pub(crate) fn take(&mut self, place: Place) {
        self.last.insert(place.lane, place.tag);
    }

    /// The highest tag that was given.
    pub(crate) fn last_tag(&self) -> i64 {
        self.last.values().copied().max().unwrap_or(self.claimed)
    }

    /// How they are kept.
    pub(crate) fn text(&self) -> String {
        let lanes: Vec<String> = self.last.iter().map(|(lane, tag)| format!("{lane}:{tag}")).collect();
        lanes.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(lanes: &mut Lanes, priority: i32) -> i64 {
        let place = lanes.next(priority);
        lanes.take(place);
        *lanes = Lanes::read(&lanes.text(), lanes.last_tag(), lanes.claimed);
        place.tag
    }

    #[test]
    fn a_job_overtakes_its_own_tenants_jobs_of_lower_priority() {
        let mut lanes = Lanes::read("", 1_000, 10);
        assert_eq!(add(&mut lanes, 0), 1_001);
        assert_eq!([add(&mut lanes, 5), add(&mut lanes, 5)], [11, 12]);
        // A lower one stands behind all higher ones, a higher one before all of them.
        assert_eq!([add(&mut lanes, 3), add(&mut lanes, 9), add(&mut lanes, -1)], [13, 11, 1_002]);
    }

    #[test]
    fn lanes_have_a_limit_and_numbers_beyond_the_range_are_taken_for_its_ends() {
        let mut lanes = Lanes::read("", 0, 0);
        assert_eq!([i32::MAX, PRIORITY_MAX, 4, 0, -4].map(|p| add(&mut lanes, p)), [1, 2, 3, 4, 5]);
        // Four are taken: 5 joins 4, and what is below all of them joins the lowest.
        assert_eq!([add(&mut lanes, 5), add(&mut lanes, i32::MIN), add(&mut lanes, 4)], [4, 6, 5]);
        assert_eq!(lanes.last.len(), LANES_MAX);
    }

    #[test]
    fn who_comes_later_stands_behind_what_was_claimed() {
        let mut lanes = Lanes::read("10:3 0:90", 90, 50);
        assert_eq!([add(&mut lanes, 10), add(&mut lanes, 0)], [51, 91]);
        assert_eq!(add(&mut Lanes::read("what", 7, 2), 0), 8);
    }
}

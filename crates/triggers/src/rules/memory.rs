//! What stateful conditions remember of one agent: a moving average, or when events happened.
//!
//! What an event adds can be reversed: by a revocation of the feedback, or by the chain taking the event back. An
//! average keeps its last contributions for that, a window its times; what is older than these stays as it is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Contributions to an average that can still be reversed.
const CONTRIBUTIONS_MAX: usize = 256;

/// Times beyond those that decide, so that reversed ones are made up for.
const SPARE_TIMES: usize = 256;

/// What one condition remembers of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum State {
    /// A moving average.
    Average(Average),
    /// Times.
    Window(Window),
}

/// What is remembered where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// An average of nothing.
    Average,
    /// An empty window.
    Window,
}

impl State {
    /// The state of that text, or an empty one: what can't be read is as good as forgotten.
    pub(crate) fn read(text: Option<&str>, fallback: Fallback) -> Self {
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        match (read, fallback) {
            (Some(state @ Self::Average(_)), Fallback::Average)
            | (Some(state @ Self::Window(_)), Fallback::Window) => state,
            (_, Fallback::Average) => Self::Average(Average::default()),
            (_, Fallback::Window) => Self::Window(Window::default()),
        }
    }

    /// The text that is kept; none if there is nothing to remember.
    pub(crate) fn write(&self) -> Option<String> {
        let empty = match self {
            Self::Average(average) => average.count == 0 && average.recent.is_empty(),
            Self::Window(window) => window.recent_timestamps.is_empty(),
        };
        if empty { None } else { serde_json::to_string(self).ok() }
    }
}

/// An exponential moving average: α is 2 / (window size + 1), and the first value is the average of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Average {
    /// The average.
    pub(crate) ema: f64,
    /// Values that are in it.
    pub(crate) count: u64,
    /// The average before the contributions of `recent`; none if they are all.
    base: Option<f64>,
    /// The last contributions: key, value, and whether it was revoked.
    recent: VecDeque<(String, f64, bool)>,
}

impl Average {
    /// Adds a value.
    pub(crate) fn add(&mut self, key: &str, value: f64, alpha: f64) {
        self.ema = if self.count == 0 { value } else { step(self.ema, value, alpha) };
        self.count += 1;
        self.recent.push_back((key.to_owned(), value, false));
        if self.recent.len() > CONTRIBUTIONS_MAX
            && let Some((_, value, revoked)) = self.recent.pop_front()
            && !revoked
        {
            self.base = Some(self.base.map_or(value, |base| step(base, value, alpha)));
        }
    }

    /// Takes a contribution out for good.
    pub(crate) fn remove(&mut self, key: &str, alpha: f64) {
        let Some(place) = self.recent.iter().rposition(|(known, ..)| known == key) else { return };
        if let Some((_, _, false)) = self.recent.remove(place) {
            self.count -= 1;
        }
        self.compute(alpha);
    }

    /// Leaves a contribution out, or counts it again.
    pub(crate) fn revoke(&mut self, key: &str, revoked: bool, alpha: f64) {
        let Some((_, _, mark)) = self.recent.iter_mut().rev().find(|(known, ..)| known == key) else {
            return;
        };
        if *mark != revoked {
            *mark = revoked;
            self.count = if revoked { self.count.saturating_sub(1) } else { self.count + 1 };
            self.compute(alpha);
        }
    }

    fn compute(&mut self, alpha: f64) {
        let values = self.recent.iter().filter(|(_, _, revoked)| !revoked).map(|(_, value, _)| *value);
        let average = values.fold(self.base, |average, value| {
            Some(average.map_or(value, |average| step(average, value, alpha)))
        });
        self.ema = average.unwrap_or(0.0);
    }
}

fn step(average: f64, value: f64, alpha: f64) -> f64 {
    alpha * value + (1.0 - alpha) * average
}

/// When events happened, by their own time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Unix seconds and key, in the order of the line; and whether it was revoked.
    recent_timestamps: VecDeque<(i64, String, bool)>,
}

impl Window {
    /// Adds an event and returns how many there are within `seconds` up to it. What can never count again is
    /// forgotten, and of what counts so many are kept that `threshold` can be told from one more.
    pub(crate) fn add(&mut self, key: &str, at: i64, seconds: i64, threshold: u64) -> u64 {
        self.recent_timestamps.push_back((at, key.to_owned(), false));
        let last = self.recent_timestamps.iter().map(|(at, ..)| *at).max().unwrap_or(at);
        self.recent_timestamps.retain(|(at, ..)| *at > last.saturating_sub(seconds));
        let kept = usize::try_from(threshold).unwrap_or(usize::MAX).saturating_add(2 + SPARE_TIMES);
        while self.recent_timestamps.len() > kept {
            self.recent_timestamps.pop_front();
        }
        self.count()
    }

    /// How many count.
    pub(crate) fn count(&self) -> u64 {
        self.recent_timestamps.iter().filter(|(_, _, revoked)| !revoked).count() as u64
    }

    /// Takes an event out for good.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(place) = self.recent_timestamps.iter().rposition(|(_, known, _)| known == key) {
            self.recent_timestamps.remove(place);
        }
    }

    /// Leaves an event out, or counts it again.
    pub(crate) fn revoke(&mut self, key: &str, revoked: bool) {
        if let Some((_, _, mark)) = self.recent_timestamps.iter_mut().rev().find(|(_, known, _)| known == key)
        {
            *mark = revoked;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.recent_timestamps.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_without_a_contribution_is_as_if_it_had_never_come() {
        let alpha = 0.5;
        let values = [80.0, 20.0, 50.0, 90.0];
        let mut all = Average::default();
        let mut without = Average::default();
        for (index, value) in values.into_iter().enumerate() {
            all.add(&index.to_string(), value, alpha);
            if index != 1 {
                without.add(&index.to_string(), value, alpha);
            }
        }
        assert!((all.ema - 70.0).abs() < 1e-9, "{}", all.ema);
        let before = all.clone();
        all.revoke("1", true, alpha);
        assert!((all.ema - without.ema).abs() < 1e-9 && all.count == 3);
        all.revoke("1", true, alpha);
        assert_eq!(all.count, 3, "twice is once");
        all.revoke("1", false, alpha);
        assert!((all.ema - before.ema).abs() < 1e-9 && all.count == 4);
        all.remove("1", alpha);
        assert_eq!(all, without);
        all.remove("1", alpha);
        assert_eq!(all, without);
    }

    #[test]
    fn an_average_forgets_who_contributed_and_never_what() {
        let mut average = Average::default();
        let mut expected = 0.0;
        for index in 0..2_000_u32 {
            let value = f64::from(index % 100);
            expected = if index == 0 { value } else { step(expected, value, 0.1) };
            average.add(&index.to_string(), value, 0.1);
        }
        assert!((average.ema - expected).abs() < 1e-9);
        assert_eq!(average.recent.len(), CONTRIBUTIONS_MAX);
        average.compute(0.1);
        assert!((average.ema - expected).abs() < 1e-9, "{} {expected}", average.ema);
        let text = State::Average(average.clone()).write().unwrap();
        assert_eq!(State::read(Some(&text), Fallback::Average), State::Average(average));
    }

    #[test]
    fn a_window_counts_by_the_events_own_time() {
        let mut window = Window::default();
        let counts: Vec<u64> =
            [0, 5, 9, 10, 11].iter().map(|at| window.add(&at.to_string(), *at, 10, 100)).collect();
        assert_eq!(counts, [1, 2, 3, 3, 4]);
        window.revoke("9", true);
        assert_eq!(window.count(), 3);
        window.revoke("9", false);
        window.remove("10");
        assert_eq!(window.count(), 3);
        // One that comes late counts nothing that is over.
        assert_eq!(window.add("late", 1, 10, 100), 3);
        for index in 0..1_000 {
            window.add(&index.to_string(), 11, 10, 3);
        }
        assert_eq!(window.recent_timestamps.len(), 5 + SPARE_TIMES);
        window.clear();
        assert_eq!(State::Window(window).write(), None);
    }
}

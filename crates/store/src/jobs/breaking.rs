//! What a delivery does to a circuit breaker: the decision alone, which both stores share.
//!
//! It is given the row as it is under its lock, and returns the row as it shall be.

use bowline_types::Timestamp;

use crate::jobs::records::{BreakerRecord, BreakerReport, BreakerState};

/// Whether reports change nothing: the breaker is closed without a failure, or has no row, and all succeeded.
pub(crate) fn is_idle(row: Option<&BreakerRecord>, reports: &[&BreakerReport]) -> bool {
    let is_clean = row.is_none_or(|row| row.state == BreakerState::Closed && row.failure_count == 0);
    is_clean && reports.iter().all(|report| report.succeeded)
}

/// A breaker that nothing has happened to.
pub(crate) fn untouched(report: &BreakerReport) -> BreakerRecord {
    BreakerRecord {
        key: report.key.clone(),
        state: BreakerState::Closed,
        failure_count: 0,
        last_failure_at: None,
        opened_at: None,
        probes: 0,
        settings: report.settings,
    }
}

/// Counts one delivery.
pub(crate) fn count(row: &mut BreakerRecord, report: &BreakerReport, now: Timestamp) {
    row.settings = report.settings;
    if !report.succeeded {
        row.last_failure_at = Some(row.last_failure_at.map_or(now, |last| last.max(now)));
    }
    match (row.state, report.succeeded) {
        (BreakerState::Open, _) => {}
        (BreakerState::Closed | BreakerState::HalfOpen, true) => close(row),
        (BreakerState::HalfOpen, false) => open(row, now),
        (BreakerState::Closed, false) => {
            row.failure_count = row.failure_count.saturating_add(1);
            if row.failure_count >= report.settings.failure_threshold.max(1) {
                open(row, now);
            }
        }
    }
}

fn close(row: &mut BreakerRecord) {
    row.state = BreakerState::Closed;
    row.failure_count = 0;
    row.opened_at = None;
    row.probes = 0;
}

fn open(row: &mut BreakerRecord, now: Timestamp) {
    if row.state == BreakerState::HalfOpen {
        row.failure_count = row.failure_count.saturating_add(1);
    }
    row.state = BreakerState::Open;
    row.opened_at = Some(now);
    row.probes = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerKey, BreakerSettings};

    fn report(succeeded: bool) -> BreakerReport {
        let settings = BreakerSettings { failure_threshold: 3, ..BreakerSettings::default() };
        BreakerReport { key: BreakerKey::Destination("a:1".to_owned()), succeeded, settings }
    }

    fn after(outcomes: &[bool]) -> BreakerRecord {
        let mut row = untouched(&report(true));
        for (index, succeeded) in outcomes.iter().enumerate() {
            count(&mut row, &report(*succeeded), Timestamp::from_micros(index as i64));
        }
        row
    }

    #[test]
    fn so_many_failures_in_a_row_open_it() {
        assert_eq!(after(&[false, false, true, false, false]).state, BreakerState::Closed);
        let row = after(&[false, false, true, false, false, false, false]);
        assert_eq!((row.state, row.failure_count), (BreakerState::Open, 3));
        assert_eq!(row.opened_at, Some(Timestamp::from_micros(5)));
        assert_eq!(row.last_failure_at, Some(Timestamp::from_micros(6)));
    }

    #[test]
    fn a_half_open_one_is_decided_by_one_delivery() {
        let half_open = BreakerRecord { state: BreakerState::HalfOpen, probes: 1, ..after(&[false; 3]) };
        let mut row = half_open.clone();
        count(&mut row, &report(true), Timestamp::from_micros(9));
        assert_eq!((row.state, row.failure_count, row.opened_at), (BreakerState::Closed, 0, None));
        let mut row = half_open;
        count(&mut row, &report(false), Timestamp::from_micros(9));
        assert_eq!((row.state, row.failure_count, row.probes), (BreakerState::Open, 4, 0));
        assert_eq!(row.opened_at, Some(Timestamp::from_micros(9)));
    }
}

//! Figures that cost something and that anybody may ask for: they are had at most once in a while, however many ask, and
//! one of them does the work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// How long one look may take: then it is given up, and the next one begins.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// Where a look takes too long, what was found before is shown so long.
const STALE_MAX: Duration = Duration::from_secs(60);

/// What was found last, and when.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    age_max: Duration,
    stale_max: Duration,
    look_time_max: Duration,
    last: Arc<Mutex<Option<(Instant, T)>>>,
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl<T: Clone + Send + 'static> Recent<T> {
    /// Nothing yet; what is found is good for so long.
    pub(crate) fn new(age_max: Duration) -> Self {
        Self {
            age_max,
            stale_max: STALE_MAX,
            look_time_max: LOOK_TIME_MAX,
            last: Arc::default(),
            looking: Arc::default(),
        }
    }

    /// What was found lately, or is found now. If that takes longer than `time_max` it goes on all the same, and what
    /// was found before is returned if it is not too old.
    pub(crate) async fn get<F>(&self, time_max: Duration, look: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        if let Some(found) = self.kept(self.age_max) {
            return Some(found);
        }
        let found = async {
            match Arc::clone(&self.looking).try_lock_owned() {
                Ok(turn) => {
                    let (last, look, time_max) = (Arc::clone(&self.last), look(), self.look_time_max);
                    // A task of its own, which outlives whoever does not wait for it.
                    let looked = tokio::spawn(async move {
                        if let Ok(found) = timeout(time_max, look).await {
                            *last.lock().unwrap_or_else(PoisonError::into_inner) =
                                Some((Instant::now(), found));
                        }
                        drop(turn);
                    });
                    // If it panicked there is nothing new.
                    drop(looked.await);
                }
                // Somebody looks: what comes of that is new enough.
                Err(_) => drop(self.looking.lock().await),
            }
        };
        // If it is late, so is everybody's answer.
        drop(timeout(time_max, found).await);
        self.kept(self.stale_max.max(self.age_max))
    }

    fn kept(&self, age_max: Duration) -> Option<T> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < age_max).map(|(_, found)| found.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn however_many_ask_one_of_them_looks() {
        let looks = Arc::new(AtomicUsize::new(0));
        let look = || {
            let looks = Arc::clone(&looks);
            async move {
                tokio::task::yield_now().await;
                looks.fetch_add(1, Ordering::SeqCst)
            }
        };
        let recent = Recent::new(HOUR);
        let answers = futures_util::future::join_all((0..100).map(|_| recent.get(HOUR, look))).await;
        assert!(answers.iter().all(|answer| *answer == Some(0)), "{answers:?}");
        assert_eq!((recent.get(HOUR, look).await, looks.load(Ordering::SeqCst)), (Some(0), 1));
        // What is good for no time is looked at anew.
        let recent = Recent::new(Duration::ZERO);
        assert_eq!((recent.get(HOUR, look).await, recent.get(HOUR, look).await), (Some(1), Some(2)));
    }

    #[tokio::test]
    async fn what_comes_too_late_is_for_whoever_asks_next() {
        let recent = Recent::new(HOUR);
        let (tell, told) = tokio::sync::oneshot::channel();
        assert_eq!(recent.get(SOON, || async { told.await.unwrap() }).await, None);
        assert_eq!(recent.get(SOON, || async { 8 }).await, None, "one looks at a time");
        tell.send(7).unwrap();
        assert_eq!(recent.get(HOUR, || async { 9 }).await, Some(7));
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up_and_meanwhile_the_last_figures_are_shown() {
        let recent = Recent { look_time_max: SOON, ..Recent::new(Duration::ZERO) };
        assert_eq!(recent.get(HOUR, || async { 1 }).await, Some(1));
        assert_eq!(recent.get(SOON / 2, std::future::pending).await, Some(1));
        // Waits for the one that hangs; the next one looks itself.
        assert_eq!(recent.get(HOUR, || async { 2 }).await, Some(1));
        assert_eq!(recent.get(HOUR, || async { 2 }).await, Some(2));
        let recent = Recent { stale_max: Duration::ZERO, ..recent };
        assert_eq!(recent.get(SOON, std::future::pending).await, None);
    }
}

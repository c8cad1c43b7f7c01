//! Figures that cost something and that anybody may ask for: they are had at most once in a while, however many ask, and
//! one of them does the work.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

/// What was found last, and when; cheap to clone.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    age_max: Duration,
    kept: Arc<Mutex<Option<(Instant, T)>>>,
}

impl<T: Clone + Send + 'static> Recent<T> {
    /// Nothing yet; what is found is good for so long.
    pub(crate) fn new(age_max: Duration) -> Self {
        Self { age_max, kept: Arc::default() }
    }

    /// What was found lately, or is found now; none if that takes too long. Then it goes on all the same, and whoever asks
    /// next has it.
    pub(crate) async fn get<F>(&self, time_max: Duration, look: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let found = async {
            let Ok(kept) = Arc::clone(&self.kept).try_lock_owned() else {
                // Somebody looks: what comes of that is new enough.
                return self.kept.lock().await.as_ref().map(|(_, found)| found.clone());
            };
            match kept.as_ref().filter(|(at, _)| at.elapsed() < self.age_max) {
                Some((_, found)) => Some(found.clone()),
                // A task of its own, which outlives whoever does not wait for it.
                None => tokio::spawn(keep(kept, look())).await.ok(),
            }
        };
        tokio::time::timeout(time_max, found).await.ok()?
    }
}

async fn keep<T: Clone>(mut kept: OwnedMutexGuard<Option<(Instant, T)>>, look: impl Future<Output = T>) -> T {
    let found = look.await;
    *kept = Some((Instant::now(), found.clone()));
    found
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
}

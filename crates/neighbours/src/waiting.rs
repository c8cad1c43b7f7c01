//! Waiting for what must come, with a deadline.

use std::future::Future;
use std::time::Duration;

/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 60;
const POLL: Duration = Duration::from_millis(10);

/// What `look` finds, which must be there soon.
pub async fn soon<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let found = tokio::time::timeout(Duration::from_secs(STATE_SECS_MAX), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    });
    found.await.expect("what was waited for did not come")
}

//! Hears from the other processes on the same database that a stream grew.
//!
//! A notification is a hint: it names the stream and its head, and may be lost. After every break of the
//! connection all waiters are woken, since nobody knows what they missed.

use std::time::Duration;

use bowline_types::{StoreId, StreamId, TenantId};
use sqlx::PgPool;
use sqlx::postgres::PgListener;

use crate::Tail;

/// The channel's name.
pub(super) const CHANNEL: &str = "bowline_tail";

/// Milliseconds between two tries to listen again.
const RETRY_MS: u64 = 500;

pub(super) async fn listen(pool: PgPool, tail: Tail) {
    while !pool.is_closed() {
        match PgListener::connect_with(&pool).await {
            Ok(listener) => {
                let ended = follow(listener, &tail).await;
                tracing::warn!(component = "store", error = %ended, "Notifications broke off, polling until they are back");
            }
            Err(error) => tracing::debug!(component = "store", %error, "No notifications yet"),
        }
        tail.wake_all();
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
    }
}

async fn follow(mut listener: PgListener, tail: &Tail) -> sqlx::Error {
    if let Err(error) = listener.listen(CHANNEL).await {
        return error;
    }
    tail.wake_all();
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => match parse(notification.payload()) {
                Some((stream, head)) => tail.advance(stream, head),
                None => tail.wake_all(),
            },
            Ok(None) => tail.wake_all(),
            Err(error) => return error,
        }
    }
}

/// `tenant store head`, as the append writes it.
fn parse(payload: &str) -> Option<(StreamId, u64)> {
    let mut words = payload.split(' ');
    let tenant: TenantId = words.next()?.parse().ok()?;
    let store: StoreId = words.next()?.parse().ok()?;
    Some((StreamId::new(tenant, store), words.next()?.parse().ok()?))
}

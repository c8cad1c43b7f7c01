//! Hears from the other processes on the same database that a stream grew or that a cached record changed.
//!
//! A notification is a hint and may be lost: it names the stream and its head, or the kind and its epoch. After
//! every break of the connection all waiters are woken, since nobody knows what they missed, and the epochs are
//! read once a second besides.

use std::time::Duration;

use bowline_types::{StoreId, StreamId, TenantId};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgNotification};

use super::guard::Guard;
use crate::changes::postgres as changes;
use crate::{Changes, Tail};

/// The channel that names a stream which has grown.
pub(crate) const CHANNEL: &str = "bowline_tail";

/// Milliseconds between two tries to listen again.
const RETRY_MS: u64 = 500;

/// Between two looks at the epochs, in case a notification was lost.
const EPOCHS_POLL: Duration = Duration::from_secs(1);

pub(crate) async fn listen(pool: PgPool, tail: Tail, changes: Changes, guard: Guard) {
    tokio::join!(hear_all(&pool, &tail, &changes, &guard), poll_epochs(&pool, &changes));
}

async fn poll_epochs(pool: &PgPool, known: &Changes) {
    while !pool.is_closed() {
        tokio::time::sleep(EPOCHS_POLL).await;
        if let Err(error) = changes::load(pool, known).await {
            tracing::debug!(component = "store", %error, "Epochs not read");
        }
    }
}

async fn hear_all(pool: &PgPool, tail: &Tail, changes: &Changes, guard: &Guard) {
    while !pool.is_closed() {
        match PgListener::connect_with(pool).await {
            Ok(listener) => {
                let ended = follow(listener, tail, changes).await;
                tail.set_listening(false);
                // The first to notice a database that is gone, before any caller does.
                guard.suspect();
                tracing::warn!(component = "store", error = %ended, "Notifications broke off, polling until they are back");
            }
            Err(error) => tracing::debug!(component = "store", %error, "No notifications yet"),
        }
        tail.wake_all();
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
    }
}

async fn follow(mut listener: PgListener, tail: &Tail, changes: &Changes) -> sqlx::Error {
    // A connection that broke is reported at once, not when there is another one.
    listener.eager_reconnect(false);
    if let Err(error) = listener.listen_all([CHANNEL, changes::CHANNEL]).await {
        return error;
    }
    tail.set_listening(true);
    tail.wake_all();
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => hear(&notification, tail, changes),
            // Listening anew wakes everyone once it is heard again what happens.
            Ok(None) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()),
            Err(error) => return error,
        }
    }
}

fn hear(notification: &PgNotification, tail: &Tail, known: &Changes) {
    let payload = notification.payload();
    if notification.channel() == changes::CHANNEL {
        // What can't be read here is read with the next poll.
        changes::hear(payload, known);
        return;
    }
    match parse(payload) {
        Some((stream, head)) => tail.advance(stream, head),
        None => tail.wake_all(),
    }
}

/// `tenant store head`, as the append writes it.
fn parse(payload: &str) -> Option<(StreamId, u64)> {
    let mut words = payload.split(' ');
    let tenant: TenantId = words.next()?.parse().ok()?;
    let store: StoreId = words.next()?.parse().ok()?;
    Some((StreamId::new(tenant, store), words.next()?.parse().ok()?))
}

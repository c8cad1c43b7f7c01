//! Wake-ups: who waits for a stream to grow is told that it did, never what was written.
//!
//! A wake-up may be lost (a notification of PostgreSQL is not durable), so whoever waits also polls. A
//! waiter always reads from its own cursor, so a wake-up too many costs one empty read and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_types::StreamId;
use tokio::sync::watch;

/// Whether this process hears of what other processes write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listening {
    /// How often it has begun to listen; 0 for ever where nobody else writes.
    pub connects: u64,
    /// Whether it listens now.
    pub is_on: bool,
}

/// The ends of the streams that somebody waits on; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tail {
    any: Arc<watch::Sender<u64>>,
    listening: Arc<watch::Sender<Listening>>,
    streams: Arc<Mutex<HashMap<StreamId, watch::Sender<u64>>>>,
}

impl Default for Tail {
    fn default() -> Self {
        let listening = Arc::new(watch::Sender::new(Listening::default()));
        Self { any: Arc::new(watch::Sender::new(0)), listening, streams: Arc::default() }
    }
}

impl Tail {
    /// Changes whenever the stream has grown; the value is the highest head that was heard of, 0 at first.
    pub fn watch(&self, stream: StreamId) -> watch::Receiver<u64> {
        self.lock().entry(stream).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Changes whenever any stream has grown.
    pub fn watch_any(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    /// Changes whenever this process begins to hear of the others' writes, or stops.
    pub fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.subscribe()
    }

    /// Takes note of that.
    pub(crate) fn set_listening(&self, is_on: bool) {
        self.listening.send_modify(|listening| {
            listening.connects += u64::from(is_on && !listening.is_on);
            listening.is_on = is_on;
        });
    }

    /// Tells the waiters of a stream that its head is at least `head`.
    pub fn advance(&self, stream: StreamId, head: u64) {
        self.any.send_modify(|wakeups| *wakeups = wakeups.wrapping_add(1));
        let mut streams = self.lock();
        if let Some(sender) = streams.get(&stream) {
            if sender.receiver_count() == 0 {
                streams.remove(&stream);
            } else {
                sender.send_if_modified(|known| std::mem::replace(known, head.max(*known)) < head);
            }
        }
    }

    /// Wakes every waiter, for when it is not known who missed a wake-up.
    pub fn wake_all(&self) {
        self.any.send_modify(|wakeups| *wakeups = wakeups.wrapping_add(1));
        self.lock().retain(|_, sender| {
            sender.send_modify(|_| ());
            sender.receiver_count() > 0
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, watch::Sender<u64>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

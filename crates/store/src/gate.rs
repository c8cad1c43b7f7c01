//! The gate before a store that shares a disk with others: while it is closed, the line does not grow.
//!
//! Whoever watches the disk closes it while there is still room to finish what must be finished, and the store
//! closes it itself when a write finds the disk full; only the watcher opens it. Events and commitments are then
//! refused as [`StoreError::Full`]. Reads go on, and so do the small writes that an operator may need then, such
//! as a key's revocation, for as long as the disk takes them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::StoreError;

/// How much room the disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// The line may grow.
    #[default]
    Enough,
    /// Less than the operator wants to be left.
    Low,
    /// A write found none.
    Full,
}

/// The gate; cheap to clone.
#[derive(Debug, Clone)]
pub struct WriteGate(Arc<watch::Sender<Room>>);

impl Default for WriteGate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Room::default())))
    }
}

impl WriteGate {
    /// What is known of the room; the gate is open if that is enough.
    pub fn room(&self) -> Room {
        *self.0.borrow()
    }

    /// Takes note of the room, and opens or closes the gate by it. Whether that is news.
    pub fn set(&self, room: Room) -> bool {
        self.0.send_if_modified(|known| std::mem::replace(known, room) != room)
    }

    /// Changes whenever the room does.
    pub fn watch(&self) -> watch::Receiver<Room> {
        self.0.subscribe()
    }

    /// Refuses what would make the line grow while the gate is closed.
    pub(crate) fn pass(&self) -> Result<(), StoreError> {
        match self.room() {
            Room::Enough => Ok(()),
            Room::Low => Err(StoreError::Full("the disk has less free room than it must have".to_owned())),
            Room::Full => Err(StoreError::Full("the disk was found full".to_owned())),
        }
    }
}

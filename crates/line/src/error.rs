//! Why the line's own tasks end.

use bowline_store::StoreError;

/// A task of the line could not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store failed in a way that trying again does not mend.
    #[error(transparent)]
    Store(#[from] StoreError),
}

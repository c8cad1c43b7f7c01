//! What a subsystem shares with the line when it keeps tables of its own: the conversions of rows, the rows that it may
//! read, leases and epochs, once an engine.
//!
//! A subsystem's tables are its own business: this crate offers engines, not knowledge of them.

/// For tables in SQLite.
pub mod sqlite {
    pub use crate::changes::sqlite::bump;
    pub use crate::commitments::sqlite::by_id as commitment_by_id;
    pub use crate::leases::sqlite::check as hold;
    pub use crate::sqlite::pool::Failure;
    pub use crate::sqlite::rows::{
        AFTER_MARKS, COMMITMENT_COLUMNS, COMMITMENT_MARKS, Fixed, commitment, fixed, hash, moment, optional,
        signed, stream_columns, stream_no, unsigned,
    };
}

/// For tables in PostgreSQL.
pub mod postgres {
    pub use crate::changes::postgres::bump;
    pub use crate::commitments::postgres::by_id as commitment_by_id;
    pub use crate::leases::postgres::{seize, share as hold};
    pub use crate::postgres::error::{refuse, refuse_commit};
    pub use crate::postgres::rows::{
        COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment, corrupt, evm_hash, hash, moment, optional, signed,
        small, stream, unsigned,
    };
}

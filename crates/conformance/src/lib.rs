//! What a suite needs that runs on both engines: an empty place for a store, and signed events to fill it with.
//!
//! [`conformance!`] makes a test `sqlite::name` and a test `postgres::name` of each async function of a [`Place`]. A
//! dev-dependency alone; what goes wrong here is a test that failed, so it panics and says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's support fails the test")]

pub mod events;
mod place;

pub use place::{Engine, Place, run, run_with, soon, until};

/// Makes tests of async functions that take an `Arc<Place>`: `conformance! { SCHEMA; file { name, name, } }`, once on each
/// engine. `SCHEMA` is an expression for the tables that the store has.
#[allow(clippy::crate_in_macro_def, reason = "the tests are functions of the crate that calls it")]
#[macro_export]
macro_rules! conformance {
    ($schema:expr; $($file:ident { $($name:ident,)* })*) => {
        mod sqlite {
            $($(
                #[test]
                fn $name() {
                    $crate::run_with($crate::Engine::Sqlite, $schema, crate::$file::$name);
                }
            )*)*
        }

        mod postgres {
            $($(
                #[test]
                fn $name() {
                    $crate::run_with($crate::Engine::Postgres, $schema, crate::$file::$name);
                }
            )*)*
        }
    };
}

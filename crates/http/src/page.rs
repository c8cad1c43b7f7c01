//! Lists and single things as most endpoints answer them: `{"data":…}`, and `pagination` beside a list.
//!
//! It bounds what a request may ask for, and knows nothing of what is listed.

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::error::ApiError;

/// Things on a page if the request does not say.
const LIMIT_DEFAULT: usize = 20;

/// Things on a page at most.
const LIMIT_MAX: usize = 100;

/// One thing.
pub fn data(thing: impl Serialize) -> Json<Value> {
    Json(json!({ "data": thing }))
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// So many at most: 20 if absent, 1 to 100.
    limit: Option<usize>,
    /// How many to leave out first.
    #[serde(default)]
    offset: u64,
}

impl PageQuery {
    /// That part.
    pub fn new(limit: Option<usize>, offset: u64) -> Self {
        Self { limit, offset }
    }

    /// Limit and offset.
    ///
    /// # Errors
    /// `INVALID_FIELD_VALUE`: the limit is not 1 to 100.
    pub fn bounds(self) -> Result<(usize, u64), ApiError> {
        Ok((limit(self.limit)?, self.offset))
    }

    /// A page of a list of so many things in all.
    pub fn list(self, things: Vec<Value>, total: u64) -> Json<Value> {
        let end = self.offset.saturating_add(things.len() as u64);
        Json(json!({
            "data": things,
            "pagination": {
                "total": total,
                "limit": self.limit.unwrap_or(LIMIT_DEFAULT),
                "offset": self.offset,
                "has_more": end < total,
            },
        }))
    }
}

/// The limit of a list: 20 if the request does not say.
///
/// # Errors
/// `INVALID_FIELD_VALUE`: it is not 1 to 100.
pub fn limit(given: Option<usize>) -> Result<usize, ApiError> {
    match given.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(ApiError::field("limit", format!("is {limit}: take 1 to {LIMIT_MAX}"))),
    }
}

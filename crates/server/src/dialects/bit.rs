//! bit: to be written.

use axum::http::Method;
use axum::response::Response;

use super::{Dialect, Routes, Slash};
use crate::dialects::buildog::{Buildog, Error};

/// None yet.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Slash::AsListed)
}

/// The dialect.
pub struct Bit;

impl Dialect for Bit {
    type Error = Error;

    fn unknown_path() -> Response {
        Buildog::unknown_path()
    }

    fn wrong_method(method: &Method) -> Response {
        Buildog::wrong_method(method)
    }
}

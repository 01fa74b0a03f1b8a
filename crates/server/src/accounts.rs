//! The pages behind mail links: to be written.

use axum::Router;

use crate::app::App;

/// None yet.
pub fn routes() -> Router<App> {
    Router::new()
}

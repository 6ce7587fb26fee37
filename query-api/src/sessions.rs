//! Sessions: which there are, what happened in one, and why.

mod graph;
mod lanes;
mod list;
mod read;
#[cfg(test)]
mod tests;
mod timeline;
mod why;

use axum::Router;
use axum::routing::get;

pub(crate) use graph::EdgeKind;
pub(crate) use read::JSON;
pub(crate) use why::SUMMARY;

use crate::sql::Engine;

/// Routes of sessions.
pub fn router(engine: Engine) -> Router {
    Router::new()
        .route("/v1/sessions", get(list::sessions))
        .route("/v1/sessions/{session}", get(list::session))
        .route("/v1/sessions/{session}/timeline", get(timeline::timeline))
        .route("/v1/sessions/{session}/steps/{step}/why", get(why::why))
        .with_state(engine)
}

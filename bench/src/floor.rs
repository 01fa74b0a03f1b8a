//! The floor below which no HTTP server of this kind gets: axum, as it comes, answering fixed bytes.

use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::any;
use tokio::net::TcpListener;

use crate::Result;

/// Answers whatever is asked with what is in the file `body`, as JSON, until the process is ended. Prints where it listens
/// as the server does.
pub(crate) fn serve(body: &Path) -> Result<()> {
    let body = Bytes::from(std::fs::read(body)?);
    let answer = any(move || async move { ([(header::CONTENT_TYPE, "application/json")], body) });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    runtime.block_on(async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", socket.local_addr()?);
        axum::serve(socket, Router::new().fallback(answer)).await?;
        Ok(())
    })
}

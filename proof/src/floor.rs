//! What the controls are tried on: axum's own accept loop, which turns nobody away and waits for everybody.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use tokio::net::TcpListener;

use crate::Result;
use crate::process::Server;

/// Serves until the process is ended; each request takes the processor for so many microseconds. Prints where it listens as
/// the server does.
pub(crate) fn serve(microseconds: &str) -> Result<()> {
    let busy = Duration::from_micros(microseconds.parse()?);
    let answer = any(move || async move {
        let begun = Instant::now();
        while begun.elapsed() < busy {
            std::hint::spin_loop();
        }
        "answered"
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", socket.local_addr()?);
        axum::serve(socket, Router::new().fallback(answer)).await?;
        Ok(())
    })
}

/// The command that runs it.
pub(crate) fn command(busy: Duration) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").arg(busy.as_micros().to_string());
    Ok(command)
}

/// Starts it.
pub(crate) fn start(busy: Duration, log: PathBuf) -> Result<Server> {
    Server::start(&mut command(busy)?, log)
}

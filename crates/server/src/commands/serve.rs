//! `guildhall serve`.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use guildhall_domain::authz::Actor;
use guildhall_domain::id::UserId;
use guildhall_domain::users;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::folder::{self, Missing, Ring};
use super::{Failure, demo};
use crate::app::{App, Parts};
use crate::config::{Config, Fault, environment, unknown_variables};
use crate::issuers::Issuers;
use crate::listen::{self, Listener};
use crate::load;
use crate::mail::{Transport, default_from};
use crate::media::Media;
use crate::observe::{self, Metrics};
use crate::router::router;
use crate::workers::{self, Post, told};

/// How long the workers, and then what still runs beside them, may take to end when the last answer is out.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Who is told what when the server can be reached.
pub(super) enum Greeting {
    /// Somebody who started it by hand: where things are, and what to do with the options that say where.
    Operator(String),
    /// Somebody who wants to see what it is: what to try.
    Demo,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// Where the configuration cannot be used, another server uses the data, or what is there cannot be opened.
pub(super) fn serve(config: Config, greeting: Greeting) -> Result<(), Failure> {
    // What is wrong with the configuration is told before anything is made.
    config.public_url_at(config.listen)?;
    let log = observe::init(&config.log, io::stderr().is_terminal()).map_err(|why| Fault::new("log", why))?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start: {error}")))?;
    for name in unknown_variables() {
        tracing::warn!("{name}: there is no such key");
    }
    // Before a folder is made, as most often the address is what cannot be had.
    let listeners = runtime.block_on(Listeners::bind(&config))?;
    if folder::prepare(&config.data)? {
        tracing::info!(folder = %config.data.display(), "made data folder");
    }
    let lock = folder::lock(&config)?;
    let served = runtime.block_on(run(config, greeting, listeners));
    runtime.shutdown_timeout(LAST_WORK);
    drop((lock, log));
    served
}

/// Where the server is reached.
struct Listeners {
    requests: TcpListener,
    /// Which the system gave, where the port was for it to choose.
    address: SocketAddr,
    metrics: Option<TcpListener>,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, Fault> {
        let (requests, address) = bind("listen", config.listen).await?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(bind("metrics-listen", address).await?.0),
            None => None,
        };
        Ok(Self { requests, address, metrics })
    }
}

async fn run(config: Config, greeting: Greeting, listeners: Listeners) -> Result<(), Failure> {
    // From here on a signal is no longer the end, but told to whoever waits for it.
    let signals = signals().map_err(|error| Failure::new(format_args!("cannot await signals: {error}")))?;
    let address = listeners.address;
    let public_url = config.public_url_at(address)?;
    let metrics = Metrics::new();
    let (limits, proxies) = (config.connections, config.trusted_proxies.clone());
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let (app, post) = build(config, public_url)?;
    let routes = observe::layer(router(&app), metrics.clone(), app.random().clone());

    let (stop, stopped) = watch::channel(false);
    if let Some(listener) = listeners.metrics {
        tokio::spawn(observe::serve_metrics(listener, metrics.clone(), told(stopped.clone())));
    }
    match greeting {
        Greeting::Operator(options) => {
            let words = greet(&app, &post, (&data, &options))?;
            announce(address, "");
            if io::stderr().is_terminal() {
                let _ = io::stderr().write_all(words.as_bytes());
            }
        }
        Greeting::Demo => announce(address, &demo::prepare(&app, &post).await?),
    }
    tokio::spawn(load::watch(metrics.open_connections()));
    let mut workers = workers::start(&app, post, &stopped);
    tokio::spawn(async move {
        first_of(signals).await;
        tracing::info!("stopping");
        stop.send_replace(true);
    });
    let listener = Listener::counted(listeners.requests, metrics.open_connections()).behind(proxies);
    let served = listen::serve(listener, routes, limits, told(stopped)).await;
    // What a worker was at is taken up again after the next start.
    let _ = timeout(LAST_WORK, async { while workers.join_next().await.is_some() {} }).await;
    served.map_err(|error| Failure::new(format_args!("cannot serve: {error}")))
}

/// Opens everything that requests need.
fn build(config: Config, public_url: String) -> Result<(App, Post), Failure> {
    let transport = Transport::open(&config.mail).map_err(|why| Fault::new("mail", why))?;
    let media = Media::open(&config.media).map_err(|why| Fault::new("media", why))?;
    let db = folder::open_database(&config, Missing::Make)?;
    let Ring { keys, secrets, seal } = folder::open_keys(&config, &db)?;
    if !seal.seals() {
        tracing::warn!(
            "secret: none is configured, so that whoever reads the database can sign and open links"
        );
    }
    if config.media.starts_with("s3://") && environment("AWS_ACCESS_KEY_ID").is_none() {
        tracing::warn!(
            "media: AWS_ACCESS_KEY_ID is not given: only a role of this machine can open the bucket"
        );
    }
    if db.is_remote() && config.media.starts_with("dir:") {
        tracing::warn!(
            "media: a folder; several servers on one database need one that all share, or an s3://"
        );
    }
    // This error names its key itself.
    let issuers = Issuers::new(config.issuers, db.clock().clone()).map_err(Failure::configuration)?;
    let from = config.mail_from.unwrap_or_else(|| default_from(&public_url));
    let app = App::new(Parts {
        db,
        keys,
        issuers,
        media,
        secrets,
        public_url,
        return_to: config.return_to,
        cors_origins: config.cors_origins,
        oauth_clients: config.oauth_clients,
    });
    Ok((app, Post { transport, from }))
}

async fn bind(key: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Fault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let why = format!("{address}: another program listens there; choose another with --{key}");
            Fault::new(key, why)
        }
        _ => Fault::new(key, format_args!("{address}: {error}")),
    };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    Ok((listener, address))
}

/// Prints the one line that scripts wait for, and what else there is to say. That nobody reads it stops nothing.
fn announce(address: SocketAddr, words: &str) {
    tracing::info!(%address, "listening");
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "listening on http://{address}");
    let _ = out.write_all(words.as_bytes());
    let _ = out.flush();
}

/// Where things are and what to do first, for whoever starts the server by hand.
///
/// # Errors
/// Where the database cannot be read.
fn greet(app: &App, post: &Post, (data, options): (&Path, &str)) -> Result<String, Failure> {
    let mut words = format!(
        "\nGuildhall {} is at {}\n  docs  {}/docs\n  data  {}\n  mail  {}\n",
        env!("CARGO_PKG_VERSION"),
        app.public_url,
        app.public_url,
        data.display(),
        post.place(),
    );
    if users::list(&app.db, &Actor::system(), UserId(0), 1)?.is_empty() {
        words.push_str(&format!(
            "  next  guildhall user create --email you@example.org --verified --password-stdin{options}\n"
        ));
    }
    words.push_str("  stop  Ctrl-C\n\n");
    Ok(words)
}

fn signals() -> io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

async fn first_of([mut terminate, mut interrupt]: [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

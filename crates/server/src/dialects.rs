//! What a dialect is: routes, handlers, wire types and an error shape of its own. Dialects never use each other.

use std::collections::BTreeMap;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};

use crate::app::App;
use crate::auth::Failure;
use crate::describe::{About, Operation};
use crate::http::Fault;

pub mod bit;
pub mod buildog;
pub mod cadasta;
pub mod pm415;
pub mod stormz;

/// One of the documented APIs: how it says that something went wrong.
pub trait Dialect: Send + Sync + 'static {
    /// An error in its shape: made from what the domain refuses, from a credential that does not count, and from a body
    /// that cannot be read.
    type Error: IntoResponse + From<guildhall_domain::Error> + From<Failure> + From<Fault> + Send;

    /// What an unknown path below its own is answered.
    fn unknown_path() -> Response;

    /// What a method that a path does not know is answered; `Allow` is added.
    fn wrong_method(method: &Method) -> Response;
}

/// The routes of a dialect, each with its description.
pub struct Routes {
    about: About,
    listed: Vec<(Method, &'static str, Operation)>,
    paths: BTreeMap<&'static str, MethodRouter<App>>,
    slash: Slash,
    wrong_method: fn(&Method) -> Response,
}

/// Whether a path may also be written with a slash at its end, or without the one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slash {
    /// Exactly as listed.
    AsListed,
    /// Either way.
    Optional,
    /// Either way; and with a second slash at its beginning, as pm415's document writes some.
    OptionalOrDoubled,
}

impl Routes {
    /// None yet, of the dialect `D`.
    #[must_use]
    pub fn new<D: Dialect>(about: About, slash: Slash) -> Self {
        Self { about, listed: Vec::new(), paths: BTreeMap::new(), slash, wrong_method: D::wrong_method }
    }

    /// Adds a route and what it does. Parts of the path in braces are read with [`crate::http::Params`].
    #[must_use]
    pub fn add<H, T>(mut self, method: Method, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        self.listed.push((method, path, operation));
        let route = self.paths.remove(path).unwrap_or_default();
        self.paths.insert(path, route.on(filter, handler));
        self
    }

    /// What the dialect is.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Every route, in the order in which they were added, and what it does.
    #[must_use]
    pub fn listed(&self) -> &[(Method, &'static str, Operation)] {
        &self.listed
    }

    /// Whether a path may also be written with a slash at its end, or without.
    #[must_use]
    pub fn slash(&self) -> Slash {
        self.slash
    }

    /// The router that serves them, and says in the dialect's words which methods a path does not know.
    pub fn router(self) -> Router<App> {
        let Self { paths, slash, wrong_method, .. } = self;
        let mut router = Router::new();
        for (path, route) in paths {
            let route = route.fallback(move |method: Method| async move { wrong_method(&method) });
            for other in slash.others(path) {
                router = router.route(&other, route.clone());
            }
            router = router.route(path, route);
        }
        router
    }
}

impl Slash {
    /// The other ways to write `path`.
    #[must_use]
    pub fn others(self, path: &str) -> Vec<String> {
        let other = match path.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{path}/"),
        };
        match self {
            Self::AsListed => Vec::new(),
            Self::Optional => vec![other],
            Self::OptionalOrDoubled => vec![format!("/{path}"), format!("/{other}"), other],
        }
    }
}

//! Who may do what, over every call of every dialect: the calls are those that the router lists, so one that is added is
//! refused here until it says how it is called and what it answers to whom.

pub(crate) mod calls;
mod credentials;
mod others;
pub(crate) mod scene;
mod table;

use guildhall::router::dialects;

/// The method and the path of a call, as its dialect lists it.
pub(crate) type Route = (String, &'static str);

/// Every call of every dialect.
pub(crate) fn routes() -> Vec<(&'static str, Vec<Route>)> {
    let list = |(dialect, routes): (_, guildhall::dialects::Routes)| {
        let listed = routes.listed().iter().map(|(method, path, _)| (method.to_string(), *path));
        (dialect, listed.collect())
    };
    dialects().into_iter().map(list).collect()
}

//! Who may do what, over every call of every dialect: the calls are those that the router lists, so one that is added is
//! refused here until it says how it is called and what it answers to whom.

mod calls;
mod credentials;
mod others;
mod scene;
mod table;

use guildhall::router::dialects;

/// The method and the path of a call, as its dialect lists it.
type Route = (String, &'static str);

/// Every call of every dialect.
fn routes() -> Vec<(&'static str, Vec<Route>)> {
    let list = |(dialect, routes): (_, guildhall::dialects::Routes)| {
        let listed = routes.listed().iter().map(|(method, path, _)| (method.to_string(), *path));
        (dialect, listed.collect())
    };
    dialects().into_iter().map(list).collect()
}

//! Lists: whole, or page by page with a `Link` header.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use guildhall_domain::page::{Part, Window};
use serde::Serialize;

use super::Error;
use crate::app::App;
use crate::http::{self, Query};

/// Elements of a page where the request does not say.
const PER_PAGE: u64 = 30;
/// The most elements of a page; who asks for more gets these.
const PER_PAGE_MAX: u64 = 100;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    /// From 1.
    page: u64,
    per_page: u64,
}

impl Paging {
    /// The page that the query names; nothing where it names none.
    ///
    /// # Errors
    /// 422 where either key has a value that is no positive number.
    pub(super) fn read(query: &Query) -> Result<Option<Self>, Error> {
        let page = positive(query, "page")?;
        let per_page = positive(query, "per_page")?;
        if page.is_none() && per_page.is_none() {
            return Ok(None);
        }
        let per_page = per_page.unwrap_or(PER_PAGE).min(PER_PAGE_MAX);
        Ok(Some(Self { page: page.unwrap_or(1), per_page }))
    }

    /// The part of the list that the page is.
    pub(super) fn window(self) -> Window {
        let skip = (self.page - 1).saturating_mul(self.per_page);
        Window {
            skip: i64::try_from(skip).unwrap_or(i64::MAX),
            most: i64::try_from(self.per_page).unwrap_or(i64::MAX),
        }
    }

    /// The page, with links to others of the list at `address`, where there are any.
    pub(super) fn respond<T, W: Serialize>(
        self,
        part: &Part<T>,
        wire: impl Fn(&T) -> W,
        address: &str,
    ) -> Response {
        let body: Vec<W> = part.elements.iter().map(wire).collect();
        let mut response = http::json(StatusCode::OK, &body);
        let links = self.links(u64::try_from(part.total).unwrap_or_default(), address);
        if let Some(links) = links.and_then(|links| HeaderValue::try_from(links).ok()) {
            response.headers_mut().insert(header::LINK, links);
        }
        response
    }

    /// The value of the header for a list of `total` elements; nothing where this page holds them all. From a page behind
    /// the last one, the previous one is the last.
    fn links(self, total: u64, address: &str) -> Option<String> {
        let last = total.div_ceil(self.per_page);
        let mut links = Vec::new();
        let mut link = |to: u64, relation: &str| {
            links.push(format!("<{address}page={to}&per_page={}>; rel=\"{relation}\"", self.per_page));
        };
        if self.page > 1 && last > 0 {
            link(1, "first");
            link((self.page - 1).min(last), "previous");
        }
        if self.page < last {
            link(self.page + 1, "next");
            link(last, "last");
        }
        (!links.is_empty()).then(|| links.join(", "))
    }
}

/// The value of that key; the greatest number there is where it is greater than that.
fn positive(query: &Query, key: &'static str) -> Result<Option<u64>, Error> {
    let Some(text) = query.get(key) else { return Ok(None) };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().unwrap_or(u64::MAX) } else { 0 };
    if number == 0 {
        Err(Error::invalid(format!("{key} must be a positive number")))
    } else {
        Ok(Some(number))
    }
}

/// The address of a list, up to where the page is named in it: whatever else the query holds is kept.
pub(super) fn address(app: &App, uri: &Uri, query: &Query) -> String {
    let mut kept = query.without(&["page", "per_page"]);
    if !kept.is_empty() {
        kept.push('&');
    }
    format!("{}{}?{kept}", app.public_url, uri.path())
}

#[cfg(test)]
mod parsers;

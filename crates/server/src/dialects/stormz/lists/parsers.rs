//! What holds of every query that asks for a page, and of the links to the others.

use properties::{check, check_texts, texts};

use super::*;

const PIECES: &[&str] =
    &["page=", "&per_page=", "1", "0", "100", "101", "18446744073709551616", "-1", "+", "&", "%31"];

#[test]
fn pages() {
    check_texts("pages", include_str!("../../../../tests/corpus/listings.txt"), texts(PIECES), |text| {
        let query = Query::read(text);
        let good = |key: &str| {
            let digits =
                |text: &str| text.chars().all(|c| c.is_ascii_digit()) && text.chars().any(|c| c > '0');
            query.get(key).is_none_or(digits)
        };
        match Paging::read(&query) {
            Ok(paging) => {
                assert!(good("page") && good("per_page"));
                assert_eq!(paging.is_none(), query.get("page").is_none() && query.get("per_page").is_none());
                let Some(paging) = paging else { return };
                let Window { skip, most } = paging.window();
                assert!(skip >= 0 && (1..=100).contains(&most));
            }
            Err(_) => assert!(!good("page") || !good("per_page")),
        }
    });
}

/// Where each relation leads.
fn links_of(header: &str) -> Vec<(String, Paging)> {
    let read = |link: &str| {
        let (address, relation) = link.strip_prefix('<').unwrap().split_once(">; rel=\"").unwrap();
        let query = Query::read(address.split_once('?').unwrap().1);
        let paging = Paging::read(&query).unwrap_or_else(|_| panic!("{address}")).unwrap();
        assert_eq!(query.get("q"), Some("a>b"));
        (relation.trim_end_matches('"').to_owned(), paging)
    };
    header.split(", ").map(read).collect()
}

#[test]
fn links() {
    check("links of stormz", (1..300_u64, 1..=100_u64, 0..2_000_u64), |(page, per_page, total)| {
        let to = |paging: Paging, relation: &str| {
            let links = paging.links(total, "http://h/l?q=a%3Eb&");
            let links = links.as_deref().map(links_of).unwrap_or_default();
            links.into_iter().find(|(name, _)| name == relation).map(|(_, to)| to)
        };
        // From the first page to the last, each element stands on one page.
        let mut paging = Paging { page: 1, per_page };
        let mut seen = 0;
        loop {
            assert_eq!(
                paging.window(),
                Window { skip: i64::try_from(seen).unwrap(), most: i64::try_from(per_page).unwrap() }
            );
            seen += per_page.min(total - seen);
            let Some(next) = to(paging, "next") else { break };
            assert_eq!(next, Paging { page: paging.page + 1, per_page });
            paging = next;
        }
        assert_eq!(seen, total);
        let last = paging;
        let asked = Paging { page, per_page };
        assert_eq!(to(asked, "last"), (page < last.page).then_some(last));
        let back = to(asked, "previous");
        assert_eq!(back.map(|back| back.page), (page > 1 && total > 0).then(|| (page - 1).min(last.page)));
        assert_eq!(to(asked, "first").map(|first| first.page), (page > 1 && total > 0).then_some(1));
    });
}

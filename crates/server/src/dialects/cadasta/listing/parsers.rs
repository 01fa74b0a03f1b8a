//! What holds of every query that asks for a list, and of the links to its other parts.

use properties::{check, check_texts, texts};

use super::*;

const PIECES: &[&str] = &[
    "limit=",
    "&offset=",
    "&search=",
    "&ordering=-name,",
    "description",
    "&permissions=org.list",
    ",org.update",
    "&archived=true",
    "1000",
    "1001",
    "0",
    "7",
    "&",
    "=",
    "%20",
    "+",
    "é",
];

#[test]
fn listings() {
    check_texts("listings", include_str!("../../../../tests/corpus/listings.txt"), texts(PIECES), |text| {
        let query = Query::read(text);
        if let Some(listing) = read_listing(&query) {
            assert!(listing.words.iter().all(|word| !word.is_empty() && fold(word) == *word));
            assert!(listing.words.windows(2).all(|pair| pair[0] < pair[1]) && listing.order.len() <= 2);
        }
        let Ok(Some(window)) = Window::read(&query) else { return };
        assert!((1..=LIMIT_MAX).contains(&window.limit));
        assert!(links_of(&window.links("http://h", &query, 5)).len() >= 2);
    });
    check_texts(
        "whole numbers",
        include_str!("../../../../tests/corpus/listings.txt"),
        texts(PIECES),
        |text| {
            let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            let number = text.trim_start_matches('0');
            let is_within =
                |number: &str| number.len() < 4 && (1..=500).contains(&number.parse::<usize>().unwrap_or(0));
            assert_eq!(whole_number(Some(text), 1, 500).is_ok(), is_number && is_within(number), "{text}");
            assert_eq!(whole_number(Some(text), 0, usize::MAX).is_ok(), is_number);
        },
    );
}

/// Where each relation leads: the part, and the query without it.
fn links_of(header: &str) -> Vec<(String, Window, String)> {
    let read = |link: &str| {
        let (address, relation) = link.strip_prefix('<').unwrap().split_once(">; rel=\"").unwrap();
        let query = Query::read(address.split_once('?').unwrap().1);
        let window = Window::read(&query).unwrap_or_else(|_| panic!("{address}")).unwrap();
        (relation.trim_end_matches('"').to_owned(), window, query.without(&["limit", "offset"]))
    };
    header.split(", ").map(read).collect()
}

#[test]
fn links() {
    let kept = texts(&["&search=", "&ordering=name", ", ", ">", "\"", ";", "%3E"]);
    check(
        "links of cadasta",
        (kept, 1..60_usize, 0..300_usize, 0..250_usize),
        |(kept, limit, offset, count)| {
            // More than is sought is refused before anything is linked.
            let kept = Query::read(&Query::read(&kept).without(&["search", "limit", "offset"]));
            let to = |window: Window, relation: &str| {
                let links = links_of(&window.links("http://h", &kept, count));
                assert!(links.iter().all(|(_, to, rest)| to.limit == limit && *rest == kept.without(&[])));
                links.into_iter().find(|(name, ..)| name == relation).map(|(_, to, _)| to)
            };
            // From the first part to the last, each element stands in one part.
            let mut window = to(Window { offset, limit }, "first").unwrap();
            let mut seen = window.offset;
            while let Some(next) = to(window, "next") {
                assert_eq!(next.offset, seen + limit);
                (window, seen) = (next, next.offset);
            }
            assert!(seen <= count && seen + limit >= count);
            assert_eq!(to(window, "last"), Some(window));
            // And back.
            let mut back = window;
            while let Some(previous) = to(back, "prev") {
                assert!(previous.offset < back.offset);
                back = previous;
            }
            assert_eq!(back.offset, 0);
            let previous = to(Window { offset, limit }, "prev");
            assert_eq!(previous.is_some(), offset > 0);
            assert!(previous.is_none_or(|previous| previous.offset < count.max(1)));
        },
    );
}

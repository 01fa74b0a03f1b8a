//! What holds of every pair of headers that may hold a credential.

use axum::http::HeaderValue;
use properties::proptest::{self, prelude::*};
use properties::{check, check_texts, texts};

use super::*;

fn headers(authorizations: &[String], cookies: &[String]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for value in authorizations {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).ok()?);
    }
    for value in cookies {
        headers.append(header::COOKIE, HeaderValue::from_str(value).ok()?);
    }
    Some(headers)
}

#[test]
fn cookies() {
    const PIECES: &[&str] =
        &["access_token_cookie", "=", ";", "; ", "\"", ",", "x=y", "csrf_access_token=1", "$Version=1", "é"];
    check_texts("cookies", include_str!("../../tests/corpus/cookies.txt"), texts(PIECES), |text| {
        let Some(headers) = headers(&[], &[text.to_owned()]) else { return };
        // As a browser reads the same text.
        let named =
            text.split(';').map(str::trim).filter_map(|pair| pair.strip_prefix("access_token_cookie="));
        let ours: Vec<&str> = if text.is_ascii() { named.collect() } else { Vec::new() };
        match (presented(&headers), &ours[..]) {
            (Ok(None), []) => {}
            (Ok(Some(Presented::Cookie(value))), [one]) => assert_eq!(value, *one),
            (Err(Failure::Several), [_, _, ..]) => {}
            _ => panic!("{ours:?}"),
        }
    });
}

#[test]
fn credentials_are_one() {
    let other = || "[A-Za-z_]{1,8}=[!#-+.-:<-~]{0,8}";
    let cookies = proptest::collection::vec((any::<bool>(), other(), any::<bool>()), 0..5);
    let authorizations = proptest::collection::vec("(Bearer|token|Basic) [a-z0-9]{0,8}", 0..3);
    check("several credentials", (authorizations, cookies), |(authorizations, cookies)| {
        let mut lines: Vec<String> = Vec::new();
        let mut ours = Vec::new();
        for (place, (is_ours, other, in_new_line)) in cookies.iter().enumerate() {
            let pair = if *is_ours { format!("{COOKIE}=value{place}") } else { other.clone() };
            if *is_ours {
                ours.push(format!("value{place}"));
            }
            match lines.last_mut().filter(|_| !in_new_line) {
                Some(line) => line.push_str(&format!("; {pair}")),
                None => lines.push(pair),
            }
        }
        let headers = headers(&authorizations, &lines).unwrap();
        match (presented(&headers), authorizations.len() + ours.len()) {
            (Ok(None), 0) => {}
            (Ok(Some(Presented::Cookie(value))), 1) => assert_eq!(value, ours[0]),
            (Ok(Some(Presented::Authorization(value))), 1) => assert_eq!(value, authorizations[0]),
            (Err(Failure::Several), 2..) => {}
            _ => panic!("{authorizations:?} {lines:?}"),
        }
    });
}

//! What holds of every text that says where a request comes from.

use axum::http::HeaderValue;
use properties::proptest::sample::Index;
use properties::proptest::{self, prelude::*};
use properties::{check, check_texts, texts};

use super::*;

/// The address with all but its first `common` bits gone.
fn cut(address: IpAddr, common: u32) -> IpAddr {
    let mask = u128::MAX.checked_shl(128 - common).unwrap_or(0);
    match address {
        IpAddr::V4(v4) => {
            IpAddr::V4(std::net::Ipv4Addr::from_bits(v4.to_bits() & u32::try_from(mask >> 96).unwrap()))
        }
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)),
    }
}

#[test]
fn ranges() {
    const PIECES: &[&str] =
        &["10.0.0.0", "/", "8", "::", "::ffff:", "2001:db8::", "192.0.2.1", "/128", "/96", "+", "0"];
    check_texts("ranges", include_str!("../../tests/corpus/ranges.txt"), texts(PIECES), |text| {
        let Ok(range) = text.parse::<Range>() else { return };
        let (first, _) = text.split_once('/').unwrap_or((text, ""));
        let first: IpAddr = first.parse().unwrap();
        assert!(Proxies::new(vec![range]).has(first), "a range has its own first address");
    });
    check(
        "ranges from their parts",
        (any::<IpAddr>(), any::<IpAddr>(), 0..=128_u32),
        |(address, other, common)| {
            let (address, other) = (address.to_canonical(), other.to_canonical());
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let common = common % (whole + 1);
            let first = cut(address, common);
            let range: Range = format!("{first}/{common}").parse().unwrap();
            let proxies = Proxies::new(vec![range]);
            assert!(proxies.has(address) && proxies.has(first));
            let begins_alike = cut(other, common) == first && other.is_ipv4() == first.is_ipv4();
            assert_eq!(proxies.has(other), begins_alike, "{other}");
            assert_eq!(format!("{address}/{common}").parse::<Range>().is_ok(), address == first);
            assert!(format!("{first}/{}", whole + 1 + common).parse::<Range>().is_err());
            if let IpAddr::V4(v4) = address {
                assert!(proxies.has(IpAddr::V6(v4.to_ipv6_mapped())), "an address by its other name");
                let mapped = format!("::ffff:{first}/{}", common + 96);
                assert_eq!(mapped.parse(), Ok(range), "a range by its other name");
            }
        },
    );
}

#[test]
fn addresses_as_proxies_write_them() {
    const PIECES: &[&str] =
        &["192.0.2.1", ":", "443", "[", "]", "::1", "2001:db8::2", "%", "unknown", "_hidden", "\"", ","];
    let corpus = include_str!("../../tests/corpus/forwarded.txt");
    check_texts("addresses as proxies write them", corpus, texts(PIECES), |text| {
        let Some(found) = address(text) else { return };
        assert_eq!(found, found.to_canonical());
        assert_eq!(address(&found.to_string()), Some(found));
        assert!(
            text.trim().trim_matches(['[', ']']).starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')
        );
    });
    check("addresses in each form", (any::<IpAddr>(), any::<u16>()), |(ip, port)| {
        let socket = std::net::SocketAddr::from((ip, port)).to_string();
        let mut forms = vec![ip.to_string(), socket];
        match ip {
            IpAddr::V6(v6) => forms.push(format!("[{v6}]")),
            IpAddr::V4(v4) => forms.push(v4.to_ipv6_mapped().to_string()),
        }
        for form in forms {
            assert_eq!(address(&form), Some(ip.to_canonical()), "{form}");
            assert_eq!(address(&format!("\t {form} ")), Some(ip.to_canonical()), "{form}");
        }
    });
}

/// Whatever somebody writes of themselves, who handed it on to a trusted proxy is who counts.
#[test]
fn forwarded_headers() {
    let trusted = || (0..4_u8).prop_map(|last| IpAddr::from([10, 0, 0, last]));
    let lie = texts(&["10.0.0.1", ", ", "127.0.0.1", "unknown", ":", "[::1]"]);
    let parts = (lie, any::<IpAddr>(), proptest::collection::vec(trusted(), 0..5), any::<Index>());
    check("forwarded headers", parts, |(lie, caller, hops, place)| {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let peer = IpAddr::from([10, 9, 9, 9]);
        if proxies.has(caller) {
            return;
        }
        let chain: Vec<String> = std::iter::once(caller).chain(hops).map(|hop| hop.to_string()).collect();
        let mut headers = HeaderMap::new();
        if let Ok(lie) = HeaderValue::from_str(&lie) {
            headers.append(X_FORWARDED_FOR, lie);
        }
        // In one line or in two: both are one list.
        let (before, behind) = chain.split_at(place.index(chain.len()));
        for line in [before, behind].into_iter().filter(|line| !line.is_empty()) {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(&line.join(", ")).unwrap());
        }
        assert_eq!(proxies.client(peer, &headers), Client(caller.to_canonical()));
        assert_eq!(Network::of(caller), Network::of(caller.to_canonical()));
    });
}

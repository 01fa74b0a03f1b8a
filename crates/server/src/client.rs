//! Where a request comes from: the other end of its connection, or what a proxy that we trust says of it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};

/// The header in which each proxy adds, at the end, whom it was called by.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of whoever sent a request: in the extensions of every request, for the log and the limits.
///
/// That of the connection's other end, unless that is one of the [`Proxies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// What counts as one client: an address, of IPv6 its first 64 bits, which are one customer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// That of the address; an IPv4 address mapped to IPv6 is what it stands for.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// The proxies that are believed about whom they speak for. A clone is another handle on the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Arc<[Range]>);

impl Proxies {
    /// Those in any of these ranges.
    #[must_use]
    pub fn new(ranges: Vec<Range>) -> Self {
        Self(ranges.into())
    }

    /// Whether the address is that of one of them.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        !self.0.is_empty() && self.0.iter().any(|range| range.has(address.to_canonical()))
    }

    /// Who sent a request that one of them handed on: the last in `X-Forwarded-For` that is none of them. Whatever stands
    /// before that was said by somebody whom we do not trust. Where an entry is no address, the one behind it, which handed
    /// it on, is as far as is known. `Forwarded` is not looked at.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let mut known = peer;
        for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            let Ok(value) = value.to_str() else { break };
            for entry in value.rsplit(',') {
                let Some(address) = address(entry) else { return Client(known) };
                known = address;
                if !self.has(address) {
                    return Client(known);
                }
            }
        }
        Client(known)
    }
}

/// An address as a proxy writes it: alone, or with a port behind it.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let with_port = || entry.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address: IpAddr = entry.parse().ok().or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

/// Addresses with a common beginning: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    /// How many bits are common.
    bits: u32,
}

impl Range {
    fn has(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl FromStr for Range {
    type Err = String;

    /// Takes no range whose address has bits behind the common ones: it may be meant as an address alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address or range such as 10.0.0.0/8");
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let whole = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|digit| digit.is_ascii_digit()) => {
                bits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => whole,
        };
        let behind = match first {
            IpAddr::V4(v4) => v4.to_bits().checked_shl(bits).unwrap_or(0) != 0,
            IpAddr::V6(v6) => v6.to_bits().checked_shl(bits).unwrap_or(0) != 0,
        };
        if bits > whole || behind {
            return Err(wrong());
        }
        Ok(match (first, first.to_canonical()) {
            // By its other name: what is compared with it are addresses by their first.
            (IpAddr::V6(_), IpAddr::V4(v4)) if bits >= 96 => Self { first: v4.into(), bits: bits - 96 },
            _ => Self { first, bits },
        })
    }
}

#[cfg(test)]
mod parsers;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_an_address_or_the_first_half_of_one() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(Network::of(ip(address)).to_string(), network);
        }
        assert_ne!(Network::of(ip("2001:db8:1:2::1")), Network::of(ip("2001:db8:1:3::1")));
    }

    #[test]
    fn a_range_has_the_addresses_that_begin_like_it() {
        for (range, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255"][..],
            ),
            ("192.0.2.1", &["192.0.2.1"], &["192.0.2.0", "::c000:201"]),
            ("0.0.0.0/0", &["255.255.255.255", "0.0.0.0"], &["::1"]),
            ("2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::", "32.1.13.184"]),
            ("::1", &["::1"], &["::2", "0.0.0.1"]),
        ] {
            let proxies = Proxies::new(vec![range.parse().unwrap()]);
            for address in inside {
                assert!(proxies.has(ip(address)), "{range} {address}");
            }
            for address in outside {
                assert!(!proxies.has(ip(address)), "{range} {address}");
            }
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "::1/64",
            "proxy",
            "1.2.3.4/8/8",
        ] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_who_is_not_trusted_is_the_client() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        for (headers, client) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.9,192.0.2.1 , 10.2.3.4,2001:db8::1"], "192.0.2.1"),
            (&["192.0.2.1", "10.2.3.4"], "192.0.2.1"),
            (&["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["[2001:db8::2]:4711"], "2001:db8::2"),
            (&["[2001:db8::2]"], "2001:db8::2"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, unknown"], "10.0.0.1"),
            (&["192.0.2.1, 10.2.3.4,"], "10.0.0.1"),
            (&["192.0.2.1, <script>, 10.2.3.4"], "10.2.3.4"),
            (&["192.0.2.1", ""], "10.0.0.1"),
            (&["192.0.2.1", "\u{e9}"], "10.0.0.1"),
        ] {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(X_FORWARDED_FOR, axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            map.append("forwarded", axum::http::HeaderValue::from_static("for=203.0.113.7"));
            assert_eq!(proxies.client(ip("10.0.0.1"), &map), Client(ip(client)), "{headers:?}");
        }
    }
}

//! Where a request came from: the peer, or whom a trusted proxy names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Most entries of `X-Forwarded-For` that are looked at; more proxies in a row nobody has.
const HOPS: usize = 16;

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Who asks, as far as it can be known: the last address that a trusted proxy did not add for itself.
///
/// Only the end of `X-Forwarded-For` is to be trusted: each proxy appends whom it heard from, and what
/// lies before the entries of our own proxies is the caller's free text.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let named = headers
        .get_all("x-forwarded-for")
        .iter()
        .rev()
        .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for entry in named.take(HOPS) {
        if !is_trusted(client, trusted) {
            break;
        }
        match entry.trim().parse::<IpAddr>() {
            Ok(before) => client = before.to_canonical(),
            // Whatever a proxy could not name is not believed; the proxy itself is the client then.
            Err(_) => break,
        }
    }
    client
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The address a client is counted by. Who has one address of IPv6 has a whole /64 of them.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from(u128::from(six) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["127.0.0.0/8", "10.0.0.0/8", "::1/128"]
            .iter()
            .map(|net| net.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_whom_it_heard() {
        // Nobody trusted in between: the header is the caller's free text.
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        // What the caller sent itself stands before what our proxy added.
        assert_eq!(client("127.0.0.1", &["1.2.3.4, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            client("127.0.0.1", &["1.2.3.4, 198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        // Several headers are one list.
        assert_eq!(client("127.0.0.1", &["1.2.3.4", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_is_no_address_is_not_believed() {
        for odd in ["", "unknown", "198.51.100.7:80", "_hidden", "1.2.3", "a, ,"] {
            assert_eq!(client("127.0.0.1", &[odd]), "127.0.0.1", "{odd}");
        }
        assert_eq!(client("::ffff:127.0.0.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn a_header_of_a_thousand_trusted_hops_ends_within_a_few() {
        let long = vec!["127.0.0.1"; 1000].join(",");
        assert_eq!(client("127.0.0.1", &[&long]), "127.0.0.1");
    }

    #[test]
    fn a_client_is_counted_by_its_whole_network_of_ipv6() {
        let counted = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
    }
}

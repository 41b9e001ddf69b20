//! Addresses that this program never calls on behalf of others.
//!
//! A callback goes where a caller said. Without this, it would also go to the database of the host, the
//! metadata of its cloud, and everything else that trusts whoever comes from inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// Ranges of IANA's registries of special-purpose addresses that are not for everybody, and what they are.
const CLOSED: &[(&str, &str)] = &[
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "a cloud's metadata"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("192.31.196.0/24", "for protocols"),
    ("192.52.193.0/24", "for protocols"),
    ("192.88.99.0/24", "for protocols"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "for protocols"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "for local translation"),
    ("100::/64", "for discarding"),
    ("2001::/23", "for protocols"),
    ("2001:db8::/32", "for documentation"),
    ("2620:4f:8000::/48", "for protocols"),
    ("3fff::/20", "for documentation"),
    ("5f00::/16", "for segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
];

static RANGES: LazyLock<Vec<(IpNet, &str)>> = LazyLock::new(|| {
    let range = |&(text, name): &(&str, &'static str)| Some((text.parse().ok()?, name));
    CLOSED.iter().filter_map(range).collect()
});

/// The unicast addresses of the Internet; what is outside has no owner to call.
const GLOBAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Ranges that an administrator opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened(pub Vec<IpNet>);

/// The address is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is {what}, and is not called; an administrator can open its range with CALLBACK_ALLOWED_RANGES"
)]
pub struct Closed {
    /// The address as it was given.
    pub address: IpAddr,
    /// What it is.
    pub what: &'static str,
}

impl Opened {
    /// Whether `address` may be called.
    ///
    /// An IPv4 address inside an IPv6 one (mapped, translated, 6to4) is what it leads to.
    ///
    /// # Errors
    ///
    /// [`Closed`], which says what the address is.
    pub fn admit(&self, address: IpAddr) -> Result<(), Closed> {
        let led = leads_to(address);
        if self
            .0
            .iter()
            .any(|range| range.contains(&led) || range.contains(&address))
        {
            return Ok(());
        }
        match what(led) {
            Some(what) => Err(Closed { address, what }),
            None => Ok(()),
        }
    }
}

fn what(address: IpAddr) -> Option<&'static str> {
    let named = RANGES.iter().find(|(range, _)| range.contains(&address));
    match (named, address) {
        (Some((_, what)), _) => Some(what),
        (None, IpAddr::V6(six)) if !is_global(six) => Some("no address of the Internet"),
        (None, _) => None,
    }
}

fn is_global(address: Ipv6Addr) -> bool {
    let (first, bits) = GLOBAL;
    (address.to_bits() ^ first.to_bits()) >> (128 - u32::from(bits)) == 0
}

/// The IPv4 address that an IPv6 one stands for, if it does.
fn leads_to(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let octets = six.octets();
    let four = |at: usize| {
        let bytes = [octets[at], octets[at + 1], octets[at + 2], octets[at + 3]];
        IpAddr::V4(Ipv4Addr::from(bytes))
    };
    match six.segments() {
        // ::ffff:a.b.c.d, ::ffff:0:a.b.c.d and the old ::a.b.c.d, without :: and ::1
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => four(12),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => four(12),
        // the well-known prefix of NAT64
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => four(12),
        // 6to4
        [0x2002, ..] => four(2),
        _ => address,
    }
}

/// Reads `10.0.0.0/8,::1`: ranges, or single addresses.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub fn read_ranges(text: &str) -> Result<Opened, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read = |entry: &str| {
        let range = entry.parse::<IpNet>();
        let single = || entry.parse::<IpAddr>().map(IpNet::from);
        range
            .or_else(|_| single())
            .map_err(|_| format!("{entry:?} is no range of addresses, as 10.1.0.0/16 or fd00::/8"))
    };
    entries.map(read).collect::<Result<_, _>>().map(Opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(opened: &str, address: &str) -> bool {
        read_ranges(opened)
            .unwrap()
            .admit(address.parse().unwrap())
            .is_ok()
    }

    #[test]
    fn every_range_of_the_table_can_be_read() {
        assert_eq!(RANGES.len(), CLOSED.len());
    }

    #[test]
    fn inside_addresses_are_closed_in_every_form_they_can_be_written_in() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "2001::1",
            "4000::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::",
        ] {
            assert!(!admitted("", address), "{address}");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_open_also_through_translation() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(admitted("", address), "{address}");
        }
    }

    #[test]
    fn administrator_opens_a_range_and_nothing_beside_it() {
        for address in ["127.0.0.5", "::ffff:127.0.0.5", "64:ff9b::7f00:5"] {
            assert!(admitted("127.0.0.0/30,127.0.0.5", address), "{address}");
        }
        assert!(!admitted("127.0.0.5", "127.0.0.6"));
        assert!(admitted("fd00::/8", "fd00::1"));
        assert!(!admitted("fd00::/8", "fc00::1"));
        for bad in ["localhost", "10.0.0.0/33", "1.2.3", "10.0.0.0/8;::1"] {
            assert!(read_ranges(bad).is_err(), "{bad}");
        }
    }
}

//! Which addresses a name may lead to: public ones, and those of networks that are configured.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use ipnet::IpNet;

/// The addresses that may be connected to.
#[derive(Debug, Clone)]
pub(in crate::egress) struct Networks {
    special: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

impl Networks {
    /// Public addresses, and those of some networks.
    pub(in crate::egress) fn new(allowed: Vec<IpNet>) -> Self {
        let special = SPECIAL.iter().filter_map(|text| text.parse().ok()).collect();
        Self { special, allowed }
    }

    /// Whether an address may be connected to.
    pub(in crate::egress) fn allow(&self, address: IpAddr) -> bool {
        let address = plain(address);
        let within = |networks: &[IpNet]| networks.iter().any(|one| one.contains(&address));
        within(&self.allowed) || !within(&self.special)
    }
}

/// The IPv4 address inside an IPv6 one that only wraps it: mapped (RFC 4291) or of a NAT64 (RFC 6052).
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(wrapped) => match wrapped.segments() {
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// What the name `localhost` may be, where it was configured by that name.
pub(in crate::egress) fn loopback() -> [IpNet; 2] {
    [IpAddr::V4(Ipv4Addr::LOCALHOST).into(), IpAddr::V6(Ipv6Addr::LOCALHOST).into()]
}

/// Addresses that are not of the public internet (the registries of RFC 6890), services that a cloud offers its own
/// machines among them; and wrappings of IPv4 addresses that nobody needs.
const SPECIAL: [&str; 25] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/8",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_allowed_and_those_that_are_configured() {
        let nothing = Networks::new(Vec::new());
        let office = Networks::new(vec!["10.20.0.0/16".parse().unwrap()]);
        assert_eq!(nothing.special.len(), SPECIAL.len());
        for (address, public, configured) in [
            ("93.184.216.34", true, true),
            ("2606:2800:220:1::1", true, true),
            ("64:ff9b::5db8:d822", true, true),
            ("10.20.1.2", false, true),
            ("::ffff:10.20.1.2", false, true),
            ("10.21.1.2", false, false),
            ("127.0.0.1", false, false),
            ("::1", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("64:ff9b::7f00:1", false, false),
            ("169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("255.255.255.255", false, false),
            ("224.0.0.1", false, false),
            ("2002:7f00:1::1", false, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(nothing.allow(address), public, "{address}");
            assert_eq!(office.allow(address), configured, "{address}");
        }
    }
}

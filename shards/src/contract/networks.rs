//! Addresses as limits and rules see them: lists of networks, and whom to take for one and the same.

use std::net::{IpAddr, Ipv6Addr};

pub use ipnet::IpNet;

/// Some networks; none contain nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Of nobody.
    pub const NONE: Networks = Networks(Vec::new());

    /// These.
    pub fn new(networks: Vec<IpNet>) -> Networks {
        Networks(networks)
    }

    /// Whether an address is in one of them. An IPv4 address inside IPv6 (`::ffff:a.b.c.d`) is one of IPv4.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }
}

/// Who counts as one and the same address: with IPv6 a /64, for whoever has one address has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbourhood(IpAddr);

impl Neighbourhood {
    /// That of an address.
    pub fn of(address: IpAddr) -> Neighbourhood {
        Neighbourhood(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(network).into()
            }
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_its_networks_however_it_is_written() {
        let networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"];
        let networks = Networks::new(networks.map(|text| text.parse().unwrap()).into());
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:1::1"] {
            assert!(networks.contain(address(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::1"] {
            assert!(!networks.contain(address(outside)), "{outside}");
        }
        assert!(!Networks::default().contain(address("10.0.0.1")));
    }

    #[test]
    fn neighbours_are_one_host_or_one_64() {
        let same = |a, b| Neighbourhood::of(address(a)) == Neighbourhood::of(address(b));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }
}

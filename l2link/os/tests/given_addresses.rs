//! Addresses with the mark of a control, beside those of the relay.

mod lab;

use l2link_os::{Dad, InterfaceAddress, NetNs, Netlink};
use lab::{cable, ip, namespace, write_sysctl};

#[test]
fn given_addresses_are_told_from_the_relays_own() {
    let Some((netns, mut netlink)) = relay() else { return };
    let own = [address(&mut netlink, "192.0.2.1", 24), address(&mut netlink, "2001:db8::1", 64)];
    let given = [address(&mut netlink, "198.51.100.1", 24), address(&mut netlink, "2001:db8:1::1", 64)];
    for own in own {
        netlink.add_address(own, Dad::Off).unwrap();
    }
    for given in given {
        netlink.add_given_address(given).unwrap();
        netlink.add_given_address(given).unwrap();
    }
    let ifindex = given[0].ifindex;
    assert_eq!(sorted(netlink.given_addresses(Some(ifindex)).unwrap()), given);
    assert_eq!(sorted(netlink.given_addresses(None).unwrap()), given);
    let lo = netlink.link_by_name("lo").unwrap().unwrap().ifindex;
    assert!(netlink.given_addresses(Some(lo)).unwrap().is_empty());
    assert!(ip(&netns, "addr show dev eth0").contains("inet 198.51.100.1/24 brd 198.51.100.255"));

    for own in own {
        let error = netlink.add_given_address(own).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        netlink.delete_given_address(own).unwrap();
    }
    for given in given {
        netlink.delete_given_address(given).unwrap();
        netlink.delete_given_address(given).unwrap();
    }
    assert!(netlink.given_addresses(None).unwrap().is_empty());
    let left = netlink.addresses(Some(ifindex)).unwrap();
    assert!(own.iter().all(|own| left.contains(own)), "{left:?}");
}

/// What Linux does, and what keeps it from that.
#[test]
fn the_relays_own_address_goes_with_a_given_one_unless_it_is_promoted() {
    for (promote, stays) in [("0", false), ("1", true)] {
        let Some((netns, mut netlink)) = relay() else { return };
        write_sysctl(&netns, "net/ipv4/conf/eth0/promote_secondaries", promote);
        let given = address(&mut netlink, "192.0.2.5", 24);
        let own = address(&mut netlink, "192.0.2.6", 24);
        netlink.add_given_address(given).unwrap();
        netlink.add_address(own, Dad::Off).unwrap();
        netlink.delete_given_address(given).unwrap();
        assert_eq!(netlink.addresses(Some(own.ifindex)).unwrap().contains(&own), stays, "{promote}");
    }
}

fn relay() -> Option<(NetNs, Netlink)> {
    let (netns, other) = (namespace()?, namespace()?);
    cable(&netns, "eth0", &other, "eth0");
    let netlink = Netlink::open(&netns).unwrap();
    Some((netns, netlink))
}

fn address(netlink: &mut Netlink, address: &str, prefix: u8) -> InterfaceAddress {
    let ifindex = netlink.link_by_name("eth0").unwrap().unwrap().ifindex;
    InterfaceAddress { ifindex, address: address.parse().unwrap(), prefix }
}

fn sorted(mut addresses: Vec<InterfaceAddress>) -> Vec<InterfaceAddress> {
    addresses.sort();
    addresses
}

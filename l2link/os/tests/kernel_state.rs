//! Interfaces, addresses, routes, settings and namespaces, against what other programs see.

mod lab;

use frames::Mac;
use l2link_os::{Dad, IfIndex, InterfaceAddress, Monitor, NetNs, Netlink, SetupError, Sysctls};
use lab::{cable, eventually, ip, namespace, read, shell};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn links_are_shown_as_they_are() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "eth0", &b, "eth0");
    ip(&a, "link add br0 type bridge");
    ip(&a, "link set eth0 address 02:00:00:00:00:aa mtu 1400 master br0");
    ip(&a, "link add mv0 link br0 type macvlan");
    let mut netlink = Netlink::open(&a).unwrap();
    let links = netlink.links().unwrap();
    let find = |name: &str| links.iter().find(|link| link.name == name).unwrap();

    let (lo, eth0, br0) = (find("lo"), find("eth0"), find("br0"));
    assert!(lo.loopback && !lo.ethernet && lo.up && lo.ifindex == IfIndex(1));
    assert_eq!((eth0.mac, eth0.mtu), (Some(Mac([2, 0, 0, 0, 0, 0xaa])), 1400));
    assert!(eth0.ethernet && eth0.up && eth0.carrier && eth0.bridge_port);
    assert_eq!((eth0.master, eth0.kind.as_deref(), eth0.speed), (Some(br0.ifindex), Some("veth"), 10_000));
    assert!(!br0.up && !br0.carrier && !br0.bridge_port && br0.master.is_none());
    assert_eq!((find("mv0").link, br0.link), (Some(br0.ifindex), None));
    assert_eq!(eth0.link, None, "the cable's other end has an index of another namespace");
    assert_eq!(netlink.link_by_name("eth0").unwrap().as_ref(), Some(eth0));
    assert_eq!(netlink.link_by_index(eth0.ifindex).unwrap().as_ref(), Some(eth0));
    assert_eq!(netlink.link_by_index(IfIndex(77)).unwrap(), None);
    assert_eq!(netlink.link_by_name("eth7").unwrap(), None);
    assert_eq!(netlink.link_by_name("").unwrap(), None);

    ip(&b, "link set eth0 down");
    let eth0 = netlink.link_by_name("eth0").unwrap().unwrap();
    assert!(eth0.up && !eth0.carrier);
}

#[test]
fn a_link_local_address_of_the_kernels_own_making_goes_and_a_programs_stays() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "eth0", &b, "eth0");
    ip(&a, "addr add fe80::9/64 dev eth0");
    let mut netlink = Netlink::open(&a).unwrap();
    let ifindex = netlink.link_by_name("eth0").unwrap().unwrap().ifindex;
    assert_eq!(netlink.addresses(Some(ifindex)).unwrap().len(), 2);
    netlink.set_addr_gen_none(ifindex).unwrap();
    let address = "fe80::9".parse().unwrap();
    let left = netlink.addresses(Some(ifindex)).unwrap();
    assert_eq!(left, [InterfaceAddress { ifindex, address, prefix: 64 }]);
}

#[test]
fn an_interface_is_set_up_as_a_symbol_needs_it() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    cable(&a, "eth0", &b, "eth0");
    let mut netlink = Netlink::open(&a).unwrap();
    let ifindex = netlink.link_by_name("eth0").unwrap().unwrap().ifindex;
    netlink.set_up(ifindex, false).unwrap();
    netlink.set_addr_gen_none(ifindex).unwrap();
    netlink.set_mac(ifindex, Mac([2, 0, 0, 0, 0, 7])).unwrap();
    netlink.set_mtu(ifindex, 1300).unwrap();
    netlink.set_up(ifindex, true).unwrap();
    assert!(netlink.addresses(Some(ifindex)).unwrap().is_empty(), "no link-local address");

    let address = |text: &str, prefix| InterfaceAddress { ifindex, address: text.parse().unwrap(), prefix };
    let addresses = [
        address("192.0.2.1", 24),
        address("198.51.100.1", 32),
        address("2001:db8::1", 64),
        address("fe80::7", 64),
    ];
    for added in addresses {
        netlink.add_address(added, Dad::Off).unwrap();
        netlink.add_address(added, Dad::Off).unwrap();
    }
    let shown = ip(&a, "addr show dev eth0");
    for expected in [
        "link/ether 02:00:00:00:00:07",
        "mtu 1300",
        "inet 192.0.2.1/24 brd 192.0.2.255",
        "inet 198.51.100.1/32 scope",
        "inet6 2001:db8::1/64 scope global nodad",
        "inet6 fe80::7/64 scope link nodad",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let mut found = netlink.addresses(Some(ifindex)).unwrap();
    found.sort();
    let mut expected = addresses.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert!(netlink.addresses(None).unwrap().len() > expected.len(), "the loopback's too");

    for gateway in ["192.0.2.254", "2001:db8::fe"] {
        let gateway: IpAddr = gateway.parse().unwrap();
        netlink.add_default_route(ifindex, gateway).unwrap();
        netlink.add_default_route(ifindex, gateway).unwrap();
    }
    assert!(ip(&a, "route").contains("default via 192.0.2.254 dev eth0"));
    assert!(ip(&a, "-6 route").contains("default via 2001:db8::fe dev eth0"));
    assert!(netlink.add_default_route(ifindex, "203.0.113.1".parse().unwrap()).is_err());

    for removed in addresses {
        netlink.delete_address(removed).unwrap();
        netlink.delete_address(removed).unwrap();
    }
    assert!(netlink.addresses(Some(ifindex)).unwrap().is_empty());
    let gone = netlink.set_up(IfIndex(9_999), true).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
}

#[test]
fn the_monitor_rings_for_interfaces_and_addresses() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    let mut monitor = Monitor::open(&a).unwrap();
    assert!(!monitor.drain().unwrap());
    let mut rings = |netns: &NetNs, change: &str| {
        ip(netns, change);
        eventually(change, || monitor.drain().unwrap().then_some(()));
        lab::settle();
        monitor.drain().unwrap();
        assert!(!monitor.drain().unwrap());
    };
    rings(&a, "link add eth0 type veth peer name eth1");
    rings(&a, "link set eth0 up");
    rings(&a, "addr add 192.0.2.1/24 dev eth0");
    rings(&a, "addr add 2001:db8::1/64 dev eth0 nodad");
    rings(&a, "link set eth0 mtu 1400");
    rings(&a, "link del eth0");
    // What happens elsewhere is not heard.
    ip(&b, "link set lo down");
    lab::settle();
    assert!(!monitor.drain().unwrap());
}

#[test]
fn a_flood_of_notifications_is_a_change_and_no_error() {
    let Some(a) = namespace() else { return };
    ip(&a, "link add eth0 type veth peer name eth1");
    let mut monitor = Monitor::open(&a).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..20_000)
        .map(|turn| format!("link set eth0 {}\n", if turn % 2 == 0 { "mtu 1400" } else { "mtu 1401" }))
        .collect();
    std::fs::write(file.path(), lines).unwrap();
    ip(&a, &format!("-batch {}", file.path().display()));
    assert!(monitor.drain().unwrap());
    assert!(!monitor.drain().unwrap());
    ip(&a, "link set eth0 mtu 1500");
    assert!(monitor.drain().unwrap());
}

#[test]
fn settings_are_changed_in_their_namespace_and_put_back() {
    let (Some(a), Some(b)) = (namespace(), namespace()) else { return };
    ip(&a, "link add eth0.7 type veth peer name eth1");
    let path = "net/ipv4/conf/eth0.7/arp_ignore";
    let value = |netns: &NetNs, path: &str| read(netns, &format!("/proc/sys/{path}")).trim().to_owned();
    let mut sysctls = Sysctls::default();
    sysctls.set(&a, path, "1").unwrap();
    sysctls.set(&a, path, "2").unwrap();
    sysctls.set(&a, "net/ipv4/ip_forward", "1").unwrap();
    assert_eq!((value(&a, path), value(&a, "net/ipv4/ip_forward")), ("2".to_owned(), "1".to_owned()));
    assert_eq!(value(&b, "net/ipv4/ip_forward"), "0");
    let error = sysctls.set(&b, path, "1").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    drop(sysctls);
    assert_eq!((value(&a, path), value(&a, "net/ipv4/ip_forward")), ("0".to_owned(), "0".to_owned()));

    let mut sysctls = Sysctls::default();
    sysctls.set(&a, path, "1").unwrap();
    sysctls.forget();
    drop(sysctls);
    assert_eq!(value(&a, path), "1");
}

#[test]
fn a_thread_comes_home_from_a_namespace_also_after_a_panic() {
    let Some(a) = namespace() else { return };
    let home = NetNs::current().unwrap();
    assert_ne!(home.inode(), a.inode());
    let there = a.run(|| NetNs::current().unwrap().inode()).unwrap();
    assert_eq!(there, a.inode());
    assert_eq!(NetNs::current().unwrap().inode(), home.inode());
    let result = std::panic::catch_unwind(|| a.run(|| panic!("on purpose")));
    assert!(result.is_err());
    assert_eq!(NetNs::current().unwrap().inode(), home.inode());
    assert_eq!(home.run(|| 7).unwrap(), 7);
}

#[test]
fn named_namespaces_are_found_missed_and_told_from_their_successors() {
    if namespace().is_none() {
        return;
    }
    let name = Named::new();
    let absent = NetNs::named(&name.0).unwrap_err();
    assert!(matches!(&absent, SetupError::NoNetNs { name: missing } if *missing == name.0), "{absent}");
    name.add();
    let first = NetNs::named(&name.0).unwrap();
    assert_eq!(first.name(), Some(name.0.as_str()));
    assert_eq!(NetNs::named(&name.0).unwrap().inode(), first.inode());
    assert!(shell(&first, "ip link").contains("lo:"));
    name.delete();
    assert!(NetNs::named(&name.0).is_err());
    name.add();
    assert_ne!(NetNs::named(&name.0).unwrap().inode(), first.inode());
    name.delete();

    std::fs::write(name.path(), "").unwrap();
    let error = NetNs::named(&name.0).unwrap_err();
    assert!(matches!(error, SetupError::NotANetNs { .. }), "{error}");
    for name in ["", "..", "a/b", "../netns/x"] {
        assert!(matches!(NetNs::named(name), Err(SetupError::NoNetNs { .. })), "{name}");
    }
}

/// A name below `/run/netns` that is free again at the end.
struct Named(String);

impl Named {
    fn new() -> Self {
        Self(format!("l2link-test-{}", std::process::id()))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }

    fn add(&self) {
        assert!(Command::new("ip").args(["netns", "add", &self.0]).status().unwrap().success());
    }

    fn delete(&self) {
        assert!(Command::new("ip").args(["netns", "del", &self.0]).status().unwrap().success());
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.path().exists() {
            let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
            let _ = std::fs::remove_file(self.path());
        }
    }
}

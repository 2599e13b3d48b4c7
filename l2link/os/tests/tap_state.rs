//! What a symbol's device shows and accepts, against what other programs see.

mod lab;

use frames::Mac;
use l2link_os::{Netlink, Tap};
use lab::{ip, namespace, shell};

#[test]
fn a_lost_carrier_is_told_at_once_when_it_is_settled() {
    let Some(netns) = namespace() else { return };
    let tap = Tap::create(&netns, "tap0", None).unwrap();
    ip(&netns, "link set tap0 up");
    let mut netlink = Netlink::open(&netns).unwrap();
    let ifindex = netlink.link_by_name("tap0").unwrap().unwrap().ifindex;
    // More often than the kernel deals with such changes by itself. A list, unlike a question for one interface, shows
    // what the kernel has dealt with.
    for _ in 0..5 {
        for (carrier, state) in [(true, "UNKNOWN|UP"), (false, "DOWN")] {
            tap.set_carrier(carrier).unwrap();
            netlink.settle_carrier(ifindex).unwrap();
            let shown = shell(&netns, "ip -o link | grep tap0");
            assert!(state.split('|').any(|state| shown.contains(&format!("state {state} "))), "{shown}");
        }
    }
}

#[test]
fn extra_macs_are_those_of_this_interface_alone() {
    let Some(netns) = namespace() else { return };
    let _taps = ["tap0", "tap1"].map(|name| {
        let tap = Tap::create(&netns, name, None).unwrap();
        ip(&netns, &format!("link set {name} up"));
        tap
    });
    let mut netlink = Netlink::open(&netns).unwrap();
    let mut macs = |name: &str| {
        let ifindex = netlink.link_by_name(name).unwrap().unwrap().ifindex;
        netlink.extra_macs(ifindex).unwrap()
    };
    assert_eq!(macs("tap0"), [], "neither its own nor groups");
    ip(&netns, "link add vrrp.51 link tap0 address 00:00:5e:00:01:33 type macvlan mode private");
    ip(&netns, "link set vrrp.51 up");
    assert_eq!(macs("tap0"), [Mac([0, 0, 0x5e, 0, 1, 0x33])]);
    assert_eq!(macs("tap1"), []);
    ip(&netns, "link del vrrp.51");
    assert_eq!(macs("tap0"), []);
}

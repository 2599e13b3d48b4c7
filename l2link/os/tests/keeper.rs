//! A TAP device that outlives who made it, as the keeper has it.

mod lab;

use l2link_os::{Netlink, Tap};
use lab::{ip, namespace, shell};
use std::os::fd::AsFd;

#[test]
fn a_device_that_another_holds_is_taken_over_with_carrier_and_routes() {
    let (Some(netns), Some(other)) = (namespace(), namespace()) else { return };
    let tap = Tap::create(&netns, "sym0", None).unwrap();
    ip(&netns, "addr add 192.0.2.1/24 dev sym0");
    ip(&netns, "link set sym0 up");
    tap.set_carrier(true).unwrap();
    ip(&netns, "route add 198.51.100.0/24 via 192.0.2.2");
    let duplicate = || tap.as_fd().try_clone_to_owned().unwrap();
    let (held, wrong_name, wrong_netns) = (duplicate(), duplicate(), duplicate());
    drop(tap);

    assert!(ip(&netns, "link show sym0").contains("LOWER_UP"), "it is there, with carrier");
    for refused in [Tap::adopt(wrong_name, &netns, "sym1"), Tap::adopt(wrong_netns, &other, "sym0")] {
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
    let mut tap = Tap::adopt(held, &netns, "sym0").unwrap();
    assert!(ip(&netns, "route show dev sym0").contains("198.51.100.0/24 via 192.0.2.2"));
    assert!(ip(&netns, "link show sym0").contains("LOWER_UP"));

    // Requests for the neighbor's address wait since nobody reads.
    shell(&netns, "ping -c 1 -W 1 192.0.2.2 || true");
    assert!(tap.discard().unwrap() >= 1);
    assert_eq!(tap.discard().unwrap(), 0);
}

#[test]
fn a_device_that_is_held_elsewhere_is_removed_by_its_number() {
    let Some(netns) = namespace() else { return };
    let tap = Tap::create(&netns, "sym0", None).unwrap();
    let held = tap.as_fd().try_clone_to_owned().unwrap();
    let mut netlink = Netlink::open(&netns).unwrap();
    let ifindex = netlink.link_by_name("sym0").unwrap().unwrap().ifindex;
    assert!(tap.stands_as(&netns, "sym0").unwrap());
    netlink.delete_link(ifindex).unwrap();
    netlink.delete_link(ifindex).unwrap();
    assert_eq!(netlink.link_by_name("sym0").unwrap(), None);
    assert!(!tap.stands_as(&netns, "sym0").unwrap());
    assert_eq!(Tap::adopt(held, &netns, "sym0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    // The name is free at once.
    let again = Tap::create(&netns, "sym0", None).unwrap();
    ip(&netns, "link set sym0 name sym1");
    assert!(again.stands_as(&netns, "sym1").unwrap() && !again.stands_as(&netns, "sym0").unwrap());
}

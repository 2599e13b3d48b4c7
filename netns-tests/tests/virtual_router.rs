//! A virtual router (VRRP) of a keepalived on a symbol and one on the port's LAN.
//!
//! ```text
//!  host ── br0 (client, with a keepalived of its own) ── eth1 relay ══ control ── symbol eth1, keepalived
//! ```

use netns_tests::address::*;
use netns_tests::program::{Keepalived, Vrrp};
use netns_tests::{Lab, Layout, Netns, SOON, eventually};
use rstest::rstest;
use std::time::{Duration, Instant};

#[rstest]
#[case::v4(&["192.0.2.100/24"], "192.0.2.100", "00:00:5e:00:01:33")]
#[case::v6(&["fe80::100/64", "2001:db8:1::100/64"], "2001:db8:1::100", "00:00:5e:00:02:33")]
fn a_virtual_router_moves_between_the_control_and_a_neighbor(
    #[case] addresses: &[&str],
    #[case] address: &str,
    #[case] mac: &str,
) {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    let host = lan(&lab);
    lab.start();
    let vrrp = |interface, priority| Vrrp { interface, id: 0x33, priority, addresses };
    let mut inside = Keepalived::start(lab.programs(), lab.folder(), &vrrp("eth1", 200));
    inside.process.await_log("Entering MASTER STATE", SOON);
    let _outside = Keepalived::start(&lab.client, lab.folder(), &vrrp("br0", 100));

    // The master on the control: the virtual address, by the virtual Ethernet address, answered from the symbol.
    await_answer(&host, address);
    let accepted = lab.relay_ns.ok("bridge fdb show dev eth1");
    assert!(accepted.contains(mac), "the port does not accept {mac}: {accepted}");
    assert_eq!(neighbor(&host, address), mac);
    assert!(has_virtual(lab.programs(), address) && !has_virtual(&lab.client, address));
    for _ in 0..5 {
        host.ok(&format!("ping -c 1 -W 1 {address}"));
    }

    // It dies: the neighbor takes over, and nobody has to learn another Ethernet address.
    let died = Instant::now();
    inside.process.kill_9_all();
    lab.programs().ip(&["link del vrrp.51"]);
    await_answer(&host, address);
    print("master killed, the neighbor answers", died);
    assert!(has_virtual(&lab.client, address));
    assert_eq!(neighbor(&host, address), mac);
    eventually(SOON, "the port gives the address up", || {
        let accepted = lab.relay_ns.ok("bridge fdb show dev eth1");
        if accepted.contains(mac) { Err(accepted) } else { Ok(()) }
    });

    // It is back, has the higher priority, and takes it all again; stopped in order, it hands over at once.
    let mut inside = Keepalived::start(lab.programs(), lab.folder(), &vrrp("eth1", 200));
    inside.process.await_log("Entering MASTER STATE", SOON);
    eventually(SOON, "the neighbor yields", || {
        if has_virtual(&lab.client, address) { Err("it does not".into()) } else { Ok(()) }
    });
    await_answer(&host, address);
    assert_eq!(neighbor(&host, address), mac);
    let stopped = Instant::now();
    let _ = inside.process.terminate(SOON);
    eventually(SOON, "the neighbor takes over", || {
        if has_virtual(&lab.client, address) { Ok(()) } else { Err("it does not".into()) }
    });
    await_answer(&host, address);
    print("master stopped, the neighbor answers", stopped);
}

/// Makes the client a bridge between the port and a host.
fn lan(lab: &Lab) -> Netns {
    let host = lab.netns("host");
    // The bridge must neither answer for the address that stands on its macvlan, nor ask in its name. Of a symbol the
    // control sees to this.
    lab.client.sysctl("net.ipv4.conf.all.arp_ignore=1");
    lab.client.sysctl("net.ipv4.conf.all.arp_announce=2");
    lab.client.ip(&[
        "link add br0 type bridge",
        "link set br0 up",
        "addr flush dev eth0",
        "link set eth0 master br0",
        &format!("addr add {CLIENT_V4}/24 dev br0"),
        &format!("addr add {CLIENT_V6}/64 dev br0 nodad"),
        &format!("link add host type veth peer name eth0 netns {}", host.name()),
        "link set host master br0 up",
    ]);
    host.ip(&[
        "link set eth0 up",
        "addr add 192.0.2.3/24 dev eth0",
        "addr add 2001:db8:1::3/64 dev eth0 nodad",
    ]);
    host
}

#[track_caller]
fn await_answer(host: &Netns, address: &str) {
    eventually(SOON, &format!("{address} answers"), || {
        host.run(&format!("ping -c 1 -W 0.2 {address}")).into_result()
    });
}

/// The Ethernet address that a host has learned.
fn neighbor(host: &Netns, address: &str) -> String {
    let shown = host.ip_json(&format!("neigh show {address} dev eth0"));
    shown[0]["lladdr"].as_str().unwrap_or_default().to_owned()
}

fn has_virtual(netns: &Netns, address: &str) -> bool {
    netns.ok("ip -o addr show").contains(&format!("{address}/"))
}

#[expect(clippy::print_stdout, reason = "measured, not asserted")]
fn print(what: &str, since: Instant) {
    let took: Duration = since.elapsed();
    println!("{what}: after {} ms", took.as_millis());
}

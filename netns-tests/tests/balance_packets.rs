//! Datagram flows, fragments and ICMP errors find the server that owns the flow.

use netns_tests::address::*;
use netns_tests::program::{UdpFlows, named_server, spread};
use netns_tests::{Farm, Plan, Process, SOON, eventually, expect_shares, name_of};
use rstest::rstest;

fn udp_servers(farm: &Farm, servers: &[usize]) -> Vec<Process> {
    let processes =
        servers.iter().map(|server| named_server(farm.programs(*server), 7000, &name_of(*server))).collect();
    farm.await_servers("udp", 7000, servers, "active");
    processes
}

#[rstest]
#[case::v4(PORT_V4)]
#[case::v6(PORT_V6)]
fn long_datagram_flows_stay_where_they_are_when_a_server_joins_and_another_leaves(#[case] address: &str) {
    let Some(farm) = Farm::up() else { return };
    let mut servers = udp_servers(&farm, &[0, 1]);
    let flows = UdpFlows::start(&farm.lab.client, address, 7000, 60);
    let before = flows.servers();
    assert!(before.contains(&name_of(0)) && before.contains(&name_of(1)), "{before:?}");

    servers.extend(udp_servers(&farm, &[2]));
    assert_eq!(flows.servers(), before, "a server joined");
    expect_shares(&spread(&farm.lab.client, &format!("udp {address} 7000 300")), &[1, 1, 1]);
    assert_eq!(flows.servers(), before, "the new server got others");

    // Only the flows of the one that leaves move.
    drop(servers.remove(0));
    farm.await_exactly("udp", 7000, &[1, 2], "active");
    let after = flows.servers();
    for (before, after) in before.iter().zip(&after) {
        let moved = *before == name_of(0);
        assert!(if moved { *after != name_of(0) } else { after == before }, "{before} became {after}");
    }
}

#[rstest]
#[case::v4(PORT_V4)]
#[case::v6(PORT_V6)]
fn fragments_of_a_datagram_reach_one_server(#[case] address: &str) {
    let Some(farm) = Farm::up() else { return };
    let _servers = udp_servers(&farm, &[0, 1, 2]);
    let counts = spread(&farm.lab.client, &format!("udp {address} 7000 90 4000"));
    expect_shares(&counts, &[1, 1, 1]);
}

#[rstest]
#[case::v4(PORT_V4)]
#[case::v6(PORT_V6)]
fn a_narrow_path_is_discovered_by_the_server_that_owns_the_flow(#[case] address: &str) {
    let Some(farm) = Farm::with(Plan { far: true, ..Plan::default() }, |_, _| {}) else { return };
    let far = farm.lab.far.as_ref().expect("a far host");
    farm.lab.client.ip(&["link set eth1 mtu 1300"]);
    far.ip(&["link set eth0 mtu 1300"]);
    let nginx = farm.nginx_everywhere();
    let url = if address.contains(':') {
        format!("http://[{address}]/large")
    } else {
        format!("http://{address}/large")
    };
    // The far host tells of segments as long as its own link carries: without that the servers would not need the error.
    let mss = "route change default advmss 1460 via";
    far.ip(&[&format!("{mss} 198.51.100.1"), &format!("{mss} 2001:db8:2::1")]);
    let client = if address.contains(':') { FAR_V6 } else { FAR_V4 };
    // Which server has a flow is a matter of its port: as many as it takes for each to have one.
    eventually(5 * SOON, "every server has served the far host", || {
        // Of a megabyte; the server that misses the error sends nothing but packets that are too long.
        let line = format!("curl -sSf --max-time 5 -r 0-999999 -o /dev/null -w %{{size_download}} {url}");
        assert_eq!(far.ok(&line), "1000000");
        let idle = nginx.iter().filter(|nginx| !nginx.has_logged(client)).count();
        if idle == 0 { Ok(()) } else { Err(format!("{idle} have not")) }
    });
    let learned = (0..3).filter(|server| {
        let family = if address.contains(':') { "-6" } else { "-4" };
        // The port's address has a way back of its own.
        let port = if address.contains(':') { PORT_V6 } else { PORT_V4 };
        let line = format!("ip {family} route get {client} from {port}");
        farm.programs(*server).ok(&line).contains("mtu 1300")
    });
    assert_eq!(learned.collect::<Vec<_>>(), [0, 1, 2], "every server has learned the path's MTU");
}

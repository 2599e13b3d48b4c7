//! What a symbol sends by the relay's routes leaves whole where nothing looks at it, and packet by packet where something does.

use netns_tests::address::*;
use netns_tests::program::Nginx;
use netns_tests::{Download, Lab, Layout, Netns, SOON, eventually};
use rstest::rstest;
use serde_json::Value;
use std::time::Duration;

/// A lab with nginx behind both address symbols.
fn serving(layout: Layout) -> Option<(Lab, Nginx)> {
    let lab = Lab::up_with_addresses(layout)?;
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80", "[::]:80"]);
    lab.relay.await_rules(&["eth1 tcp 192.0.2.10:80 active", "eth1 tcp 2001:db8:1::10:80 active"]);
    Some((lab, nginx))
}

fn download(client: &Netns, address: &str) -> Download {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let mut curl = client.command("curl");
    Download::checked(curl.args(["-sSf", &format!("http://{host}/large")]), |_, bytes| {
        bytes.iter().all(|byte| *byte == 0)
    })
}

/// Of how many bytes the packets were on average that the relay's kernel had by raw sockets, while `download` went on for this many
/// bytes: of few or none if they left by the port.
#[track_caller]
fn bytes_per_packet(lab: &Lab, download: &Download, bytes: u64) -> u64 {
    let (sent, begin) = (sent(&lab.relay_ns), download.bytes());
    eventually(SOON, "the download goes on", || match download.bytes() - begin {
        enough if enough > bytes => Ok(()),
        few => Err(format!("{few} bytes")),
    });
    (download.bytes() - begin) / (self::sent(&lab.relay_ns) - sent).max(1)
}

/// IP packets of the machine's own that its kernel has sent.
fn sent(netns: &Netns) -> u64 {
    let text = netns.ok("nstat -asjz IpOutTransmits Ip6OutTransmits");
    let counters: Value = serde_json::from_str(&text).expect("JSON from nstat");
    ["IpOutTransmits", "Ip6OutTransmits"]
        .into_iter()
        .map(|name| counters["kernel"][name].as_u64().expect("a counter of Linux 6.6"))
        .sum()
}

#[rstest]
#[case::v4(VIRTUAL_V4, "ip")]
#[case::v6(VIRTUAL_V6, "ip6")]
fn answers_leave_whole_until_a_firewall_looks_at_them(#[case] address: &str, #[case] family: &str) {
    let Some((lab, _nginx)) = serving(Layout::default()) else { return };
    // Checksums are computed, and looked at by who receives the packets.
    lab.relay_ns.ok("ethtool -K eth1 tx off");
    let download = download(&lab.client, address);
    download.await_begin();
    lab.relay.await_log("as they are: no firewall");
    let whole = bytes_per_packet(&lab, &download, 50_000_000);
    assert!(whole > 5_000, "{whole} bytes for each packet of the kernel");

    lab.relay_ns.ok(&format!(
        "nft add table {family} out; add chain {family} out out {{ type filter hook output priority 0 ; }}"
    ));
    lab.relay.await_log("leave packet by packet, as a firewall");
    let cut = bytes_per_packet(&lab, &download, 50_000_000);
    assert!(cut < 2000, "{cut} bytes for each packet of the kernel");
    assert!(download.stop().intact);
}

/// The chain drops everything: nothing is sent past it for longer than it takes to be seen.
#[test]
fn a_firewall_that_comes_later_is_heeded() {
    let Some((lab, _nginx)) = serving(Layout::default()) else { return };
    let download = download(&lab.client, VIRTUAL_V4);
    download.await_begin();
    lab.relay.await_log("as they are: no firewall");
    lab.relay_ns.ok(
        "nft add table inet out; add chain inet out out { type filter hook output priority 0 ; policy drop ; }",
    );
    eventually(SOON, "the download stands still", || {
        let before = download.bytes();
        std::thread::sleep(Duration::from_millis(300));
        match download.bytes() - before {
            0 => Ok(()),
            more => Err(format!("{more} bytes more")),
        }
    });
    lab.relay_ns.ok("nft delete table inet out");
    let before = download.bytes();
    eventually(Duration::from_secs(20), "the download goes on", || {
        if download.bytes() > before { Ok(()) } else { Err("it stands still".into()) }
    });
    let _ = download.stop();
}

/// Behind a router, whose Ethernet address they have; and when another router takes over, they have that of the other.
#[test]
fn the_next_hop_is_that_of_the_relays_route() {
    let Some((lab, _nginx)) = serving(Layout { far: true, ..Layout::default() }) else { return };
    let far = lab.far.as_ref().expect("a host behind the client");
    lab.relay_ns.ip(&[&format!("route add 198.51.100.0/24 via {CLIENT_V4}")]);
    let download = download(far, VIRTUAL_V4);
    download.await_begin();
    lab.relay.await_log("as they are: no firewall");
    let whole = bytes_per_packet(&lab, &download, 50_000_000);
    assert!(whole > 5_000, "{whole} bytes for each packet of the kernel");

    // The client has a second Ethernet address, which is the router's from now on.
    let second = "02:00:00:00:77:77";
    lab.client.ip(&[
        "link add link eth0 name second type macvlan",
        &format!("link set second address {second} up"),
    ]);
    lab.client.sysctl("net.ipv4.conf.all.rp_filter=0");
    lab.client.sysctl("net.ipv4.conf.second.rp_filter=0");
    lab.relay_ns.ip(&[&format!("neigh replace {CLIENT_V4} lladdr {second} nud permanent dev eth1")]);
    let by_second =
        || lab.client.ip_json("-s link show second")[0]["stats64"]["rx"]["bytes"].as_u64().unwrap();
    let before = by_second();
    eventually(SOON, "the download goes on by the other address", || match by_second() - before {
        enough if enough > 50_000_000 => Ok(()),
        few => Err(format!("{few} bytes")),
    });
    assert!(download.stop().intact);
}

//! Three relays and three controls on one segment: every control has a symbol of every relay's port, every port serves all
//! controls at the same time.
//!
//! ```text
//!                  ┌─ eth1 relay1 ─┐           ┌─ control1: ospfd
//!  client: FRR ────┼─ eth1 relay2 ─┼─ segment ─┼─ control2: bgpd
//!                  └─ eth1 relay3 ─┘           └─ control3: nginx
//! ```

use netns_tests::address::*;
use netns_tests::program::{Frr, Nginx, spread};
use netns_tests::{
    Download, Farm, Plan, client_end, eventually, expect_shares, name_of, relay_name, symbol_name,
};
use serde_json::{Value, json};
use std::time::Duration;

const GRID: Plan = Plan { controls: 3, far: false, relays: 3 };
const RELAYS: [usize; 3] = [0, 1, 2];

/// Adjacencies and sessions with timers of a second or so.
const LEARNT: Duration = Duration::from_secs(40);

/// Networks of the control's OSPF and BGP, and those of the client's.
const INSIDE: [&str; 3] = ["172.30.0.0/16", "172.31.0.0/16", "2001:db8:31::/48"];
const OUTSIDE: [&str; 3] = ["172.28.0.0/16", "172.29.0.0/16", "2001:db8:29::/48"];

/// The kernel takes a nexthop out of a group when its link is lost; zebra of FRR 8.4 believes it is still in.
const NO_GROUPS: &str = "no zebra nexthop kernel enable\n";

fn ospf(interfaces: &[String], id: &str, network: &str) -> String {
    let timers = |interface: &String| {
        format!(
            "interface {interface}\n ip ospf area 0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n"
        )
    };
    NO_GROUPS.to_owned()
        + &interfaces.iter().map(timers).collect::<String>()
        + &format!("ip route {network} blackhole\nrouter ospf\n ospf router-id {id}\n redistribute static\n")
}

fn bgp(number: u16, peer: u16, neighbors: [[&str; 3]; 2], id: &str, networks: [&str; 2]) -> String {
    let mut text = format!(
        "{NO_GROUPS}router bgp {number}\n bgp router-id {id}\n no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n"
    );
    for neighbor in neighbors.as_flattened() {
        text += &format!(
            " neighbor {neighbor} remote-as {peer}\n neighbor {neighbor} timers 1 3\n neighbor {neighbor} timers connect 1\n"
        );
    }
    for (version, (neighbors, network)) in ["ipv4", "ipv6"].iter().zip(neighbors.iter().zip(networks)) {
        let activate: String =
            neighbors.iter().map(|neighbor| format!("  neighbor {neighbor} activate\n")).collect();
        text += &format!(
            " address-family {version} unicast\n  maximum-paths 8\n  network {network}\n{activate} exit-address-family\n"
        );
    }
    text
}

/// Everything that runs in the grid: OSPF on the first control, BGP on the second, nginx on the third, and their neighbour.
struct Programs {
    ospf: Frr,
    bgp: Frr,
    client: Frr,
    _nginx: Nginx,
}

impl Programs {
    fn start(farm: &Farm) -> Self {
        let folder = farm.lab.folder();
        let inside = ospf(&RELAYS.map(symbol_name), "1.1.1.1", INSIDE[0]);
        let outside = ospf(&RELAYS.map(client_end), "9.9.9.9", OUTSIDE[0])
            + &bgp(65009, 65001, [PORTS_V4, PORTS_V6], "9.9.9.9", [OUTSIDE[1], OUTSIDE[2]]);
        Self {
            ospf: Frr::start(farm.programs(0), folder, &["ospfd"], &inside),
            bgp: Frr::start(
                farm.programs(1),
                folder,
                &["bgpd"],
                &bgp(65001, 65009, [CLIENTS_V4, CLIENTS_V6], "2.2.2.2", [INSIDE[1], INSIDE[2]]),
            ),
            client: Frr::start(&farm.lab.client, folder, &["ospfd", "bgpd"], &outside),
            _nginx: farm.nginx(2),
        }
    }

    /// Relays through which the client's OSPF is adjacent.
    fn adjacent(&self) -> Result<Vec<usize>, String> {
        let shown = self.client.vtysh("show ip ospf neighbor").into_result()?;
        let full = |relay: &usize| {
            shown
                .lines()
                .any(|line| line.contains("Full/") && line.contains(&format!("{}:", client_end(*relay))))
        };
        Ok(RELAYS.into_iter().filter(full).collect())
    }

    /// How often the client's sessions of BGP were established by each relay, IPv4 and IPv6; none for those that are not.
    fn sessions(&self) -> Result<Vec<(usize, [u64; 2])>, String> {
        let text = self.client.vtysh("show bgp neighbors json").into_result()?;
        let shown: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let times = |address: &str| {
            let neighbor = &shown[address];
            (neighbor["bgpState"] == "Established").then(|| neighbor["connectionsEstablished"].as_u64())?
        };
        let by = |relay: usize| Some((relay, [times(PORTS_V4[relay])?, times(PORTS_V6[relay])?]));
        Ok(RELAYS.into_iter().filter_map(by).collect())
    }

    /// Waits until OSPF and BGP speak by exactly these relays.
    #[track_caller]
    fn await_speaking(&self, ospf: &[usize], bgp: &[usize]) {
        eventually(LEARNT, &format!("OSPF is adjacent by relays {ospf:?}, BGP by {bgp:?}"), || {
            let (adjacent, sessions) = (self.adjacent()?, self.sessions()?);
            let established: Vec<usize> = sessions.iter().map(|(relay, _)| *relay).collect();
            if adjacent == ospf && established == bgp {
                return Ok(());
            }
            let logs = [&self.client, &self.ospf, &self.bgp].map(Frr::log).concat();
            Err(format!("OSPF {adjacent:?}, BGP {sessions:?}\n{logs}"))
        });
    }
}

/// The web server of the third control answers at these relays' ports, and it alone.
#[track_caller]
fn expect_pages(farm: &Farm, relays: &[usize]) {
    for relay in relays {
        for address in [PORTS_V4[*relay], PORTS_V6[*relay]] {
            let counts = spread(&farm.lab.client, &format!("tcp {address} 80 10"));
            assert_eq!(counts.get(&name_of(2)), Some(&10), "{address}: {counts:?}");
        }
    }
}

/// A download from each relay's port that outlasts the test.
fn downloads(farm: &Farm) -> Vec<Download> {
    let start = |relay: usize| {
        let mut curl = farm.lab.client.command("curl");
        let download = Download::start(curl.args(["-sSf", &format!("http://{}/slow", PORTS_V4[relay])]));
        download.await_begin();
        download
    };
    RELAYS.into_iter().map(start).collect()
}

#[track_caller]
fn await_routes(farm: &Farm) {
    for (netns, prefixes, protocols) in [
        (&farm.lab.client, &INSIDE[..], ["ospf", "bgp", "bgp"]),
        (farm.programs(0), &OUTSIDE[..1], ["ospf"; 3]),
        (farm.programs(1), &OUTSIDE[1..], ["bgp"; 3]),
    ] {
        for (prefix, protocol) in prefixes.iter().zip(protocols) {
            let family = if prefix.contains(':') { "-6" } else { "-4" };
            eventually(LEARNT, &format!("{} has {prefix} by {protocol}", netns.name()), || {
                let shown = netns.run(&format!("ip {family} route show {prefix} proto {protocol}")).stdout();
                // By all three relays.
                if shown.matches("via").count() == 3 { Ok(()) } else { Err(shown) }
            });
        }
    }
}

#[test]
fn ospf_bgp_and_nginx_of_three_controls_serve_at_three_relays() {
    // Each control may have every port, but of its services only its own.
    let allow = |control: &str, service: &str| format!("control = \"{control}\"\nservices = [\"{service}\"]");
    let farm = Farm::with(GRID, |relay, control| {
        // Nobody is to be missed because the machine is busy with other tests.
        relay.link = "keepalive_ms = 400".into();
        control.link = relay.link.clone();
        relay.ports[0].allow =
            vec![allow("control1", "ip/89"), allow("control2", "tcp/179"), allow("control3", "tcp/80")];
    });
    let Some(mut farm) = farm else { return };
    let programs = Programs::start(&farm);
    programs.await_speaking(&RELAYS, &RELAYS);
    await_routes(&farm);
    expect_pages(&farm, &RELAYS);
    for relay in RELAYS {
        for (protocol, port, control) in [
            ("ospf", Value::Null, "control1"),
            ("tcp", json!(179), "control2"),
            ("tcp", json!(80), "control3"),
        ] {
            let rule =
                json!({"protocol": protocol, "port_number": port, "control": control, "state": "active"});
            let _ = farm.relay_ref(relay).await_row("rules", &rule);
        }
    }

    // One that may not is refused at every relay, and takes nothing from the one that may.
    let stranger = farm.claim(0);
    for relay in RELAYS {
        let refused = json!({"relay": relay_name(relay), "port_number": 80, "state": "refused"});
        let _ = farm.control_ref(0).await_row("rules", &refused);
    }
    expect_pages(&farm, &RELAYS);
    drop(stranger);

    // A relay is lost, and what does not go by it notices nothing.
    let mut running = downloads(&farm);
    let before = programs.sessions().unwrap();
    farm.relay(1).kill_9();
    programs.await_speaking(&[0, 2], &[0, 2]);
    expect_pages(&farm, &[0, 2]);
    let unchanged = |before: &[(usize, [u64; 2])], relays: &[usize]| {
        let after = programs.sessions().unwrap();
        for session in before.iter().filter(|(relay, _)| relays.contains(relay)) {
            assert!(after.contains(session), "{session:?} is not in {after:?}");
        }
    };
    unchanged(&before, &[0, 2]);
    farm.relay(1).start();
    programs.await_speaking(&RELAYS, &RELAYS);
    await_routes(&farm);
    expect_pages(&farm, &RELAYS);
    unchanged(&before, &[0, 2]);

    // So with a control.
    let before = programs.sessions().unwrap();
    farm.control(0).kill_9();
    programs.await_speaking(&[], &RELAYS);
    expect_pages(&farm, &RELAYS);
    farm.control(0).start();
    programs.await_speaking(&RELAYS, &RELAYS);
    unchanged(&before, &RELAYS);
    assert!(running.iter_mut().all(Download::is_running));
    for download in running {
        assert!(download.stop().bytes > 0);
    }
}

#[test]
fn three_controls_share_a_service_at_three_relays() {
    let Some(mut farm) = Farm::with(GRID, |_, _| {}) else { return };
    let _nginx = farm.nginx_everywhere();
    for relay in RELAYS {
        for address in [PORTS_V4[relay], PORTS_V6[relay]] {
            let counts = spread(&farm.lab.client, &format!("tcp {address} 80 90"));
            expect_shares(&counts, &[1, 1, 1]);
        }
    }
    farm.control(2).kill_9();
    farm.await_exactly("tcp", 80, &[0, 1], "active");
    for relay in RELAYS {
        let counts = spread(&farm.lab.client, &format!("tcp {} 80 60", PORTS_V4[relay]));
        expect_shares(&counts, &[1, 1, 0]);
    }
    farm.control(2).start();
    farm.await_exactly("tcp", 80, &[0, 1, 2], "active");
    let counts = spread(&farm.lab.client, &format!("tcp {} 80 90", PORTS_V6[2]));
    expect_shares(&counts, &[1, 1, 1]);
}

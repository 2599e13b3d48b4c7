//! Relays of one service behind a router that learns of them by BGP and spreads flows over them (ECMP): a relay is lost, and
//! comes back, under long downloads of several clients from several servers, by IPv4 and by IPv6. Nobody but FRR and BIRD
//! touches a route.
//!
//! ```text
//!  far ── client, the router: BGP, ECMP ─┬─ eth1 relay1: BGP, l2relay ─┬─ segment ─┬─ control1, nginx
//!                                        └─ eth1 relay2: BGP, l2relay ─┘           └─ control2, nginx
//! ```

use netns_tests::address::*;
use netns_tests::program::{Bird, Frr, spread};
use netns_tests::{Downloads, Farm, Plan, SOON, Wanted, eventually, expect_shares};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::fs;
use std::path::Path;

const SERVICE: [&str; 2] = ["198.18.0.80/32", "2001:db8:80::80/128"];
const URLS: [&str; 2] = [SERVICE_V4, "[2001:db8:80::80]"];
/// Clients on the host behind the router.
const CLIENTS: [[&str; 2]; 2] = [[FAR_V4, "198.51.100.3"], [FAR_V6, "2001:db8:2::3"]];

/// A speaker of BGP on a machine.
enum Speaker {
    Frr(Frr),
    Bird(Bird),
}

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Frr,
    Bird,
}

/// How a relay's machine is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// l2relay and all that speaks BGP are killed.
    Killed,
    /// They hang, and the kernel goes on.
    Hung,
    /// Its cables are out.
    Unplugged,
}

impl Speaker {
    fn log(&self) -> String {
        match self {
            Self::Frr(frr) => {
                let shown = ["show bgp summary", "show ip route", "show ipv6 route"];
                shown.map(|command| frr.vtysh(command).stdout()).concat() + &frr.log()
            }
            Self::Bird(bird) => bird.birdc("show protocols all").stdout(),
        }
    }
}

/// A farm of two relays and two servers; BGP and BFD at their ports are the relays' own.
fn farm(relay_services: &str) -> Option<Farm> {
    let plan = Plan { controls: 2, far: true, relays: 2 };
    let farm = Farm::with(plan, |relay, control| {
        relay.ports[0].more = relay_services.into();
        control.more = "carrier_hold_ms = 500".into();
        // Nobody is to be missed because the machine is busy with other tests: that would move the downloads that stay.
        relay.link = PATIENT.into();
        control.link = PATIENT.into();
    })?;
    farm.lab.client.sysctl("net.ipv4.fib_multipath_hash_policy=1");
    farm.lab.client.sysctl("net.ipv6.fib_multipath_hash_policy=1");
    let far = farm.lab.far.as_ref().unwrap();
    far.ip(&[
        &format!("addr add {}/24 dev eth0", CLIENTS[0][1]),
        &format!("addr add {}/64 dev eth0 nodad", CLIENTS[1][1]),
    ]);
    Some(farm)
}

const PATIENT: &str = "keepalive_ms = 800";
const OF_RELAYS: &str = r#"relay_services = ["tcp/179", "udp/3784"]"#;

/// FRR's configuration of one side: its number, its neighbours, and what it announces.
fn frr_config(number: &str, id: &str, peer_number: &str, peers: &[[&str; 2]], announce: bool) -> String {
    let mut text = format!(
        "router bgp {number}\n bgp router-id {id}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n"
    );
    for peer in peers.as_flattened() {
        text += &format!(
            " neighbor {peer} remote-as {peer_number}\n neighbor {peer} timers 2 8\n neighbor {peer} timers connect 1\n neighbor {peer} bfd\n"
        );
    }
    for (family, version) in ["ipv4", "ipv6"].iter().enumerate() {
        text += &format!(" address-family {version} unicast\n  maximum-paths 8\n");
        for peer in peers {
            text += &format!("  neighbor {} activate\n", peer[family]);
        }
        if announce {
            text += &format!("  network {}\n", SERVICE[family]);
        }
        text += " exit-address-family\n";
    }
    let bfd = |peer: &str| format!(" peer {peer}\n  receive-interval 700\n  transmit-interval 700\n");
    text + "bfd\n" + &peers.as_flattened().iter().map(|peer| bfd(peer)).collect::<String>()
}

/// BIRD's.
fn bird_config(number: &str, peer_number: &str, pairs: &[[[&str; 2]; 2]], announce: bool) -> String {
    let mut text = String::from("protocol bfd { interface \"*\" { interval 700 ms; multiplier 3; }; }\n");
    for (family, version) in ["ipv4", "ipv6"].iter().enumerate() {
        if announce {
            text += &format!("protocol static {{ {version}; route {} blackhole; }}\n", SERVICE[family]);
        }
        let export = if announce { "where source = RTS_STATIC" } else { "none" };
        for [own, peer] in pairs {
            text += &format!(
                "protocol bgp {{ local {} as {number}; neighbor {} as {peer_number}; bfd on; hold time 8; keepalive time 2;
                 connect delay time 1; connect retry time 1; error wait time 1, 2; direct;
                 {version} {{ import all; export {export}; }}; }}\n",
                own[family], peer[family]
            );
        }
    }
    text
}

fn router(farm: &Farm, kind: Kind) -> Speaker {
    let (netns, folder) = (&farm.lab.client, farm.lab.folder());
    let own = [[CLIENTS_V4[0], CLIENTS_V6[0]], [CLIENTS_V4[1], CLIENTS_V6[1]]];
    let peers = [[PORTS_V4[0], PORTS_V6[0]], [PORTS_V4[1], PORTS_V6[1]]];
    match kind {
        Kind::Frr => {
            // The kernel takes a nexthop out of a group when its link is lost; zebra of FRR 8.4 believes it is still in.
            let config = "no zebra nexthop kernel enable\n".to_owned()
                + &frr_config("65000", "192.0.2.2", "65001", &peers, false);
            Speaker::Frr(Frr::start(netns, folder, &["bfdd", "bgpd"], &config))
        }
        Kind::Bird => {
            let pairs = [[own[0], peers[0]], [own[1], peers[1]]];
            let config = bird_config("65000", "65001", &pairs, false);
            Speaker::Bird(Bird::start(netns, folder, "192.0.2.2", &config))
        }
    }
}

/// On a relay's machine, beside l2relay.
fn beside(farm: &Farm, relay: usize, kind: Kind) -> Speaker {
    let (netns, folder) = (farm.relay_ns(relay), farm.lab.folder());
    let own = [PORTS_V4[relay], PORTS_V6[relay]];
    let peer = [CLIENTS_V4[relay], CLIENTS_V6[relay]];
    match kind {
        Kind::Frr => {
            let config = frr_config("65001", own[0], "65000", &[peer], true);
            Speaker::Frr(Frr::start(netns, folder, &["bfdd", "bgpd"], &config))
        }
        Kind::Bird => {
            let config = bird_config("65001", "65000", &[[own, peer]], true);
            Speaker::Bird(Bird::start(netns, folder, own[0], &config))
        }
    }
}

/// Waits until the router reaches the service by these relays, IPv4 and IPv6.
#[track_caller]
fn await_relays(farm: &Farm, relays: &[usize], router: &Speaker) {
    for prefix in SERVICE {
        farm.await_relays_to(prefix, relays, || {
            let kernel =
                ["ip route", "ip nexthop", "ip -d link show eth0"].map(|line| farm.lab.client.ok(line));
            kernel.concat() + &router.log()
        });
    }
}

/// Downloads by IPv4 and IPv6, some of each server by each relay.
#[track_caller]
fn downloads(farm: &Farm, seconds: u64) -> [Downloads; 2] {
    let far = farm.lab.far.as_ref().unwrap();
    [0, 1].map(|family| {
        let service = [SERVICE_V4, SERVICE_V6][family];
        let wanted = Wanted { servers: &[0, 1], address: URLS[family], clients: &CLIENTS[family], seconds };
        farm.downloads_by(far, wanted, &[0, 1], |client, port| farm.relay_of(client, port, service, 80))
    })
}

/// New connections are served by both servers, and by nobody else.
#[track_caller]
fn expect_service(farm: &Farm) {
    for service in [SERVICE_V4, SERVICE_V6] {
        let counts = spread(farm.lab.far.as_ref().unwrap(), &format!("tcp {service} 80 60"));
        expect_shares(&counts, &[1, 1]);
    }
}

#[rstest]
#[case::frr_killed(Kind::Frr, Kind::Frr, Loss::Killed)]
#[case::frr_hung(Kind::Frr, Kind::Frr, Loss::Hung)]
#[case::frr_unplugged(Kind::Frr, Kind::Frr, Loss::Unplugged)]
#[case::bird_beside_relays_killed(Kind::Frr, Kind::Bird, Loss::Killed)]
#[case::bird_beside_relays_hung(Kind::Frr, Kind::Bird, Loss::Hung)]
#[case::bird_as_router_unplugged(Kind::Bird, Kind::Frr, Loss::Unplugged)]
fn downloads_go_on_when_a_relay_is_lost_and_when_it_is_back(
    #[case] router_kind: Kind,
    #[case] relay_kind: Kind,
    #[case] loss: Loss,
) {
    let Some(mut farm) = farm(OF_RELAYS) else { return };
    let _nginx = farm.nginx_everywhere();
    let router = router(&farm, router_kind);
    let mut speakers = [0, 1].map(|relay| beside(&farm, relay, relay_kind));
    await_relays(&farm, &[0, 1], &router);
    expect_service(&farm);

    let downloads = downloads(&farm, 25);
    lose(&mut farm, &mut speakers[0], loss);
    await_relays(&farm, &[1], &router);
    expect_service(&farm);

    bring_back(&mut farm, &mut speakers[0], loss, relay_kind);
    await_relays(&farm, &[0, 1], &router);
    expect_service(&farm);
    for downloads in downloads {
        downloads.finish();
    }
}

fn lose(farm: &mut Farm, speaker: &mut Speaker, loss: Loss) {
    match (loss, speaker) {
        (Loss::Killed, Speaker::Frr(frr)) => {
            farm.relay(0).kill_9();
            for daemon in ["bgpd", "bfdd", "staticd", "zebra"] {
                frr.kill_9(daemon);
            }
        }
        (Loss::Killed, Speaker::Bird(bird)) => {
            farm.relay(0).kill_9();
            bird.process.kill_9();
        }
        (Loss::Hung, speaker) => signal(farm, speaker, Signal::SIGSTOP),
        (Loss::Unplugged, _) => unplug(farm),
    }
}

fn bring_back(farm: &mut Farm, speaker: &mut Speaker, loss: Loss, kind: Kind) {
    match loss {
        Loss::Killed => {
            farm.relay(0).start();
            *speaker = beside(farm, 0, kind);
        }
        Loss::Hung => signal(farm, speaker, Signal::SIGCONT),
        Loss::Unplugged => plug_in(farm),
    }
}

fn unplug(farm: &Farm) {
    farm.relay_ns(0).ip(&["link set eth1 down", "link set lan0 down"]);
}

fn plug_in(farm: &Farm) {
    farm.relay_ns(0).ip(&[
        "link set lan0 up",
        "link set eth1 up",
        // The kernel has taken those of IPv6.
        &format!("addr add {PORT_V6}/64 dev eth1 nodad"),
        &format!("addr add {SERVICE_V6}/128 dev eth1 nodad"),
    ]);
}

fn signal(farm: &mut Farm, speaker: &Speaker, signal: Signal) {
    farm.relay(0).process().signal(signal);
    match speaker {
        Speaker::Frr(frr) => {
            for daemon in ["bgpd", "bfdd", "staticd", "zebra"] {
                frr.signal(daemon, signal);
            }
        }
        Speaker::Bird(bird) => bird.process.signal(signal),
    }
}

#[test]
fn the_example_announces_a_relay() {
    let Some(farm) = farm(OF_RELAYS) else { return };
    let router = router(&farm, Kind::Frr);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/balance/frr.conf");
    let example = fs::read_to_string(example).unwrap();
    let frr = Frr::start(farm.relay_ns(0), farm.lab.folder(), &["bfdd", "bgpd"], &example);
    farm.await_relays_to(SERVICE[0], &[0], || router.log() + &frr.log());
    frr.await_text("show bfd peers", "Status: up", SOON);
    farm.relay_ns(0).ip(&[&format!("addr del {SERVICE_V4}/32 dev eth1")]);
    farm.await_relays_to(SERVICE[0], &[], || router.log() + &frr.log());
}

/// The BGP daemon runs where all programs do: on a control, by its symbols of both relays. Each relay is announced by the
/// session that goes through it, with its port as the nexthop, and for as long as it works.
#[rstest]
#[case::frr_killed(Kind::Frr, Loss::Killed)]
#[case::frr_hung(Kind::Frr, Loss::Hung)]
#[case::bird_killed(Kind::Bird, Loss::Killed)]
#[case::bird_unplugged(Kind::Bird, Loss::Unplugged)]
fn a_control_announces_the_relays_that_work(#[case] kind: Kind, #[case] loss: Loss) {
    let Some(mut farm) = farm("") else { return };
    let _nginx = farm.nginx_everywhere();
    let router = router(&farm, Kind::Frr);
    let _speaker = on_control(&farm, kind);
    await_relays(&farm, &[0, 1], &router);
    expect_service(&farm);

    let downloads = downloads(&farm, 25);
    match loss {
        Loss::Killed => farm.relay(0).kill_9(),
        Loss::Hung => farm.relay(0).process().signal(Signal::SIGSTOP),
        Loss::Unplugged => unplug(&farm),
    }
    await_relays(&farm, &[1], &router);
    expect_service(&farm);

    match loss {
        Loss::Killed => farm.relay(0).start(),
        Loss::Hung => farm.relay(0).process().signal(Signal::SIGCONT),
        Loss::Unplugged => plug_in(&farm),
    }
    await_relays(&farm, &[0, 1], &router);
    expect_service(&farm);
    for downloads in downloads {
        downloads.finish();
    }
}

fn on_control(farm: &Farm, kind: Kind) -> Speaker {
    let (netns, folder) = (farm.programs(0), farm.lab.folder());
    let own = [0, 1].map(|relay| [PORTS_V4[relay], PORTS_V6[relay]]);
    let peers = [0, 1].map(|relay| [CLIENTS_V4[relay], CLIENTS_V6[relay]]);
    match kind {
        Kind::Frr => {
            let config = frr_config("65001", PORT_V4, "65000", &peers, true);
            Speaker::Frr(Frr::start(netns, folder, &["bfdd", "bgpd"], &config))
        }
        Kind::Bird => {
            let pairs = [[own[0], peers[0]], [own[1], peers[1]]];
            let config = bird_config("65001", "65000", &pairs, true);
            Speaker::Bird(Bird::start(netns, folder, PORT_V4, &config))
        }
    }
}

/// Every control runs the same BGP daemon, which waits to be spoken to: the relays choose whom the router speaks with, and
/// when that control is lost, it is another one.
#[test]
fn no_control_is_needed_for_the_announcement() {
    let Some(mut farm) = farm("") else { return };
    let mut nginx = farm.nginx_everywhere();
    let router = router(&farm, Kind::Frr);
    let peers = [0, 1].map(|relay| [CLIENTS_V4[relay], CLIENTS_V6[relay]]);
    // Packets of BFD might be for the other control than the session, so it is left out.
    let config = frr_config("65001", PORT_V4, "65000", &peers, true).replace(" bfd\n", " passive\n");
    let config = config.split("\nbfd\n").next().expect("what comes before BFD").to_owned() + "\n";
    let mut speakers =
        [0, 1].map(|server| Frr::start(farm.programs(server), farm.lab.folder(), &["bgpd"], &config));
    await_relays(&farm, &[0, 1], &router);
    expect_service(&farm);

    let far = farm.lab.far.as_ref().unwrap();
    let downloads = farm.downloads(&[0, 1], far, SERVICE_V4, 15);
    farm.control(0).kill_9();
    speakers[0].kill_9("bgpd");
    nginx[0].master.kill_9_all();
    farm.await_exactly("tcp", 80, &[1], "active");
    eventually(2 * SOON, "the other control speaks by both relays", || {
        let shown = speakers[1].vtysh("show bgp summary established").into_result()?;
        let missing = peers.as_flattened().iter().find(|peer| !shown.contains(**peer));
        missing.map_or(Ok(()), |peer| Err(format!("{peer} is not in {shown}")))
    });
    await_relays(&farm, &[0, 1], &router);
    for service in [SERVICE_V4, SERVICE_V6] {
        let counts = spread(farm.lab.far.as_ref().unwrap(), &format!("tcp {service} 80 30"));
        expect_shares(&counts, &[0, 1]);
    }
    downloads.finish_but(0);
}

//! Packets of known flows go by the kernel: that they do, that they do not where they must not, and that nobody notices otherwise.
//!
//! What tells is daemons that are stopped: only the kernel passes packets on then.

use frames::discovery::Role;
use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay, Symbol};
use netns_tests::program::{Nginx, Talk, UdpFlows, echo, echo_server, is_slow, named_server};
use netns_tests::{Daemon, Download, Finished, Lab, Layout, Netns, Process, SOON, binary, eventually};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

/// Of `[link]`. A daemon that is stopped for a moment is not missed.
const FAST: &str = "data = \"clear\"\nfast_path = \"require\"\nmissed = 20\nkeepalive_ms = 200";
/// The same, for a daemon whose death is to be noticed.
const IMPATIENT: &str = "data = \"clear\"\nfast_path = \"require\"";
/// MTU of ports whose packets fit link frames on a segment of [`SEGMENT`].
const FITTING: u32 = 1400;
/// MTU of the segment.
const SEGMENT: u32 = 1500;
/// What a daemon says that has a fast path.
const BY_THE_KERNEL: &str = "packets of known flows go by the kernel";
/// What a daemon says that was built without it.
const NOT_BUILT: &str = "this program was built without it";

/// A server on the control or at the client, and who asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    AtControl,
    AtClient,
}

impl Server {
    /// Where the server is, where the one who asks is, and whom that one asks.
    fn ends(self, lab: &Lab, is_v6: bool) -> (&Netns, &Netns, &'static str) {
        match (self, is_v6) {
            (Self::AtControl, false) => (lab.programs(), &lab.client, PORT_V4),
            (Self::AtControl, true) => (lab.programs(), &lab.client, PORT_V6),
            (Self::AtClient, false) => (&lab.client, lab.programs(), CLIENT_V4),
            (Self::AtClient, true) => (&lab.client, lab.programs(), CLIENT_V6),
        }
    }

    /// Starts a UDP echo server at port 7000.
    fn echo(self, lab: &Lab, is_v6: bool) -> Process {
        let words = if is_v6 { "udp :: 7000 v6only" } else { "udp 0.0.0.0 7000" };
        let process = echo_server(self.ends(lab, is_v6).0, words);
        self.await_rule(lab, 7000);
        process
    }

    /// Starts an nginx at port 80.
    fn nginx(self, lab: &Lab) -> Nginx {
        let there = self.ends(lab, false).0;
        let nginx = Nginx::start(there, &lab.folder().join(format!("{self:?}")), &["80", "[::]:80"]);
        there.await_listener("tcp", 80);
        self.await_rule(lab, 80);
        nginx
    }

    fn await_rule(self, lab: &Lab, port: u16) {
        if self == Self::AtControl {
            lab.relay.await_row("rules", &json!({"port_number": port, "state": "active"}));
        }
    }
}

/// A lab that is up, with the symbol in the control's own namespace. None, loudly, if the daemons have no fast path.
#[track_caller]
fn up(port_mtu: u32) -> Option<Lab> {
    with(FAST, Layout::default(), port_mtu)
}

#[track_caller]
fn with(link: &str, layout: Layout, port_mtu: u32) -> Option<Lab> {
    on(Lab::build(layout)?, link, port_mtu)
}

/// Has a lab come up.
#[track_caller]
fn on(lab: Lab, link: &str, port_mtu: u32) -> Option<Lab> {
    configure(&lab, link);
    lab.relay_ns.ip(&[&format!("link set eth1 mtu {port_mtu}")]);
    lab.client.ip(&[&format!("link set eth0 mtu {port_mtu}")]);
    start(lab)
}

/// Starts a configured lab.
#[track_caller]
fn start(mut lab: Lab) -> Option<Lab> {
    lab.relay.start();
    let is_built =
        eventually(SOON, "the relay has a fast path, or tells why not", || match lab.relay.log() {
            log if log.contains(BY_THE_KERNEL) => Ok(true),
            log if log.contains(NOT_BUILT) => Ok(false),
            log if log.contains("of kind bridge") => Ok(true),
            log => Err(log),
        });
    if !is_built {
        skip();
        return None;
    }
    lab.control.start();
    lab.await_symbol();
    Some(lab)
}

fn configure(lab: &Lab, link: &str) {
    lab.relay.configure(&Relay { link: link.into(), ..Relay::default() }.to_string());
    lab.control.configure(&control(lab, link).to_string());
}

fn control(lab: &Lab, link: &str) -> Control {
    let programs = lab.programs().name();
    let netns = (programs != lab.control_ns.name()).then(|| programs.to_owned());
    let symbols = vec![Symbol { netns, ..Symbol::new("eth1") }];
    Control { link: link.into(), symbols, ..Control::default() }
}

/// With the symbol in the control's namespace, or in one of its own.
fn layout(elsewhere: bool) -> Layout {
    Layout { router: elsewhere, ..Layout::default() }
}

fn skip() {
    let test = thread::current().name().unwrap_or("?").to_owned();
    let build = "build them by `cargo build --workspace --features l2relay/ebpf,l2control/ebpf`";
    // Past the test harness's capture: a skipped test must not go unnoticed.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: the daemons have no fast path; {build}");
}

/// Whether `progress` grows by more than `step` within two seconds while both daemons are stopped.
#[track_caller]
fn goes_on_without_daemons(lab: &mut Lab, step: u64, progress: &dyn Fn() -> u64) -> bool {
    without_daemons(lab, |_| {
        let before = progress();
        (0..20).any(|_| {
            thread::sleep(Duration::from_millis(100));
            progress() > before + step
        })
    })
}

/// What is seen while both daemons are stopped.
#[track_caller]
fn without_daemons<T>(lab: &mut Lab, look: impl FnOnce(&Lab) -> T) -> T {
    signal_both(lab, Signal::SIGSTOP);
    // What was under way has arrived.
    thread::sleep(Duration::from_millis(100));
    let seen = look(lab);
    signal_both(lab, Signal::SIGCONT);
    seen
}

fn signal_both(lab: &mut Lab, signal: Signal) {
    for daemon in [&mut lab.relay, &mut lab.control] {
        daemon.process().signal(signal);
    }
}

/// Waits until all that `progress` counts goes by the kernel. It goes by the daemons now and then: when tables change, and every ten
/// seconds.
#[track_caller]
fn await_kernel(lab: &mut Lab, step: u64, progress: &dyn Fn() -> u64) {
    eventually(4 * SOON, "packets go by the kernel", || {
        thread::sleep(Duration::from_millis(200));
        if goes_on_without_daemons(lab, step, progress) { Ok(()) } else { Err(format!("{}", progress())) }
    });
}

#[track_caller]
fn await_talk_by_kernel(lab: &mut Lab, talk: &Talk) {
    talk.await_more();
    await_kernel(lab, 40, &|| talk.answered());
}

fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.into() }
}

#[rstest]
fn datagrams_go_by_the_kernel(
    #[values(false, true)] elsewhere: bool,
    #[values(false, true)] is_v6: bool,
    #[values(Server::AtControl, Server::AtClient)] server: Server,
    #[values(1, 1300)] length: u32,
) {
    let Some(mut lab) = with(FAST, layout(elsewhere), FITTING) else { return };
    let _echo = server.echo(&lab, is_v6);
    let (_, from, address) = server.ends(&lab, is_v6);
    let talk = Talk::start(from, &format!("{address} 7000 {length}"));
    await_talk_by_kernel(&mut lab, &talk);
    for daemon in [&lab.relay, &lab.control] {
        for counter in ["tx.PACKET.frames", "rx.PACKET.frames"] {
            let before = daemon.counter(counter);
            assert!(before > 40, "{before} {counter}");
            talk.await_more();
            daemon.await_counter(counter, before);
        }
    }
}

#[rstest]
fn streams_go_by_the_kernel(
    #[values(false, true)] elsewhere: bool,
    #[values(FITTING, SEGMENT)] port_mtu: u32,
    #[values(false, true)] is_v6: bool,
    #[values(Server::AtControl, Server::AtClient)] server: Server,
) {
    let Some(mut lab) = with(FAST, layout(elsewhere), port_mtu) else { return };
    let (_nginx, download) = download_by_kernel(&mut lab, server, is_v6);
    let _ = download.stop();
}

/// A download that goes by the kernel, and its server.
#[track_caller]
fn download_by_kernel(lab: &mut Lab, server: Server, is_v6: bool) -> (Nginx, Download) {
    let nginx = server.nginx(lab);
    let (_, from, address) = server.ends(lab, is_v6);
    let mut curl = from.command("curl");
    let url = format!("http://{}/large", host(address));
    let download = Download::start(curl.args(["-sSf", "--limit-rate", "20M", &url]));
    download.await_begin();
    await_kernel(lab, 1 << 20, &|| download.bytes());
    (nginx, download)
}

/// By the interface that they come by, so that a system's network stack has one in place of many.
#[rstest]
fn packets_of_tcp_are_joined(
    #[values(false, true)] elsewhere: bool,
    #[values(Server::AtControl, Server::AtClient)] server: Server,
) {
    let Some(mut lab) = with(FAST, layout(elsewhere), FITTING) else { return };
    let set = |lab: &Lab, gro: &str| {
        for netns in [&lab.relay_ns, &lab.control_ns] {
            netns.ok(&format!("ethtool -K lan0 gro {gro}"));
        }
    };
    set(&lab, "off");
    for daemon in [&lab.relay, &lab.control] {
        daemon.await_log("one by one: `ethtool -K lan0 gro on`");
    }
    set(&lab, "on");
    let (_nginx, download) = download_by_kernel(&mut lab, server, false);
    let [before, after] = without_daemons(&mut lab, |lab| {
        let (_, from, _) = server.ends(lab, false);
        let before = received(from);
        thread::sleep(Duration::from_millis(500));
        [before, received(from)]
    });
    let (packets, segments) = (after.0 - before.0, after.1 - before.1);
    assert!(segments > 1000 && segments > 2 * packets, "{segments} segments in {packets} packets");
    let _ = download.stop();
}

/// Packets of IPv4 that a system's stack has had, and the segments in them (net/ipv4/ip_input.c, `ip_rcv_core`).
#[track_caller]
fn received(netns: &Netns) -> (u64, u64) {
    let text = netns.ok("nstat -asjz IpInReceives IpExtInNoECTPkts");
    let counters: Value = serde_json::from_str(&text).expect("JSON from nstat");
    let count = |name: &str| counters["kernel"][name].as_u64().expect("the counter");
    (count("IpInReceives"), count("IpExtInNoECTPkts"))
}

/// Also with a host that is reached by the relay's own routes: its answers leave another way.
#[rstest]
fn segments_fit_the_link(#[values(false, true)] is_far: bool) {
    let Some(lab) = with(FAST, Layout { far: is_far, ..Layout::default() }, SEGMENT) else { return };
    let _nginx = Server::AtControl.nginx(&lab);
    let from = lab.far.as_ref().unwrap_or(&lab.client);
    lab.relay_ns.ip(&[&format!("route add {FAR_V4}/32 via {CLIENT_V4}")]);
    let mut curl = from.command("curl");
    let download =
        Download::start(curl.args(["-sSf", "--limit-rate", "1M", &format!("http://{PORT_V4}/large")]));
    download.await_begin();
    for netns in [from, &*lab.control_ns] {
        let sockets = netns.ok("ss -Htin");
        let mss = sockets.split_whitespace().find_map(|word| word.strip_prefix("mss:"));
        // Of the segment's 1500 bytes 34 are the link's; 40 of the rest are headers, and 12 time stamps.
        assert_eq!(mss, Some("1414"), "{sockets}");
    }
    let _ = download.stop();
}

/// A daemon without a fast path had the kernel choose its number. Its packets go by the daemon, and not to the interface here that has
/// that number.
#[test]
fn a_symbol_elsewhere_has_an_interface_of_the_same_number() {
    let Some(lab) = Lab::build(Layout { second_port: true, ..Layout::default() }) else { return };
    let elsewhere = lab.netns("elsewhere");
    let number = |netns: &Netns, name| netns.ip_json(&format!("link show {name}"))[0]["ifindex"].as_u64();
    // The kernel counts them up in each namespace, where the loopback interface is the first.
    for filler in 1..number(&lab.control_ns, "lan0").unwrap() {
        elsewhere.ip(&[&format!("tuntap add filler{filler} mode tap")]);
    }
    let ports = ["eth1", "eth2"].map(Port::new).into();
    lab.relay.configure(&Relay { link: FAST.into(), ports, ..Relay::default() }.to_string());
    let there = Symbol { netns: Some(elsewhere.name().into()), ..Symbol::new("eth2") };
    let symbols = vec![Symbol::new("eth1"), there];
    let both = |link: String| Control { link, symbols: symbols.clone(), ..Control::default() }.to_string();
    lab.control.configure(&both(FAST.replace("require", "off")));
    let Some(mut lab) = start(lab) else { return };
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    lab.control.configure(&both(FAST.into()));
    lab.control.kill_9();
    lab.control.start();
    lab.control.await_row("symbols", &json!({"name": "eth2", "state": "up"}));
    assert_eq!(number(&lab.control_ns, "eth1"), number(&elsewhere, "eth2"));

    let _servers = [&*lab.control_ns, &elsewhere].map(|netns| echo_server(netns, "udp 0.0.0.0 7000"));
    for port in ["eth1", "eth2"] {
        lab.relay.await_row("rules", &json!({"port": port, "port_number": 7000, "state": "active"}));
    }
    let here = Talk::start(&lab.client, &format!("{PORT_V4} 7000 10"));
    let there = Talk::start(lab.client2(), &format!("{PORT2_V4} 7000 10"));
    await_talk_by_kernel(&mut lab, &here);
    let before = lab.relay.counter("tx.PACKET.frames");
    lab.relay.await_counter("tx.PACKET.frames", before + 200);
    for talk in [&there, &here] {
        // Each packet, and not only one whenever an entry has expired.
        eventually(SOON, "each packet comes at once", || {
            let before = talk.answered();
            thread::sleep(Duration::from_millis(500));
            let more = talk.answered() - before;
            if more > 100 { Ok(()) } else { Err(format!("{more} answers")) }
        });
    }
}

#[test]
fn tables_count_what_goes_by_the_kernel() {
    let Some(lab) = up(FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let tunnel = |daemon: &Daemon| {
        let rule = lab.relay.await_row("rules", &json!({"port_number": 7000, "state": "active"}));
        daemon.await_row("tunnels", &json!({"direction": "up", "id": rule["up_tunnel"]}))
    };
    let asked = 2000;
    let exchange = format!(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(5)\n\
         for number in range({asked}):\n s.sendto(bytes(100), ('{PORT_V4}', 7000))\n s.recv(200)"
    );
    let _ = lab.client.run_python(&exchange, &[]).expect_success();
    for daemon in [&lab.relay, &lab.control] {
        let up = tunnel(daemon);
        assert_eq!(up["packets"], asked, "{up}");
        // A control counts what a parcel has before its frame by the daemon's way as well.
        let bytes = up["bytes"].as_u64().unwrap() - asked * (14 + 20 + 8 + 100);
        assert!(bytes < asked, "{up}");
        let down = daemon.await_row("tunnels", &json!({"direction": "down"}));
        let answers = down["packets"].as_u64().unwrap();
        // Neighbour discovery goes there as well.
        assert!((asked..asked + 50).contains(&answers), "{down}");
        let by_kernel = daemon.counter("tx.PACKET.frames");
        assert!(by_kernel > asked * 9 / 10, "{by_kernel} of {asked} packets");
    }
}

/// A lab with a second control, `control2`, on the segment.
struct Two {
    other: Daemon,
    other_ns: Rc<Netns>,
    lab: Lab,
}

impl Two {
    #[track_caller]
    fn up() -> Option<Self> {
        let lab = with(IMPATIENT, Layout { bridge: true, ..Layout::default() }, FITTING)?;
        let other_ns = Rc::new(lab.netns("control2"));
        lab.add_to_segment(&other_ns);
        let config = Control { name: "control2".into(), link: IMPATIENT.into(), ..Control::default() };
        let folder = lab.folder().join("control2");
        let mut other = Daemon::new("l2control", &other_ns, folder, &config.to_string());
        other.start();
        other.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
        Some(Self { other, other_ns, lab })
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    ServerStopped,
    ServerKilled,
    ControlKilled,
}

#[rstest]
fn another_server_takes_over(
    #[values(PORT_V4, PORT_V6)] address: &str,
    #[values(End::ServerStopped, End::ServerKilled, End::ControlKilled)] end: End,
) {
    let Some(mut two) = Two::up() else { return };
    let lab = &mut two.lab;
    let mut first = named_server(lab.programs(), 7000, "first");
    lab.relay.await_row("rules", &json!({"control": "control1", "port_number": 7000, "state": "active"}));
    let flows = UdpFlows::start(&lab.client, address, 7000, 20);
    let by_kernel = lab.relay.counter("tx.PACKET.frames");
    let _second = named_server(&two.other_ns, 7000, "second");
    lab.relay.await_row("rules", &json!({"control": "control2", "port_number": 7000, "state": "active"}));
    assert!(flows.servers().iter().all(|name| name == "first"), "flows stay where they are");
    lab.relay.await_counter("tx.PACKET.frames", by_kernel + 100);

    match end {
        End::ServerStopped => drop(first.terminate(SOON)),
        End::ServerKilled => first.kill_9(),
        End::ControlKilled => lab.control.kill_9(),
    }
    eventually(SOON, "the other server has all flows", || match flows.servers() {
        names if names.iter().all(|name| name == "second") => Ok(()),
        names => Err(format!("{names:?}")),
    });
    let arrived = || {
        let link = lab.control_ns.ip_json("-s link show lan0");
        link[0]["stats64"]["rx"]["bytes"].as_u64().unwrap()
    };
    let (before, by_kernel) = (arrived(), lab.relay.counter("tx.PACKET.frames"));
    thread::sleep(Duration::from_secs(1));
    // Some 400 datagrams a second would be more, and keepalives are less.
    let more = arrived() - before;
    assert!(more < 8000, "{more} bytes more came to the first server's machine");
    lab.relay.await_counter("tx.PACKET.frames", by_kernel + 100);
    two.other.await_counter("tx.PACKET.frames", 100);
}

/// What leads to a symbol in another namespace has gone, is down, or leads to one that has gone.
#[derive(Debug, Clone, Copy)]
enum Cut {
    FarEndDeleted,
    FarEndDown,
    NearEndDown,
    SymbolDeleted,
    Killed,
    Left,
}

/// Both ends of what leads to symbols in another namespace, as far as they are there.
fn crossing(lab: &Lab) -> Vec<String> {
    let ends = [(&*lab.control_ns, "control"), (lab.programs(), "programs")].map(|(netns, at)| {
        let links = netns.ip_json("link show");
        let names = links.as_array().unwrap().iter().filter_map(|link| link["ifname"].as_str());
        names
            .filter(|name| name.starts_with("l2link-fast"))
            .map(|name| format!("{name} at {at}"))
            .collect::<Vec<_>>()
    });
    ends.concat()
}

#[rstest]
fn the_way_to_another_namespace_is_kept(
    #[values(
        Cut::FarEndDeleted,
        Cut::FarEndDown,
        Cut::NearEndDown,
        Cut::SymbolDeleted,
        Cut::Killed,
        Cut::Left
    )]
    cut: Cut,
) {
    let Some(mut lab) = with(IMPATIENT, layout(true), FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    let both_ends = ["l2link-fast0 at control", "l2link-fast at programs"];
    for _ in 0..2 {
        let sent = lab.control.counter("tx.PACKET.frames");
        lab.control.await_counter("tx.PACKET.frames", sent + 100);
        assert_eq!(crossing(&lab), both_ends);
        match cut {
            Cut::FarEndDeleted => lab.programs().ip(&["link del l2link-fast"]),
            Cut::FarEndDown => lab.programs().ip(&["link set l2link-fast down"]),
            Cut::NearEndDown => lab.control_ns.ip(&["link set l2link-fast0 down"]),
            Cut::SymbolDeleted => lab.programs().ip(&["link del eth1"]),
            Cut::Killed => lab.control.kill_9(),
            Cut::Left => lab.control.leave(),
        }
        if matches!(cut, Cut::Killed | Cut::Left) {
            lab.control.start();
        }
        lab.await_symbol();
        talk.await_more();
        eventually(SOON, "both ends are there", || match crossing(&lab) {
            ends if ends == both_ends => Ok(()),
            ends => Err(format!("{ends:?}")),
        });
    }
    lab.control.terminate();
    assert_eq!(crossing(&lab), [""; 0]);
}

/// The keeper removes it when nobody comes for the symbols of a control that was killed; without one the next control does, also
/// if it has no fast path.
#[rstest]
fn nothing_is_left_of_the_way_to_another_namespace(#[values(0, 2000)] keep_ms: u32) {
    let Some(mut lab) = with(IMPATIENT, layout(true), FITTING) else { return };
    let more = format!("keep_symbols_ms = {keep_ms}");
    lab.control.terminate();
    lab.control.configure(&Control { more: more.clone(), ..control(&lab, IMPATIENT) }.to_string());
    lab.control.start();
    lab.await_symbol();
    assert_eq!(crossing(&lab).len(), 2);
    lab.control.kill_9();
    if keep_ms == 0 {
        let without = IMPATIENT.replace("require", "off");
        lab.control.configure(&Control { more, ..control(&lab, &without) }.to_string());
        lab.control.start();
    }
    eventually(SOON, "it has been removed", || match crossing(&lab) {
        ends if ends.is_empty() => Ok(()),
        ends => Err(format!("{ends:?}")),
    });
}

/// One on the symbol, or on all interfaces.
#[rstest]
fn tcpdump_sees_both_directions(#[values(false, true)] elsewhere: bool, #[values("eth1", "any")] on: &str) {
    let Some(mut lab) = with(FAST, layout(elsewhere), FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    await_talk_by_kernel(&mut lab, &talk);
    let mut dump = lab.programs().spawn(&format!("tcpdump -n -i {on} -l --immediate-mode udp port 7000"));
    lab.relay.await_row("rules", &json!({"address": "0x0003", "state": "active"}));
    // What was under way when it began.
    thread::sleep(Duration::from_millis(500));
    let seen = |dump: &Process| {
        let log = dump.log();
        let questions = log.matches(&format!("> {PORT_V4}.7000:")).count();
        (questions, log.matches(&format!("{PORT_V4}.7000 >")).count())
    };
    let before = seen(&dump);
    for _ in 0..10 {
        talk.await_more();
    }
    let after = seen(&dump);
    let (questions, answers) = (after.0 - before.0, after.1 - before.1);
    assert!(questions > 20 && answers + 5 > questions, "{questions} questions, {answers} answers");
    dump.terminate(SOON);
    await_talk_by_kernel(&mut lab, &talk);
}

/// A queueing discipline at a symbol holds for what programs send by it; what arrives is not its concern.
#[rstest]
fn a_symbol_is_shaped(#[values(false, true)] elsewhere: bool) {
    let Some(mut lab) = with(FAST, layout(elsewhere), FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    await_talk_by_kernel(&mut lab, &talk);
    for (shaper, removed) in [
        ("qdisc replace dev eth1 root tbf rate 1gbit burst 1mb latency 1s", "qdisc del dev eth1 root"),
        ("qdisc add dev eth1 clsact", "qdisc del dev eth1 clsact"),
    ] {
        let before = talk.answered();
        lab.programs().ok(&format!("tc {shaper}"));
        thread::sleep(Duration::from_secs(1));
        let more = talk.answered() - before;
        assert!(more > 200, "{more} answers: packets are lost");
        assert!(!goes_on_without_daemons(&mut lab, 1, &|| talk.answered()), "packets pass by the queue");
        // As an earlier daemon has left it.
        lab.control.kill_9();
        lab.control.start();
        lab.await_symbol();
        talk.await_more();
        thread::sleep(Duration::from_secs(1));
        assert!(!goes_on_without_daemons(&mut lab, 1, &|| talk.answered()));
        lab.programs().ok(&format!("tc {removed}"));
        await_talk_by_kernel(&mut lab, &talk);
    }
    lab.programs().ok("tc qdisc replace dev eth1 root pfifo limit 100");
    await_talk_by_kernel(&mut lab, &talk);
}

/// Whether programs of ours are attached to an interface.
fn attached(netns: &Netns, interface: &str) -> bool {
    let link = netns.ok(&format!("ip -d link show dev {interface}"));
    let programs = netns.ok(&format!("bpftool net show dev {interface}"));
    let lines = programs.lines().filter(|line| line.contains(interface)).count();
    link.contains("xdp") || lines > 0
}

#[rstest]
fn nothing_is_left_of_a_daemon_that_ends(
    #[values(Role::Relay, Role::Control)] role: Role,
    #[values(false, true)] killed: bool,
) {
    let Some(mut lab) = with(IMPATIENT, Layout::default(), FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    let netns = if role == Role::Relay { Rc::clone(&lab.relay_ns) } else { Rc::clone(&lab.control_ns) };
    for _ in 0..2 {
        assert!(attached(&netns, "lan0"));
        let sent = lab.daemon(role).counter("tx.PACKET.frames");
        talk.await_more();
        lab.daemon(role).await_counter("tx.PACKET.frames", sent);
        if killed {
            lab.daemon(role).kill_9();
        } else {
            lab.daemon(role).terminate();
        }
        eventually(SOON, "its programs are gone", || {
            let left: Vec<_> = ["lan0", "eth1"]
                .into_iter()
                .filter(|name| netns.has_interface(name) && attached(&netns, name))
                .collect();
            if left.is_empty() { Ok(()) } else { Err(format!("they are at {left:?}")) }
        });
        lab.daemon(role).start();
        lab.await_symbol();
        talk.await_more();
    }
    let sent = lab.daemon(role).counter("tx.PACKET.frames");
    lab.daemon(role).await_counter("tx.PACKET.frames", sent + 100);
}

#[rstest]
fn a_capture_sees_packets_of_known_flows(#[values(Role::Relay, Role::Control)] role: Role) {
    let Some(mut lab) = up(FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    await_talk_by_kernel(&mut lab, &talk);
    let file = lab.folder().join("seen.pcapng");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary("l2ctl")).arg("--socket").arg(lab.daemon(role).socket());
    command.args(["capture", "-w"]).arg(&file).args(["udp", "port", "7000"]);
    let mut capture = Process::start("capture", &mut command, lab.folder());
    capture.await_log("capturing at", SOON);
    let before = talk.answered();
    talk.await_more();
    let seen_at_least = talk.answered() - before;
    assert!(!goes_on_without_daemons(&mut lab, 1, &|| talk.answered()), "packets go by the kernel unseen");
    capture.signal(Signal::SIGINT);
    let status = capture.wait(SOON);
    assert!(status.success(), "{status}: {}", capture.log());
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-T", "fields", "-e", "udp.dstport", "-r"]).arg(&file);
    let ports = Finished::new(&mut tshark).expect_success();
    // Questions and answers, each at both sides of the tunnel.
    let questions = ports.lines().filter(|port| *port == "7000").count() as u64;
    let answers = ports.lines().count() as u64 - questions;
    assert!(
        questions >= 2 * seen_at_least - 40 && answers >= 2 * seen_at_least - 40,
        "{questions} {answers} {seen_at_least}"
    );
    await_talk_by_kernel(&mut lab, &talk);
}

#[derive(Debug, Clone, Copy)]
enum Disturbance {
    AnotherAddress(Role),
    DownAndUp(Role),
}

#[rstest]
#[case::relay_address(Disturbance::AnotherAddress(Role::Relay))]
#[case::control_address(Disturbance::AnotherAddress(Role::Control))]
#[case::relay_down(Disturbance::DownAndUp(Role::Relay))]
#[case::control_down(Disturbance::DownAndUp(Role::Control))]
fn a_disturbed_segment_loses_no_flow(#[case] disturbance: Disturbance) {
    let Some(mut lab) = up(FITTING) else { return };
    let (_echo, _nginx) = (Server::AtControl.echo(&lab, false), Server::AtControl.nginx(&lab));
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    let mut curl = lab.client.command("curl");
    let length = 20 << 20;
    curl.args(["-sSf", "-r", &format!("0-{}", length - 1), &format!("http://{PORT_V4}/slow")]);
    let download = Download::checked(&mut curl, is_slow);
    download.await_begin();
    await_talk_by_kernel(&mut lab, &talk);
    let of = |role| if role == Role::Relay { &lab.relay_ns } else { &lab.control_ns };
    for number in 0..2 {
        match disturbance {
            Disturbance::AnotherAddress(role) => {
                of(role).ip(&[&format!("link set lan0 address 02:00:00:00:00:{number}7")]);
            }
            Disturbance::DownAndUp(role) => {
                of(role).ip(&["link set lan0 down"]);
                thread::sleep(Duration::from_millis(500));
                of(role).ip(&["link set lan0 up"]);
            }
        }
        talk.await_more();
    }
    await_talk_by_kernel(&mut lab, &talk);
    let progress = download.finish(6 * SOON);
    assert_eq!((progress.bytes, progress.intact), (length, true));
}

#[test]
fn a_port_that_is_made_anew_is_on_the_fast_path_again() {
    let Some(mut lab) = up(FITTING) else { return };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    await_talk_by_kernel(&mut lab, &talk);
    for _ in 0..2 {
        lab.relay_ns.ip(&["link del eth1"]);
        lab.relay.await_no_row("ports", &json!({"name": "eth1", "state": "up"}));
        lab.relay_ns.ip(&[
            &format!(
                "link add eth1 mtu {FITTING} type veth peer name eth0 mtu {FITTING} netns {}",
                lab.client.name()
            ),
            &format!("addr add {PORT_V4}/24 dev eth1"),
            "link set eth1 up",
        ]);
        lab.client.ip(&[&format!("addr add {CLIENT_V4}/24 dev eth0"), "link set eth0 up"]);
        await_talk_by_kernel(&mut lab, &talk);
    }
}

/// MTU of the segment and of the port, and whether the segment's ends join packets.
#[rstest]
#[case::packets_that_fit(1500, 1400, false)]
#[case::packets_that_do_not(1500, 1500, false)]
#[case::long_packets(9000, 8900, false)]
#[case::longer_than_the_segment(1500, 9000, false)]
#[case::joined(1500, 1400, true)]
#[case::joined_that_do_not_fit(1500, 1500, true)]
fn all_arrives_whole(
    #[values(false, true)] elsewhere: bool,
    #[case] segment: u32,
    #[case] port: u32,
    #[case] joins: bool,
) {
    let Some(lab) = Lab::build(layout(elsewhere)) else { return };
    for netns in [&lab.relay_ns, &lab.control_ns] {
        netns.ip(&[&format!("link set lan0 mtu {segment}")]);
        if joins {
            netns.ok("ethtool -K lan0 gro on gso on");
        }
    }
    let Some(lab) = on(lab, FAST, port) else { return };
    let mut data = vec![0; 16 << 20];
    File::open("/dev/urandom").unwrap().read_exact(&mut data).unwrap();
    for server in [Server::AtControl, Server::AtClient] {
        let _nginx = server.nginx(&lab);
        let www = lab.folder().join(format!("{server:?}/nginx/www"));
        fs::write(www.join("random"), &data).unwrap();
        for is_v6 in [false, true] {
            let (_, from, address) = server.ends(&lab, is_v6);
            let file = lab.folder().join("got");
            from.ok(&format!(
                "curl -sSf --max-time 60 -o {} http://{}/random",
                file.display(),
                host(address)
            ));
            assert!(fs::read(&file).unwrap() == data, "{server:?} {address}: other bytes came");
        }
    }
    for daemon in [&lab.relay, &lab.control] {
        let counts = ["tx", "rx"].map(|way| daemon.counter(&format!("{way}.PACKET.frames")));
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }
}

/// Exchanges short datagrams with an echo server until their flow is known, then longer ones that are fragmented, and short ones in between.
const FRAGMENTS: &str = "import os, socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for number in range(400):
    data = os.urandom(4000 if number > 200 and number % 2 else 100)
    s.sendto(data, (sys.argv[1], 7000))
    assert s.recv(65536) == data, number";

#[rstest]
fn fragments_of_a_known_flow_pass(
    #[values(false, true)] is_v6: bool,
    #[values(Server::AtControl, Server::AtClient)] server: Server,
) {
    let Some(lab) = up(FITTING) else { return };
    let _echo = server.echo(&lab, is_v6);
    let (_, from, address) = server.ends(&lab, is_v6);
    let _ = from.run_python(FRAGMENTS, &[address]).expect_success();
    for daemon in [&lab.relay, &lab.control] {
        let by_kernel = daemon.counter("tx.PACKET.frames");
        assert!(by_kernel > 200, "{by_kernel}");
    }
}

/// Exchanges data with an echo server, says so, and goes on until it is told that nobody is there any more.
const UNTIL_THE_END: &str = "import socket, sys, time
kind = socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET, kind)
s.settimeout(0.3)
s.connect((sys.argv[2], 7000))
number = 0
while True:
    try:
        s.send(bytes(100))
        if not s.recv(1000):
            sys.exit('end of file')
    except TimeoutError:
        continue  # the server got it, and ended before it answered
    except OSError as error:
        sys.exit(type(error).__name__)
    number += 1
    if number == 300:
        print('talking', flush=True)
    time.sleep(0.001)";

#[rstest]
#[case::of_datagrams("udp", Server::AtClient, &["ConnectionRefusedError"])]
#[case::of_a_stream("tcp", Server::AtClient, CLOSED)]
#[case::of_a_stream_at_the_control("tcp", Server::AtControl, CLOSED)]
fn the_end_of_a_server_is_told(
    #[values(false, true)] is_v6: bool,
    #[case] protocol: &str,
    #[case] server: Server,
    #[case] told: &[&str],
) {
    let Some(lab) = up(FITTING) else { return };
    let (there, from, address) = server.ends(&lab, is_v6);
    let refused = echo(lab.programs(), &format!("tcp {} 7000 10", Server::AtClient.ends(&lab, is_v6).2));
    assert!(refused.stderr().contains("ConnectionRefusedError"), "{refused}");
    let any = if is_v6 { ":: 7000 v6only" } else { "0.0.0.0 7000" };
    let mut echo = echo_server(there, &format!("{protocol} {any}"));
    server.await_rule(&lab, 7000);
    let mut talk = from.python(UNTIL_THE_END, &[protocol, address]);
    talk.await_log("talking", SOON);
    assert!(lab.relay.counter("rx.PACKET.frames") > 100);
    echo.kill_9();
    let _ = talk.wait(SOON);
    let log = talk.log();
    assert!(told.contains(&log.lines().last().unwrap_or_default()), "{log}");
}

/// What the end of a stream is to the other side.
const CLOSED: &[&str] = &["end of file", "ConnectionResetError", "BrokenPipeError"];

#[rstest]
fn what_rules_it_out_is_told(#[values(Role::Relay, Role::Control)] role: Role) {
    let Some(mut lab) = up(FITTING) else { return };
    for role in [Role::Relay, Role::Control] {
        lab.daemon(role).terminate();
    }
    let netns = if role == Role::Relay { Rc::clone(&lab.relay_ns) } else { Rc::clone(&lab.control_ns) };
    let refused = |lab: &mut Lab, words: &str| {
        let refused = lab.daemon(role).run(&[]);
        assert!(!refused.success() && refused.stderr().contains(words), "{words:?}: {refused}");
    };
    let auto = |lab: &mut Lab, link: &str, words: &str| {
        configure(lab, link);
        lab.start();
        lab.daemon(role).await_log(words);
        let _echo = Server::AtControl.echo(lab, false);
        let _ = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
        assert_eq!(lab.daemon(role).counter("tx.PACKET.frames"), 0);
        lab.relay.terminate();
        lab.control.terminate();
    };
    let sealed = "leaves it in clear";
    configure(&lab, "fast_path = \"require\"");
    refused(&mut lab, "without `data` they are sealed");
    auto(&mut lab, "fast_path = \"auto\"", sealed);

    configure(&lab, FAST);
    let command = "tx off tso off";
    netns.ok("ethtool -K lan0 tx on tso on");
    refused(&mut lab, command);
    auto(&mut lab, &FAST.replace("require", "auto"), command);
    netns.ok("ethtool -K lan0 tx off tso off");
    configure(&lab, FAST);
    lab.start();
}

/// The kernel would lose what comes by it.
#[rstest]
fn a_bridge_is_no_link_interface_for_it(#[values(Role::Relay, Role::Control)] role: Role) {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let netns = if role == Role::Relay { &lab.relay_ns } else { &lab.control_ns };
    netns.ip(&[
        "link set lan0 name cable0",
        "link add lan0 type bridge",
        "link set cable0 master lan0 up",
        "link set lan0 up",
    ]);
    netns.ok("ethtool -K cable0 tx off tso off");
    netns.ok("ethtool -K lan0 tx off tso off");
    let auto = FAST.replace("require", "auto");
    let Some(mut lab) = on(lab, &auto, FITTING) else { return };
    lab.daemon(role).await_log("the link interface lan0 is of kind bridge");
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    for _ in 0..10 {
        talk.await_more();
    }
    assert_eq!(lab.daemon(role).counter("tx.PACKET.frames"), 0);
    lab.daemon(role).terminate();
    configure(&lab, FAST);
    let refused = lab.daemon(role).run(&[]);
    assert!(!refused.success() && refused.stderr().contains("of kind bridge"), "{refused}");
}

/// The kernel takes one XDP program at an interface.
#[rstest]
fn another_program_at_the_link_interface_is_told(#[values(Role::Relay, Role::Control)] role: Role) {
    let Some(mut lab) = up(FITTING) else { return };
    let netns = if role == Role::Relay { Rc::clone(&lab.relay_ns) } else { Rc::clone(&lab.control_ns) };
    lab.daemon(role).terminate();
    // Another device there is one who has one.
    let more = Control { name: "other".into(), link: FAST.into(), ..Control::without_symbols() };
    let mut other = Daemon::new("l2control", &netns, lab.folder().join("other"), &more.to_string());
    other.start();
    other.await_log(BY_THE_KERNEL);
    let refused = lab.daemon(role).run(&[]);
    for words in [
        "fast_path = \"require\": another XDP program (number ",
        " is at the link interface lan0: `ip link set dev lan0 xdpdrv off`",
        "`bpftool prog show id ",
    ] {
        assert!(!refused.success() && refused.stderr().contains(words), "{words:?}: {refused}");
    }
    configure(&lab, &FAST.replace("require", "auto"));
    lab.daemon(role).start();
    lab.daemon(role).await_log("all packets go by this daemon: another XDP program");
    // The log is that of all lives.
    let said = |lab: &mut Lab| lab.daemon(role).log().matches(BY_THE_KERNEL).count();
    let before = said(&mut lab);
    other.terminate();
    eventually(SOON, "the daemon has the fast path itself", || {
        if said(&mut lab) > before { Ok(()) } else { Err(lab.daemon(role).log()) }
    });
}

#[rstest]
fn offloads_of_the_link_interface_are_watched(#[values(Role::Relay, Role::Control)] role: Role) {
    let Some(mut lab) = up(FITTING) else { return };
    let netns = if role == Role::Relay { Rc::clone(&lab.relay_ns) } else { Rc::clone(&lab.control_ns) };
    let _echo = Server::AtControl.echo(&lab, false);
    let talk = Talk::start(&lab.client, &format!("{PORT_V4} 7000 100"));
    await_talk_by_kernel(&mut lab, &talk);
    netns.ok("ethtool -K lan0 tx on tso on");
    lab.daemon(role).await_log("all packets go by this daemon: the link interface completes checksums");
    talk.await_more();
    assert!(!goes_on_without_daemons(&mut lab, 1, &|| talk.answered()), "packets still go by the kernel");
    netns.ok("ethtool -K lan0 tx off tso off");
    await_talk_by_kernel(&mut lab, &talk);
}

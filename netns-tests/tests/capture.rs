//! `l2ctl capture` shows what passes at both sides of the tunnel, to Wireshark's programs and tcpdump.

use netns_tests::address::*;
use netns_tests::program::{Nginx, echo, echo_server};
use netns_tests::{Daemon, Finished, Lab, Layout, Process, SOON, binary, eventually};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A running `l2ctl capture` into a file.
struct Capture {
    process: Process,
    file: PathBuf,
}

/// A packet as tshark reads it.
#[derive(Debug, Clone, Default)]
struct Seen {
    interface: String,
    packet: String,
    inbound: bool,
    queue: String,
    source: String,
    destination: String,
    ports: String,
    comment: String,
    length: usize,
    captured: usize,
}

impl Capture {
    /// Begins one, which is in force when this returns.
    #[track_caller]
    fn start(daemon: &Daemon, lab: &Lab, name: &str, words: &str) -> Self {
        let file = lab.folder().join(format!("{name}.pcapng"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(binary("l2ctl")).arg("--socket").arg(daemon.socket());
        command.args(["capture", "-w"]).arg(&file).args(words.split_whitespace());
        let process = Process::start(name, &mut command, lab.folder());
        process.await_log("capturing at", SOON);
        Self { process, file }
    }

    /// Ends it as Ctrl-C does, and reads it.
    #[track_caller]
    fn end(mut self) -> Vec<Seen> {
        self.process.signal(Signal::SIGINT);
        let status = self.process.wait(SOON);
        assert!(status.success(), "{status}: {}", self.process.log());
        self.process.await_log(" packets captured, 0 lost", SOON);
        read(&self.file)
    }
}

/// Runs a program on a file.
#[track_caller]
fn on(file: &Path, program: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    Finished::new(command.args(words).arg(file)).expect_success()
}

#[track_caller]
fn read(file: &Path) -> Vec<Seen> {
    let fields = [
        "frame.interface_name",
        "frame.packet_id",
        "frame.packet_flags_direction",
        "frame.interface_queue",
        "ip.src",
        "ipv6.src",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "udp.dstport",
        "frame.comment",
        "frame.len",
        "frame.cap_len",
    ];
    let mut words = vec!["-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"];
    words.extend(fields.iter().flat_map(|field| ["-e", field]));
    words.push("-r");
    let text = on(file, "tshark", &words);
    let seen = |line: &str| {
        let words: Vec<&str> = line.split('|').collect();
        let [interface, packet, direction, queue, v4, v6, to_v4, to_v6, tcp, udp, comment, length, captured] =
            words[..]
        else {
            panic!("{line}")
        };
        Seen {
            interface: interface.into(),
            packet: packet.into(),
            inbound: match direction {
                "0x00000001" | "1" => true,
                "0x00000002" | "2" => false,
                other => panic!("{other}: {line}"),
            },
            queue: queue.into(),
            source: format!("{v4}{v6}"),
            destination: format!("{to_v4}{to_v6}"),
            ports: format!("{tcp}{udp}"),
            comment: comment.into(),
            length: length.parse().unwrap(),
            captured: captured.parse().unwrap(),
        }
    };
    text.lines().map(seen).collect()
}

/// What was seen of each packet, in order: interface, and whether inbound.
fn ways<'a>(packets: impl IntoIterator<Item = &'a Seen>) -> Vec<Vec<(&'a str, bool)>> {
    let mut ways: BTreeMap<u64, Vec<(&str, bool)>> = BTreeMap::new();
    for seen in packets {
        ways.entry(number(&seen.packet)).or_default().push((&seen.interface, seen.inbound));
    }
    ways.into_values().collect()
}

fn number(text: &str) -> u64 {
    let hex = text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16).unwrap());
    hex.unwrap_or_else(|| text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
}

fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.into() }
}

#[rstest]
fn each_packet_is_seen_at_both_sides_of_an_encrypted_tunnel(
    #[values((CLIENT_V4, PORT_V4), (CLIENT_V6, PORT_V6))] (client, port): (&str, &str),
) {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.configure_link("encrypt = true");
    lab.start();
    let _nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80", "[::]:80"]);
    let _echo = echo_server(&lab.control_ns, "udp :: 7000 dual");
    lab.relay.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    lab.relay.await_row("rules", &json!({"port_number": 7000, "state": "active"}));

    let words = format!("host {client}");
    let at_relay = Capture::start(&lab.relay, &lab, "relay", &words);
    let at_control = Capture::start(&lab.control, &lab, "control", &words);
    lab.client.ok(&format!("curl -sSf --max-time 5 http://{}/", host(port)));
    let _ = echo(&lab.client, &format!("udp {port} 7000 100")).expect_success();
    let (relay_file, control_file) = (at_relay.file.clone(), at_control.file.clone());
    let sides = [
        (at_relay.end(), ["port eth1", "tunnel control1/eth1"], ["tunnel control1/eth1", "port eth1"], true),
        (
            at_control.end(),
            ["tunnel relay1/eth1", "symbol eth1"],
            ["symbol eth1", "tunnel relay1/eth1"],
            false,
        ),
    ];
    for (seen, up, down, is_relay) in &sides {
        for protocol in ["80", "7000"] {
            let of = |toward: bool| {
                let end = if toward { port } else { client };
                seen.iter().filter(move |seen| seen.destination == end && (seen.ports == protocol || !toward))
            };
            let up_ways = ways(of(true));
            // A relay passes a packet on; at a control both sides of one that comes are inbound.
            let expected = [(up[0], true), (up[1], !is_relay)];
            assert!(
                !up_ways.is_empty() && up_ways.iter().all(|way| *way == expected),
                "{up_ways:?}: {seen:#?}"
            );
            let down_ways = ways(of(false));
            let expected = [(down[0], *is_relay), (down[1], false)];
            assert!(down_ways.len() >= 2 && down_ways.iter().all(|way| *way == expected), "{down_ways:?}");
        }
        // ARP and ND are answered by the relay's kernel.
        let kernels =
            |seen: &&Seen| seen.comment == "left to the kernel: not-for-port" && seen.ports.is_empty();
        assert!(seen.iter().all(|seen| seen.comment.is_empty() || kernels(&seen)), "{seen:#?}");
        let tunnelled = |seen: &&Seen| seen.interface.starts_with("tunnel");
        assert!(seen.iter().filter(tunnelled).all(|seen| number(&seen.queue) > 0), "{seen:#?}");
        assert!(seen.iter().filter(|seen| !tunnelled(seen)).all(|seen| seen.queue.is_empty()));
    }
    // The number of the tunnel is that of the rule.
    let rule = lab.relay.await_row("rules", &json!({"port_number": 7000, "state": "active"}));
    let first = |seen: &[Seen]| {
        let first = seen.iter().find(|seen| seen.ports == "7000" && seen.interface.starts_with("tunnel"));
        number(&first.unwrap().queue)
    };
    for (seen, ..) in &sides {
        assert_eq!(Some(first(seen)), rule["up_tunnel"].as_u64());
    }

    for (file, program) in [(&relay_file, "l2relay "), (&control_file, "l2control ")] {
        let facts = on(file, "capinfos", &["-M"]);
        assert!(facts.contains(program) && facts.contains("nanoseconds"), "{facts}");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // What others make of it.
        let one = file.with_extension("one");
        for side in ["^tunnel ", "^(port|symbol) "] {
            let which = format!("frame.interface_name matches \"{side}\"");
            let _ = on(file, "tshark", &["-Y", &which, "-w", one.to_str().unwrap(), "-r"]);
            let answers = on(&one, "tshark", &["-Y", "http.response.code == 200", "-r"]);
            assert_eq!(answers.lines().count(), 1, "{side}: {answers}");
        }
        let lines = on(file, "tcpdump", &["-n", "-r"]);
        assert!(lines.contains("HTTP/1.1 200 OK") && lines.contains(".7000: "), "{lines}");
    }
}

#[rstest]
#[case::v4(PORT_V4)]
#[case::v6(PORT_V6)]
fn what_is_dropped_says_why(#[case] port: &str) {
    let Some(lab) = Lab::up() else { return };
    let at_relay = Capture::start(&lab.relay, &lab, "relay", "--port eth1 dropped tcp port 81");
    let at_control = Capture::start(&lab.control, &lab, "control", "--symbol eth1 dropped");
    let _ = lab.client.run(&format!("curl -sS --max-time 1 http://{}:81/", host(port)));
    // From a port that symbols in the machine's own namespace never expose.
    let client = if port == PORT_V4 { CLIENT_V4 } else { CLIENT_V6 };
    let _ = lab.control_ns.run(&format!("curl -sS --max-time 1 --local-port 22 http://{}:82/", host(client)));
    let seen = at_relay.end();
    assert!(!seen.is_empty(), "the kernel asks again, at least");
    for seen in &seen {
        assert_eq!((&*seen.interface, seen.inbound, &*seen.ports), ("port eth1", true, "81"));
        assert!(
            seen.comment.starts_with("dropped: unmatched. A packet is addressed to the port"),
            "{seen:?}"
        );
    }
    let seen = at_control.end();
    assert!(seen.iter().any(|seen| seen.ports == "82"), "{seen:#?}");
    for seen in &seen {
        assert_eq!((&*seen.interface, seen.inbound), ("symbol eth1", false));
        assert!(seen.comment.starts_with("dropped: not-exposed. "), "{seen:?}");
    }
}

#[test]
fn a_translated_packet_has_another_address_at_either_side() {
    let Some(lab) = Lab::up_with_address() else { return };
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    let at_relay = Capture::start(&lab.relay, &lab, "relay", "--port eth1 host 192.0.2.10 tcp");
    let at_control =
        Capture::start(&lab.control, &lab, "control", "--symbol vip4 --peer relay1 host 10.99.0.2");
    lab.client.ok("curl -sSf --max-time 5 http://192.0.2.10/");
    let addresses = |seen: &[Seen]| -> BTreeSet<(String, String, String)> {
        seen.iter()
            .map(|seen| (seen.interface.clone(), seen.source.clone(), seen.destination.clone()))
            .collect()
    };
    let expected =
        |rows: [[&str; 3]; 4]| rows.map(|[a, b, c]| (a.to_owned(), b.to_owned(), c.to_owned())).into();
    let seen = at_relay.end();
    assert_eq!(
        addresses(&seen),
        expected([
            ["port eth1", CLIENT_V4, "192.0.2.10"],
            ["tunnel control1/eth1", CLIENT_V4, "10.99.0.2"],
            ["tunnel control1/eth1", "10.99.0.2", CLIENT_V4],
            ["port eth1", "192.0.2.10", CLIENT_V4],
        ])
    );
    assert!(ways(&seen).iter().all(|way| way.len() == 2), "{seen:#?}");
    let seen = at_control.end();
    assert_eq!(
        addresses(&seen),
        expected([
            ["tunnel relay1/eth1", CLIENT_V4, "10.99.0.2"],
            ["symbol vip4", CLIENT_V4, "192.0.2.10"],
            ["symbol vip4", "192.0.2.10", CLIENT_V4],
            ["tunnel relay1/eth1", "10.99.0.2", CLIENT_V4],
        ])
    );
}

#[test]
fn a_capture_ends_by_itself_and_with_its_reader() {
    let Some(lab) = Lab::up() else { return };
    let _echo = echo_server(&lab.control_ns, "udp 0.0.0.0 7000");
    lab.relay.await_row("rules", &json!({"port_number": 7000, "state": "active"}));
    let packet = || echo(&lab.client, &format!("udp {PORT_V4} 7000 1000")).expect_success();

    let mut capture = Capture::start(&lab.relay, &lab, "count", "--count 3 --snaplen 60 udp");
    let _ = packet();
    assert!(capture.process.wait(SOON).success());
    let seen = read(&capture.file);
    assert_eq!(seen.len(), 3, "{seen:#?}");
    assert!(seen.iter().all(|seen| seen.captured == 60 && seen.length > 1000), "{seen:#?}");

    let mut capture = Capture::start(&lab.control, &lab, "seconds", "--seconds 0.5");
    assert!(capture.process.wait(SOON).success());
    assert!(on(&capture.file, "capinfos", &["-M"]).contains("l2control"), "a file without packets is one");

    // As many as there can be, killed; the daemon notices, and takes others.
    let captures: Vec<Capture> = (0..4).map(|_| Capture::start(&lab.relay, &lab, "killed", "udp")).collect();
    let surplus = lab.relay.l2ctl("capture -w - --seconds 1");
    assert!(surplus.code() == Some(1) && surplus.stderr().contains("4 captures run already"), "{surplus}");
    captures.into_iter().for_each(|mut capture| capture.process.kill_9());
    eventually(SOON, "the daemon takes captures again", || {
        lab.relay.l2ctl("capture -w - --seconds 0.1").into_result()
    });

    // A reader that leaves, whether packets come or not.
    for packets in [0, 1] {
        let line = format!(
            "{} --socket {} capture -w - udp | head -c 28 | wc -c",
            binary("l2ctl").display(),
            lab.relay.socket().display()
        );
        let mut pipe = Process::start("pipe", Command::new("sh").args(["-c", &line]), lab.folder());
        pipe.await_log("capturing at", SOON);
        (0..packets).for_each(|_| drop(packet()));
        assert!(pipe.wait(SOON).success(), "{}", pipe.log());
    }
}

#[test]
fn tshark_reads_along() {
    let Some(lab) = Lab::up() else { return };
    let _echo = echo_server(&lab.control_ns, "udp 0.0.0.0 7000");
    lab.relay.await_row("rules", &json!({"port_number": 7000, "state": "active"}));
    let line = format!(
        "{} --socket {} capture -w - udp port 7000 | tshark -l -n -r - 2>/dev/null",
        binary("l2ctl").display(),
        lab.relay.socket().display()
    );
    let pipe = Process::start("along", Command::new("sh").args(["-c", &line]), lab.folder());
    pipe.await_log("capturing at", SOON);
    let _ = echo(&lab.client, &format!("udp {PORT_V4} 7000 100")).expect_success();
    pipe.await_log(&format!("{CLIENT_V4} → {PORT_V4}"), SOON);
    pipe.await_log(&format!("{PORT_V4} → {CLIENT_V4}"), SOON);
}

#[test]
fn a_reader_that_is_too_slow_loses_packets_and_nobody_else_does() {
    let Some(mut lab) = Lab::up() else { return };
    let _nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    lab.relay.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    let mut capture = Capture::start(&lab.relay, &lab, "slow", "tcp port 80");
    capture.process.signal(Signal::SIGSTOP);
    let size = lab.client.ok(&format!(
        "curl -sSf --max-time 60 -r 0-67108863 -o /dev/null -w %{{size_download}} http://{PORT_V4}/large"
    ));
    assert_eq!(size.trim(), (64 << 20).to_string());
    let status = fs::read_to_string(format!("/proc/{}/status", lab.relay.process().pid())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    capture.process.signal(Signal::SIGCONT);
    // It is told within the file, too, where it goes on.
    lab.client.ok(&format!("curl -sSf --max-time 5 -o /dev/null http://{PORT_V4}/"));
    capture.process.signal(Signal::SIGINT);
    assert!(capture.process.wait(SOON).success());
    let log = capture.process.log();
    let words: Vec<&str> = log.lines().last().unwrap().split_whitespace().collect();
    let [captured, "packets", "captured,", lost, "lost,", ..] = words[..] else { panic!("{log}") };
    let (captured, lost): (u64, u64) = (captured.parse().unwrap(), lost.parse().unwrap());
    assert!(captured > 10 && lost > 100, "{log}");
    assert_eq!(read(&capture.file).len() as u64, captured);
    // A few times the bound of the buffer: 64 MiB went through at both sides.
    assert!(memory < 64 << 10, "{memory} KiB");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let Some(mut lab) = Lab::up() else { return };
    for (daemon, line, code, words) in [
        (&lab.relay, "-w - --port eth9", 1, "there is no port \"eth9\"; there is eth1"),
        (&lab.control, "-w - --symbol eth9", 1, "there is no symbol \"eth9\"; there is eth1"),
        (&lab.relay, "-w - --symbol eth1", 1, "a relay has ports, and controls have symbols"),
        (&lab.control, "-w - --port eth1", 1, "a control has symbols, and relays have ports"),
        (&lab.relay, "-w - --peer control9", 1, "there is no peer \"control9\"; there is control1"),
        (&lab.relay, "-w - tcq", 1, "\"tcq\" says nothing of a packet; there are: tcp, udp"),
        (&lab.relay, "-w - --count 0", 2, "--count"),
        (&lab.relay, "-w - --seconds x", 2, "a number of seconds"),
        (&lab.relay, "-w - --port eth1 --symbol eth1", 2, "cannot be used with"),
        (&lab.relay, "-w /nonexistent/file", 1, "/nonexistent/file: No such file"),
    ] {
        let finished = daemon.l2ctl(&format!("capture {line}"));
        assert!(finished.code() == Some(code) && finished.stderr().contains(words), "{finished}");
    }
    let mut capture = Capture::start(&lab.relay, &lab, "stopped", "");
    lab.relay.terminate();
    assert_eq!(capture.process.wait(SOON).code(), Some(1));
    capture.process.await_log("the daemon ended the capture", Duration::from_secs(1));
    let finished = lab.relay.l2ctl("capture -w -");
    assert!(finished.code() == Some(1) && finished.stderr().contains("no daemon listens at"), "{finished}");
}

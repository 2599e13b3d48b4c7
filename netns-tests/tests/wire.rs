//! What passes on the segment, as engineers look at it: `tcpdump` and `l2dump` capture, tshark with our dissector and `l2dump`
//! read, and both say the same.

use frames::data::{Packet, Parcels};
use frames::header::{Flags, Frame, HEADERS_LEN, Kind, LinkHeader};
use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Nginx, PAGE, echo_server};
use netns_tests::{Finished, Lab, Layout, Netns, Process, Recorder, SOON, binary, eventually};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use zerocopy::IntoBytes;

/// No contact is lost because the machine is busy: what is to be captured depends on it.
const PATIENT: &str = "missed = 20";

/// A capture by tcpdump on the relay's side of the segment.
struct Capture {
    tcpdump: Process,
    path: PathBuf,
}

impl Capture {
    fn start(lab: &Lab) -> Self {
        let path = lab.folder().join("capture.pcap");
        let line = format!(
            "tcpdump -Z root -B 16384 --immediate-mode -U -i lan0 -w {} ether proto 0x88b5",
            path.display()
        );
        let tcpdump = lab.relay_ns.spawn(&line);
        let _ = tcpdump.await_log("listening on", SOON);
        Self { tcpdump, path }
    }

    /// Ends it when a frame of this text has been written, as what tcpdump has not taken from the kernel by then is lost.
    fn end(mut self, last: &str) -> PathBuf {
        eventually(SOON, &format!("{last:?} has been captured"), || {
            let text = l2dump(&["-r", path(&self.path)]).into_result()?;
            if text.contains(last) { Ok(()) } else { Err(text) }
        });
        self.tcpdump.signal(Signal::SIGINT);
        let _ = self.tcpdump.wait(SOON);
        let log = self.tcpdump.log();
        assert!(log.contains("0 packets dropped by kernel"), "{log}");
        self.path
    }
}

fn l2dump(arguments: &[&str]) -> Finished {
    Finished::new(Command::new(binary("l2dump")).args(arguments))
}

fn lines(capture: &Path, more: &[&str]) -> Vec<String> {
    let text = l2dump(&[&["-r", path(capture)], more].concat()).expect_success();
    text.lines().map(str::to_owned).collect()
}

fn frames(capture: &Path, more: &[&str]) -> Vec<Value> {
    lines(capture, &[&["--json"], more].concat())
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn tshark(capture: &Path, more: &[&str]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/wireshark/l2link.lua");
    let script = format!("lua_script:{}", script.display());
    let mut command = Command::new("tshark");
    command.args(["-n", "-X", &script, "-2", "-r", path(capture)]).args(more);
    Finished::new(&mut command).expect_success().lines().map(str::to_owned).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// What the link says in a line, without the packet inside and the addresses before.
fn said(line: &str) -> &str {
    line.split(" | ").next().unwrap_or_default()
}

/// Types of all messages.
fn messages(frames: &[Value]) -> BTreeSet<&str> {
    let messages = frames.iter().filter_map(|frame| frame["messages"].as_array()).flatten();
    messages.filter_map(|message| message["type"].as_str()).collect()
}

/// What carries a transfer is marked both ways, its acknowledgements too; a ping beside it is not, and may pass it.
#[test]
fn frames_of_a_transfer_are_marked() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.configure_link(&format!("{PATIENT}\ndata = \"sealed\""));
    lab.start();
    let server = lab.programs().spawn("iperf3 --server --forceflush");
    server.await_log("listening", SOON);
    lab.relay.await_rules(&["eth1 tcp *:5201 active"]);
    let capture = Capture::start(&lab);
    let transfer = lab.client.spawn(&format!("iperf3 --client {PORT_V4} --bitrate 150M --time 1"));
    server.await_log("connected to", SOON);
    lab.programs().ok(&format!("ping -c 20 -i 0.02 {CLIENT_V4}"));
    let _ = { transfer }.wait(SOON);
    lab.control.terminate();
    let capture = capture.end(" CLOSE peer stopped");

    let fields = ["-T", "fields", "-e", "ip.src", "-e", "ip.proto", "-e", "l2link.flags.bulk"];
    let packets = tshark(&capture, &[&["-Y", "ip"], &fields[..]].concat());
    for source in [PORT_V4, CLIENT_V4] {
        // A frame may hold several.
        let count = |protocol: &str, bulk: &str| {
            let frames = packets.iter().map(|line| line.split('\t').collect::<Vec<_>>());
            let frames = frames.filter(|fields| fields[2] == bulk);
            let of_source = |fields: Vec<&str>| {
                let both = fields[0].split(',').zip(fields[1].split(','));
                both.filter(|both| *both == (source, protocol)).count()
            };
            frames.map(of_source).sum::<usize>()
        };
        let [tcp, icmp] = ["6", "1"].map(|protocol| ["0", "1"].map(|bulk| count(protocol, bulk)));
        // On a busy machine it may be slow at times, and is none then.
        assert!(tcp[1] > 50, "TCP from {source}: {tcp:?}");
        assert_eq!(icmp, [20, 0], "ICMP from {source}");
    }
    let wrong = tshark(&capture, &["-Y", "l2link.drop || _ws.malformed || _ws.lua.error"]);
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_whole_life_reads_the_same_in_tshark_and_l2dump() {
    let layout = Layout { router: true, second_port: true, ..Layout::default() };
    let Some(mut lab) = Lab::build(layout) else { return };
    let link = format!("{PATIENT}\ndata = \"sealed\"");
    lab.relay.configure(&Relay { link: link.clone(), ..Relay::router() }.to_string());
    let control = Control { link, ..Control::router(lab.programs().name()) };
    lab.control.configure(&control.to_string());
    let capture = Capture::start(&lab);
    lab.start();
    lab.await_symbols();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth2 tcp 0.0.0.0:80 active"]);
    assert_eq!(lab.client.ok(&format!("curl -sS --max-time 5 http://{PORT_V4}/")), PAGE);
    lab.programs().ok(&format!("ping -c 1 -s 4000 {CLIENT_V4}"));
    lab.programs().ip(&[&format!("route add 198.18.1.0/24 via {CLIENT2_V4}")]);
    let _ = lab.await_route_state("198.18.1.0/24", "installed");
    lab.programs().ip(&["route del 198.18.1.0/24"]);
    lab.await_no_relay_route("198.18.1.0/24");
    let _ = lab.relay.l2ctl("peer weight control1 0").expect_success();
    let _ = lab.relay.l2ctl("peer weight control1 100").expect_success();
    drop(nginx);
    lab.relay.await_rules(&[]);
    lab.control.terminate();
    lab.relay.terminate();
    let capture = capture.end(" CLOSE peer stopped");

    let theirs = tshark(&capture, &["-T", "fields", "-e", "_ws.col.Info"]);
    let ours = lines(&capture, &[]);
    assert_eq!(ours.len(), theirs.len());
    for (number, (ours, theirs)) in (1..).zip(ours.iter().zip(&theirs)) {
        let (_, text) = ours.split_once(" > ").and_then(|(_, rest)| rest.split_once(' ')).expect("a line");
        assert_eq!(said(text), said(theirs), "frame {number}");
    }
    for filter in
        ["_ws.malformed", "l2link.drop", "l2link.no_response", "l2link.segment.gap", "_ws.lua.error"]
    {
        assert_eq!(tshark(&capture, &["-Y", filter]), [""; 0], "{filter}");
    }
    let frames = frames(&capture, &[]);
    let seen: BTreeSet<&str> = frames.iter().filter_map(|frame| frame["kind"].as_str()).collect();
    let kinds = [
        "HELLO",
        "HANDSHAKE_INIT",
        "HANDSHAKE_RESPONSE",
        "KEEPALIVE",
        "SEGMENT",
        "ACK",
        "CLOSE",
        "DATA",
        "PIECE",
    ];
    assert_eq!(seen, kinds.into());
    let messages = messages(&frames);
    for message in [
        "PORT_REQUEST",
        "PORT_REPLY",
        "TUNNEL_REQUEST",
        "TUNNEL_REPLY",
        "RULE_ADD",
        "RULE_REPLY",
        "RULE_DELETE",
        "RULE_DELETED",
        "RULES_END",
        "ROUTE_ADD",
        "ROUTE_DELETE",
        "ROUTES_DONE",
        "ROUTES_END",
    ] {
        assert!(messages.contains(message), "no {message} among {messages:?}");
    }
    // The packets inside are dissected further, those in pieces too.
    let inside = |filter: &str| tshark(&capture, &["-Y", filter, "-T", "fields", "-e", "l2link.kind"]);
    assert!(inside("http.request.uri == \"/\"").contains(&"0x40".to_owned()));
    assert!(inside("ip.proto == 1 && l2link.piece.last == 1").contains(&"0x41".to_owned()));
    assert!(!inside("l2link.response_to && l2link.message.type == 0x0021").is_empty(), "rules are answered");
    assert!(!inside("l2link.acked_in").is_empty(), "segments are acknowledged");
    let rows = tshark(&capture, &["-q", "-X", "lua_script1:statistics"]);
    assert!(rows.iter().any(|row| row.starts_with("RULE_REPLY  ")), "{rows:?}");
}

#[test]
fn a_live_interface_is_printed_and_filtered() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let dump = |more: &str| lab.control_ns.spawn(&format!("{} -i lan0 {more}", binary("l2dump").display()));
    let mut all = dump("--json");
    let mut deletion = dump("--message RULE_DELETE --count 1");
    let mut named = dump("--peer relay1 --kind HELLO --count 1");
    let written = lab.folder().join("written.pcap");
    let mut writing = dump(&format!("--write {}", written.display()));
    for process in [&all, &deletion, &named, &writing] {
        let _ = process.await_log("listening on lan0", SOON);
    }
    lab.start();
    let server = echo_server(lab.programs(), "tcp 0.0.0.0 7000");
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:7000 active"]);
    drop(server);
    lab.relay.await_rules(&[]);

    assert!(deletion.wait(SOON).success());
    let log = deletion.log();
    assert_eq!(log.lines().filter(|line| line.contains("RULE_DELETE request")).count(), 1, "{log}");
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.contains(" frames captured, 0 dropped by the kernel"), "{log}");
    assert!(named.wait(SOON).success());
    assert!(named.log().contains("HELLO relay relay1 boot "), "{}", named.log());
    for process in [&mut all, &mut writing] {
        process.signal(Signal::SIGINT);
        assert!(process.wait(SOON).success());
    }
    let log = all.log();
    let rows: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let own = lab.control_ns.ip_json("link show lan0")[0]["address"].clone();
    for direction in ["source", "destination"] {
        let found = rows.iter().any(|row| row["kind"] == "SEGMENT" && row[direction] == own);
        assert!(found, "frames of either direction: {direction} {own}");
    }
    let messages = messages(&rows);
    assert!(messages.contains("RULE_ADD") && messages.contains("RULE_REPLY"), "{messages:?}");
    assert!(log.contains("\"local_port\":7000"), "{log}");
    let numbers = rows.iter().map(|row| row["number"].as_u64().unwrap());
    assert!(numbers.eq(1..=rows.len() as u64));
    // Times are the kernel's: those of a request and its reply differ.
    let times: BTreeSet<&str> = rows.iter().map(|row| row["time"].as_str().unwrap()).collect();
    assert!(times.len() * 10 > rows.len() * 9, "{} times of {} frames", times.len(), rows.len());
    assert!(tshark(&written, &["-Y", "l2link.message.type == 0x0020"]).len() >= 2);
}

/// As a fast path in a kernel would send them: the frames of a request and of its answer, made anew as `PACKET`.
#[rstest]
#[case::without_security("security = \"none\"", true)]
#[case::clear_data("psk_file = \"psk\"\ndata = \"clear\"", true)]
#[case::sealed_data("psk_file = \"psk\"\ndata = \"sealed\"", false)]
fn packets_of_a_fast_path_are_taken_where_data_is_clear(#[case] security: &str, #[case] taken: bool) {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let secured = |text: String| text.replace("psk_file = \"psk\"", security);
    lab.relay.configure(&secured(Relay { link: PATIENT.into(), ..Relay::default() }.to_string()));
    lab.control.configure(&secured(Control { link: PATIENT.into(), ..Control::default() }.to_string()));
    lab.start();
    let _server = echo_server(lab.programs(), "udp 0.0.0.0 7000");
    lab.relay.await_rules(&["eth1 udp 0.0.0.0:7000 active"]);
    let (relay, control) = (lab.relay_ns.clone(), lab.control_ns.clone());
    let (mut down, mut client) = (vec![], None);
    let up = Recorder::record(&relay, &[Kind::DATA], || {
        down = Recorder::record(&control, &[Kind::DATA], || {
            let process = lab.client.python(CLIENT, &[PORT_V4]);
            process.await_log("got b'genuine'", SOON);
            client = Some(process);
        });
    });
    let client = client.expect("a client");
    let dump = lab.relay_ns.spawn(&format!("{} -i lan0 --kind PACKET", binary("l2dump").display()));
    let _ = dump.await_log("listening on lan0", SOON);
    send(&relay, &as_packet(&up, b"upwards"));
    send(&control, &as_packet(&down, b"returns"));
    for (daemon, frames) in [(&lab.control, &up), (&lab.relay, &down)] {
        daemon.await_counter("rx.PACKET.frames", 0);
        assert_eq!(daemon.counter("rx.PACKET.frames"), 1);
        assert_eq!(daemon.counter("tx.PACKET.frames"), 0);
        assert_eq!(daemon.counter("drop.not-sealed"), u64::from(!taken));
        let inner = inner(frames);
        let _ =
            dump.await_log(&format!("PACKET {} packet of {} bytes", inner.tunnel, inner.frame.len()), SOON);
    }
    if taken {
        client.await_log("got b'upwards'", SOON);
        client.await_log("got b'returns'", SOON);
    } else {
        assert!(!client.log().contains("upwards") && !client.log().contains("returns"), "{}", client.log());
    }
}

/// Sends a datagram from a port, and prints all that comes to it.
const CLIENT: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'genuine', (sys.argv[1], 7000))
while True:
    print('got', s.recv(100), flush=True)";

fn send(netns: &Netns, frame: &[u8]) {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let send = "import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('lan0', 0))
s.send(bytes.fromhex(sys.argv[1]))";
    let _ = netns.run_python(send, &[&hex]).expect_success();
}

/// The tunnelled datagram that one of the `DATA` frames holds.
fn inner(frames: &[Vec<u8>]) -> Packet<'_> {
    let parcels = frames.iter().flat_map(|bytes| {
        let frame = Frame::parse(bytes).expect("a link frame");
        Parcels::parse(frame.body).expect("parcels").iter().collect::<Vec<_>>()
    });
    let mut packets = parcels.map(|data| Packet { tunnel: data.tunnel, frame: &data.parcel[10..] });
    packets.find(|packet| packet.frame.ends_with(b"genuine")).expect("the datagram")
}

/// The datagram with another payload of seven bytes and no checksum, as a `PACKET`.
fn as_packet(frames: &[Vec<u8>], payload: &[u8; 7]) -> Vec<u8> {
    let Packet { tunnel, frame } = inner(frames);
    let mut datagram = frame.to_vec();
    datagram[40..42].fill(0);
    let at = datagram.len() - payload.len();
    datagram[at..].copy_from_slice(payload);
    let mut body = vec![0; datagram.len() + 4];
    Packet { tunnel, frame: &datagram }.emit(&mut body).expect("room");
    let front = &frames[0][..HEADERS_LEN - 16];
    let receiver = Frame::parse(&frames[0]).expect("a link frame").header.receiver();
    [front, LinkHeader::new(Kind::PACKET, Flags::empty(), 0, receiver, 0).as_bytes(), &body].concat()
}

#[test]
fn encrypted_frames_are_read_by_the_key_log() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.configure_link(&format!("{PATIENT}\nencrypt = true\nkeylog_file = \"keys\""));
    let capture = Capture::start(&lab);
    // One that looks on takes keys that are added.
    let growing = lab.relay.folder().join("keys");
    fs::write(&growing, "").unwrap();
    fs::set_permissions(&growing, fs::Permissions::from_mode(0o600)).unwrap();
    let line = format!("{} -i lan0 --message RULE_ADD --count 1 --keylog", binary("l2dump").display());
    let mut live = lab.control_ns.spawn(&format!("{line} {}", path(&growing)));
    let _ = live.await_log("listening on lan0", SOON);
    lab.start();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    assert!(live.wait(SOON).success());
    assert!(
        live.log().contains(": RULE_ADD request ") || live.log().contains("; RULE_ADD"),
        "{}",
        live.log()
    );
    assert_eq!(lab.client.ok(&format!("curl -sS --max-time 5 http://{PORT_V4}/")), PAGE);
    // A second session, whose keys are others.
    lab.control.kill_9();
    lab.control.start();
    lab.await_symbol();
    assert_eq!(lab.client.ok(&format!("curl -sS --retry 5 --max-time 5 http://{PORT_V4}/")), PAGE);
    drop(nginx);
    lab.relay.await_rules(&[]);
    lab.relay.terminate();
    let capture = capture.end(" CLOSE encrypted, ");

    let logs = [&lab.relay, &lab.control].map(|daemon| {
        assert!(daemon.log().contains("WARN") && daemon.log().contains("KEY LOG: "), "{}", daemon.log());
        let path = daemon.folder().join("keys");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        path
    });
    let keys = logs.each_ref().map(|log| {
        let text = fs::read_to_string(log).unwrap();
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    });
    // The control that was killed may have left a handshake half done.
    assert!(keys[1].is_subset(&keys[0]), "both devices write the same");
    assert!(keys[1].len() >= 2, "{} sessions", keys[1].len());

    let encrypted = lines(&capture, &[]);
    assert!(encrypted.iter().any(|line| line.contains(" SEGMENT encrypted, ")), "{encrypted:?}");
    assert!(encrypted.iter().all(|line| !line.contains("RULE_ADD") && !line.contains("tcp")));
    assert!(tshark(&capture, &["-Y", "l2link.message || tcp"]).is_empty());
    for log in &logs {
        let lines = lines(&capture, &["--keylog", path(log)]);
        assert!(lines.iter().all(|line| !line.contains("encrypted, ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains(": tcp 0.0.0.0:80")), "{lines:?}");
    }
    let frames = frames(&capture, &["--keylog", path(&logs[0])]);
    assert!(frames.iter().any(|frame| frame["kind"] == "SEGMENT" && frame["encrypted"] == true));

    let readable = lab.folder().join("readable.pcap");
    let _ =
        l2dump(&["-r", path(&capture), "--keylog", path(&logs[1]), "-w", path(&readable)]).expect_success();
    assert_eq!(lines(&readable, &[]), lines(&capture, &["--keylog", path(&logs[0])]));
    assert!(
        tshark(&readable, &["-Y", "l2link.ciphertext || l2link.drop.malformed || _ws.malformed"]).is_empty()
    );
    assert!(!tshark(&readable, &["-Y", "http.request && l2link.data.tunnel"]).is_empty());
    assert!(!tshark(&readable, &["-Y", "l2link.message.type == 0x0020"]).is_empty());

    // Wrong keys open nothing, and that is no error; what is no key log is one.
    let crossed = lab.folder().join("crossed");
    let text: String = {
        let lines = keys[0].iter().map(|line| {
            let (head, last) = line.rsplit_once(' ').expect("words");
            let (head, first) = head.rsplit_once(' ').expect("words");
            format!("{head} {last} {first}\n")
        });
        lines.collect()
    };
    fs::write(&crossed, text).unwrap();
    assert_eq!(lines(&capture, &["--keylog", path(&crossed)]), encrypted);
    fs::write(&crossed, "# a remark\n\nnonsense\n").unwrap();
    let finished = l2dump(&["-r", path(&capture), "--keylog", path(&crossed)]);
    assert!(finished.code() == Some(1) && finished.stderr().contains("crossed:3: not "), "{finished}");
}

#[test]
fn a_key_log_that_others_may_read_is_refused() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let link = "keylog_file = \"keys\"".to_owned();
    lab.control.configure(&Control { link: link.clone(), ..Control::default() }.to_string());
    let keys = lab.control.folder().join("keys");
    fs::write(&keys, "").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    for more in [&["--check"][..], &[]] {
        let finished = lab.control.run(more);
        assert_eq!(finished.code(), Some(2), "{finished}");
        let error = finished.stderr();
        assert!(error.contains("control.toml:") && error.contains("mode 0644"), "{error}");
        assert!(error.contains("chmod 600"), "{error}");
    }
    let nothing = Relay { link: format!("{link}\nsecurity = \"none\""), ..Relay::default() }.to_string();
    lab.relay.configure(&nothing.replace("psk_file = \"psk\"\n", ""));
    let finished = lab.relay.run(&["--check"]);
    assert_eq!(finished.code(), Some(2), "{finished}");
    assert!(finished.stderr().contains("has no keys"), "{finished}");
    assert!(!lab.relay.folder().join("keys").exists());
}

#[test]
fn what_cannot_be_captured_is_said() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let dump = |more: &str| lab.client.run(&format!("{} {more}", binary("l2dump").display()));
    let finished = dump("-i lan7");
    assert_eq!(
        (finished.code(), finished.stderr().contains("lan7: there is none")),
        (Some(1), true),
        "{finished}"
    );
    let finished = dump("-i lo");
    assert_eq!((finished.code(), finished.stderr().contains("no Ethernet")), (Some(1), true), "{finished}");
    // Without the privilege, and when the interface vanishes.
    let line = format!("setpriv --bounding-set=-all --inh-caps=-all {} -i eth0", binary("l2dump").display());
    let finished = lab.client.run(&line);
    assert!(finished.code() == Some(1) && finished.stderr().contains("needs CAP_NET_RAW"), "{finished}");
    let mut capturing = lab.client.spawn(&format!("{} -i eth0", binary("l2dump").display()));
    let _ = capturing.await_log("listening on eth0", SOON);
    lab.client.ip(&["link set eth0 down"]);
    let _ = capturing.await_log("eth0 is down", SOON);
    lab.client.ip(&["link del eth0"]);
    assert_eq!(capturing.wait(SOON).code(), Some(1), "{}", capturing.log());
    assert!(capturing.log().contains("error: capturing on eth0: No such device"), "{}", capturing.log());
    for wrong in
        ["", "-i eth0 -r file", "-i eth0 --kind NONE", "-i eth0 --ethertype 0x10000", "-i eth0 --count 0"]
    {
        assert_eq!(dump(wrong).code(), Some(2), "{wrong}");
    }
}

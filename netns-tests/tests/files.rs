//! Symbols of kind files: a relay's port as files, which programs nobody here wrote open, read and write.

use netns_tests::address::*;
use netns_tests::config::Control;
use netns_tests::{Finished, Lab, Layout, Mounts, Process, SOON, binary, eventually, never};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

/// A lab whose control has its symbol as files, in a mount namespace of their own.
struct Tree {
    lab: Lab,
    mounts: Rc<Mounts>,
}

const SYMBOL: &str = "kind = \"files\"\nrelay = \"relay1\"\nport = \"eth1\"\n";

/// Whatever was read and written, it happens again in a replay.
impl Drop for Tree {
    fn drop(&mut self) {
        let recording = self.lab.control.folder().join("recording");
        if !thread::panicking() && recording.exists() {
            let replayed = Finished::new(Command::new(binary("l2replay")).arg("--quiet").arg(recording));
            assert!(replayed.success(), "{replayed}");
        }
    }
}

impl Tree {
    fn build(more: &str) -> Option<Self> {
        let mut lab = Lab::build(Layout::default())?;
        let mounts = Rc::new(Mounts::new(lab.folder()));
        lab.control.mount_in(&mounts);
        lab.control.record_to(lab.control.folder().join("recording"));
        let tree = Self { lab, mounts };
        tree.configure(more);
        Some(tree)
    }

    fn up() -> Option<Self> {
        let mut tree = Self::build("")?;
        tree.lab.start();
        Some(tree)
    }

    fn configure(&self, more: &str) {
        let control = Control { symbols: Vec::new(), ..Control::default() };
        self.lab
            .control
            .configure(&format!("{control}\n[files]\nmount = \"files\"\n[[symbol]]\n{SYMBOL}{more}\n"));
    }

    fn mount(&self) -> PathBuf {
        self.lab.control.folder().join("files")
    }

    /// Path of a file of the port.
    fn file(&self, name: &str) -> String {
        format!("{}/relay1/eth1/{name}", self.mount().display())
    }

    /// Runs a line of shell in the folder of the port.
    fn sh(&self, line: &str) -> Finished {
        self.mounts.sh(&format!("cd {}/relay1/eth1 && {line}", self.mount().display()))
    }

    fn spawn(&self, line: &str) -> Process {
        self.mounts.spawn(&format!("cd {}/relay1/eth1 && {line}", self.mount().display()))
    }

    /// Runs a Python program with some helpers before it, and a file's path as `path`.
    fn run_python(&self, file: &str, program: &str) -> Finished {
        self.mounts.run_python(&format!("{HELPERS}{program}"), &[&self.file(file)])
    }

    fn python(&self, file: &str, program: &str) -> Process {
        self.mounts.python(&format!("{HELPERS}{program}"), &[&self.file(file)])
    }

    /// Waits until both have exactly these rules, EtherTypes included.
    #[track_caller]
    fn await_rules(&self, expected: &[&str]) {
        for daemon in [&self.lab.relay, &self.lab.control] {
            eventually(SOON, &format!("the rules are {expected:?}"), || {
                let rows = daemon.show("rules")?;
                let mut rules: Vec<String> = rows
                    .iter()
                    .map(|row| {
                        let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
                        let port =
                            row["port_number"].as_u64().map_or(String::new(), |port| format!(":{port}"));
                        format!("{} {}{port} {}", text("protocol"), text("address"), text("state"))
                    })
                    .collect();
                rules.sort();
                if rules == expected { Ok(()) } else { Err(format!("{rules:?}")) }
            });
        }
    }

    /// Sends datagrams with these texts from the client, each from a port of its own.
    fn send(&self, to: &str, port: u16, texts: &[&str]) {
        let program = "import socket, sys\n\
             for text in sys.argv[3:]:\n    \
             family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n    \
             socket.socket(family, socket.SOCK_DGRAM).sendto(text.encode(), (sys.argv[1], int(sys.argv[2])))";
        let port = port.to_string();
        let arguments: Vec<&str> = [to, &port].into_iter().chain(texts.iter().copied()).collect();
        let _ = self.lab.client.run_python(program, &arguments).expect_success();
    }

    fn counter(&self, name: &str) -> u64 {
        let text = self.sh("cat counters").expect_success();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

const HELPERS: &str = "import os, sys, select, signal, errno, threading, time, struct, socket\n\
     path = sys.argv[1]\n\
     def says(packet): return packet[28:].decode() if packet[0] >> 4 == 4 else packet[48:].decode()\n\
     def fails(what, *arguments):\n    \
     try: what(*arguments)\n    \
     except OSError as error: return errno.errorcode[error.errno]\n    \
     return 'nothing'\n\
     def udp(source, destination, ports, text, total=None):\n    \
     address = lambda name: socket.inet_aton(name)\n    \
     return struct.pack('!BBHHHBBH', 0x45, 0, total or 28 + len(text), 1, 0, 64, 17, 0) + address(source) \\\n        \
     + address(destination) + struct.pack('!HHHH', *ports, 8 + len(text), 0) + text\n";

/// What a user would write: ten lines that answer whatever comes, of either version of IP.
const ANSWERER: &str = "\
import os, sys
file = os.open(sys.argv[1], os.O_RDWR)
print('open')
while packet := bytearray(os.read(file, 65536)):
    begin, size, header = (12, 4, 4 * (packet[0] & 15)) if packet[0] >> 4 == 4 else (8, 16, 40)
    source, destination = packet[begin:begin + size], packet[begin + size:begin + 2 * size]
    packet[begin:begin + 2 * size] = destination + source
    packet[header:header + 4] = packet[header + 2:header + 4] + packet[header:header + 2]
    os.write(file, packet)
";

/// Asks by UDP and checks the answer.
const ASKER: &str = "\
import socket, sys
asker = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(5)
asker.connect((sys.argv[1], 7000))
for size in (1, 1000, 1452):
    asker.send(b'x' * size)
    assert asker.recv(65536) == b'x' * size
";

#[test]
fn ten_lines_of_python_answer_udp() {
    let Some(tree) = Tree::up() else { return };
    tree.await_rules(&[]);
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/7000")]);
    server.await_log("open", SOON);
    // The rule is in force when open returns, without any waiting.
    assert_eq!(tree.lab.relay.rules().unwrap(), ["eth1 udp *:7000 active"]);
    for address in [PORT_V4, PORT_V6] {
        let _ = tree.lab.client.run_python(ASKER, &[address]).expect_success();
    }
    assert_eq!(tree.sh("ls udp tcp ip ethertype").expect_success().split_whitespace().last(), Some("7000"));
    drop(server);
    tree.await_rules(&[]);
    assert!(!tree.lab.client.run_python(ASKER, &[PORT_V4]).success(), "nobody has it open any more");
    for daemon in [&tree.lab.relay, &tree.lab.control] {
        for reason in ["file-queue-full", "not-routable", "port-tx-error"] {
            assert_eq!(daemon.counter(&format!("drop.{reason}")), 0, "{reason}");
        }
    }
}

#[test]
fn a_capture_has_what_a_program_reads_and_writes() {
    let Some(tree) = Tree::up() else { return };
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/7000")]);
    server.await_log("open", SOON);
    let file = tree.lab.folder().join("files.pcapng");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary("l2ctl")).arg("--socket").arg(tree.lab.control.socket());
    command.args(["capture", "--count", "12", "udp", "port", "7000", "-w"]).arg(&file);
    let mut capture = Process::start("capture", &mut command, tree.lab.folder());
    capture.await_log("capturing at control1: symbol ", SOON);
    let _ = tree.lab.client.run_python(ASKER, &[PORT_V4]).expect_success();
    assert!(capture.wait(SOON).success(), "{}", capture.log());
    let mut tshark = Command::new("tshark");
    let fields = ["frame.interface_name", "frame.packet_flags_direction", "udp.dstport"];
    tshark
        .args(["-n", "-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .arg("-r")
        .arg(&file);
    let text = Finished::new(&mut tshark).expect_success();
    let count = |side: &str, question: bool| {
        let is_question = |line: &&str| line.ends_with("\t7000") == question;
        text.lines().filter(|line| line.starts_with(side)).filter(is_question).count()
    };
    for side in ["symbol ", "tunnel relay1/eth1\t"] {
        assert_eq!((count(side, true), count(side, false)), (3, 3), "{text}");
    }
}

#[test]
fn link_local_neighbors_are_answered() {
    let Some(tree) = Tree::up() else { return };
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/7000")]);
    server.await_log("open", SOON);
    let addresses = tree.lab.relay_ns.ip_json("addr show dev eth1");
    let own = addresses[0]["addr_info"].as_array().unwrap().iter();
    let local = own.filter_map(|row| row["local"].as_str()).find(|address| address.starts_with("fe80:"));
    let line = format!("socat -T 3 - UDP6:[{}%eth0]:7000", local.expect("a link-local address"));
    let asked = tree.lab.client.run_python(
        "import subprocess, sys\n\
         answer = subprocess.run(sys.argv[1].split(), input=b'hello', capture_output=True, timeout=9)\n\
         print(answer.stdout.decode(), answer.stderr.decode())",
        &[&line],
    );
    assert!(asked.expect_success().contains("hello"));
}

#[test]
fn cat_dd_and_socat_read_packets() {
    let Some(tree) = Tree::up() else { return };
    let dd = tree.spawn("dd if=udp/7000 bs=65536 count=2 of=/tmp/dd.$$ && od -An -v -tx1 /tmp/dd.$$ | tr -d ' \\n' && rm /tmp/dd.$$");
    let cat = tree.spawn("timeout --foreground 20 cat udp/7001 | head -c 33 | tail -c 5");
    let socat = tree
        .spawn("timeout --foreground 20 socat -u -b 65536 OPEN:udp/7002,rdonly - | head -c 33 | tail -c 5");
    tree.await_rules(&["udp *:7000 active", "udp *:7001 active", "udp *:7002 active"]);
    tree.send(PORT_V4, 7000, &["first", "second"]);
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let log = dd.await_log(&hex("second"), SOON);
    assert!(log.contains(&hex("first")) && log.contains("2+0 records in") == log.contains("65536"), "{log}");
    for (program, port) in [(&cat, 7001), (&socat, 7002)] {
        tree.send(PORT_V4, port, &["hello"]);
        program.await_log("hello", SOON);
    }
    drop((dd, cat, socat));
    tree.await_rules(&[]);
}

#[test]
fn programs_of_libpcap_read_the_live_capture() {
    let Some(tree) = Tree::up() else { return };
    let tcpdump = tree.spawn("exec tcpdump -n -l -U -r packets.pcap");
    let tshark = tree.spawn("exec tshark -n -l -i - < packets.pcap");
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/5300")]);
    server.await_log("open", SOON);
    tree.await_rules(&["ethertype 0x0003 active", "udp *:5300 active"]);
    tshark.await_log("Capturing", SOON);
    // Port 7000 would be taken for another protocol's.
    let asker = ASKER.replace("7000", "5300");
    let _ = tree.lab.client.run_python(&asker, &[PORT_V4]).expect_success();
    for line in [format!("> {PORT_V4}.5300: UDP, length 1000"), format!("IP {PORT_V4}.5300 > {CLIENT_V4}")] {
        tcpdump.await_log(&line, SOON);
    }
    let log = tshark.await_log("5300", SOON);
    assert!(log.contains("UDP"), "{log}");
    // What is of nobody: a neighbor that asks for somebody else.
    assert!(!tree.lab.client.run("ping -c 1 -W 1 192.0.2.77").success());
    tcpdump.await_log("who-has 192.0.2.77", SOON);
}

/// Frames of an EtherType, in both directions.
#[test]
fn frames_come_and_go_whole() {
    let Some(tree) = Tree::up() else { return };
    // Neighbors may have something to say meanwhile.
    let program = "file = os.open(path, os.O_RDWR)\nprint('open')\nframe = b''\n\
         while frame[12:14] != b'\\x88\\xb6': frame = os.read(file, 2000)\nos.write(file, frame[6:12] + frame[:6] + frame[12:])\nprint('answered')";
    for (file, rule) in
        [("ethertype/88b6", "ethertype 0x88b6 active"), ("packets", "ethertype 0x0003 active")]
    {
        let server = tree.python(file, program);
        server.await_log("open", SOON);
        tree.await_rules(&[rule]);
        let asked = tree.lab.client.run_python(
            "import socket\n\
             s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b6))\n\
             s.bind(('eth0', 0x88b6))\ns.settimeout(5)\n\
             port = bytes.fromhex(__import__('sys').argv[1].replace(':', ''))\n\
             mine = s.getsockname()[4]\nframe = port + mine + b'\\x88\\xb6' + b'x' * 1500\ns.send(frame)\n\
             assert s.recv(2000) == mine + port + b'\\x88\\xb6' + b'x' * 1500",
            &[tree.lab.relay_ns.ip_json("link show dev eth1")[0]["address"].as_str().unwrap()],
        );
        let _ = asked.expect_success();
        server.await_log("answered", SOON);
        drop(server);
        tree.await_rules(&[]);
    }
}

/// A raw protocol: what an OSPF daemon would do.
#[test]
fn an_ip_protocol_to_neighbors_and_to_groups() {
    let Some(tree) = Tree::up() else { return };
    let server = tree.python(
        "ip/ospf",
        "file = os.open(path, os.O_RDWR)\nprint('open')\npacket = os.read(file, 2000)\nassert packet[9] == 89\n\
         for to in (packet[12:16], socket.inet_aton('224.0.0.5')):\n    \
         os.write(file, packet[:12] + packet[16:20] + to + b'answer')\nprint('answered')",
    );
    server.await_log("open", SOON);
    tree.await_rules(&["ospf * active"]);
    let asked = tree.lab.client.run_python(
        "import socket, struct, sys\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 89)\ns.settimeout(5)\n\
         s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('224.0.0.5') + socket.inet_aton(sys.argv[1]))\n\
         s.sendto(b'asking', (sys.argv[2], 89))\n\
         print(sorted(socket.inet_ntoa(s.recv(2000)[16:20]) for _ in range(2)))",
        &[CLIENT_V4, PORT_V4],
    );
    assert_eq!(asked.expect_success().trim(), format!("['{CLIENT_V4}', '224.0.0.5']"));
    server.await_log("answered", SOON);
}

#[test]
fn a_short_buffer_is_an_error_that_loses_nothing() {
    let Some(tree) = Tree::up() else { return };
    let reader = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDONLY)\nprint('open')\nselect.select([file], [], [])\n\
         print(fails(os.read, file, 20), fails(os.read, file, 32))\n\
         print(says(os.read(file, 33)), fails(os.read, file, 10), says(os.read(file, 4096)))",
    );
    reader.await_log("open", SOON);
    tree.send(PORT_V4, 7000, &["first", "second"]);
    let log = reader.await_log("second", SOON);
    assert!(log.contains("EMSGSIZE EMSGSIZE\nfirst EMSGSIZE second"), "{log}");
    // A reader that waits already is told likewise, and the next one gets the packet.
    let reader = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDONLY)\nprint('open')\nprint(fails(os.read, file, 20))\nprint(says(os.read(file, 99)))",
    );
    reader.await_log("open", SOON);
    tree.send(PORT_V4, 7000, &["third"]);
    assert!(reader.await_log("third", SOON).contains("EMSGSIZE"));
}

#[test]
fn nonblocking_reads_poll_and_epoll() {
    let Some(tree) = Tree::up() else { return };
    let reader = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDWR | os.O_NONBLOCK)\n\
         poll = select.poll()\npoll.register(file, select.POLLIN)\n\
         edge = select.epoll()\nedge.register(file, select.EPOLLIN | select.EPOLLET)\n\
         print(fails(os.read, file, 4096), poll.poll(0), edge.poll(0))\n\
         print(select.select([], [file], [], 0)[1] == [file])\n\
         print('ready')\n\
         for _ in range(20):\n    \
         assert poll.poll(9000) == [(file, select.POLLIN)]\n    \
         assert edge.poll(9) == [(file, select.EPOLLIN)]\n    \
         print('got', says(os.read(file, 4096)))\n    \
         assert poll.poll(0) == [] and fails(os.read, file, 4096) == 'EAGAIN'\n\
         os.set_blocking(file, True)\nprint('blocking')\nprint('got', says(os.read(file, 4096)))\n\
         print('selecting')\nselect.select([file], [], [])\nprint('got', says(os.read(file, 4096)))",
    );
    reader.await_log("ready", SOON);
    assert!(reader.log().contains("EAGAIN [] []\nTrue"), "{}", reader.log());
    for number in 0..20 {
        let text = format!("p{number}.");
        tree.send(PORT_V4, 7000, &[&text]);
        reader.await_log(&format!("got {text}"), SOON);
    }
    for (waits, text) in [("blocking", "last"), ("selecting", "selected")] {
        reader.await_log(waits, SOON);
        tree.send(PORT_V6, 7000, &[text]);
        reader.await_log(&format!("got {text}"), SOON);
    }
}

#[test]
fn a_write_does_not_wait_for_a_read_of_the_same_file() {
    let Some(tree) = Tree::up() else { return };
    let both = tree.python(
        "udp/7000",
        &format!(
            "file = os.open(path, os.O_RDWR)\n\
             threading.Thread(target=lambda: print('got', says(os.read(file, 4096)))).start()\n\
             time.sleep(0.2)\nos.write(file, udp('{PORT_V4}', '{CLIENT_V4}', (7000, 9000), b'hello'))\nprint('written')"
        ),
    );
    both.await_log("written", SOON);
    tree.send(PORT_V4, 7000, &["late"]);
    both.await_log("got late", SOON);
}

/// `tcp` and `udp`: each packet to one of those that have the file open, by the far end. All others: a copy each.
#[test]
fn readers_share_or_have_copies() {
    let Some(tree) = Tree::up() else { return };
    let sharing = "file = os.open(path, os.O_RDONLY)\nprint('open')\n\
                   while True: print('got', says(os.read(file, 4096)))";
    // Neighbors may have something to say meanwhile.
    let copying = "file = os.open(path, os.O_RDONLY)\nprint('open')\n\
                   while True:\n    text = os.read(file, 4096)[-4:]\n    \
                   if text.isdigit(): print('got', text.decode())";
    let shares = [0, 1, 2].map(|_| tree.python("udp/7000", sharing));
    let copies =
        ["ip/17", "ip/17", "packets", "packets", "ethertype/0800"].map(|file| tree.python(file, copying));
    for reader in shares.iter().chain(&copies) {
        reader.await_log("open", SOON);
    }
    let texts: Vec<String> = (1000..1060).map(|number| number.to_string()).collect();
    tree.send(PORT_V4, 7000, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let got = |reader: &Process| reader.log().matches("got").count();
    for reader in &copies {
        eventually(SOON, "a copy of each", || if got(reader) == 60 { Ok(()) } else { Err(reader.log()) });
    }
    let all = eventually(SOON, "each once among those that share", || {
        let all: Vec<usize> = shares.iter().map(got).collect();
        if all.iter().sum::<usize>() >= 60 { Ok(all) } else { Err(format!("{all:?}")) }
    });
    assert_eq!(all.iter().sum::<usize>(), 60, "{all:?}");
    assert!(all.iter().all(|count| *count >= 5), "{all:?}");
    // One that closes leaves its share to the others.
    let [first, second, third] = shares;
    drop((first, second));
    eventually(SOON, "two have closed it", || match tree.counter("open.files") {
        6 => Ok(()),
        other => Err(format!("{other} files are open")),
    });
    let before = got(&third);
    tree.send(PORT_V4, 7000, &["a", "b", "c", "d"]);
    eventually(
        SOON,
        "the last gets all",
        || if got(&third) == before + 4 { Ok(()) } else { Err(third.log()) },
    );
}

#[test]
fn a_signal_ends_a_wait_and_a_dead_reader_ends_its_rule() {
    let Some(tree) = Tree::up() else { return };
    let mut reader = tree.python(
        "udp/7000",
        "class Heard(Exception): pass\n\
         def hear(*_): raise Heard\n\
         signal.signal(signal.SIGUSR1, hear)\nfile = os.open(path, os.O_RDONLY)\nprint('open')\n\
         try: os.read(file, 4096)\n\
         except Heard: print('heard')\n\
         print('got', says(os.read(file, 4096)))\nprint('waits')\nos.read(file, 4096)",
    );
    reader.await_log("open", SOON);
    std::thread::sleep(Duration::from_millis(300));
    reader.signal(Signal::SIGUSR1);
    reader.await_log("heard", SOON);
    tree.send(PORT_V4, 7000, &["still here"]);
    reader.await_log("got still here", SOON);
    reader.await_log("waits", SOON);
    tree.await_rules(&["udp *:7000 active"]);
    std::thread::sleep(Duration::from_millis(300));
    // Hangs if a reader that waits cannot be killed.
    reader.kill_9();
    tree.await_rules(&[]);
}

/// A queue holds so much and no more; the daemon and other readers go on.
#[test]
fn a_reader_that_sleeps_loses_what_does_not_fit() {
    let Some(tree) = Tree::up() else { return };
    let sleeper = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDONLY)\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\nprint('open')\nsignal.sigwait([signal.SIGUSR1])\ncount = 0\n\
         while select.select([file], [], [], 1)[0]:\n    os.read(file, 4096)\n    count += 1\nprint('read', count)",
    );
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/7001")]);
    sleeper.await_log("open", SOON);
    server.await_log("open", SOON);
    let flood = "import socket, sys, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                 for number in range(6000):\n    s.sendto(b'x' * 100, (sys.argv[1], 7000))\n    \
                 if number % 50 == 0: time.sleep(0.002)";
    let _ = tree.lab.client.run_python(flood, &[PORT_V4]).expect_success();
    eventually(SOON, "some do not fit", || match tree.counter("drop.file-queue-full") {
        0 => Err("none yet".into()),
        _ => Ok(()),
    });
    assert_eq!(tree.counter("waiting.packets"), 4096);
    assert!(tree.lab.control.counter("drop.file-queue-full") > 0);
    let asker = ASKER.replace("7000", "7001");
    let _ = tree.lab.client.run_python(&asker, &[PORT_V4]).expect_success();
    sleeper.signal(Signal::SIGUSR1);
    sleeper.await_log("read 4096", SOON);
}

#[test]
fn a_killed_daemon_ends_its_readers_and_the_next_sweeps() {
    let Some(mut tree) = Tree::up() else { return };
    let mut reader = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDONLY)\nprint('open')\nprint(fails(os.read, file, 99))",
    );
    reader.await_log("open", SOON);
    std::thread::sleep(Duration::from_millis(200));
    tree.lab.control.kill_9();
    let log = reader.await_log("E", SOON);
    assert!(log.contains("ENOTCONN") || log.contains("ECONNABORTED"), "{log}");
    assert!(reader.wait(SOON).success());
    let dead = tree.mounts.sh(&format!("ls {}", tree.mount().display()));
    assert!(dead.stderr().contains("not connected"), "{dead}");
    tree.lab.control.start();
    tree.lab.await_symbol();
    assert!(tree.sh("ls").expect_success().contains("attributes"));
    tree.lab.control.await_log("what an earlier l2control left is unmounted");
    let mounts = tree.mounts.sh("grep -c fuse.l2control /proc/self/mounts").stdout();
    assert_eq!(mounts.trim(), "1");
    // Nothing of the reader's rule is left.
    tree.await_rules(&[]);
}

#[test]
fn an_orderly_end_leaves_nothing() {
    let Some(mut tree) = Tree::up() else { return };
    let mut reader = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDONLY)\nprint('open')\nprint(fails(os.read, file, 99))",
    );
    reader.await_log("open", SOON);
    tree.lab.control.terminate();
    reader.await_log("E", SOON);
    assert!(reader.wait(SOON).success());
    assert!(!tree.mount().exists(), "the directory that was made for it is gone");
    assert_eq!(tree.mounts.sh("grep -c fuse.l2control /proc/self/mounts").stdout().trim(), "0");
    eventually(SOON, "the relay has no rule", || match tree.lab.relay.rules()? {
        rules if rules.is_empty() => Ok(()),
        rules => Err(format!("{rules:?}")),
    });
    // One that was there stays.
    std::fs::create_dir(tree.mount()).unwrap();
    tree.lab.control.start();
    tree.lab.await_symbol();
    tree.lab.control.leave();
    assert!(tree.mount().is_dir());
    assert_eq!(tree.mounts.sh("grep -c fuse.l2control /proc/self/mounts").stdout().trim(), "0");
}

#[test]
fn a_file_outlives_the_loss_of_the_relay() {
    let Some(mut tree) = Tree::up() else { return };
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/7000")]);
    server.await_log("open", SOON);
    tree.lab.relay.kill_9();
    tree.lab.control.await_row("symbols", &json!({"kind": "files", "state": "down"}));
    let attributes = tree.sh("cat attributes").expect_success();
    assert!(attributes.contains("\"state\": \"down\"") && attributes.contains("no contact"), "{attributes}");
    let writer = tree.run_python("packets", "print(fails(os.open, path, os.O_RDWR))");
    assert_eq!(writer.expect_success().trim(), "ENETDOWN");
    tree.lab.relay.start();
    tree.lab.await_symbol();
    // By itself, and nobody opened anything.
    tree.await_rules(&["udp *:7000 active"]);
    for address in [PORT_V4, PORT_V6] {
        let _ = tree.lab.client.run_python(ASKER, &[address]).expect_success();
    }
}

#[test]
fn a_port_goes_away_and_comes_back() {
    let Some(tree) = Tree::up() else { return };
    let writer = tree.python(
        "udp/7000",
        &format!(
            "file = os.open(path, os.O_RDWR)\npacket = udp('{PORT_V4}', '{CLIENT_V4}', (7000, 9000), b'hello')\n\
             print('open')\nlast = None\n\
             while True:\n    \
             now = fails(os.write, file, packet)\n    \
             if now != last: print('writing:', now)\n    \
             last = now\n    time.sleep(0.05)"
        ),
    );
    writer.await_log("writing: nothing", SOON);
    tree.lab.relay_ns.ip(&["link set eth1 down"]);
    writer.await_log("writing: ENETDOWN", SOON);
    tree.await_rules(&["udp *:7000 active"]);
    tree.lab.relay_ns.ip(&["link set eth1 up"]);
    tree.lab.await_symbol();
    eventually(SOON, "it writes again", || match writer.log() {
        log if log.trim_end().ends_with("nothing") => Ok(()),
        log => Err(log),
    });
}

#[test]
fn others_unmount_it() {
    let Some(tree) = Tree::up() else { return };
    let reader = tree.python("udp/7000", "file = os.open(path, os.O_RDONLY)\nprint('open')\ntime.sleep(99)");
    reader.await_log("open", SOON);
    drop(reader);
    tree.await_rules(&[]);
    let _ = tree.mounts.sh(&format!("umount {}", tree.mount().display())).expect_success();
    tree.lab.control.await_log("were unmounted");
    // It is mounted again.
    eventually(SOON, "it is mounted again", || tree.sh("cat attributes").into_result());
    let _ = tree.sh("timeout 1 cat tcp/80");
    tree.await_rules(&[]);
}

#[rstest]
#[case::numbers("uid = 12\ngid = 34\nmode = 0o640", "12 34 640")]
#[case::names("uid = \"nobody\"\ngid = \"daemon\"\nmode = \"0660\"", "65534 1 660")]
#[case::nothing("", "0 0 600")]
fn ownership_and_mode(#[case] more: &str, #[case] expected: &str) {
    let Some(mut tree) = Tree::build(more) else { return };
    tree.lab.start();
    let stat = |file: &str| tree.sh(&format!("stat -c '%u %g %a' {file}")).expect_success().trim().to_owned();
    assert_eq!(stat("tcp/80"), expected);
    assert_eq!(stat("packets"), expected);
    let [owner, bits] = [expected.rsplit_once(' ').unwrap().0, expected.rsplit_once(' ').unwrap().1];
    let read = u32::from_str_radix(bits, 8).unwrap() & 0o444;
    assert_eq!(stat("packets.pcap"), format!("{owner} {read:o}"));
    assert_eq!(stat("."), format!("{owner} {:o}", read | read >> 2));
    let as_user = |user: &str| {
        let line = format!("setpriv --reuid {user} --regid {user} --clear-groups timeout 1 cat udp/7000");
        tree.sh(&line)
    };
    let stranger = as_user("4711");
    assert!(stranger.stderr().contains("Permission denied"), "{stranger}");
    let owner = expected.split(' ').next().unwrap();
    assert_eq!(as_user(owner).code(), Some(124), "it waits for packets");
    let changed = tree.sh("chmod 666 packets");
    assert!(changed.stderr().contains("not permitted"), "{changed}");
}

#[test]
fn a_symbol_of_files_comes_and_goes_by_hand() {
    let Some(tree) = Tree::up() else { return };
    let by_hand = |words: &str| tree.lab.control.l2ctl(words);
    let refusal = by_hand("rule add eth1 udp/7001");
    assert!(refusal.stderr().contains("an open file is its rule"), "{refusal}");
    let mut reader = tree.python(
        "udp/7000",
        "file = os.open(path, os.O_RDONLY)\nprint('open')\nprint(fails(os.read, file, 99))",
    );
    reader.await_log("open", SOON);
    let _ = by_hand("symbol del eth1 --kind files --save").expect_success();
    reader.await_log("E", SOON);
    assert!(reader.wait(SOON).success());
    tree.await_rules(&[]);
    assert!(!tree.mount().exists(), "nothing is mounted for no symbol");

    let add = "symbol add relay1 eth1 --kind files --uid 4711 --gid daemon --mode 0640 --save";
    let _ = by_hand(add).expect_success();
    let stat = tree.sh("stat -c '%u %G %a' udp/7000").expect_success();
    assert_eq!(stat.trim(), "4711 daemon 640");
    let server = tree.mounts.python(ANSWERER, &[&tree.file("udp/7000")]);
    server.await_log("open", SOON);
    let _ = tree.lab.client.run_python(ASKER, &[PORT_V4]).expect_success();
    // What was saved is what is there after a restart.
    let mut tree = tree;
    drop(server);
    tree.lab.control.terminate();
    tree.lab.control.start();
    tree.lab.await_symbol();
    let stat = tree.sh("stat -c '%u %G %a' udp/7000").expect_success();
    assert_eq!(stat.trim(), "4711 daemon 640");
}

#[test]
fn the_tree_tells_of_the_port() {
    let Some(tree) = Tree::up() else { return };
    assert_eq!(
        tree.sh("ls").expect_success().split_whitespace().collect::<Vec<_>>(),
        ["attributes", "counters", "ethertype", "ip", "packets", "packets.pcap", "rules", "tcp", "udp"]
    );
    assert_eq!(tree.mounts.sh(&format!("ls {}", tree.mount().display())).expect_success().trim(), "relay1");
    let attributes: serde_json::Value =
        serde_json::from_str(&tree.sh("cat attributes").expect_success()).unwrap();
    assert_eq!((&attributes["port"], &attributes["mtu"]), (&json!("eth1"), &json!(1500)));
    let addresses = attributes["addresses"].as_array().unwrap();
    assert!(addresses.contains(&json!(format!("{PORT_V4}/24"))), "{attributes}");
    assert_eq!(tree.sh("cat rules").expect_success().trim(), "[]");
    let reader = tree.spawn("exec cat tcp/8080");
    tree.await_rules(&["tcp *:8080 active"]);
    let rules: serde_json::Value = serde_json::from_str(&tree.sh("cat rules").expect_success()).unwrap();
    assert_eq!((&rules[0]["port_number"], &rules[0]["state"]), (&json!(8080), &json!("active")));
    assert_eq!(tree.sh("ls tcp").expect_success().trim(), "8080");
    assert_eq!(tree.counter("open.files"), 1);
    let symbol = tree.lab.control.await_row("symbols", &json!({"kind": "files", "state": "up"}));
    assert!(symbol["down_tunnel"].as_u64().is_some_and(|tunnel| tunnel > 0), "{symbol}");
    tree.lab.control.await_row("tunnels", &json!({"direction": "up", "protocol_address": "tcp *:8080"}));
    drop(reader);
    tree.await_rules(&[]);
    assert_eq!(tree.sh("ls tcp").expect_success().trim(), "");
}

#[test]
fn what_cannot_be_opened() {
    let Some(mut tree) = Tree::build("services = [\"udp/*\", \"tcp/80\", \"ip/*\", \"ethertype/*\"]") else {
        return;
    };
    let allow = "[[port.allow]]\ncontrol = \"control1\"\nservices = [\"udp/7000\", \"tcp/*\", \"ip/ospf\"]\n";
    let relay = netns_tests::config::Relay::default().to_string();
    let relay = relay
        .split("[[port.allow]]")
        .next()
        .unwrap()
        .replace("interface = \"eth1\"", "interface = \"eth1\"\nrelay_services = [\"udp/7003\"]");
    tree.lab.relay.configure(&format!("{relay}{allow}"));
    tree.lab.start();
    for (file, expected) in [
        ("udp/7000", "nothing"),
        ("tcp/80", "nothing"),
        ("ip/89", "nothing"),
        // Not by the relay.
        ("udp/7001", "EACCES"),
        ("udp/7003", "EACCES"),
        ("ip/90", "EACCES"),
        ("packets", "EACCES"),
        ("packets.pcap", "EACCES"),
        ("ethertype/88cc", "EACCES"),
        // Not by the symbol.
        ("tcp/81", "EACCES"),
        // None of these can be.
        ("ip/255", "ENOENT"),
        ("ip/256", "ENOENT"),
        ("tcp/0", "ENOENT"),
        ("tcp/65536", "ENOENT"),
        ("tcp/080", "ENOENT"),
        ("udp/x", "ENOENT"),
        ("ethertype/5ff", "ENOENT"),
        ("ethertype/10000", "ENOENT"),
        ("nothing", "ENOENT"),
        ("tcp", "EISDIR"),
    ] {
        let opened = tree.run_python(file, "print(fails(os.open, path, os.O_RDWR))").expect_success();
        let opened = if file == "packets.pcap" {
            tree.run_python(file, "print(fails(os.open, path, os.O_RDONLY))").expect_success()
        } else {
            opened
        };
        assert_eq!(opened.trim(), expected, "{file}");
    }
    let created = tree.sh("echo x > tcp/65536");
    assert!(created.stderr().contains("No such file"), "{created}");
    tree.await_rules(&[]);
}

#[test]
fn what_cannot_be_written() {
    let Some(tree) = Tree::up() else { return };
    let (port, client) = (PORT_V4, CLIENT_V4);
    let program = format!(
        "file = os.open(path, os.O_RDWR)\n\
         for what in (b'', b'hello', b'x' * 70000, udp('{port}', '{client}', (7000, 9), b'x' * 1473),\n\
             udp('{port}', '{client}', (7001, 9), b'x'), udp('192.0.2.9', '{client}', (7000, 9), b'x'),\n\
             udp('{port}', '{client}', (7000, 9), b'x', 99), udp('{port}', '127.0.0.1', (7000, 9), b'x'),\n\
             udp('{port}', '{client}', (7000, 9), b'x' * 1472)):\n    \
         print(fails(os.write, file, what), end=' ')"
    );
    let written = tree.run_python("udp/7000", &program).expect_success();
    // A write of nothing never leaves the kernel.
    let expected = "nothing EINVAL EMSGSIZE EMSGSIZE EINVAL EADDRNOTAVAIL EINVAL EINVAL nothing";
    assert_eq!(written.trim(), expected);
    let written = tree.run_python(
        "packets",
        "file = os.open(path, os.O_RDWR)\n\
         for what in (b'x' * 13, b'\\xff' * 1515, b'\\xff' * 1514): print(fails(os.write, file, what), end=' ')",
    );
    assert_eq!(written.expect_success().trim(), "EINVAL EMSGSIZE nothing");
    let written = tree.run_python("packets.pcap", "print(fails(os.open, path, os.O_RDWR))");
    assert_eq!(written.expect_success().trim(), "EACCES");
    // Redirecting to a file cuts it; there is nothing to cut.
    let redirected = tree.sh("echo no packet > udp/7000");
    assert!(redirected.stderr().contains("Invalid argument"), "{redirected}");
}

/// A destination that does not answer, and one without a route: the errors of the relay's kernel come like all others.
#[test]
fn errors_come_to_the_files_of_icmp() {
    let Some(tree) = Tree::up() else { return };
    let reader = tree.python("ip/1", "file = os.open(path, os.O_RDONLY)\nprint('open')\n\
         while packet := os.read(file, 4096): print('type', packet[20], packet[21], 'about', socket.inet_ntoa(packet[44:48]))");
    reader.await_log("open", SOON);
    let program = format!(
        "file = os.open(path, os.O_RDWR)\n\
         for to in ('192.0.2.77', '198.51.100.9', '{CLIENT_V4}'): os.write(file, udp('{PORT_V4}', to, (7000, 9), b'x'))\n\
         time.sleep(4)\nprint(select.select([file], [], [], 0)[0])"
    );
    let written = tree.run_python("udp/7000", &program);
    for text in
        ["type 3 1 about 192.0.2.77", "type 3 0 about 198.51.100.9", &format!("type 3 3 about {CLIENT_V4}")]
    {
        reader.await_log(text, SOON);
    }
    assert_eq!(written.expect_success().trim(), "[]", "none is for a reader of UDP");
}

/// The daemon goes on, says what is wrong, and tries again.
#[test]
fn mount_points_that_cannot_be() {
    let Some(mut tree) = Tree::build("") else { return };
    let mount = tree.mount().display().to_string();
    std::fs::create_dir(tree.mount()).unwrap();
    std::fs::write(tree.mount().join("mine"), "").unwrap();
    tree.lab.relay.start();
    tree.lab.control.start();
    let refused = |text: &str| {
        eventually(SOON, &format!("it is refused: {text}"), || {
            let rows = tree.lab.control.show("symbols")?;
            let reason = rows[0]["reason"].as_str().unwrap_or_default().to_owned();
            if rows[0]["state"] == "refused" && reason.contains(text) { Ok(()) } else { Err(reason) }
        });
    };
    refused(&format!("{mount} is not empty"));
    std::fs::remove_file(tree.mount().join("mine")).unwrap();
    tree.lab.await_symbol();
    tree.lab.control.terminate();

    let _ = tree.mounts.sh(&format!("mount -t tmpfs none {mount}")).expect_success();
    tree.lab.control.start();
    let refused = |tree: &Tree, text: &str| {
        eventually(SOON, &format!("it is refused: {text}"), || {
            let rows = tree.lab.control.show("symbols")?;
            let reason = rows[0]["reason"].as_str().unwrap_or_default().to_owned();
            if rows[0]["state"] == "refused" && reason.contains(text) { Ok(()) } else { Err(reason) }
        });
    };
    refused(&tree, &format!("(tmpfs) is mounted at {mount} already"));
    let _ = tree.mounts.sh(&format!("umount {mount}")).expect_success();
    tree.lab.await_symbol();
    tree.lab.control.terminate();

    // No FUSE.
    let devices = "mkdir -p $0/dev && for name in null zero urandom random net tty; do \
         [ -d /dev/$name ] && mkdir -p $0/dev/$name || touch $0/dev/$name; mount --bind /dev/$name $0/dev/$name; done; \
         mount --rbind $0/dev /dev";
    let line = devices.replace("$0", &tree.lab.folder().display().to_string());
    let _ = tree.mounts.sh(&line).expect_success();
    tree.lab.control.start();
    refused(&tree, "/dev/fuse cannot be used");
}

#[test]
fn many_openings_at_a_time() {
    let Some(tree) = Tree::up() else { return };
    let program = "files = [os.open(path[:-4] + str(port), os.O_RDONLY) for port in range(1000, 2024)]\nprint('open')\n\
                   print(fails(os.open, path, os.O_RDONLY))\ntime.sleep(99)";
    let holder = tree.python("udp/7000", program);
    holder.await_log("ENFILE", SOON);
    assert_eq!(tree.lab.relay.rules().unwrap().len(), 1024);
    drop(holder);
    tree.await_rules(&[]);
    never(Duration::from_millis(300), "no rule comes back", || match tree.lab.relay.rules()? {
        rules if rules.is_empty() => Ok(()),
        rules => Err(format!("{rules:?}")),
    });
}

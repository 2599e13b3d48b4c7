//! README and book keep their word: every command that they show is run, chapter by chapter in the order of the book, on
//! machines that have the configuration of the chapter's examples.

use netns_tests::address::*;
use netns_tests::book::{Page, chapters, readme, root};
use netns_tests::program::{Frr, Nginx};
use netns_tests::{
    Daemon, Finished, Lab, Layout, Mounts, Netns, PrivateRoot, Process, SOON, binary, eventually,
};
use rstest::rstest;
use serde_json::json;
use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::rc::Rc;
use std::thread;

/// The machines on which a chapter's commands are run: their folder in `examples/`.
fn examples_of(page: &Page) -> &'static str {
    match page.name.rsplit('/').next().expect("a file name") {
        "router.md" | "joint.md" => "router",
        "balancer.md" => "balance",
        "address.md" => "address",
        "files.md" => "files",
        _ => "",
    }
}

/// Commands that are run elsewhere: by `demo.rs`, by `package.rs` as systemd and dpkg do it, by `metrics.rs`; a test's own; or
/// they have been done before.
fn is_run_elsewhere(page: &Page, command: &str) -> bool {
    const ELSEWHERE: [&str; 7] = [
        "sudo apt install ./target/debian/l2link_*.deb",
        "sudo systemctl start l2relay",
        "sudo systemctl start l2control",
        "sudo systemctl enable --now l2link-netns@router",
        "systemctl status l2relay",
        "cargo build --release",
        "sudo usermod --append --groups l2link alice",
    ];
    let chapter = ["reference/metrics.md", "inside/scaling.md"].iter().any(|name| page.name.ends_with(name));
    chapter || ELSEWHERE.contains(&command)
}

/// Tells where it was if the test fails.
struct Place(String);

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            // Past the test harness's capture, so that it stands beside the failure.
            let _ = writeln!(io::stderr(), "\nFAILED at {}", self.0);
        }
    }
}

/// Two machines with the example configurations; what differs from these is only what keeps tests apart.
struct Machines {
    lab: Lab,
    nginx: Option<Process>,
    frr: Option<Frr>,
    /// FRR as Debian starts it, and the file system in which it has its configuration.
    debian: Option<(PrivateRoot, Vec<Process>)>,
    /// The namespace of a container, and its first process.
    container: Option<(Netns, Process)>,
}

/// What is at [`FILES`] is somewhere else in a test.
const FILES: &str = "/run/l2link/files";

struct FilesMachines {
    lab: Lab,
    mounts: Rc<Mounts>,
    running: Vec<Process>,
}

impl Machines {
    /// None, loudly, without root.
    fn new(examples: &str) -> Option<Self> {
        let router = examples != "address";
        let lab = Lab::build(Layout { router, second_port: true, ..Layout::default() })?;
        let here = |daemon: &Daemon, file: &str| {
            let folder = root().join("examples");
            let own = folder.join(examples).join(file);
            let path = if own.exists() { own } else { folder.join(file) };
            let text = fs::read_to_string(path).unwrap();
            let router = format!("netns = \"{}\"", lab.programs().name());
            daemon.configure(&format!(
                "{}\n[api]\nsocket = \"sock\"\n",
                text.replace("netns = \"router\"", &router)
            ));
        };
        here(&lab.relay, "relay.toml");
        here(&lab.control, "control.toml");
        Some(Self { lab, nginx: None, frr: None, debian: None, container: None })
    }

    /// Starts what earlier chapters have started.
    fn start(&mut self) {
        self.lab.relay.start();
        self.lab.control.start();
        self.lab.control.await_row("peers", &json!({"name": "relay1", "state": "up"}));
    }

    fn sh(&self, line: &str) -> Finished {
        Finished::new(Command::new("sh").args(["-ec", line]).current_dir(self.lab.relay.folder()))
    }

    /// Runs a line of `l2dump` or tshark at the relay.
    fn look(&self, line: &str) -> Finished {
        let (l2dump, script) = (binary("l2dump"), root().join("tools/wireshark/l2link.lua"));
        let line = line.replace("sudo ", "").replace("l2dump -", &format!("{} -", l2dump.display()));
        let line = line.replace("tools/wireshark/l2link.lua", &script.display().to_string());
        let mut command = self.lab.relay_ns.command("sh");
        Finished::new(command.args(["-ec", &line]).current_dir(self.lab.relay.folder()))
    }

    /// Does what a line says to Debian's FRR.
    fn configure_frr(&mut self, line: &str) {
        let (name, folder) = (self.lab.programs().name(), self.lab.folder());
        let examples = format!(" {}/examples/", root().display());
        let line = line.replace("sudo ", "").replace(" examples/", &examples);
        let line = ["/frr/", "start ", "-N "]
            .iter()
            .fold(line, |line, before| line.replace(&format!("{before}router"), &format!("{before}{name}")));
        let (machine, running) =
            self.debian.get_or_insert_with(|| (PrivateRoot::new(&folder.join("machine")), Vec::new()));
        if !line.contains("frrinit.sh") {
            let _ = machine.ok(&line);
            return;
        }
        // Its daemons leave their parent, and end with the first process of their own namespace.
        let mut command = machine.command(None);
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec"]);
        command.arg(format!("{line}; exec sleep infinity"));
        let process = Process::start("frr", &mut command, folder);
        let _ = process.await_log("Started watchfrr", SOON);
        running.push(process);
        for port in ["eth1", "eth2"] {
            let rule = json!({"protocol": "ospf", "port": port, "state": "active"});
            self.lab.relay.await_row("rules", &rule);
        }
    }

    /// Does what a line says.
    fn run(&mut self, line: &str) {
        let lab = &mut self.lab;
        match line {
            // They have tests of their own, in `demo.rs` and `package.rs`; and the last is what runs this one.
            "sudo tools/demo"
            | "sudo tools/demo router"
            | "sudo tools/demo balance"
            | "sudo tools/package"
            | "sudo tools/test" => {
                let tool = line.strip_prefix("sudo ").expect("root's");
                let _ = self.sh(&format!("{}/{tool} --help", root().display())).expect_success();
            }
            "l2ctl completions bash" => {
                let script = Finished::new(Command::new(binary("l2ctl")).args(["completions", "bash"]));
                assert!(script.expect_success().contains("complete -F _l2ctl"));
            }
            "sudo install target/release/l2relay target/release/l2control target/release/l2ctl target/release/l2top /usr/local/bin" => {
                for program in ["l2relay", "l2control", "l2ctl", "l2top"] {
                    assert!(binary(program).is_file());
                }
            }
            "head -c 32 /dev/urandom | base64 > psk" => {
                let _ = self.sh(line).expect_success();
            }
            "umask 077 && l2ctl genkey > key" | "l2ctl pubkey < key" => {
                let l2ctl = binary("l2ctl").display().to_string();
                let told = self.sh(&line.replace("l2ctl", &l2ctl)).expect_success();
                assert_eq!(told.trim().len(), if line.contains("pubkey") { 44 } else { 0 }, "{told}");
            }
            "chmod 600 psk" => {
                let _ = self.sh(line).expect_success();
                let lab = &self.lab;
                fs::copy(lab.relay.folder().join("psk"), lab.control.folder().join("psk")).unwrap();
            }
            "l2relay --config relay.toml --check" => {
                let _ = lab.relay.run(&["--check"]).expect_success();
            }
            "l2control --config control.toml --check" => {
                let _ = lab.control.run(&["--check"]).expect_success();
            }
            "sudo l2relay --config relay.toml" => lab.relay.start(),
            "sudo l2control --config control.toml" => {
                lab.control.start();
                lab.await_symbol();
            }
            "sudo ip netns add router" => assert!(lab.programs().name().ends_with("router")),
            "sudo ip netns exec router nginx" | "sudo nginx" => {
                self.nginx = Some(Nginx::start(lab.programs(), lab.folder(), &["80"]).master);
            }
            "sudo ip netns exec router ip route add 198.51.100.0/24 via 203.0.113.2" => {
                lab.await_symbols();
                lab.programs().ip(&["route add 198.51.100.0/24 via 203.0.113.2"]);
                let _ = lab.await_route_state("198.51.100.0/24", "installed");
            }
            "ip route show proto 108" => {
                assert!(lab.relay_ns.ok(line).contains("198.51.100.0/24"), "{}", lab.relay_ns.ok(line));
            }
            "sudo ip addr add 192.0.2.10/24 dev eth1" => {
                lab.relay_ns.ip(&["addr add 192.0.2.10/24 dev eth1"]);
                lab.control.await_row("symbols", &json!({"name": "web", "state": "up"}));
            }
            "sudo ip netns exec router ping -c 1 192.0.2.2" => {
                lab.programs().ok("ping -c 1 192.0.2.2");
            }
            "sudo l2top --once" => {
                for daemon in [&lab.relay, &lab.control] {
                    let mut command = Command::new(binary("l2top"));
                    let shown = Finished::new(command.arg("--once").arg("--socket").arg(daemon.socket()));
                    assert!(shown.expect_success().contains("port eth1  up"));
                }
            }
            "sudo ip addr add 198.18.0.80/32 dev eth1" => {
                lab.relay_ns.ip(&["addr add 198.18.0.80/32 dev eth1"]);
                // What the chapter says of FRR beside it; their story is told by `balance_bgp.rs`.
                let example = fs::read_to_string(root().join("examples/balance/frr.conf")).unwrap();
                self.frr = Some(Frr::start(&lab.relay_ns, lab.folder(), &["bfdd", "bgpd"], &example));
            }
            r#"sudo vtysh -c "show bgp summary""# => {
                let frr = self.frr.as_ref().expect("FRR runs");
                frr.await_text("show bgp summary", CLIENT_V4, SOON);
                frr.await_text("show bgp ipv4 unicast", "198.18.0.80/32", SOON);
            }
            "sudo ip netns attach web PID" => {
                let web = lab.netns("web");
                let process = web.spawn("sleep infinity");
                // Until then it is `ip`, and may not have entered the namespace.
                eventually(SOON, "the container's process runs", || {
                    match fs::read_to_string(format!("/proc/{}/comm", process.pid())) {
                        Ok(name) if name.trim() == "sleep" => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                });
                // What makes containers gives their namespaces no names.
                let line = format!("ip netns del {0} && ip netns attach {0} {1}", web.name(), process.pid());
                let _ = self.sh(&line).expect_success();
                self.container = Some((web, process));
            }
            "sudo l2ctl symbol add relay1 eth1 --name web --netns web" => {
                let (web, _) = self.container.as_ref().expect("there is a container");
                let line = format!("symbol add relay1 eth1 --name web --netns {}", web.name());
                let _ = lab.control.l2ctl(&line).expect_success();
                lab.control.await_row("symbols", &json!({"name": "web", "state": "up"}));
                assert!(web.has_interface("web"));
                let _ = lab.control.l2ctl("symbol del web").expect_success();
                self.container = None;
            }
            "sudo l2ctl monitor" => {
                let mut command = Command::new("timeout");
                command.arg("1").arg(binary("l2ctl")).arg("--socket").arg(lab.relay.socket()).arg("monitor");
                assert_eq!(command.status().unwrap().code(), Some(124), "it runs until it is interrupted");
            }
            "sudo l2ctl support-bundle bundle.tar.gz" => {
                let file = lab.relay.folder().join("bundle.tar.gz");
                let _ = lab.relay.l2ctl(&format!("support-bundle {}", file.display())).expect_success();
            }
            "tar -tzf bundle.tar.gz" => {
                assert!(self.sh(line).expect_success().contains("/relay/peers.json\n"));
            }
            "sudo l2relay --config relay.toml --record recording" => {
                lab.relay.terminate();
                lab.relay.record_to(lab.relay.folder().join("recording"));
                lab.relay.start();
                lab.control.await_row("peers", &json!({"name": "relay1", "state": "up"}));
            }
            _ if line.starts_with("sudo l2replay ") => {
                let l2replay = binary("l2replay").display().to_string();
                let shown = self.sh(&line.replace("sudo l2replay", &l2replay)).expect_success();
                assert!(shown.contains(": the recording is cut short here; the same came out"), "{shown}");
            }
            "sudo install target/release/l2dump /usr/local/bin" => assert!(binary("l2dump").is_file()),
            // It runs until it is interrupted; the others end by themselves.
            _ if line.starts_with("sudo l2ctl capture ") => {
                // Those that run until they are interrupted are.
                let l2ctl = format!(
                    "timeout -s INT 2 {} --socket {}",
                    binary("l2ctl").display(),
                    lab.relay.socket().display()
                );
                let _ = self
                    .sh(&line.replace("sudo l2ctl", &l2ctl).replace("--seconds 10", "--seconds 1"))
                    .expect_success();
            }
            _ if line.contains("| jq ") => {
                let l2ctl =
                    format!("{} --socket {}", binary("l2ctl").display(), lab.relay.socket().display());
                let _ = self.sh(&line.replace("sudo l2ctl", &l2ctl)).expect_success();
            }
            _ if line.contains("both.pcapng") => {
                let _ = self.sh(line).expect_success();
            }
            "sudo l2dump -i lan0" => {
                let finished = self.look(&format!("timeout 1 {line}"));
                let shown = finished.stdout();
                assert!(finished.code() == Some(124) && shown.contains(" KEEPALIVE sent "), "{finished}");
            }
            _ if line.contains("/frr/") || line.contains("vtysh -N ") => self.configure_frr(line),
            _ if line.contains("l2dump -") || line.starts_with("tshark ") => {
                // What a daemon would have written.
                fs::write(lab.relay.folder().join("keys"), "# no sessions\n").unwrap();
                let shown = self.look(line).expect_success();
                let nothing = line.contains("--write") || line.ends_with("-Y l2link.drop");
                assert_eq!(shown.is_empty(), nothing, "{shown}");
            }
            _ => {
                let Some(arguments) = line.strip_prefix("sudo l2ctl ") else {
                    panic!("this test does not know how to run it");
                };
                // A relay's matter, a control's, and a question to either.
                let daemons = match arguments.split(' ').next() {
                    Some("peer" | "route") => vec![&lab.relay],
                    Some("rule" | "symbol") => vec![&lab.control],
                    // Packets arrive at relays, and sockets are on controls.
                    Some("trace") if arguments.contains(" to ") => vec![&lab.relay],
                    Some("trace") if arguments.contains(':') || arguments.contains("program") => {
                        vec![&lab.control]
                    }
                    _ => vec![&lab.relay, &lab.control],
                };
                for daemon in daemons {
                    let _ = daemon.l2ctl(arguments).expect_success();
                }
            }
        }
    }
}

impl FilesMachines {
    fn new() -> Option<Self> {
        let mut lab = Lab::build(Layout::default())?;
        let mounts = Rc::new(Mounts::new(lab.folder()));
        let read = |file: &str| fs::read_to_string(root().join("examples").join(file)).unwrap();
        lab.relay.configure(&format!("{}\n[api]\nsocket = \"sock\"\n", read("files/relay.toml")));
        let mount = lab.folder().join("files").display().to_string();
        let text = read("files/control.toml").replace(FILES, &mount);
        lab.control.configure(&format!("{text}\n[api]\nsocket = \"sock\"\n"));
        lab.control.mount_in(&mounts);
        lab.start();
        Some(Self { lab, mounts, running: Vec::new() })
    }

    fn run(&mut self, line: &str) {
        let mount = self.lab.folder().join("files").display().to_string();
        let command = line.strip_prefix("sudo ").expect("the files are root's").replace(FILES, &mount);
        // Its output goes to no terminal here.
        let command = command.replace("tcpdump ", "tcpdump -l ");
        let command = format!("cd {} && exec {command}", root().display());
        if command.contains("answer.py") || command.contains("tcpdump") {
            self.running.push(self.mounts.spawn(&command));
        } else {
            let _ = self.mounts.sh(&command).expect_success();
        }
    }

    /// What runs does what the chapter says of it.
    fn check(&self) {
        self.lab.relay.await_row("rules", &json!({"port_number": 7000, "state": "active"}));
        let asked = self.lab.client.run_python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(5)\n\
             s.sendto(b'hello', ('192.0.2.1', 7000))\nassert s.recv(99) == b'hello'",
            &[],
        );
        let _ = asked.expect_success();
        self.running.iter().last().expect("tcpdump").await_log("192.0.2.1", SOON);
    }
}

/// Runs each command of the chapters that have these examples; returns how many there were.
fn run_all(examples: &str, mut run: impl FnMut(&str)) -> usize {
    let mut count = 0;
    for page in std::iter::once(readme()).chain(chapters()).filter(|page| examples_of(page) == examples) {
        for (number, command) in page.commands() {
            count += 1;
            if !is_run_elsewhere(&page, &command) {
                let _place = Place(format!("{}:{number}: {command}", page.name));
                run(&command);
            }
        }
    }
    count
}

#[rstest]
#[case::server("", 64)]
#[case::router("router", 11)]
#[case::balance("balance", 3)]
#[case::address("address", 3)]
fn every_command_shown_is_run(#[case] examples: &str, #[case] at_least: usize) {
    let Some(mut machines) = Machines::new(examples) else { return };
    if !examples.is_empty() {
        machines.start();
    }
    let count = run_all(examples, |line| machines.run(line));
    assert!(count >= at_least, "only {count} commands are shown");
    let lab = &machines.lab;
    let server = match examples {
        "" => PORT_V4,
        "address" => "192.0.2.10",
        // These show no server.
        _ => return,
    };
    lab.relay.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    eventually(SOON, "the server is reached", || {
        lab.client.run(&format!("curl -sSf --max-time 2 http://{server}/")).into_result()
    });
}

#[test]
fn every_command_on_files_is_run() {
    let Some(mut machines) = FilesMachines::new() else { return };
    let count = run_all("files", |line| machines.run(line));
    assert!(count >= 4, "only {count} commands are shown");
    machines.check();
}

//! The README keeps its word: every command that it shows is run, its configuration files are the examples, its links lead
//! somewhere.

use netns_tests::address::*;
use netns_tests::program::Frr;
use netns_tests::{Daemon, Finished, Lab, Layout, Mounts, Process, SOON, binary, eventually};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").to_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// Contents of the code blocks of a language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

/// Two machines with the example configurations; what differs from the README's is only what keeps tests apart.
struct Machines {
    lab: Lab,
    nginx: Option<Process>,
    frr: Option<Frr>,
    /// Two more machines, with files.
    files: Option<FilesMachines>,
}

/// What is at [`FILES`] is somewhere else in a test.
const FILES: &str = "/run/l2link/files";

struct FilesMachines {
    lab: Lab,
    mounts: Rc<Mounts>,
    running: Vec<Process>,
}

impl Machines {
    fn new(lab: Lab) -> Self {
        let here = |daemon: &Daemon, file: &str| {
            let text = fs::read_to_string(root().join("examples").join(file)).unwrap();
            let router = format!("netns = \"{}\"", lab.programs().name());
            daemon.configure(&format!(
                "{}\n[api]\nsocket = \"sock\"\n",
                text.replace("netns = \"router\"", &router)
            ));
        };
        here(&lab.relay, "relay.toml");
        here(&lab.control, "control.toml");
        Self { lab, nginx: None, frr: None, files: None }
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

    /// Does what a line of the README says.
    fn run(&mut self, line: &str) {
        if line.contains(FILES) {
            self.files.get_or_insert_with(FilesMachines::new).run(line);
            return;
        }
        let lab = &mut self.lab;
        match line {
            // They have tests of their own, in `demo.rs`; and the last is what runs this one.
            "sudo tools/demo" | "sudo tools/demo router" | "sudo tools/demo balance" | "sudo tools/test" => {
                let tool = line.strip_prefix("sudo ").unwrap();
                let _ = self.sh(&format!("{}/{tool} --help", root().display())).expect_success();
            }
            // The package has tests of its own, in `package.rs`, which do what these lines and systemd do.
            "sudo tools/package" => {
                let _ = self.sh(&format!("{}/tools/package --help", root().display())).expect_success();
            }
            "sudo apt install ./target/debian/l2link_*.deb"
            | "sudo systemctl start l2relay"
            | "sudo systemctl start l2control"
            | "systemctl status l2relay" => {}
            "l2ctl completions bash" => {
                let script = Finished::new(Command::new(binary("l2ctl")).args(["completions", "bash"]));
                assert!(script.expect_success().contains("complete -F _l2ctl"));
            }
            // Has been done, in this or the other profile.
            "cargo build --release" => {}
            "sudo install target/release/l2relay target/release/l2control target/release/l2ctl target/release/l2top /usr/local/bin" => {
                for program in ["l2relay", "l2control", "l2ctl", "l2top"] {
                    assert!(binary(program).is_file());
                }
            }
            "head -c 32 /dev/urandom | base64 > psk" => {
                let _ = self.sh(line).expect_success();
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
            "sudo ip netns exec router nginx" => {
                self.nginx =
                    Some(netns_tests::program::Nginx::start(lab.programs(), lab.folder(), &["80"]).master)
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
                // What the README says of FRR beside it; their story is told by `balance_bgp.rs`.
                let example = fs::read_to_string(root().join("examples/balance/frr.conf")).unwrap();
                self.frr = Some(Frr::start(&lab.relay_ns, lab.folder(), &["bfdd", "bgpd"], &example));
            }
            r#"sudo vtysh -c "show bgp summary""# => {
                let frr = self.frr.as_ref().expect("FRR runs");
                frr.await_text("show bgp summary", CLIENT_V4, SOON);
                frr.await_text("show bgp ipv4 unicast", "198.18.0.80/32", SOON);
            }
            "sudo l2ctl monitor" => {
                let mut command = Command::new("timeout");
                command.arg("1").arg(binary("l2ctl")).arg("--socket").arg(lab.relay.socket()).arg("monitor");
                assert_eq!(command.status().unwrap().code(), Some(124), "it runs until it is interrupted");
            }
            "sudo install target/release/l2dump /usr/local/bin" => assert!(binary("l2dump").is_file()),
            // It runs until it is interrupted; the others end by themselves.
            "sudo l2dump -i lan0" => {
                let finished = self.look(&format!("timeout 1 {line}"));
                let shown = finished.stdout();
                assert!(finished.code() == Some(124) && shown.contains(" KEEPALIVE sent "), "{finished}");
            }
            _ if line.contains("l2dump -") || line.starts_with("tshark ") => {
                // What a daemon would have written.
                fs::write(lab.relay.folder().join("keys"), "# no sessions\n").unwrap();
                let shown = self.look(line).expect_success();
                assert_eq!(shown.is_empty(), line.contains("--write"), "{line}: {shown}");
            }
            _ => {
                let Some(arguments) = line.strip_prefix("sudo l2ctl ") else {
                    panic!("the README shows `{line}`, which this test does not know how to run");
                };
                // A relay's matter, a control's, and a question to either.
                let daemons = match arguments.split(' ').next() {
                    Some("peer" | "route") => vec![&lab.relay],
                    Some("rule" | "symbol") => vec![&lab.control],
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
    fn new() -> Self {
        let mut lab = Lab::build(Layout::default()).expect("root, as for the first lab");
        let mounts = Rc::new(Mounts::new(lab.folder()));
        let read = |file: &str| fs::read_to_string(root().join("examples").join(file)).unwrap();
        lab.relay.configure(&format!("{}\n[api]\nsocket = \"sock\"\n", read("files/relay.toml")));
        let mount = lab.folder().join("files").display().to_string();
        let text = read("files/control.toml").replace(FILES, &mount);
        lab.control.configure(&format!("{text}\n[api]\nsocket = \"sock\"\n"));
        lab.control.mount_in(&mounts);
        lab.start();
        Self { lab, mounts, running: Vec::new() }
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

    /// What runs does what the README says of it.
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

#[test]
fn every_command_shown_is_run() {
    let Some(lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    let mut machines = Machines::new(lab);
    let readme = readme();
    let lines: Vec<String> = blocks(&readme, "sh")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        machines.run(&line);
    }
    machines.files.as_ref().expect("files are shown").check();
    let lab = &machines.lab;
    lab.relay.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    eventually(SOON, "the server is reached", || {
        lab.client.run(&format!("curl -sSf --max-time 2 http://{PORT_V4}/")).into_result()
    });
}

#[test]
fn configuration_files_shown_are_the_examples() {
    let shown = blocks(&readme(), "toml");
    let examples = [
        ("", "relay"),
        ("", "control"),
        ("router", "relay"),
        ("router", "control"),
        ("joint", "control"),
        ("balance", "relay"),
        ("balance", "control"),
    ];
    let examples =
        examples.map(|(folder, daemon)| root().join("examples").join(folder).join(format!("{daemon}.toml")));
    let frr = blocks(&readme(), "frr");
    assert_eq!(frr, [fs::read_to_string(root().join("examples/balance/frr.conf")).unwrap()]);
    let more = ["address/control.toml", "files/relay.toml", "files/control.toml"];
    let more = more.map(|file| root().join("examples").join(file));
    let examples: Vec<String> =
        examples.into_iter().chain(more).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(shown, examples);
    let answerer = fs::read_to_string(root().join("examples/files/answer.py")).unwrap();
    assert_eq!(blocks(&readme(), "python"), [answerer]);
}

#[test]
fn links_and_files_named_exist() {
    let readme = readme();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let quoted = readme.split('`').skip(1).step_by(2);
    let named = quoted.filter(|text| text.ends_with(".rs") || text.ends_with('/') && !text.starts_with('/'));
    for path in links.filter(|link| !link.contains("://")).chain(named) {
        assert!(root().join(path).exists(), "the README names {path}, which is not there");
    }
}

#[test]
fn journeys_name_files() {
    let readme = readme();
    for heading in
        ["## Application to wire", "## Wire to application", "## Relay to relay", "## Socket to rule"]
    {
        let section = readme.split_once(heading).expect(heading).1.split("\n## ").next().unwrap();
        let hops =
            section.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).count();
        assert!(hops >= 5 && section.matches(".rs`").count() >= hops, "{heading}: {hops} hops");
    }
}

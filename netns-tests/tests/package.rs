//! The Debian package: made by `tools/package` of the programs under test, installed by `dpkg`, run as its units say, upgraded
//! under traffic, and removed.

use netns_tests::address::*;
use netns_tests::book::{CHAPTERS, chapters};
use netns_tests::config::{Control, Relay};
use netns_tests::program::Nginx;
use netns_tests::{Download, Finished, Lab, Netns, Ping, PrivateRoot, Service, binary, has_fast_path, words};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const FAR: &str = "10.2.0.1";
const FAR_NET: &str = "10.2.0.0/16";
const FAR6: &str = "2001:db8:b2::1";
const FAR6_NET: &str = "2001:db8:b2::/48";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").to_owned()
}

/// Paths of two packages, the second of a higher version; none without root.
fn packages() -> Option<&'static [PathBuf; 2]> {
    static PACKAGES: OnceLock<Option<[PathBuf; 2]>> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| {
        // Says that the test is skipped.
        let lab = Lab::build(netns_tests::Layout::default())?;
        let output = lab.folder().parent().expect("the folder of this process").join("packages");
        let programs = binary("l2relay").parent().expect("a folder of programs").to_owned();
        Some(["1.0.0", "1.0.1"].map(|version| {
            let mut command = Command::new(workspace().join("tools/package"));
            command.arg("--bin-dir").arg(&programs).arg("--output").arg(&output).args([
                "--fast",
                "--version",
                version,
            ]);
            let made = Finished::new(&mut command).expect_success();
            PathBuf::from(made.lines().last().expect("the package's path"))
        }))
    });
    packages.as_ref()
}

#[test]
fn lintian_finds_nothing() {
    let Some([package, _]) = packages() else { return };
    let mut command = Command::new("lintian");
    command.args([
        "--allow-root",
        "--fail-on",
        "error,warning",
        "--suppress-tags",
        "changelog-file-missing-explicit-entry",
    ]);
    let found = Finished::new(command.arg(package));
    assert!(found.success() && found.stdout().is_empty(), "{found}");
}

/// A machine on which a package is installed, with a service.
struct Machine {
    root: PrivateRoot,
    service: Service,
}

const SERVICES: [&str; 2] = ["l2relay", "l2control"];

/// What the units need for the fast path.
const FAST_PATH: &str = "/usr/share/doc/l2link/examples/fast-path.conf";

/// What the scripts of a package ask of systemd for both services.
fn asked(verb: &str) -> Vec<String> {
    SERVICES.map(|service| format!("deb-systemd-invoke {verb} {service}.service")).into()
}

impl Machine {
    /// A root in which `package` has been installed.
    fn new(package: &Path, folder: &Path, service: &'static str, netns: &Netns) -> Self {
        let root = PrivateRoot::new(folder);
        install(&root, package);
        assert_eq!(invoked(&root), asked("start"));
        let service = Service::new(&root, service, netns.name());
        Self { root, service }
    }

    /// The daemon runs under the restrictions of its unit.
    fn check_confined(&mut self) {
        let pid = self.service.process().pid();
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a running process");
        let status = read("status");
        // CAP_NET_ADMIN is 12, CAP_NET_RAW 13, CAP_SYS_ADMIN 21.
        let capabilities = u64::from_str_radix(
            status.split("CapPrm:\t").nth(1).expect("CapPrm").lines().next().expect("a line"),
            16,
        );
        let allowed = 1 << 12 | 1 << 13 | 1 << 21;
        assert_eq!(capabilities.expect("a number") & !allowed, 0, "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let mounts = read("mounts");
        for (folder, option) in
            [("/", "ro"), ("/proc/sys", "ro"), ("/proc/sys/net", "rw"), ("/run", "ro"), ("/run/l2link", "rw")]
        {
            let last =
                mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(folder)).unwrap_or_default();
            assert!(last.split([' ', ',']).any(|word| word == option), "{folder} is not {option}:\n{mounts}");
        }
    }

    /// Puts configuration and key where the service looks for them. Outside, the command socket is where `l2ctl` of the test
    /// looks for it.
    fn configure(&self, role: &str, config: &str, folder: &Path) {
        let socket = format!("/run/l2link/{role}.sock");
        let config = config.replace("[api]\nsocket = \"sock\"\n", "");
        let etc = self.root.path("/etc/l2link");
        fs::write(etc.join(format!("{role}.toml")), config).expect("write a configuration");
        fs::write(etc.join("psk"), netns_tests::PSK).expect("write a key");
        self.root.ok("chmod 600 /etc/l2link/psk");
        let outside = self.root.run().join(socket.trim_start_matches("/run/"));
        std::os::unix::fs::symlink(outside, folder.join("sock")).expect("make a link");
    }
}

fn install(root: &PrivateRoot, package: &Path) {
    let name = package.file_name().expect("a file name").to_string_lossy().into_owned();
    fs::copy(package, root.run().join(&name)).expect("copy a package");
    root.ok(&format!("dpkg -i /run/{name} && rm /run/{name}"));
}

/// What systemd was asked to do with the services.
fn invoked(root: &PrivateRoot) -> Vec<String> {
    root.asked().into_iter().filter(|asked| asked.starts_with("deb-systemd-invoke")).collect()
}

#[test]
fn units_are_right_and_confined() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let root = PrivateRoot::new(&lab.folder().join("machine"));
    install(&root, package);
    for service in SERVICES {
        let unit = format!("/usr/lib/systemd/system/{service}.service");
        assert_eq!(root.ok(&format!("systemd-analyze verify {unit} 2>&1")), "");
        let confined = root.ok(&format!("systemd-analyze security --offline=true --threshold=25 {unit}"));
        assert!(confined.contains("Overall exposure level"), "{confined}");
        // Both are begun with the machine.
        root.ok(&format!("test -L /etc/systemd/system/multi-user.target.wants/{service}.service"));
    }
    // Those for the fast path admit what it needs, and nothing else.
    let refused = |unit: &str| -> BTreeSet<String> {
        let shown = root.ok(&format!("systemd-analyze security --offline=true --json=short {unit} || true"));
        let rows: Vec<serde_json::Value> = serde_json::from_str(&shown).expect("a table");
        rows.iter()
            .filter(|row| row["set"] == true)
            .map(|row| row["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    for service in SERVICES {
        let unit = format!("{service}.service");
        let before = refused(&unit);
        root.ok(&format!("install -D -m 644 {FAST_PATH} /etc/systemd/system/{unit}.d/fast-path.conf"));
        assert_eq!(root.ok(&format!("systemd-analyze verify /usr/lib/systemd/system/{unit} 2>&1")), "");
        let after = refused(&unit);
        let more: Vec<_> = before.difference(&after).collect();
        assert_eq!(more, ["CapabilityBoundingSet=~CAP_BPF", "SystemCallFilter=~@privileged"], "{before:?}");
        root.ok(&format!("rm -r /etc/systemd/system/{unit}.d"));
    }
    // The settings for symbols of kind `files` leave nothing that would hide their mounts.
    root.ok("mkdir -p /etc/systemd/system/l2control.service.d");
    root.ok("cp /usr/share/doc/l2link/examples/l2control-files.conf /etc/systemd/system/l2control.service.d/files.conf");
    let verified = root.ok("systemd-analyze verify /usr/lib/systemd/system/l2control.service 2>&1");
    assert_eq!(verified, "");
    let open = root.ok("systemd-analyze security --offline=true --json=short l2control.service || true");
    for setting in ["PrivateMounts", "PrivateTmp", "ProtectSystem", "ProtectHome", "ProtectKernelTunables"] {
        let unset = format!("\"set\":false,\"name\":\"{setting}=\"");
        assert!(open.contains(&unset), "{setting}: {open}");
    }
}

#[test]
fn a_namespace_is_made_at_boot_with_its_programs() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let root = PrivateRoot::new(&lab.folder().join("machine"));
    install(&root, package);
    let unit = "/usr/lib/systemd/system/l2link-netns@.service";
    assert_eq!(root.ok("systemd-analyze verify l2link-netns@router.service 2>&1"), "");
    // What it runs, of a namespace that is there already, is gone, and is made.
    let name = lab.control_ns.name();
    let run = |key: &str| {
        let lines = root.ok(&format!("sed -n 's/^{key}=//p' {unit}")).replace("%i", name);
        Finished::new(Command::new("sh").args(["-ec", &lines])).expect_success()
    };
    for verb in ["ExecStart", "ExecStop", "ExecStart"] {
        run(verb);
        assert_eq!(Path::new("/run/netns").join(name).exists(), verb == "ExecStart");
    }
    assert!(lab.control_ns.ok("ip -br link show lo").contains("LOOPBACK,UP"));
    // A server's unit with the settings of the example.
    root.ok("mkdir -p /etc/systemd/system/nginx.service.d");
    root.ok("cp /usr/share/doc/l2link/examples/program-in-netns.conf /etc/systemd/system/nginx.service.d/l2link.conf");
    assert_eq!(root.ok("systemd-analyze verify nginx.service 2>&1"), "");
    let shown =
        fs::read_to_string(workspace().join("docs/book/src/operation/installation.md")).expect("a chapter");
    let example = root.ok("sed -n '/^\\[Unit\\]/,$p' /usr/share/doc/l2link/examples/program-in-netns.conf");
    assert!(shown.contains(&format!("```text\n{example}```")), "the book shows another one than {example}");
}

#[test]
fn shells_complete_words() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let root = PrivateRoot::new(&lab.folder().join("machine"));
    install(&root, package);
    let complete = |words: &str, count: usize| {
        let script = format!(
            "source /usr/share/bash-completion/completions/l2ctl; COMP_WORDS=({words} ''); COMP_CWORD={count}; \
             _l2ctl l2ctl '' ''; echo \"${{COMPREPLY[@]}}\""
        );
        Finished::new(root.command(None).args(["bash", "-c", &script])).expect_success()
    };
    assert!(complete("l2ctl", 1).contains("show"), "{}", complete("l2ctl", 1));
    assert!(complete("l2ctl show", 2).contains("counters"), "{}", complete("l2ctl show", 2));
    let installed = root.ok("cat /usr/share/bash-completion/completions/l2ctl");
    assert_eq!(root.ok("l2ctl completions bash"), installed);
}

#[test]
fn manual_pages_are_there_and_right() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let root = PrivateRoot::new(&lab.folder().join("machine"));
    install(&root, package);
    let pages = root.ok("dpkg -L l2link | grep '/man/man[58]/.*[.]gz$'");
    for page in [
        "l2relay.8",
        "l2control.8",
        "l2ctl.8",
        "l2ctl-show.8",
        "l2top.8",
        "l2dump.8",
        "l2replay.8",
        "l2relay.toml.5",
        "l2control.toml.5",
    ] {
        assert!(pages.contains(&format!("/{page}.gz")), "{page}: {pages}");
    }
    for page in pages.lines() {
        let shown = root.ok(&format!("MANWIDTH=80 man --warnings -l {page} 2>&1"));
        assert!(!shown.contains("warning"), "{page}: {shown}");
        if ["l2relay.8", "l2control.8", "l2ctl.8", "l2top.8", "l2dump.8", "l2replay.8"]
            .iter()
            .any(|of| page.contains(&format!("/{of}")))
        {
            assert!(shown.contains("EXIT STATUS"), "{page}: {shown}");
        }
    }
}

#[test]
fn the_book_is_there_as_a_whole() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let root = PrivateRoot::new(&lab.folder().join("machine"));
    install(&root, package);
    let multiarch = root.ok("dpkg-architecture -qDEB_HOST_MULTIARCH");
    for page in chapters() {
        let chapter = page.name.strip_prefix(CHAPTERS).expect("a chapter");
        let installed = root.ok(&format!("cat /usr/share/doc/l2link/book{chapter}"));
        let mut expected = page.whole();
        // Those are about the source tree.
        if !chapter.starts_with("/inside/") {
            for (in_tree, installed) in PLACES {
                expected = expected.replace(in_tree, &installed.replace("MULTIARCH", multiarch.trim()));
            }
        }
        assert_eq!(installed, expected, "{chapter}");
        assert!(!installed.contains("{{#include"), "{chapter}");
    }
    root.ok("test -s /usr/share/doc/l2link/book/pictures/server.svg");
    // What it names is there.
    let named = root.ok(
        "cd /usr/share/doc/l2link/book; grep -rhoE '/usr/(share/doc/l2link/examples|share/l2link|lib/systemd|lib/[a-z0-9_-]+/wireshark)/[^ `]+' .",
    );
    let named: BTreeSet<&str> = named.lines().map(|path| path.trim_end_matches([':', ','])).collect();
    assert!(named.len() > 10, "{named:?}");
    for path in named {
        root.ok(&format!("test -e '{path}'"));
    }
}

/// What the book says of files of the source tree, and where they are on a machine with the package.
const PLACES: [(&str, &str); 8] = [
    ("`tools/package.d/fast-path.conf", "`/usr/share/doc/l2link/examples/fast-path.conf"),
    ("`examples/", "`/usr/share/doc/l2link/examples/"),
    (" examples/", " /usr/share/doc/l2link/examples/"),
    ("tools/wireshark/", "/usr/lib/MULTIARCH/wireshark/plugins/"),
    ("tools/grafana/", "/usr/share/l2link/grafana/"),
    ("`tools/package.d/l2control-files.conf", "`/usr/share/doc/l2link/examples/l2control-files.conf"),
    ("`tools/package.d/program-in-netns.conf", "`/usr/share/doc/l2link/examples/program-in-netns.conf"),
    ("`tools/package.d/", "`/usr/lib/systemd/system/"),
];

#[test]
fn tshark_has_the_dissector() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let root = PrivateRoot::new(&lab.folder().join("machine"));
    install(&root, package);
    let protocols = root.ok("tshark -G protocols 2> /dev/null");
    assert!(
        protocols.lines().any(|line| line.split('\t').any(|word| word == "l2link")),
        "tshark does not know l2link"
    );
    // As the book has it, which names the script: it is loaded a second time.
    let script = root.ok("dpkg -L l2link | grep '[.]lua$'");
    let script = script.trim();
    fs::write(root.run().join("none.pcap"), EMPTY_CAPTURE).expect("write a capture");
    let shown = root
        .ok(&format!("tshark -X lua_script:{script} -X lua_script1:statistics -2 -q -r /run/none.pcap 2>&1"));
    assert!(!shown.contains("Error") && shown.contains("Segments sent again"), "{shown}");
}

/// The header of a capture file: version 2.4, 65535 bytes of a frame at most, Ethernet (draft-ietf-opsawg-pcap, 4).
const EMPTY_CAPTURE: &[u8] = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0";

#[test]
fn it_is_installed_upgraded_under_traffic_and_removed() {
    let Some([old, new]) = packages() else { return };
    let Some(lab) = Lab::stopped_router(|_, _| {}) else { return };
    let folders = ["relay", "control"].map(|role| lab.folder().join(role));
    let before = {
        let root = PrivateRoot::new(&lab.folder().join("untouched"));
        root.changes()
    };
    let mut relay = Machine::new(old, &folders[0], "l2relay", &lab.relay_ns);
    let mut control = Machine::new(old, &folders[1], "l2control", &lab.control_ns);
    let kernel_before = [settings(&lab.relay_ns), settings(lab.programs())];
    relay.configure("relay", &Relay::router().to_string(), &folders[0]);
    // On a busy machine a restart takes longer than the usual carrier_hold_ms.
    let config = Control { more: "carrier_hold_ms = 30000".into(), ..Control::router(lab.programs().name()) };
    control.configure("control", &config.to_string(), &folders[1]);

    // It runs.
    relay.service.start(&relay.root);
    control.service.start(&control.root);
    lab.await_symbols();
    for machine in [&mut relay, &mut control] {
        machine.check_confined();
    }
    lab.client2().ip(&[&format!("addr add {FAR}/32 dev lo"), &format!("addr add {FAR6}/128 dev lo")]);
    lab.programs().ip(&[
        &format!("route add {FAR_NET} via {CLIENT2_V4}"),
        &format!("route add {FAR6_NET} via {CLIENT2_V6}"),
    ]);
    for prefix in [FAR_NET, FAR6_NET] {
        let _ = lab.await_route_state(prefix, "installed");
    }
    let show_routes = || {
        let mut command = relay.root.command(Some(lab.relay_ns.name()));
        words(&Finished::new(command.args(["ip", "route", "show", FAR_NET])).expect_success())
    };
    assert!(show_routes().contains("proto l2link"), "{}", show_routes());
    let peers = relay.root.ok("l2ctl show peers");
    assert!(peers.contains("control1"), "{peers}");
    assert_eq!(relay.root.ok("l2ctl --version").trim(), format!("l2ctl {}", env!("CARGO_PKG_VERSION")));

    // It is upgraded, and neither packets nor programs notice.
    let identity = |lab: &Lab| {
        lab.programs().ok("ip -o link show eth1")
            + &lab.programs().ok("cat /sys/class/net/eth1/carrier_changes")
    };
    let symbol = identity(&lab);
    let pings = [FAR, FAR6].map(|far| Ping::start(&lab.client, far));
    for machine in [&mut relay, &mut control] {
        install(&machine.root, new);
        assert_eq!(invoked(&machine.root), asked("restart"));
        assert_eq!(
            machine.root.ok("dpkg-query -W -f '${Version} ${Status}' l2link"),
            "1.0.1 install ok installed"
        );
        machine.service.restart(&machine.root);
        let running = fs::read_link(format!("/proc/{}/exe", machine.service.process().pid()));
        let running = running.expect("a running program").display().to_string();
        assert!(!running.contains("deleted"), "{running} runs on");
        lab.await_symbols();
    }
    for prefix in [FAR_NET, FAR6_NET] {
        let _ = lab.await_route_state(prefix, "installed");
    }
    pings.into_iter().for_each(|ping| ping.lost_nothing(100));
    assert_eq!(identity(&lab), symbol, "the symbol");

    // It is removed, and nothing is left.
    for machine in [&mut control, &mut relay] {
        // The scripts ask for it; here nobody hears them.
        machine.service.stop();
        machine.root.ok("dpkg -r l2link");
        let mut stop = asked("stop");
        stop.reverse();
        assert_eq!(invoked(&machine.root), stop);
        machine.root.ok("test -e /etc/l2link/psk");
        machine.root.ok("dpkg --purge l2link");
        assert_eq!(machine.root.changes(), before);
        machine.root.ok("test ! -e /run/l2link");
    }
    assert_eq!(lab.relay_ns.ok("nft list ruleset"), "");
    assert_eq!([settings(&lab.relay_ns), settings(lab.programs())], kernel_before);
    assert!(!lab.programs().has_interface("eth1") && !lab.programs().has_interface("eth2"));
}

/// Only where the programs under test have it.
#[test]
fn the_fast_path_is_there_with_its_settings() {
    if !has_fast_path() {
        return println!("SKIPPED: the fast path is not asked for");
    }
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::build(netns_tests::Layout::default()) else { return };
    let link = "data = \"clear\"\nfast_path = \"require\"";
    let relay = Relay { link: link.into(), ..Relay::default() }.to_string();
    let control = Control { link: link.into(), ..Control::default() }.to_string();
    let machines =
        [("l2relay", "relay", relay, &lab.relay_ns), ("l2control", "control", control, &lab.control_ns)].map(
            |(service, role, config, netns)| {
                let folder = lab.folder().join(role);
                let mut machine = Machine::new(package, &folder, service, netns);
                machine.service.adapt(&machine.root.path(FAST_PATH));
                machine.configure(role, &config, &folder);
                machine.service.start(&machine.root);
                machine.check_confined();
                machine
            },
        );
    lab.await_symbol();
    let _server = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    let mut curl = lab.client.command("curl");
    let download =
        Download::start(curl.args(["-sSf", "--limit-rate", "1M", &format!("http://{PORT_V4}/large")]));
    for daemon in [&lab.relay, &lab.control] {
        daemon.await_counter("tx.PACKET.frames", 0);
    }
    let _ = download.stop();
    for mut machine in machines {
        machine.service.stop();
    }
}

#[test]
fn members_of_its_group_use_l2ctl_without_being_root() {
    let Some([package, _]) = packages() else { return };
    let Some(lab) = Lab::stopped_router(|_, _| {}) else { return };
    for (role, netns) in [("relay", &lab.relay_ns), ("control", &lab.control_ns)] {
        let folder = lab.folder().join(role);
        let service = if role == "relay" { "l2relay" } else { "l2control" };
        let mut machine = Machine::new(package, &folder, service, netns);
        let config = fs::read_to_string(folder.join(format!("{role}.toml"))).expect("a configuration");
        machine.configure(role, &config, &folder);
        machine.service.start(&machine.root);
        let socket = machine.root.ok(&format!("stat -c '%a %U %G' /run/l2link/{role}.sock"));
        assert_eq!(socket.trim(), "660 root l2link");
        let log = machine.service.process().log();
        assert!(!log.contains("cannot be given"), "{log}");
        let as_alice = "setpriv --reuid=alice --regid=alice --init-groups l2ctl";
        machine.root.ok("useradd alice");
        let refused = machine.root.ok(&format!("{as_alice} show ports 2>&1 || echo code $?"));
        assert!(
            refused.contains("root and members of group l2link") && refused.contains("code 4"),
            "{refused}"
        );
        // As the book has it.
        machine.root.ok("usermod --append --groups l2link alice");
        machine.root.ok(&format!("{as_alice} show ports"));
        machine.root.ok(&format!("{as_alice} reload"));
        machine.service.stop();
    }
}

/// What a daemon may have changed in a kernel.
fn settings(netns: &Netns) -> String {
    [
        "ip rule",
        "ip -6 rule",
        "ip route show table all proto 108",
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
    ]
    .map(|command| netns.ok(command))
    .concat()
}

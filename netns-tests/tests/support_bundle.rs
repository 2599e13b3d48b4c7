//! `l2ctl support-bundle` has everything in it that tells how a machine is, and no secret.

use netns_tests::program::Nginx;
use netns_tests::{Daemon, Finished, Lab, Layout, Netns, PSK, SOON, binary, eventually};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `l2ctl support-bundle FILE` of a daemon.
fn bundle(netns: &Netns, daemon: &Daemon, file: &Path) -> Finished {
    let mut command = netns.command(binary("l2ctl"));
    command.arg("--socket").arg(daemon.socket()).arg("support-bundle").arg(file);
    Finished::new(command.arg("--config").arg(daemon.config()))
}

/// What tar finds in it: the folder of all entries.
#[track_caller]
fn unpacked(file: &Path) -> PathBuf {
    let folder = file.with_extension("unpacked");
    fs::create_dir(&folder).unwrap();
    let _ = Finished::new(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(&folder)).expect_success();
    let roots: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [root] = &roots[..] else { panic!("{roots:?}") };
    root.clone()
}

#[track_caller]
fn text(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join(file)).unwrap_or_else(|error| {
        let list = fs::read_to_string(root.join("README.txt")).unwrap_or_default();
        panic!("{file}: {error}: {list}")
    })
}

#[track_caller]
fn rows(root: &Path, file: &str) -> Vec<Value> {
    serde_json::from_str(&text(root, file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Nowhere, whatever the files are called.
#[track_caller]
fn assert_no_key(root: &Path) {
    let key = &PSK.trim()[..20];
    let grep = Finished::new(Command::new("grep").args(["-r", "--fixed-strings", key]).arg(root));
    assert_eq!(grep.code(), Some(1), "{grep}");
}

#[test]
fn both_machines_are_told_without_their_key() {
    let Some(mut lab) = Lab::build(Layout { router: true, ..Layout::default() }) else { return };
    lab.start();
    let _nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.control.await_row("rules", &json!({"port_number": 80, "state": "active"}));
    // Somebody wrote the key down where it does not belong.
    let config = fs::read_to_string(lab.relay.config()).unwrap();
    lab.relay.configure(&format!("# the key is {PSK}{config}"));
    for (netns, daemon, role) in
        [(&lab.relay_ns, &lab.relay, "relay"), (&lab.control_ns, &lab.control, "control")]
    {
        let file = lab.folder().join(format!("{role}.tar.gz"));
        let told = bundle(netns, daemon, &file).expect_success();
        assert!(told.starts_with(&format!("{}: ", file.display())), "{told}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let root = unpacked(&file);
        for object in
            ["device", "peers", "ports", "symbols", "tunnels", "translations", "rules", "routes", "counters"]
        {
            let table = rows(&root, &format!("{role}/{object}.json"));
            assert!(!table.is_empty() || matches!(object, "translations" | "routes"), "{role}: {object}");
        }
        let http = |row: &Value| row["port_number"] == 80 && row["state"] == "active";
        assert!(rows(&root, &format!("{role}/rules.json")).iter().any(http));
        assert_eq!(rows(&root, &format!("{role}/verify.json")), Vec::<Value>::new());
        assert!(rows(&root, "doctor.json").iter().any(|row| row["topic"] == "privileges"));
        assert!(
            text(&root, "versions.txt").contains(&format!("{role} {role}1: {}", env!("CARGO_PKG_VERSION")))
        );
        assert!(text(&root, &format!("config/{role}.toml")).contains("psk_file = \"psk\""));
        assert!(text(&root, "kernel/interfaces.txt").contains("lan0"));
        assert!(text(&root, "kernel/sysctls.txt").contains("/proc/sys/net/ipv4/conf/lan0/rp_filter:"));
        assert!(text(&root, "README.txt").contains("  kernel/routes6.txt\n"));

        assert_no_key(&root);
    }
    assert!(
        text(
            &lab.folder().join("relay.tar.unpacked").read_dir().unwrap().next().unwrap().unwrap().path(),
            "kernel/nftables.txt"
        )
        .contains("table inet l2relay")
    );
    let control =
        lab.folder().join("control.tar.unpacked").read_dir().unwrap().next().unwrap().unwrap().path();
    let place = format!("kernel/netns/{}", lab.programs().name());
    assert!(text(&control, &format!("{place}/interfaces.txt")).contains("eth1"));
    assert!(text(&control, &format!("{place}/sockets.txt")).contains("nginx"));
}

#[test]
fn no_daemon_is_told_and_no_file_is_overwritten() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let file = lab.folder().join("bundle.tar.gz");
    // A file that the daemon refuses, as it has a key in it.
    let config = fs::read_to_string(lab.relay.config()).unwrap();
    lab.relay.configure(&format!("psk = \"{}\"\n{config}", PSK.trim()));
    let _ = bundle(&lab.relay_ns, &lab.relay, &file).expect_success();
    let root = unpacked(&file);
    let wrong =
        |row: &Value| row["level"] == "wrong" && row["found"].as_str().unwrap().contains("psk = \"****");
    assert!(rows(&root, "doctor.json").iter().any(wrong), "{}", text(&root, "doctor.json"));
    assert_no_key(&root);
    assert!(text(&root, "README.txt").contains("no daemon listens"), "{}", text(&root, "README.txt"));
    assert!(rows(&root, "doctor.json").len() > 3);

    let before = fs::read(&file).unwrap();
    let again = bundle(&lab.relay_ns, &lab.relay, &file);
    assert!(again.code() == Some(1) && again.stderr().contains("File exists"), "{again}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let nowhere = bundle(&lab.relay_ns, &lab.relay, &lab.folder().join("none/bundle.tar.gz"));
    assert!(nowhere.code() == Some(1) && nowhere.stderr().contains("No such file"), "{nowhere}");
}

#[test]
fn without_a_name_it_is_called_after_machine_and_time() {
    let Some(lab) = Lab::up() else { return };
    let folder = lab.folder().join("here");
    fs::create_dir(&folder).unwrap();
    let mut command = lab.relay_ns.command(binary("l2ctl"));
    command.current_dir(&folder).arg("support-bundle");
    for daemon in [&lab.relay, &lab.control] {
        command.arg("--config").arg(daemon.config());
    }
    let told = Finished::new(&mut command).expect_success();
    let name = told.split(':').next().unwrap();
    assert!(name.starts_with("l2link-") && name.ends_with("Z.tar.gz"), "{told}");
    let listed = Finished::new(Command::new("tar").arg("-tzf").arg(folder.join(name))).expect_success();
    for entry in ["/relay/peers.json", "/control/peers.json"] {
        assert!(listed.contains(entry), "{listed}");
    }
    // The daemons have answered, and go on.
    eventually(SOON, "both are there", || lab.relay.show("peers").and(lab.control.show("peers")));
}

#[test]
fn it_can_be_read_as_it_is_made() {
    let Some(lab) = Lab::up() else { return };
    let file = lab.folder().join("piped.tar.gz");
    let (l2ctl, socket) = (binary("l2ctl"), lab.relay.socket());
    let line =
        format!("{} --socket {} support-bundle - > {}", l2ctl.display(), socket.display(), file.display());
    let made = Finished::new(lab.relay_ns.command("sh").args(["-c", &line]));
    assert_eq!(made.code(), Some(0), "{made}");
    let root = unpacked(&file);
    assert_eq!(rows(&root, "relay/device.json")[0]["role"], "relay");
    // That of the daemon, as no other was named.
    assert!(text(&root, "config/relay.toml").contains("relay1"));
}

//! Who may use the command socket: root, members of the group, and others as far as they may, each by `l2ctl` as that user.

use netns_tests::config::{Control, Relay};
use netns_tests::{Daemon, Finished, Lab, Layout, binary};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const USER: &str = "54321";
const GROUP: u32 = 54_400;
/// What `l2ctl` ends with.
const DENIED: Option<i32> = Some(4);

/// A lab of which both files have these lines in `[api]`.
fn lab(api: &str) -> Option<Lab> {
    let lab = Lab::build(Layout::default())?;
    configure(&lab, api);
    Some(lab)
}

fn configure(lab: &Lab, api: &str) {
    let with = |config: String| config.replace("socket = \"sock\"", &format!("socket = \"sock\"\n{api}"));
    lab.relay.configure(&with(Relay::default().to_string()));
    lab.control.configure(&with(Control::default().to_string()));
}

/// `l2ctl` with a daemon, as a user with these supplementary groups.
fn as_user(daemon: &Daemon, groups: &str, line: &str) -> Finished {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER]);
    match groups {
        "" => command.arg("--clear-groups"),
        groups => command.args(["--groups", groups]),
    };
    command.arg(binary("l2ctl")).arg("--socket").arg(daemon.socket());
    Finished::new(command.args(line.split_whitespace()))
}

#[track_caller]
fn denied(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code(), DENIED, "{finished}");
    for word in words {
        assert!(finished.stderr().contains(word), "{word}: {finished}");
    }
}

/// Everything that only looks.
const LOOKS: [&str; 9] = [
    "show device",
    "show peers --json",
    "show rules",
    "show tunnels",
    "show routes",
    "show configuration",
    "verify",
    "topology",
    "trace 192.0.2.0/24",
];

/// Everything else, as far as the daemon has it.
fn changes(daemon: &Daemon) -> Vec<&'static str> {
    let mut changes = vec![
        "reload",
        "reload --check",
        "confirm",
        "route add 198.51.100.0/24 via 192.0.2.9",
        "route del 198.51.100.0/24",
        "peer drain relay1",
        "peer forget relay1",
        "peer weight control1 7",
    ];
    if daemon.config().ends_with("control.toml") {
        changes.extend(["rule add eth1 tcp/80", "rule del eth1 tcp/80", "symbol del eth1"]);
    }
    changes
}

#[test]
fn members_may_change_and_nobody_else_anything() {
    let Some(mut lab) = lab(&format!("group = {GROUP}")) else { return };
    lab.start();
    for daemon in [&lab.relay, &lab.control] {
        let socket = fs::metadata(daemon.socket()).unwrap();
        assert_eq!((socket.mode() & 0o7777, socket.gid()), (0o660, GROUP));
        for look in LOOKS {
            let _ = as_user(daemon, &format!("7,{GROUP}"), look).expect_success();
            denied(&as_user(daemon, "7", look), &["root and members of group 54400"]);
        }
        let _ = as_user(daemon, &GROUP.to_string(), "reload").expect_success();
        denied(&as_user(daemon, "0", "reload"), &["user 54321"]);
        let _ = daemon.l2ctl("show peers").expect_success();
    }
    let _ = as_user(&lab.control, &GROUP.to_string(), "rule add eth1 tcp/99").expect_success();
    lab.control.await_row("rules", &json!({"port_number": 99, "static": true}));
    lab.relay.await_row("rules", &json!({"port_number": 99, "state": "active"}));
}

#[test]
fn others_may_look_and_change_nothing() {
    let Some(mut lab) =
        lab(&format!("group = {GROUP}\nothers_may = \"look\"\n[metrics]\nsocket = \"figures\""))
    else {
        return;
    };
    lab.start();
    for daemon in [&lab.relay, &lab.control] {
        let before = daemon.show("symbols").unwrap();
        for look in LOOKS {
            let _ = as_user(daemon, "", look).expect_success();
        }
        for change in changes(daemon) {
            let refused = as_user(daemon, "", change);
            denied(&refused, &["user 54321 may only look", "root and members of group 54400"]);
        }
        assert_eq!(daemon.show("symbols").unwrap().len(), before.len());
        assert!(daemon.show("routes").unwrap().is_empty());
        // Many refusals are a line of the log, and counted.
        assert_eq!(daemon.log().matches("may only look").count(), 1, "{}", daemon.log());
        let mut curl = Command::new("setpriv");
        curl.args(["--reuid", USER, "--regid", USER, "--clear-groups", "curl", "-sSf", "--unix-socket"]);
        let figures =
            Finished::new(curl.arg(daemon.folder().join("figures")).arg("http://localhost/metrics"));
        let figures = figures.expect_success();
        let refused =
            format!("l2link_api_refused_total{{reason=\"not-permitted\"}} {}\n", changes(daemon).len());
        assert!(figures.contains(&refused), "{figures}");
        let _ = as_user(daemon, &GROUP.to_string(), "reload").expect_success();
    }
}

#[test]
fn a_reload_opens_and_closes_the_socket() {
    let Some(mut lab) = lab("group_may = \"nothing\"") else { return };
    lab.start();
    let steps = [
        ("", "", false),
        ("others_may = \"look\"", "", true),
        (&format!("group = {GROUP}\ngroup_may = \"look\""), "", false),
        (&format!("group = {GROUP}\ngroup_may = \"look\""), "54400", true),
        // A name is looked up by the confined daemon.
        ("group = \"daemon\"", "1", true),
        ("group = \"daemon\"", "54400", false),
        ("group_may = \"nothing\"", "1", false),
    ];
    for (api, groups, may) in steps {
        configure(&lab, if api.is_empty() { "group_may = \"nothing\"" } else { api });
        for daemon in [&lab.relay, &lab.control] {
            let _ = daemon.l2ctl("reload").expect_success();
            let looked = as_user(daemon, groups, "show peers");
            assert_eq!(looked.code(), if may { Some(0) } else { DENIED }, "{api}: {groups}: {looked}");
        }
    }
    lab.relay.configure(&Relay::default().to_string().replace("socket = \"sock\"", "socket = \"sock2\""));
    let refused = lab.relay.l2ctl("reload");
    assert!(refused.stderr().contains("`api.socket` cannot be changed"), "{refused}");
}

#[test]
fn without_the_right_to_give_the_file_away_the_daemon_alone_decides() {
    let Some(lab) = lab(&format!("group = {GROUP}")) else { return };
    let mut command = lab.relay_ns.command("setpriv");
    command.args(["--bounding-set=-chown", "--inh-caps=-chown"]).arg(binary("l2relay"));
    command.arg("--config").arg(lab.relay.config());
    let relay =
        netns_tests::Process::start("l2relay", command.env("L2LINK_SECCOMP", "kill"), lab.relay.folder());
    let _ = relay.await_log("ready", netns_tests::SOON);
    assert!(relay.log().contains("cannot be given to group 54400"), "{}", relay.log());
    assert_eq!(fs::metadata(lab.relay.socket()).unwrap().permissions().mode() & 0o7777, 0o666);
    let _ = as_user(&lab.relay, "54400", "show ports").expect_success();
    denied(&as_user(&lab.relay, "", "show ports"), &["user 54321", "root and members of group 54400"]);
    drop(relay);
}

#[test]
fn a_group_that_is_not_there_is_named() {
    let Some(lab) = lab("group = \"no-such-group\"") else { return };
    for daemon in [&lab.relay, &lab.control] {
        let refused = daemon.run(&["--check"]);
        assert_eq!(refused.code(), Some(2), "{refused}");
        assert!(
            refused.stderr().contains("there is no group \"no-such-group\" on this machine"),
            "{refused}"
        );
        assert!(refused.stderr().contains("groupadd"), "{refused}");
    }
}

//! What daemons recorded on a machine happens again in `l2replay`, without the machine.

use netns_tests::address::*;
use netns_tests::config::{Control, Relay};
use netns_tests::program::{Nginx, PAGE};
use netns_tests::{Daemon, Finished, KeyPair, Lab, Layout, Mounts, SOON, binary, eventually};
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

const SAME: &str = ": the same came out";
const CUT: &str = ": the recording is cut short here; the same came out as far as it goes";

/// Has both daemons record. Returns the files of relay and control.
fn recorded(lab: &mut Lab) -> [PathBuf; 2] {
    [&mut lab.relay, &mut lab.control].map(|daemon: &mut Daemon| {
        let file = daemon.folder().join("recording");
        daemon.record_to(file.clone());
        file
    })
}

fn l2replay(file: &Path, more: &[&str]) -> Finished {
    Finished::new(Command::new(binary("l2replay")).arg(file).args(more))
}

/// Everything of a recording that replays to this end.
#[track_caller]
fn replayed(file: &Path, more: &[&str], end: &str) -> Vec<String> {
    let text = l2replay(file, more).expect_success();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines.last().expect("a line");
    assert!(last.ends_with(end), "{last}");
    lines
}

#[track_caller]
fn has(lines: &[String], word: &str, text: &str) {
    let found = lines.iter().any(|line| line.split(' ').nth(2) == Some(word) && line.contains(text));
    assert!(found, "no {word} with {text:?} in {} lines", lines.len());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Psk,
    Keys,
}

#[rstest]
#[case::psk(Mode::Psk)]
#[case::keys(Mode::Keys)]
fn a_whole_life_happens_again(#[case] mode: Mode) {
    let layout = Layout { router: true, second_port: true, ..Layout::default() };
    let Some(mut lab) = Lab::build(layout) else { return };
    let (relay, control) = (Relay::router(), Control::router(lab.programs().name()));
    if mode == Mode::Keys {
        let [one, other] = ["relay.key", "control.key"].map(|name| KeyPair::new(lab.folder(), name));
        lab.relay.configure(&one.configure(&relay, "", &[("control1", &other)]));
        lab.control.configure(&other.configure(&control, "", &[("relay1", &one)]));
    } else {
        lab.relay.configure(&relay.to_string());
        lab.control.configure(&control.to_string());
    }
    let files = recorded(&mut lab);
    lab.start();
    lab.await_symbols();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active", "eth2 tcp 0.0.0.0:80 active"]);
    assert_eq!(lab.client.ok(&format!("curl -sS --max-time 5 http://{PORT_V4}/")), PAGE);
    lab.client.ok(&format!("ping -c 3 -i 0.2 -s 4000 {PORT_V4}"));
    lab.programs().ok(&format!("ping -c 3 -i 0.2 -s 4000 {CLIENT_V4}"));
    lab.programs().ip(&[&format!("route add 198.18.1.0/24 via {CLIENT2_V4}")]);
    let _ = lab.await_route_state("198.18.1.0/24", "installed");
    let _ = lab.relay.l2ctl("peer weight control1 7").expect_success();
    let _ = lab.control.l2ctl("peer weight nobody 7");
    let _ = lab.control.l2ctl("verify").expect_success();
    for daemon in [&lab.relay, &lab.control] {
        let _ = daemon.l2ctl("reload").expect_success();
    }
    drop(nginx);
    lab.relay.await_rules(&[]);
    let _ = lab.client.run(&format!("curl -sS --max-time 2 http://{PORT_V4}/"));
    lab.control.terminate();
    lab.relay.terminate();

    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(replayed(file, &[], SAME), replayed(file, &[], SAME), "another time");
        assert_eq!(replayed(file, &["--quiet"], SAME).len(), 1);
    }
    let [relay, control] = files.each_ref().map(|file| replayed(file, &[], SAME));
    for lines in [&relay, &control] {
        has(lines, "received", "KEEPALIVE");
        has(lines, "sent", "HELLO");
        has(lines, "input", "PollTransmit");
    }
    has(&relay, "action", "SetCapture");
    has(&relay, "event", "RuleAdded");
    has(&relay, "drop", "unmatched");
    has(&relay, "input", "PortParcel");
    has(&relay, "verdict", "PortId(1): ");
    has(&relay, "answer", "Ok(())");
    has(&control, "action", "CreateSymbol");
    has(&control, "input", "Sockets");
    has(&control, "verdict", "SymbolId(1): ");
    has(&control, "answer", "NoRelay");
    assert!(relay.iter().any(|line| line.starts_with("dropped unmatched: ")), "{:?}", relay.last());

    // Filters leave the order as it is.
    let actions = replayed(&files[0], &["--only", "actions,events"], SAME);
    let expected: Vec<&String> = relay
        .iter()
        .filter(|line| matches!(line.split(' ').nth(2), Some("action" | "event")))
        .chain(relay.last())
        .collect();
    assert_eq!(actions.iter().collect::<Vec<_>>(), expected);
    let time = |line: &String| line.split(' ').next().and_then(|time| time.parse::<f64>().ok());
    let window = replayed(&files[0], &["--from", "1", "--to", "1.5", "--only", "frames"], SAME);
    let times: Vec<f64> = window.iter().filter_map(time).collect();
    assert!(!times.is_empty() && times.iter().all(|time| (1.0..=1.5).contains(time)), "{times:?}");
}

#[test]
fn a_killed_daemon_leaves_what_was_and_the_next_life_keeps_it() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let files = recorded(&mut lab);
    lab.start();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    assert_eq!(lab.client.ok(&format!("curl -sS --max-time 5 http://{PORT_V4}/")), PAGE);
    lab.relay.kill_9();
    lab.control.kill_9();
    lab.start();
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    assert_eq!(lab.client.ok(&format!("curl -sS --max-time 5 http://{PORT_V4}/")), PAGE);
    // Upgrades end daemons in this way.
    lab.control.leave();
    lab.relay.leave();
    drop(nginx);
    for file in &files {
        let before = file.with_extension("old");
        let first = replayed(&before, &[], CUT);
        assert!(first.len() > 100);
        let _ = replayed(file, &[], SAME);
        // As a disk that was full would leave it, and what somebody has only looked into.
        let whole = fs::read(file).unwrap();
        let short = file.with_extension("short");
        fs::write(&short, &whole[..whole.len() - 3]).unwrap();
        let _ = replayed(&short, &["--quiet"], CUT);
        fs::write(&short, &whole[..40]).unwrap();
        refused(&short, "the recording was cut short before its first input");
    }
}

#[track_caller]
fn refused(file: &Path, why: &str) {
    let finished = l2replay(file, &[]);
    assert_eq!((finished.code(), finished.stdout()), (Some(1), String::new()), "{finished}");
    let expected = format!("error: {}: {why}", file.display());
    assert!(finished.stderr().starts_with(&expected), "{finished}");
}

#[test]
fn what_is_no_recording_of_this_version_is_refused() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let [relay, _] = recorded(&mut lab);
    lab.start();
    lab.control.terminate();
    lab.relay.terminate();
    let whole = fs::read(&relay).unwrap();
    let other = lab.folder().join("other");
    let with = |bytes: &[u8]| fs::write(&other, bytes).unwrap();

    let version = env!("CARGO_PKG_VERSION");
    let place = whole.windows(version.len()).position(|window| window == version.as_bytes()).unwrap();
    let mut bytes = whole.clone();
    bytes[place..place + version.len()].fill(b'9');
    with(&bytes);
    refused(
        &other,
        &format!("the recording is of version {}, and this is {version}: ", "9".repeat(version.len())),
    );
    let mut bytes = whole.clone();
    bytes[8] = 99;
    with(&bytes);
    refused(&other, "the recording has layout ");
    with(b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00 is how a capture begins");
    refused(&other, "it is not a recording of l2relay or l2control (--record)");
    with(b"");
    refused(&other, "it is not a recording of l2relay or l2control (--record)");
    refused(lab.folder(), "Is a directory");
    refused(&lab.folder().join("absent"), "No such file or directory");

    // Of something else than was recorded the first input is named.
    let mut bytes = whole;
    let length = bytes.len();
    bytes[length - 8] ^= 1;
    with(&bytes);
    let finished = l2replay(&other, &["--quiet"]);
    assert_eq!(finished.code(), Some(1), "{finished}");
    assert!(
        finished.stdout().contains(": something else came of the last one than was recorded: "),
        "{finished}"
    );
    assert_eq!(l2replay(&relay, &["--only", "nothing"]).code(), Some(2));
}

#[test]
fn a_daemon_outlives_its_disk() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let mounts = Rc::new(Mounts::new(lab.folder()));
    let small = lab.folder().join("small");
    fs::create_dir(&small).unwrap();
    let _ = mounts.sh(&format!("mount -t tmpfs -o size=256k none {}", small.display())).expect_success();
    let file = small.join("recording");
    lab.relay.mount_in(&mounts);
    lab.relay.record_to(file.clone());
    lab.start();
    let pid = lab.relay.process().pid();
    let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
    lab.relay.await_rules(&["eth1 tcp 0.0.0.0:80 active"]);
    let curl = || lab.client.ok(&format!("curl -sS --max-time 5 http://{PORT_V4}/"));
    eventually(SOON, "the disk is full", || {
        let _ = curl();
        let log = lab.relay.log();
        if log.contains("ends here, before the daemon does: No space left on device") {
            Ok(())
        } else {
            Err(log)
        }
    });
    assert_eq!(curl(), PAGE);
    drop(nginx);
    assert_eq!(lab.relay.process().pid(), pid);
    lab.relay.terminate();
    let mut command = mounts.command(binary("l2replay"));
    let replayed = Finished::new(command.arg(&file).arg("--quiet")).expect_success();
    assert!(replayed.trim_end().ends_with(CUT), "{replayed}");
}

#[test]
fn a_recording_is_made_where_nothing_else_is() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let folder = lab.folder().join("folder");
    fs::create_dir(&folder).unwrap();
    let link = lab.folder().join("link");
    std::os::unix::fs::symlink("target", &link).unwrap();
    for (file, why) in [
        (folder, "it is there, and is no regular file; name another one"),
        (link, "it is there, and is no regular file; name another one"),
        (lab.folder().join("absent/recording"), "No such file or directory"),
    ] {
        for daemon in [&mut lab.relay, &mut lab.control] {
            daemon.record_to(file.clone());
            let finished = daemon.run(&[]);
            assert_eq!(finished.code(), Some(1), "{finished}");
            let said = finished.stderr();
            assert!(said.contains(&file.display().to_string()) && said.contains(why), "{said}");
        }
    }
    assert!(!lab.folder().join("target").exists());
}

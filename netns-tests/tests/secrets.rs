//! Where the keys are, and where they are not: in nothing that the programs say, in no core dump, and in memory only where they
//! are needed, for as long as they are.

use netns_tests::config::{Control, Relay};
use netns_tests::{Finished, KeyPair, Lab, Layout, Needle, SOON, binary, eventually, memory_places};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A psk that no other test has, so that it is found here only if it is this one.
const PSK: &str = "y3VxkQe2Zr0mT9oJp4sWn8uHbL1fDc6aGiKqXvYt5hE=\n";

/// A lab whose daemons have all kinds of keys, and these.
struct Keyed {
    lab: Lab,
    needles: Vec<Needle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Psk,
    Keys,
}

impl Keyed {
    /// `both`: a line of `[link]` of both daemons. `relay_only`: one of the relay.
    fn build(mode: Mode, both: &str, relay_only: &str) -> Option<Self> {
        let lab = Lab::build(Layout::default())?;
        // They are patient, as the machine may be busy.
        let both = &format!("missed = 20\n{both}");
        let of_relay = &format!("{both}\n{relay_only}");
        let psk = lab.relay.folder().join("psk");
        lab.relay.set_psk(PSK, 0o600);
        lab.control.set_psk(PSK, 0o600);
        let mut needles = vec![Needle::of_file("psk", &psk)];
        let figures = "[metrics]\nsocket = \"figures\"\n";
        let (mut relay, control) = (Relay::default(), Control::default());
        relay.ports[0].allow = vec!["control = \"control1\"".into()];
        let (relay, control) = match mode {
            Mode::Psk => {
                let with = |config: String, more: &str| {
                    config.replace("psk_file = \"psk\"", &format!("psk_file = \"psk\"\n{more}"))
                };
                (with(relay.to_string(), of_relay), with(control.to_string(), both))
            }
            Mode::Keys => {
                let [one, other] = ["relay.key", "control.key"].map(|name| KeyPair::new(lab.folder(), name));
                needles.push(Needle::of_file("the relay's key", &one.file));
                needles.push(Needle::of_file("the control's key", &other.file));
                let psk = "psk_file = \"psk\"";
                let relay = one.configure(&relay, &format!("{psk}\n{of_relay}"), &[("control1", &other)]);
                let control = other.configure(&control, &format!("{psk}\n{both}"), &[("relay1", &one)]);
                (relay, control)
            }
        };
        lab.relay.configure(&format!("{relay}\n{figures}"));
        lab.control.configure(&format!("{control}\n{figures}"));
        Some(Self { lab, needles })
    }

    fn start(&mut self) {
        self.lab.relay.start_with(&[("RUST_LOG", "trace")]);
        self.lab.control.start_with(&[("RUST_LOG", "trace")]);
        self.lab.await_symbol();
    }

    #[track_caller]
    fn none_in(&self, what: &str, bytes: &[u8]) {
        for needle in &self.needles {
            assert!(!needle.is_in(bytes), "{} is in {what}", needle.name);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a command prints, whatever becomes of it.
fn said(mut command: Command) -> Vec<u8> {
    let output = command.output().expect("a command");
    [output.stdout, output.stderr].concat()
}

#[rstest]
#[case::psk(Mode::Psk)]
#[case::keys(Mode::Keys)]
fn nothing_that_is_said_has_a_secret_in_it(#[case] mode: Mode) {
    let Some(mut keyed) = Keyed::build(mode, "encrypt = false", "keylog_file = \"keylog\"") else { return };
    keyed.start();
    let keylog = keyed.lab.relay.folder().join("keylog");
    let sessions = Needle::of_key_log(&keylog);
    assert!(sessions.len() >= 2, "{sessions:?}");
    keyed.needles.extend(sessions);
    // They are found where they are.
    assert!(keyed.needles.last().unwrap().is_in(&fs::read(&keylog).unwrap()));
    assert!(keyed.needles[0].is_in(&fs::read(keyed.lab.relay.folder().join("psk")).unwrap()));
    // Some traffic, of all kinds of frames.
    keyed.lab.client.ok("ping -c 3 -i 0.2 192.0.2.1");
    for daemon in [&keyed.lab.relay, &keyed.lab.control] {
        let l2ctl = |line: &str| {
            let mut command = Command::new("timeout");
            command.arg("2").arg(binary("l2ctl")).arg("--socket").arg(daemon.socket());
            command.args(line.split(' '));
            command
        };
        for object in [
            "device",
            "peers",
            "ports",
            "symbols",
            "tunnels",
            "translations",
            "rules",
            "routes",
            "counters",
            "configuration",
        ] {
            for form in ["", " --json"] {
                let shown = said(l2ctl(&format!("show {object}{form}")));
                assert!(!shown.is_empty());
                keyed.none_in(object, &shown);
            }
        }
        for line in
            ["verify", "topology --json", "monitor --json", "reload --check", "reload", "trace 192.0.2.0/24"]
        {
            keyed.none_in(line, &said(l2ctl(line)));
        }
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--unix-socket"])
            .arg(daemon.folder().join("figures"))
            .arg("http://localhost/metrics");
        let figures = said(curl);
        assert!(figures.len() > 1000);
        keyed.none_in("the figures", &figures);
        let bundle = daemon.folder().join("bundle.tar.gz");
        let mut command = l2ctl(&format!("support-bundle {}", bundle.display()));
        let _ = Finished::new(command.arg("--config").arg(daemon.config())).expect_success();
        let unpacked = daemon.folder().join("unpacked");
        fs::create_dir(&unpacked).unwrap();
        let mut tar = Command::new("tar");
        let _ = Finished::new(tar.arg("-xzf").arg(&bundle).arg("-C").arg(&unpacked)).expect_success();
        let found = files(&unpacked);
        assert!(found.len() > 20, "{found:?}");
        for file in found {
            keyed.none_in(&file.display().to_string(), &fs::read(&file).unwrap());
        }
    }
    keyed.lab.control.terminate();
    keyed.lab.relay.terminate();
    for daemon in [&keyed.lab.relay, &keyed.lab.control] {
        assert!(daemon.log().contains("TRACE") || daemon.log().contains("DEBUG"), "it logs all");
        keyed.none_in("the log", daemon.log().as_bytes());
    }
}

/// A key where it does not belong: what refuses it does not show it.
#[rstest]
#[case::value("[api]", "psk = \"@\"\n[api]")]
#[case::file("psk_file = \"psk\"", "psk_file = \"@\"")]
#[case::mode("[api]", "security = \"@\"\n[api]")]
#[case::alone("[api]", "@\n[api]")]
#[case::name("name = \"", "name = \"@")]
#[case::interface("interface = \"lan0\"", "interface = \"@\"")]
#[case::service("control = \"*\"", "control = \"*\"\nservices = [\"@\"]")]
fn a_key_in_the_configuration_is_not_shown(#[case] good: &str, #[case] bad: &str) {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    let needle = Needle::of_file("psk", &lab.relay.folder().join("psk"));
    let config = fs::read_to_string(lab.relay.config()).unwrap();
    lab.relay.start();
    lab.relay.await_log("ready");
    let key = netns_tests::PSK.trim();
    lab.relay.configure(&config.replace(good, &bad.replace('@', key)));
    let checked = lab.relay.run(&["--check"]);
    assert_eq!(checked.code(), Some(2), "{checked}");
    let reloaded = lab.relay.l2ctl("reload");
    assert_eq!(reloaded.code(), Some(1), "{reloaded}");
    lab.relay.process().signal(Signal::SIGHUP);
    lab.relay.await_log("nothing was changed");
    for said in [checked.to_string(), reloaded.to_string(), lab.relay.log()] {
        // A device's name can be seen by everybody on the segment, and so it is not taken for a key.
        assert!(!needle.is_in(said.as_bytes()), "{said}");
        assert!(said.contains("****"), "{said}");
    }
}

/// The only place of a secret in memory, in letters nowhere.
#[track_caller]
fn is_kept_once(what: &str, pid: u32, needle: &Needle) {
    // The daemon may be in the middle of a handshake.
    eventually(SOON, &format!("{what} keeps {} once", needle.name), || {
        let [raw, written] = memory_places(pid, needle);
        if raw.len() == 1 && written.is_empty() {
            Ok(())
        } else {
            Err(format!("{raw:?}, written: {written:?}"))
        }
    });
}

#[track_caller]
fn is_not_kept(what: &str, pid: u32, needle: &Needle) {
    eventually(SOON, &format!("{what} has nothing of {}", needle.name), || {
        match memory_places(pid, needle) {
            [raw, written] if raw.is_empty() && written.is_empty() => Ok(()),
            places => Err(format!("{places:?}")),
        }
    });
}

#[rstest]
#[case::psk(Mode::Psk)]
#[case::keys(Mode::Keys)]
fn memory_has_a_secret_where_it_is_needed_and_only_then(
    #[case] mode: Mode,
    #[values(false, true)] recorded: bool,
) {
    // The relay writes the keys of the sessions down, by which they are looked for in the control.
    let Some(mut keyed) = Keyed::build(mode, "", "keylog_file = \"keylog\"") else { return };
    for daemon in [&mut keyed.lab.relay, &mut keyed.lab.control] {
        if recorded {
            daemon.record_to(daemon.folder().join("recording"));
        }
    }
    keyed.lab.relay.start();
    keyed.lab.control.start();
    keyed.lab.await_symbol();
    let keylog = keyed.lab.relay.folder().join("keylog");
    let control = keyed.lab.control.process().pid();
    let relay = keyed.lab.relay.process().pid();
    let [psk, private @ ..] = &keyed.needles[..] else { panic!("there is a psk") };
    is_kept_once("the control", control, psk);
    is_kept_once("the relay", relay, psk);
    if let [relays, controls] = private {
        is_kept_once("the control", control, controls);
        is_kept_once("the relay", relay, relays);
        is_not_kept("the control", control, relays);
        is_not_kept("the relay", relay, controls);
    }
    // After a reload there is no second one.
    for _ in 0..3 {
        let _ = keyed.lab.control.l2ctl("reload").expect_success();
    }
    is_kept_once("the control", control, psk);
    for keeper in keyed.lab.control.keepers() {
        keyed.needles.iter().for_each(|needle| is_not_kept("the keeper", keeper, needle));
    }
    // A session's keys are there while it lives, and gone when it is over.
    let live = |needle: &&Needle| !memory_places(control, needle)[0].is_empty();
    let sessions = eventually(SOON, "the keys of the live session are found", || {
        let sessions = Needle::of_key_log(&keylog);
        let found = sessions.iter().filter(live).count();
        if found >= 2 { Ok(sessions) } else { Err(format!("{found} of {}", sessions.len())) }
    });
    keyed.lab.relay.terminate();
    keyed.lab.relay.start();
    keyed.lab.await_symbol();
    for session in &sessions {
        is_not_kept("the control", control, session);
    }
}

#[rstest]
#[case::relay("l2relay")]
#[case::control("l2control")]
fn a_daemon_that_is_killed_leaves_no_core(#[case] program: &str) {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let daemon = if program == "l2relay" { &lab.relay } else { &lab.control };
    let netns = if program == "l2relay" { &lab.relay_ns } else { &lab.control_ns };
    let folder = lab.folder().join("cores");
    fs::create_dir(&folder).unwrap();
    let dumping = |line: &str| {
        let mut command = netns.command("sh");
        command.current_dir(&folder).args(["-c", &format!("ulimit -c unlimited; {line}")]);
        netns_tests::Process::start("dumping", &mut command, lab.folder())
    };
    // Another program does leave one, where the machine writes them to files at all.
    let mut other = dumping("exec sleep 60");
    eventually(SOON, "sleep runs", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", other.pid())).unwrap_or_default();
        if name.trim() == "sleep" { Ok(()) } else { Err(name) }
    });
    other.signal(Signal::SIGABRT);
    let dumped = other.wait(SOON).core_dumped();
    assert!(dumped || pattern.starts_with('|'), "{pattern}: nothing is proved here");
    files(&folder).iter().for_each(|core| fs::remove_file(core).unwrap());
    let line = format!("exec {} --config {}", binary(program).display(), daemon.config().display());
    for signal in [Signal::SIGABRT, Signal::SIGFPE, Signal::SIGSYS, Signal::SIGTRAP] {
        let mut process = dumping(&line);
        let _ = process.await_log("ready", SOON);
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
        let limit = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(limit.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{limit}");
        process.signal(signal);
        let status = process.wait(SOON);
        // It can be seen by what it was killed.
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal as i32), false));
        assert_eq!(files(&folder), Vec::<PathBuf>::new());
    }
}

/// Another process of the same user, without capabilities, sees nothing of it either.
#[test]
fn nobody_looks_into_a_daemon() {
    let Some(mut lab) = Lab::build(Layout::default()) else { return };
    lab.start();
    for daemon in [&mut lab.relay, &mut lab.control] {
        let pid = daemon.process().pid();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "head", "-c", "1"]);
        let looked = Finished::new(command.arg(format!("/proc/{pid}/environ")));
        assert!(!looked.success() && looked.stderr().contains("Permission denied"), "{looked}");
    }
}

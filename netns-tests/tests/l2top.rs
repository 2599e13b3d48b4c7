//! `l2top` in a terminal of 80 columns and 24 lines, beside running daemons.

use netns_tests::address::*;
use netns_tests::program::Nginx;
use netns_tests::{Finished, Lab, Layout, Terminal, binary};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::path::Path;
use std::process::Command;

const COLUMNS: u16 = 80;
const LINES: u16 = 24;

/// `l2top` of both daemons of a lab.
fn l2top(lab: &Lab) -> Terminal {
    let sockets = [lab.relay.socket(), lab.control.socket()].map(|path| path.to_str().unwrap().to_owned());
    let arguments = ["--interval", "0.2", "--socket", &sockets[0], "--socket", &sockets[1]];
    Terminal::start(&binary("l2top"), &arguments, COLUMNS, LINES)
}

fn once(lab: &Lab, arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary("l2top"));
    command.args(["--once", "--interval", "0.2", "--socket"]).arg(lab.relay.socket()).args(arguments);
    Finished::new(&mut command)
}

#[test]
fn it_gives_the_terminal_back_for_a_while() {
    let Some(lab) = Lab::up() else { return };
    let mut shell = Terminal::start(Path::new("bash"), &["--norc", "--noediting", "-i"], COLUMNS, LINES);
    let top = format!("{} --socket {}\n", binary("l2top").display(), lab.relay.socket().display());
    shell.type_keys(&top);
    shell.await_text("[1 Topology]");
    shell.type_keys("\x1a");
    shell.await_text("Stopped");
    shell.await_usable();
    shell.type_keys("fg\n");
    shell.await_text("[1 Topology]");
    shell.type_keys("q");
    shell.await_usable();
    shell.type_keys("exit\n");
    assert!(shell.wait().success());
}

#[test]
fn every_view_shows_what_happens() {
    let Some(lab) = Lab::up() else { return };
    let mut top = l2top(&lab);
    top.await_text("l2top  relay relay1: up  control control1: up");
    let lines = top.await_text("control1  symbol eth1  up");
    assert!(lines.iter().any(|line| line.starts_with("└─ port eth1  up  192.0.2.1/24")), "{lines:#?}");
    assert!(lines.len() <= LINES.into() && lines[23].starts_with("q quit"), "{lines:#?}");

    let nginx = Nginx::start(&lab.control_ns, lab.folder(), &["80"]);
    top.await_text("2 rules");
    top.type_keys("\t");
    top.await_text("[2 Peers]");
    top.await_screen("both peers", |lines| {
        ["relay1", "control1"].iter().all(|name| lines.iter().any(|line| line.contains(&format!("{name}  "))))
    });
    // The arrow to the right, as terminals send it.
    top.type_keys("\x1b[C");
    top.await_text("[3 Symbols]");
    top.await_text("192.0.2.1/24");
    top.type_keys("4");
    top.await_text("[4 Rules]");
    top.await_text("tcp 0.0.0.0:80");
    top.type_keys("5");
    let _load = lab.client.spawn(&format!("wrk -t1 -c2 -d30 http://{PORT_V4}/"));
    top.await_screen("a rate of thousands", |lines| {
        lines
            .iter()
            .any(|line| line.contains("tcp 0.0.0.0:80") && (line.contains("kb/s") || line.contains("Mb/s")))
    });
    // Sorted by rate, the busiest is the first.
    top.type_keys("sssss");
    top.await_screen("sorted by packets", |lines| lines[2].contains("PKT/S▼") && lines[3].contains(" k "));
    top.type_keys("r");
    top.await_screen("sorted from below", |lines| lines[2].contains("PKT/S▲") && !lines[3].contains(" k "));

    let _ = lab.client.run(&format!("curl -s --max-time 1 http://{PORT_V4}:81/"));
    top.type_keys("6");
    top.await_text("unmatched");

    top.type_keys("4p");
    top.await_text("PAUSED");
    drop(nginx);
    lab.relay.await_rules(&[]);
    top.await_text("tcp 0.0.0.0:80");
    top.type_keys("p");
    top.await_screen("the rule is gone", |lines| !lines.iter().any(|line| line.contains(":80")));

    top.type_keys("q");
    assert!(top.wait().success());
    top.await_usable();
}

#[test]
fn a_daemon_that_restarts_is_found_again() {
    let Some(mut lab) = Lab::up() else { return };
    let top = l2top(&lab);
    top.await_text("l2top  relay relay1: up  control control1: up");
    lab.relay.kill_9();
    top.await_text("no daemon listens");
    lab.relay.start();
    lab.await_symbol();
    top.await_text("l2top  relay relay1: up  control control1: up");
    top.await_text("control1  symbol eth1  up");
}

#[rstest]
#[case::terminate(Signal::SIGTERM)]
#[case::hang_up(Signal::SIGHUP)]
#[case::interrupt(Signal::SIGINT)]
fn a_signal_leaves_a_usable_terminal(#[case] signal: Signal) {
    let Some(lab) = Lab::up() else { return };
    let mut top = l2top(&lab);
    top.await_text("symbol");
    assert!(!top.is_usable(), "it has the terminal for itself");
    top.signal(signal);
    assert!(top.wait().success());
    top.await_usable();
}

/// A terminal that goes while a program is at it: a connection of ssh that breaks, a window that is closed.
const HANG_UP: &str = r#"
import fcntl, os, pty, struct, sys, termios, time
os.environ["TERM"] = "xterm"
delay = float(sys.argv.pop())
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
while b"q quit" not in shown:
    shown += os.read(terminal, 4096)
time.sleep(delay)
os.close(terminal)
for _ in range(100):
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(pid, 9)
sys.exit("it runs on without a terminal")
"#;

#[rstest]
#[case::at_once("0")]
#[case::while_it_waits_for_keys("0.35")]
fn it_ends_with_its_terminal(#[case] delay: &str) {
    let Some(lab) = Lab::up() else { return };
    let mut command = Command::new("python3");
    command.args(["-c", HANG_UP]).arg(binary("l2top")).arg("--socket").arg(lab.relay.socket()).arg(delay);
    let _ = Finished::new(&mut command).expect_success();
}

#[test]
fn control_c_ends_it() {
    let Some(lab) = Lab::up() else { return };
    let mut top = l2top(&lab);
    top.await_text("symbol");
    top.type_keys("\x03");
    assert!(top.wait().success());
    top.await_usable();
}

#[test]
fn one_picture_is_text_for_scripts() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let failed = once(&lab, &[]);
    assert_eq!(failed.code(), Some(1), "{failed}");
    assert!(failed.stderr().contains("no daemon listens at"), "{failed}");

    let mut lab = lab;
    lab.start();
    let shown = once(&lab, &[]).expect_success();
    assert!(shown.starts_with("l2top  relay relay1: up\n[1 Topology]"), "{shown}");
    assert!(shown.contains("control1  symbol 1  up  1 rule"), "{shown}");
    assert!(!shown.contains('\x1b'), "no escape sequences: {shown:?}");
    let rules = once(&lab, &["--view", "rules"]).expect_success();
    assert!(rules.contains("ethertype 0x0806"), "{rules}");
    assert_eq!(once(&lab, &["--view", "colors"]).code(), Some(2));
    assert_eq!(once(&lab, &["--interval", "0"]).code(), Some(2));
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let mut command = Command::new(binary("l2top"));
    let failed = Finished::new(command.arg("--socket").arg(lab.relay.socket()));
    assert!(failed.code() == Some(1) && failed.stderr().contains("`--once` prints one picture"), "{failed}");
}

//! Floods of forged and repeated frames at a relay: what they cost, and whether a control comes in meanwhile.
//!
//! Run with `--nocapture` for the figures.

use frames::discovery::{Mode, Protection};
use frames::header::Kind;
use netns_tests::config::{Control, Relay};
use netns_tests::{Flood, KeyPair, Lab, Layout, Recorder, SOON, Sort, eventually, mac_of};
use rstest::rstest;
use serde_json::json;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Frames a second.
const RATE: u32 = 100_000;
/// For how long the relay's share of a processor is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// What memory may grow by, in KiB: nothing is kept of strangers, but the sockets' buffers are read by then.
const GROWTH: u64 = 8 * 1024;

#[rstest]
#[case::none(Mode::NONE)]
#[case::psk(Mode::PSK)]
#[case::keys(Mode::KEYS)]
fn a_flood_keeps_no_genuine_control_out(#[case] mode: Mode) {
    let Some(mut lab) = Lab::build(Layout { bridge: true, ..Layout::default() }) else { return };
    configure(&lab, mode);
    let stranger = lab.netns("stranger");
    lab.add_forger_to_segment(&stranger);
    let relay = mac_of(&lab.relay_ns);
    lab.relay.start();
    lab.relay.await_log("ready");
    // Several lives of the control, of which the stranger keeps what it can.
    let recorded = Recorder::record(&lab.control_ns.clone(), &[Kind::HELLO, Kind::HANDSHAKE_INIT], || {
        for _ in 0..4 {
            lab.control.start();
            lab.relay.await_row("peers", &json!({"name": "control1", "state": "up"}));
            lab.control.terminate();
            lab.relay.await_no_row("peers", &json!({"state": "up"}));
        }
    });
    assert!(recorded.iter().any(|frame| frame[15] == Kind::HANDSHAKE_INIT.0), "nothing was recorded");

    let sorts = [Sort::Hellos, Sort::Inits, Sort::Clear, Sort::Sessions, Sort::Replayed(recorded)];
    for sort in sorts {
        let name = format!("{sort:?}").split('(').next().unwrap_or_default().to_lowercase();
        let protection = if mode == Mode::NONE { Protection::CLEAR } else { Protection::SEALED };
        let flood = Flood { netns: &stranger, sort, relay, mode: (mode, protection), rate: RATE };
        flood.run(|sent| measure(&mut lab, &format!("{mode} {name}"), sent));
        lab.control.terminate();
        lab.relay.await_no_row("peers", &json!({"state": "up"}));
    }
    let lines = lab.relay.log().lines().count();
    assert!(lines < 500, "{lines} lines logged");
}

/// Of the relay under a flood: what it costs, who is a peer, and how soon a control is.
fn measure(lab: &mut Lab, what: &str, sent: &AtomicU64) {
    let before = (Instant::now(), sent.load(Ordering::Relaxed), cpu_time(lab), memory(lab));
    thread::sleep(MEASURED);
    let elapsed = before.0.elapsed().as_secs_f64();
    let rate = (sent.load(Ordering::Relaxed) - before.1) as f64 / elapsed;
    let share = (cpu_time(lab) - before.2).as_secs_f64() / elapsed;
    let peers = lab.relay.show("peers").expect("peers");
    assert!(!peers.iter().any(|peer| peer["state"] == "up"), "a false peer: {peers:?}");

    let start = Instant::now();
    lab.control.start();
    let up = eventually(SOON, "the genuine control joins", || {
        let (peers, now) = (lab.relay.show("peers")?, start.elapsed());
        let genuine = |peer: &&serde_json::Value| peer["name"] == "control1" && peer["state"] == "up";
        let age = peers.iter().find(genuine).and_then(|peer| peer["session_age_ms"].as_u64());
        age.map(|age| now.saturating_sub(Duration::from_millis(age))).ok_or_else(|| format!("{peers:?}"))
    });
    let peers = lab.relay.show("peers").expect("peers");
    assert_eq!(peers.iter().filter(|peer| peer["state"] == "up").count(), 1, "{peers:?}");
    lab.await_symbol();
    print(&format!(
        "{what}: {:.0} frames/s cost {:.1} % of a core; a control was in {} ms after its start",
        rate,
        100.0 * share,
        up.as_millis()
    ));
    let (before, after) = (before.3, memory(lab));
    assert!(after < before + GROWTH, "{what}: memory grew from {before} to {after} KiB");
}

fn configure(lab: &Lab, mode: Mode) {
    let (mut relay, control) = (Relay::default(), Control::default());
    match mode {
        Mode::KEYS => {
            relay.ports[0].allow = vec!["control = \"control1\"".into()];
            let [relays, controls] =
                ["relay", "control"].map(|name| KeyPair::new(lab.folder(), &format!("{name}.key")));
            lab.relay.configure(&relays.configure(&relay, "", &[("control1", &controls)]));
            lab.control.configure(&controls.configure(&control, "", &[("relay1", &relays)]));
        }
        Mode::NONE => {
            let open = |config: String| config.replace("psk_file = \"psk\"", "security = \"none\"");
            lab.relay.configure(&open(relay.to_string()));
            lab.control.configure(&open(control.to_string()));
        }
        _ => {}
    }
}

/// The time that the relay has spent on processors.
fn cpu_time(lab: &mut Lab) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", lab.relay.process().pid())).expect("threads");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The relay's memory in KiB.
fn memory(lab: &mut Lab) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", lab.relay.process().pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[expect(clippy::print_stdout, reason = "measured, not asserted")]
fn print(text: &str) {
    println!("{text}");
}

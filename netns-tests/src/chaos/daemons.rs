//! Faults of the daemons.

use super::lab::HOST_BEHIND;
use super::{Chaos, Fault, Spares};
use crate::{Ping, SOON, eventually};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        bounded: true,
        strike: |chaos, long| stopped(chaos, CONTROL1, long),
        ..Fault::named("SIGSTOP of the control")
    },
    Fault {
        bounded: true,
        spares: Spares::Transit,
        strike: |chaos, long| stopped(chaos, RELAY, long),
        ..Fault::named("SIGSTOP of the relay")
    },
    Fault {
        strike: |chaos, _| killed(chaos, &[CONTROL1], &[CONTROL1]),
        ..Fault::named("kill -9 of the control")
    },
    Fault { strike: |chaos, _| killed(chaos, &[RELAY], &[RELAY]), ..relay("kill -9 of the relay") },
    Fault {
        bounded: true,
        strike: |chaos, _| killed(chaos, &[RELAY, CONTROL1, CONTROL2], &[RELAY, CONTROL1, CONTROL2]),
        ..relay("kill -9 of all; order r 1 2")
    },
    Fault {
        strike: |chaos, _| killed(chaos, ALL, &[RELAY, CONTROL2, CONTROL1]),
        ..relay("kill -9 of all; order r 2 1")
    },
    Fault {
        strike: |chaos, _| killed(chaos, ALL, &[CONTROL1, RELAY, CONTROL2]),
        ..relay("kill -9 of all; order 1 r 2")
    },
    Fault {
        strike: |chaos, _| killed(chaos, ALL, &[CONTROL1, CONTROL2, RELAY]),
        ..relay("kill -9 of all; order 1 2 r")
    },
    Fault {
        strike: |chaos, _| killed(chaos, ALL, &[CONTROL2, RELAY, CONTROL1]),
        ..relay("kill -9 of all; order 2 r 1")
    },
    Fault {
        strike: |chaos, _| killed(chaos, ALL, &[CONTROL2, CONTROL1, RELAY]),
        ..relay("kill -9 of all; order 2 1 r")
    },
    Fault { strike: crash_loop, ..relay("kill -9 of the relay, 5 times") },
    Fault {
        spares: Spares::Healthy,
        ready: short_hold,
        strike: gone_for_good,
        undo: usual_hold,
        ..Fault::named("control gone for longer than `hold_seconds`")
    },
    Fault {
        ready: clocks,
        strike: jump,
        undo: restart_all,
        ..Fault::named("clocks jump by an hour, and back by two")
    },
];

/// Places in [`Chaos::daemons`].
pub(crate) const RELAY: usize = 0;
pub(crate) const CONTROL1: usize = 1;
const CONTROL2: usize = 2;
const ALL: &[usize] = &[RELAY, CONTROL1, CONTROL2];

/// It silences the relay's daemon, and with it every pair.
const fn relay(name: &'static str) -> Fault {
    Fault { spares: Spares::Transit, ..Fault::named(name) }
}

fn stopped(chaos: &mut Chaos, which: usize, long: bool) {
    let process = chaos.daemons()[which].1.process().pid();
    signal(process, Signal::SIGSTOP);
    sleep(if long { Duration::from_secs(10) } else { Duration::from_secs(2) });
    signal(process, Signal::SIGCONT);
}

fn killed(chaos: &mut Chaos, which: &[usize], order: &[usize]) {
    for daemon in which {
        chaos.daemons()[*daemon].1.kill_9();
    }
    for daemon in order {
        sleep(Duration::from_millis(300));
        chaos.daemons()[*daemon].1.start();
    }
}

/// As they usually are.
fn restart_all(chaos: &mut Chaos) {
    killed(chaos, ALL, ALL);
}

fn crash_loop(chaos: &mut Chaos, _: bool) {
    for _ in 0..5 {
        killed(chaos, &[RELAY], &[RELAY]);
    }
}

/// The control stays away for longer than the relay holds its routes.
fn gone_for_good(chaos: &mut Chaos, _: bool) {
    let ping = Ping::start(chaos.lab.client2(), HOST_BEHIND);
    let killed = Instant::now();
    chaos.lab.control.kill_9();
    sleep(Duration::from_secs(HOLD / 2));
    ping.lost_nothing(50);
    eventually(SOON * 2, "the routes go in the end", || {
        let ours = chaos.lab.relay_ns.ok("ip route show table all proto 108");
        if ours.is_empty() { Ok(()) } else { Err(ours) }
    });
    chaos.remark = format!("routes gone after {} ms", killed.elapsed().as_millis());
    chaos.lab.control.start();
}

/// Seconds for which the relay holds routes of a control that is gone.
const HOLD: u64 = 4;

fn short_hold(chaos: &mut Chaos) {
    set_hold(chaos, |config| format!("{config}\n{}", hold()));
}

fn usual_hold(chaos: &mut Chaos) {
    set_hold(chaos, |config| config.replace(&hold(), ""));
}

fn hold() -> String {
    format!("[routes]\nhold_seconds = {HOLD}\n")
}

fn set_hold(chaos: &mut Chaos, change: impl FnOnce(&str) -> String) {
    let relay = &mut chaos.lab.relay;
    let config = fs::read_to_string(relay.config()).expect("a configuration");
    relay.configure(&change(&config));
    relay.kill_9();
    relay.start();
}

/// All three have a clock whose time of day a file says.
fn clocks(chaos: &mut Chaos) {
    let file = clock_file(chaos);
    fs::write(&file, "+0").expect("write a file");
    let environment = [
        ("LD_PRELOAD", fake_clock()),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1".into()),
        // Nothing changes it on a real machine either (clock_settime(2)).
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.to_str().expect("UTF-8"))).collect();
    for (_, daemon) in chaos.daemons() {
        daemon.kill_9();
        daemon.start_with(&environment);
    }
}

fn jump(chaos: &mut Chaos, long: bool) {
    for (offset, port) in [(3600.0, 7778), (-3600.0, 7779)] {
        let expected = of_day(SystemTime::now()) + offset;
        fs::write(clock_file(chaos), format!("{offset:+}")).expect("write a file");
        sleep(if long { Duration::from_secs(10) } else { Duration::from_secs(1) });
        // It says the time when a socket opens.
        let _ = chaos.lab.programs().run(&format!("timeout 0.5 socat TCP-LISTEN:{port} -"));
        let text = format!(":{port}: added");
        chaos.lab.control.await_log(&text);
        let log = chaos.lab.control.log();
        let told = second_of_day(log.lines().find(|line| line.contains(&text)).unwrap_or_default());
        assert!((told - expected).rem_euclid(DAY) < 60.0, "its clock is not faked: {told}, not {expected}");
    }
    fs::write(clock_file(chaos), "+0").expect("write a file");
}

fn clock_file(chaos: &Chaos) -> OsString {
    chaos.lab.folder().join("time").into_os_string()
}

/// The library of the program faketime.
fn fake_clock() -> OsString {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let found = libraries.into_iter().find(|library| library.exists());
    found.expect("the package faketime is installed").into_os_string()
}

/// Seconds since midnight of a line of a log, which begins with `[2026-11-25T23:00:32.098Z`.
pub(crate) fn second_of_day(line: &str) -> f64 {
    let time = line.split_once('T').and_then(|(_, rest)| rest.split_once('Z')).map_or("", |(time, _)| time);
    let parts: Vec<f64> = time.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { panic!("no time in {line:?}") };
    hours * 3600.0 + minutes * 60.0 + seconds
}

/// Seconds since midnight.
pub(crate) fn of_day(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64() % DAY
}

pub(crate) const DAY: f64 = 86_400.0;

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, signal).expect("signal a daemon");
}

//! More at once than can be told one by one.

use super::daemons::{DAY, of_day, second_of_day, signal};
use super::{Chaos, Fault};
use crate::address::*;
use crate::{Netns, SOON, eventually};
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::time::SystemTime;

pub(crate) const FAULTS: &[Fault] = &[
    Fault { twice: true, strike: routes, ..Fault::named("20,000 routes at once, and gone") },
    Fault { twice: true, strike: sockets, ..Fault::named("3,000 sockets at once, and gone") },
    Fault { twice: true, strike: interfaces, ..Fault::named("500 interfaces at once, and gone") },
    Fault { twice: true, strike: overrun, ..Fault::named("more routes than netlink can tell") },
    Fault {
        twice: true,
        ready: listen,
        strike: killed,
        ..Fault::named("kill -9 of a control with 10,000 rules")
    },
];

fn batch(verb: &str) -> String {
    let mut batch = String::new();
    for route in 0..20_000 {
        let _ = writeln!(batch, "route {verb} 10.{}.{}.0/24 via {CLIENT_V4}", 100 + route / 256, route % 256);
    }
    batch.trim_end().to_owned()
}

pub(crate) fn routes(chaos: &mut Chaos, _: bool) {
    for verb in ["add", "del"] {
        chaos.lab.programs().ip(&[&batch(verb)]);
    }
}

/// The control is stopped meanwhile, so that its sockets overflow.
fn overrun(chaos: &mut Chaos, _: bool) {
    let control = chaos.lab.control.process().pid();
    let netns = chaos.lab.programs();
    let before = lost_messages(netns);
    signal(control, Signal::SIGSTOP);
    let both = format!("{}\n{}", batch("add"), batch("del"));
    for _ in 0..MOST_ROUNDS {
        netns.ip(&[&both]);
        if lost_messages(netns) > before {
            break;
        }
    }
    signal(control, Signal::SIGCONT);
    let lost = lost_messages(netns) - before;
    assert!(lost > 0, "netlink lost nothing");
    chaos.remark = format!("{lost} messages lost");
}

/// The buffer has 128 MiB, a message takes nearly 1 KiB of it, and there are 40,000 in a round.
const MOST_ROUNDS: usize = 12;

/// What netlink's sockets of a namespace have lost so far: the column `Drops` (net/netlink/af_netlink.c, `netlink_native_seq_show`).
fn lost_messages(netns: &Netns) -> u64 {
    let table = netns.ok("cat /proc/net/netlink");
    let mut lines = table.lines();
    let titles = lines.next().unwrap_or_default();
    let column = titles.split_whitespace().position(|title| title == "Drops").expect("a column of drops");
    lines.filter_map(|line| line.split_whitespace().nth(column)?.parse::<u64>().ok()).sum()
}

/// Holds so many listeners from port 20000 on; says so when it has them.
const LISTENERS: &str = "import resource, socket, sys, time\n\
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))\n\
    held = []\n\
    for port in range(20000, 20000 + int(sys.argv[1])):\n    \
        s = socket.socket(); s.bind(('', port)); s.listen(); held.append(s)\n\
    print('listening')\n\
    time.sleep(float(sys.argv[2]))\n";

pub(crate) fn sockets(chaos: &mut Chaos, _: bool) {
    let _ = chaos.lab.programs().run_python(LISTENERS, &["3000", "1"]).expect_success();
}

fn interfaces(chaos: &mut Chaos, _: bool) {
    for netns in [&chaos.lab.relay_ns, &chaos.lab.control_ns] {
        let batch = |verb: &dyn Fn(usize) -> String| (0..250).map(verb).collect::<Vec<_>>().join("\n");
        netns.ip(&[&batch(&|number| format!("link add x{number} type veth peer name y{number}"))]);
        netns.ip(&[&batch(&|number| format!("link del x{number}"))]);
    }
}

/// Each makes a rule at both symbols.
const RULES: usize = 10_000;

fn listen(chaos: &mut Chaos) {
    let before = chaos.lab.relay.log().len();
    let process = chaos.lab.programs().python(LISTENERS, &[&(RULES / 2).to_string(), "3600"]);
    let _ = process.await_log("listening", SOON);
    chaos.props.push(process);
    await_logged(chaos, before, "rule added: tcp");
}

/// By its log: a table of so many rows would keep the relay busy.
fn await_logged(chaos: &Chaos, begin: usize, what: &str) {
    eventually(SOON * 6, &format!("the relay logs {RULES} times {what:?}"), || {
        let log = chaos.lab.relay.log();
        match log.get(begin..).unwrap_or_default().matches(what).count() {
            count if count >= RULES => Ok(()),
            count => Err(format!("{count} times")),
        }
    });
}

/// Between death and return the relay misses it, so that all its rules are gone.
fn killed(chaos: &mut Chaos, _: bool) {
    let carrier = carrier_changes(chaos);
    let before = chaos.lab.relay.log().len();
    chaos.lab.control.kill_9();
    await_logged(chaos, before, "rule deleted: tcp");
    let logged = chaos.lab.relay.log().len();
    let begin = SystemTime::now();
    chaos.lab.control.start();
    await_logged(chaos, logged, "rule added: tcp");
    let log = chaos.lab.relay.log();
    let last = log[logged..].lines().rfind(|line| line.contains("rule added: tcp")).expect("a rule");
    let took = (second_of_day(last) - of_day(begin)).rem_euclid(DAY);
    assert_eq!(carrier_changes(chaos), carrier, "the symbol lost its carrier");
    chaos.remark = format!("{RULES} rules back {:.0} ms after the control's start; carrier kept", took * 1e3);
}

fn carrier_changes(chaos: &Chaos) -> u64 {
    let link = chaos.lab.programs().ip_json("-s -s link show eth1");
    link[0]["stats64"]["tx"]["carrier_changes"].as_u64().expect("a number of changes")
}

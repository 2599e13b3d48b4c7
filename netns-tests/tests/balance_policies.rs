//! Several controls that claim one service, where only one of them is to serve: the conflict policies of a port.

use netns_tests::address::*;
use netns_tests::config::{Control, Port, Relay};
use netns_tests::program::{Prober, Wrk};
use netns_tests::{Farm, Lab, Layout, Plan, SOON, eventually, name_of};
use std::time::{Duration, SystemTime};

/// A farm whose port settles conflicts so; `priorities` are of its controls, in their order, none without.
fn farm(conflicts: &str, priorities: &[u32]) -> Option<Farm> {
    let adapt = |relay: &mut Relay, _: &mut Control| {
        let allow = |(server, priority): (usize, &u32)| {
            format!("control = \"control{}\"\npriority = {priority}", server + 1)
        };
        let mut port = Port::new("eth1");
        port.more = format!("conflicts = \"{conflicts}\"");
        if !priorities.is_empty() {
            port.allow = priorities.iter().enumerate().map(allow).collect();
        }
        relay.ports = vec![port];
    };
    Farm::with(Plan::default(), adapt)
}

/// One server serves, and the others stand by.
#[track_caller]
fn expect_active(farm: &Farm, active: usize, standby: &[usize]) {
    farm.await_exactly("tcp", 80, &[active], "active");
    farm.await_exactly("tcp", 80, standby, "standby");
    eventually(SOON, &format!("{} serves alone", name_of(active)), || match farm.ask(30) {
        counts if counts.get(&name_of(active)) == Some(&30) => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
}

#[test]
fn the_first_serves_until_it_goes_and_the_next_takes_over() {
    let Some(farm) = farm("first", &[]) else { return };
    let second = farm.nginx(1);
    let first = farm.claim(0);
    let third = farm.claim(2);
    expect_active(&farm, 1, &[0, 2]);
    drop(second);
    expect_active(&farm, 0, &[2]);
    // One that comes back queues up behind the others.
    let second = farm.claim(1);
    expect_active(&farm, 0, &[1, 2]);
    drop(first);
    expect_active(&farm, 2, &[1]);
    drop(third);
    expect_active(&farm, 1, &[]);
    drop(second);
    farm.await_exactly("tcp", 80, &[], "active");
}

#[test]
fn the_highest_priority_serves_and_takes_over_when_it_comes_back() {
    let Some(mut farm) = farm("priority", &[10, 30, 20]) else { return };
    let _first = farm.nginx(0);
    expect_active(&farm, 0, &[]);
    let _third = farm.claim(2);
    expect_active(&farm, 2, &[0]);
    let second = farm.claim(1);
    expect_active(&farm, 1, &[0, 2]);
    drop(second);
    expect_active(&farm, 2, &[0]);
    let _second = farm.claim(1);
    expect_active(&farm, 1, &[0, 2]);

    // Its control dies: the next in line serves as soon as it is missed.
    let prober = Prober::start(&farm.lab.client, &format!("tcp {PORT_V4} 80"));
    let since = SystemTime::now();
    farm.control(1).kill_9();
    expect_active(&farm, 2, &[0]);
    std::thread::sleep(Duration::from_millis(300));
    let dark = prober.end().dark_ms(since);
    println!("standby takes over: the last lost request {dark:.0} ms after the kill");
    assert!(dark < 3_000.0, "{dark} ms");
    farm.control(1).start();
    farm.await_symbol(1);
    expect_active(&farm, 1, &[0, 2]);
}

#[test]
fn downloads_from_the_active_one_end_well_when_a_better_one_comes() {
    let Some(farm) = farm("priority", &[10, 30, 20]) else { return };
    let _first = farm.nginx(0);
    let downloads = farm.downloads(&[0], &farm.lab.client, PORT_V4, 3);
    let load = Wrk::start(&farm.lab.client, &format!("http://{PORT_V4}/"), 2);
    let _second = farm.claim(1);
    expect_active(&farm, 1, &[0]);
    load.failed_nothing();
    downloads.finish();
}

#[test]
fn sharing_is_the_default_and_can_be_written_out() {
    let Some(farm) = farm("share", &[]) else { return };
    let _nginx = farm.nginx_everywhere();
    farm.await_exactly("tcp", 80, &[0, 1, 2], "active");
    assert_eq!(farm.ask(90).len(), 3);
}

#[test]
fn other_policies_and_priorities_are_refused_with_the_line() {
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let with = |more: &str, allow: &str| {
        let mut relay = Relay::default();
        relay.ports[0].more = more.into();
        relay.ports[0].allow = vec![format!("control = \"*\"\n{allow}")];
        lab.relay.configure(&relay.to_string());
        lab.relay.run(&["--check"])
    };
    let _ = with("conflicts = \"priority\"", "priority = 7").expect_success();
    for (more, allow, reason) in [
        ("conflicts = \"fight\"", "", "fight"),
        ("conflicts = 1", "", "conflicts"),
        ("conflicts = \"priority\"", "priority = -1", "priority"),
        ("conflicts = \"priority\"", "priority = \"high\"", "priority"),
    ] {
        let refused = with(more, allow);
        assert!(!refused.success() && refused.stderr().contains(reason), "{refused}");
    }
}

//! A server, a control or the relay dies, or falls silent: the others serve its clients.

use netns_tests::address::*;
use netns_tests::config::Control;
use netns_tests::program::{Prober, Probes, named_server};
use netns_tests::{Daemon, Farm, Plan, SOON, eventually, name_of};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// Longer than this no client may be in the dark: several times what it takes to miss a peer.
const DARK_MS: f64 = 3_000.0;

/// Names and datagrams: nginx and a UDP server on every server, all with rules.
macro_rules! serving {
    ($farm:ident, $nginx:ident, $udp:ident) => {
        let mut $nginx: Vec<_> = $farm.nginx_everywhere();
        let $udp: Vec<_> =
            (0..3).map(|server| named_server($farm.programs(server), 7000, &name_of(server))).collect();
        $farm.await_servers("udp", 7000, &[0, 1, 2], "active");
    };
}

/// Probes of both protocols, from before to after something happens.
struct Watch {
    probers: [Prober; 2],
    since: SystemTime,
}

impl Watch {
    fn start(farm: &Farm) -> Self {
        let start = |what: &str| Prober::start(&farm.lab.client, what);
        let probers = [start(&format!("tcp {PORT_V4} 80")), start(&format!("udp {PORT_V6} 7000"))];
        Self { probers, since: SystemTime::now() }
    }

    /// Now it happens.
    fn mark(&mut self) {
        self.since = SystemTime::now();
    }

    /// Ends it: nothing was lost before it happened, and the dark was short after that.
    fn judge(self, what: &str) -> [Probes; 2] {
        let Self { probers, since } = self;
        std::thread::sleep(Duration::from_millis(500));
        probers.map(|prober| {
            let probes = prober.end();
            let dark = probes.dark_ms(since);
            println!(
                "{what}: {} probes lost, the last after {dark:.0} ms: {:?}",
                probes.lost.len(),
                probes.answered
            );
            assert!(dark < DARK_MS, "in the dark for {dark:.0} ms");
            assert!(probes.answered.values().sum::<u64>() > 50, "{probes:?}");
            probes
        })
    }
}

#[test]
fn a_killed_server_process_is_replaced_by_the_others_at_once() {
    let Some(farm) = Farm::up() else { return };
    serving!(farm, nginx, udp);
    let mut udp = udp;
    let downloads = farm.downloads(&[0, 1, 2], &farm.lab.client, PORT_V4, 3);
    let mut watch = Watch::start(&farm);
    watch.mark();
    nginx[0].master.kill_9_all();
    udp[0].kill_9();
    farm.await_exactly("tcp", 80, &[1, 2], "active");
    farm.await_exactly("udp", 7000, &[1, 2], "active");
    assert!(!farm.ask(60).contains_key(&name_of(0)));
    let _ = watch.judge("kill -9 of a server");
    downloads.finish_but(0);
}

#[rstest]
#[case::with_its_keeper(60_000)]
#[case::without_a_keeper(0)]
fn a_killed_control_is_replaced_by_the_others_and_comes_back(#[case] keep_symbols_ms: u64) {
    let keep =
        |_: &mut _, control: &mut Control| control.more = format!("keep_symbols_ms = {keep_symbols_ms}");
    let Some(mut farm) = Farm::with(Plan::default(), keep) else { return };
    serving!(farm, nginx, udp);
    let downloads = farm.downloads(&[0, 1, 2], &farm.lab.client, PORT_V4, 3);
    let mut watch = Watch::start(&farm);
    watch.mark();
    farm.control(0).kill_9();
    farm.await_exactly("tcp", 80, &[1, 2], "active");
    assert!(!farm.ask(60).contains_key(&name_of(0)));
    let _ = watch.judge("kill -9 of a control");
    farm.control(0).start();
    farm.await_symbol(0);
    farm.await_exactly("tcp", 80, &[0, 1, 2], "active");
    assert!(farm.ask(120).contains_key(&name_of(0)));
    // Those of the killed control's server live on as well if a keeper held its symbol.
    downloads.finish_but(if keep_symbols_ms == 0 { 0 } else { usize::MAX });
    nginx.clear();
    drop(udp);
}

#[derive(Clone, Copy)]
enum Silence {
    Stopped,
    Cut,
}

#[rstest]
#[case::stopped(Silence::Stopped)]
#[case::cut_off(Silence::Cut)]
fn a_silent_controls_clients_are_served_by_the_others(#[case] silence: Silence) {
    let Some(mut farm) = Farm::up() else { return };
    serving!(farm, _nginx, _udp);
    let downloads = farm.downloads(&[0, 1, 2], &farm.lab.client, PORT_V4, 3);
    let mut watch = Watch::start(&farm);
    watch.mark();
    let silent = Instant::now();
    match silence {
        Silence::Stopped => farm.control(0).process().signal(Signal::SIGSTOP),
        Silence::Cut => farm.control_ns(0).ip(&["link set lan0 down"]),
    }
    let _ = farm.lab.relay.await_row("peers", &json!({"name": "control1", "state": "down"}));
    println!("the relay misses its peer after {:?}", silent.elapsed());
    farm.await_exactly("tcp", 80, &[1, 2], "active");
    assert!(!farm.ask(60).contains_key(&name_of(0)));
    let _ = watch.judge("a control falls silent");
    match silence {
        Silence::Stopped => farm.control(0).process().signal(Signal::SIGCONT),
        Silence::Cut => farm.control_ns(0).ip(&["link set lan0 up"]),
    }
    farm.await_exactly("tcp", 80, &[0, 1, 2], "active");
    eventually(SOON, "the control that was silent serves again", || match farm.ask(30) {
        counts if counts.contains_key(&name_of(0)) => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    downloads.finish();
}

#[test]
fn downloads_from_every_server_outlive_the_relay() {
    let Some(mut farm) = Farm::up() else { return };
    let mut nginx = farm.nginx_everywhere();
    let downloads = farm.downloads(&[0, 1, 2], &farm.lab.client, PORT_V4, 6);
    // One of them drains at that.
    nginx[0].quit();
    farm.await_exactly("tcp", 80, &[1, 2], "active");
    for _ in 0..2 {
        farm.lab.relay.kill_9();
        farm.lab.relay.start();
        for server in 0..3 {
            farm.await_symbol(server);
        }
        farm.await_exactly("tcp", 80, &[1, 2], "active");
    }
    assert!(!farm.ask(30).contains_key(&name_of(0)));
    downloads.finish();
    assert!(nginx[0].master.wait(SOON).success());
}

#[test]
fn a_second_control_of_the_same_name_is_refused_and_shown_on_both_sides() {
    let Some(farm) = Farm::with(Plan { controls: 2, ..Plan::default() }, |_, _| {}) else { return };
    let _nginx = farm.nginx_everywhere();
    let twin_ns = Rc::new(farm.lab.netns("twin"));
    farm.lab.add_to_segment(&twin_ns);
    let folder = farm.lab.folder().join("twin");
    let config = Control { name: "control2".into(), ..Control::default() };
    let mut twin = Daemon::new("l2control", &twin_ns, folder, &config.to_string());
    twin.start();
    for daemon in [&farm.lab.relay, &twin] {
        eventually(SOON, "the name is shown to be in use", || {
            let peers = daemon.show("peers")?;
            let states = peers.iter().filter_map(|peer| peer["state"].as_str());
            let shown = states.into_iter().any(|state| state.contains("refused"));
            if shown { Ok(()) } else { Err(format!("{peers:?}\n{}", daemon.log())) }
        });
    }
    // The others, and the one that was there first, go on.
    let counts = farm.ask(60);
    assert!(counts.len() == 2 && counts.values().sum::<u64>() == 60, "{counts:?}");
}

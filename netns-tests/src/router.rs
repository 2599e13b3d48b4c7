//! A lab whose pair is a router of two ports, and what its tests ask the kernels.

use crate::address::*;
use crate::config::{Control, Relay};
use crate::{Daemon, Lab, Layout, Netns, Process, SOON, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

impl Lab {
    /// A router: a symbol of each of two ports in a namespace of their own, whose routes the relay takes; the clients have
    /// the ports as their routers. `adapt` may change the configurations. None, loudly, without root.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn router(adapt: impl FnOnce(&mut Relay, &mut Control)) -> Option<Self> {
        let mut lab = Self::stopped_router(adapt)?;
        lab.start();
        lab.await_symbols();
        Some(lab)
    }

    /// The same, with neither daemon started.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn stopped_router(adapt: impl FnOnce(&mut Relay, &mut Control)) -> Option<Self> {
        Self::stopped_router_of(Layout::default(), adapt)
    }

    /// The same, with what else a layout says.
    pub(crate) fn stopped_router_of(
        layout: Layout,
        adapt: impl FnOnce(&mut Relay, &mut Control),
    ) -> Option<Self> {
        let lab = Self::build(Layout { router: true, second_port: true, ..layout })?;
        let (mut relay, mut control) = (Relay::router(), Control::router(lab.programs().name()));
        adapt(&mut relay, &mut control);
        lab.relay.configure(&relay.to_string());
        lab.control.configure(&control.to_string());
        lab.client
            .ip(&[&format!("route add default via {PORT_V4}"), &format!("route add default via {PORT_V6}")]);
        lab.client2().ip(&[
            &format!("route add default via {PORT2_V4}"),
            &format!("route add default via {PORT2_V6}"),
        ]);
        Some(lab)
    }

    /// Waits for both symbols of a router, as both daemons see them.
    ///
    /// # Panics
    /// When they do not come up.
    #[track_caller]
    pub fn await_symbols(&self) {
        for symbol in ["eth1", "eth2"] {
            self.relay.await_row("symbols", &json!({"port": symbol, "state": "up"}));
            self.control.await_row("symbols", &json!({"name": symbol, "state": "up"}));
        }
    }

    /// The client at the second port.
    ///
    /// # Panics
    /// When the lab has no second port.
    #[must_use]
    pub fn client2(&self) -> &Netns {
        self.client2.as_ref().expect("a lab with a second port")
    }

    /// Routes of a prefix in the relay's kernel, as `ip` words them, with single spaces.
    #[must_use]
    pub fn relay_routes(&self, prefix: &str) -> String {
        routes(&self.relay_ns, &format!("{prefix} table all"))
    }

    /// Waits until the relay's kernel has a route of a prefix, worded like this.
    ///
    /// # Panics
    /// When it does not get it.
    #[track_caller]
    pub fn await_relay_route(&self, prefix: &str, text: &str) {
        eventually(SOON, &format!("the relay's kernel has {prefix} {text:?}"), || {
            let shown = self.relay_routes(prefix);
            if shown.contains(text) { Ok(()) } else { Err(shown) }
        });
    }

    /// Waits until the relay's kernel has no route of a prefix.
    ///
    /// # Panics
    /// When it keeps it.
    #[track_caller]
    pub fn await_no_relay_route(&self, prefix: &str) {
        eventually(SOON, &format!("the relay's kernel has no {prefix}"), || {
            let shown = self.relay_routes(prefix);
            if shown.is_empty() { Ok(()) } else { Err(shown) }
        });
    }

    /// Waits until both daemons show a prefix in a state, and returns the rows, the relay's first.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn await_route_state(&self, prefix: &str, state: &str) -> [Value; 2] {
        let row = json!({"prefix": prefix, "state": state});
        [self.relay.await_row("routes", &row), self.control.await_row("routes", &row)]
    }

    /// Waits until one daemon shows a prefix as refused, for a reason that contains this text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn await_refusal(&self, daemon: &Daemon, prefix: &str, reason: &str) {
        eventually(SOON, &format!("{prefix} is refused because {reason:?}"), || {
            let rows = daemon.show("routes")?;
            let refused = |row: &&Value| {
                row["prefix"] == prefix
                    && row["state"] == "refused"
                    && row["reason"].as_str().is_some_and(|text| text.contains(reason))
            };
            rows.iter().find(refused).map(|_| ()).ok_or_else(|| format!("{rows:?}"))
        });
    }
}

/// Routes of a namespace, both versions of IP if the words name none, with single spaces.
fn routes(netns: &Netns, selector: &str) -> String {
    let family = if selector.contains(':') { "-6" } else { "-4" };
    words(&netns.run(&format!("ip {family} route show {selector}")).stdout())
}

/// A text with single spaces between its words.
#[must_use]
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A running `ping`, one request every 10 ms.
#[derive(Debug)]
pub struct Ping(Process);

impl Ping {
    /// Starts it, and waits for the first answers.
    ///
    /// # Panics
    /// When none comes.
    #[must_use]
    #[track_caller]
    pub fn start(from: &Netns, to: &str) -> Self {
        let ping = from.spawn(&format!("ping -n -i 0.01 {to}"));
        let _ = ping.await_log("icmp_seq=5 ", SOON);
        Self(ping)
    }

    /// Ends it; returns the requests that it sent and the answers that came.
    ///
    /// # Panics
    /// When it does not tell.
    #[must_use]
    #[track_caller]
    pub fn end(mut self) -> (u64, u64) {
        self.0.signal(Signal::SIGINT);
        let _ = self.0.wait(SOON);
        let log = self.0.log();
        let summary = log.lines().find(|line| line.contains(" packets transmitted")).expect("a summary");
        let numbers: Vec<u64> =
            summary.split([' ', ',']).filter_map(|word| word.parse().ok()).take(2).collect();
        (numbers[0], numbers[1])
    }

    /// Ends it after `at_least` that many requests, and sees to it that every one was answered.
    ///
    /// # Panics
    /// When one was not.
    #[track_caller]
    pub fn lost_nothing(self, at_least: u64) {
        // What it accompanied may have been done sooner.
        eventually(SOON, "requests enough", || {
            let log = self.0.log();
            let last = log.rsplit("icmp_seq=").next().and_then(|rest| rest.split(' ').next());
            match last.and_then(|number| number.parse::<u64>().ok()) {
                Some(number) if number >= at_least => Ok(()),
                _ => Err(log),
            }
        });
        let (sent, answered) = self.end();
        // The last one may be under way.
        assert!(sent - answered <= 1, "{} of {sent} requests were lost", sent - answered);
    }
}

//! Two relays, which with their control are one router.
//!
//! ```text
//!  client ── eth1 relay1 ─┐              ┌─ router: symbols eth1, eth2, eth3
//!           ┌ eth3 relay1 ─┼── segment ───┤
//!  client2 ─┴ eth2 relay2 ─┘              └─ control
//! ```

use crate::address::*;
use crate::config::{Control, Port, Relay, Symbol};
use crate::daemon::Daemon;
use crate::lab::{Lab, Layout, cable, number};
use crate::netns::Netns;
use crate::wait::{SOON, eventually};
use serde_json::json;
use std::rc::Rc;

/// A lab with two relays of one control.
#[derive(Debug)]
pub struct Joint {
    /// The second relay's daemon.
    pub relay2: Daemon,
    /// The first relay with `eth1` and `eth3`, the control, the client at the first relay.
    pub lab: Lab,
    /// The client at the second relay's `eth2`, and at `eth3` of the first one.
    pub client2: Netns,
    /// The second relay's namespace.
    pub relay2_ns: Rc<Netns>,
}

/// The first relay's port that leads to the client of the second.
pub const DETOUR_V4: &str = "198.18.3.1";
/// The same, IPv6.
pub const DETOUR_V6: &str = "2001:db8:4::1";
/// The client there.
pub const DETOUR_CLIENT_V4: &str = "198.18.3.2";
/// The same, IPv6.
pub const DETOUR_CLIENT_V6: &str = "2001:db8:4::2";

impl Joint {
    /// Relays that reach each other, and clients that have them as their routers; none, loudly, without root. `adapt` may
    /// change the configurations.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn up(adapt: impl Fn(&mut Relay, &mut Relay, &mut Control)) -> Option<Self> {
        let lab = Lab::build(Layout { router: true, bridge: true, ..Layout::default() })?;
        let (relay2_ns, client2) = (Rc::new(lab.netns("relay2")), lab.netns("client2"));
        lab.add_to_segment(&relay2_ns);
        cable(&relay2_ns, "eth2", &client2, "eth0");
        number(&relay2_ns, "eth2", PORT2_V4, PORT2_V6);
        number(&client2, "eth0", CLIENT2_V4, CLIENT2_V6);
        cable(&lab.relay_ns, "eth3", &client2, "eth1");
        number(&lab.relay_ns, "eth3", DETOUR_V4, DETOUR_V6);
        number(&client2, "eth1", DETOUR_CLIENT_V4, DETOUR_CLIENT_V6);

        let port = |name| Port::routed(name);
        let mut relay = Relay { ports: vec![port("eth1"), port("eth3")], ..Relay::default() };
        let mut relay2 = Relay { name: "relay2".into(), ports: vec![port("eth2")], ..Relay::default() };
        let netns = lab.programs().name().to_owned();
        let symbol = |relay: &str, port: &str| Symbol {
            relay: relay.into(),
            netns: Some(netns.clone()),
            ..Symbol::new(port)
        };
        let mut control = Control {
            routes: "enabled = true".into(),
            symbols: vec![symbol("relay1", "eth1"), symbol("relay1", "eth3"), symbol("relay2", "eth2")],
            ..Control::default()
        };
        adapt(&mut relay, &mut relay2, &mut control);
        lab.relay.configure(&relay.to_string());
        lab.control.configure(&control.to_string());
        let folder = lab.folder().join("relay2");
        let daemon = Daemon::new("l2relay", &relay2_ns, folder, &relay2.to_string());
        let mut joint = Self { relay2: daemon, lab, client2, relay2_ns };
        joint.lab.relay.start();
        joint.relay2.start();
        joint.lab.control.start();
        joint.await_up();
        Some(joint)
    }

    /// Waits for the symbols, and for the relays to know each other.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn await_up(&self) {
        for symbol in ["eth1", "eth2", "eth3"] {
            let _ = self.lab.control.await_row("symbols", &json!({"name": symbol, "state": "up"}));
        }
        self.await_joined();
    }

    /// Waits for the relays to know each other.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn await_joined(&self) {
        for (relay, other) in [(&self.lab.relay, "relay2"), (&self.relay2, "relay1")] {
            let _ = relay.await_row("peers", &json!({"name": other, "role": "relay", "state": "up"}));
        }
    }

    /// Waits until a relay's kernel has a route that leads to the other one, or has none.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn await_route(&self, relay: usize, prefix: &str, text: &str) {
        let netns = [&self.lab.relay_ns, &self.relay2_ns][relay];
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        eventually(2 * SOON, &format!("relay{} has {prefix} {text:?}", relay + 1), || {
            let shown = netns.run(&format!("ip {family} route show {prefix} proto 108")).stdout();
            let fits = if text.is_empty() { shown.is_empty() } else { shown.contains(text) };
            if fits {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", netns.run(&format!("ip {family} route")).stdout()))
            }
        });
    }

    /// Packets that the control's end of the segment has taken.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn packets_at_control(&self) -> u64 {
        let links = self.lab.control_ns.ip_json("-s link show lan0");
        links[0]["stats64"]["rx"]["packets"].as_u64().expect("a count")
    }
}

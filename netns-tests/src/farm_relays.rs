//! The relays of a farm, and what they say of its servers.

use crate::address::*;
use crate::config::Relay;
use crate::daemon::Daemon;
use crate::farm::Farm;
use crate::lab::{cable, number};
use crate::netns::Netns;
use crate::wait::{SOON, eventually};
use std::rc::Rc;

impl Farm {
    /// How many relays there are.
    #[must_use]
    pub fn relays(&self) -> usize {
        self.other_relays.len() + 1
    }

    /// The daemon of a relay.
    pub fn relay(&mut self, number: usize) -> &mut Daemon {
        match number {
            0 => &mut self.lab.relay,
            other => &mut self.other_relays[other - 1].0,
        }
    }

    /// The same, to look at.
    #[must_use]
    pub fn relay_ref(&self, number: usize) -> &Daemon {
        match number {
            0 => &self.lab.relay,
            other => &self.other_relays[other - 1].0,
        }
    }

    /// The namespace of a relay, with its end of the segment and its port.
    #[must_use]
    pub fn relay_ns(&self, number: usize) -> &Netns {
        match number {
            0 => &self.lab.relay_ns,
            other => &self.other_relays[other - 1].1,
        }
    }

    /// One more relay, at another network of the client's.
    pub(crate) fn add_relay(&mut self, relay: usize, config: Relay) {
        let (lab, name) = (&self.lab, relay_name(relay));
        let relay_ns = Rc::new(lab.netns(&name));
        lab.add_to_segment(&relay_ns);
        let client_end = client_end(relay);
        cable(&relay_ns, "eth1", &lab.client, &client_end);
        number(&relay_ns, "eth1", PORTS_V4[relay], PORTS_V6[relay]);
        number(&lab.client, &client_end, CLIENTS_V4[relay], CLIENTS_V6[relay]);
        let folder = lab.folder().join(&name);
        let daemon = Daemon::new("l2relay", &relay_ns, folder, &Relay { name, ..config }.to_string());
        self.other_relays.push((daemon, relay_ns));
    }

    /// Controls of a relay's rules for a port's listeners with a state, each once.
    ///
    /// # Errors
    /// When the relay does not answer.
    pub fn servers_with(
        &self,
        relay: usize,
        protocol: &str,
        port: u16,
        state: &str,
    ) -> Result<Vec<usize>, String> {
        let rules = self.relay_ref(relay).show("rules")?;
        let rules = rules.iter().filter(|rule| {
            rule["protocol"] == protocol
                && rule["port_number"] == port
                && rule["state"] == state
                && rule["remote"].is_null()
        });
        let name = |rule: &serde_json::Value| rule["control"].as_str()?.strip_prefix("control")?.parse().ok();
        let mut servers: Vec<usize> = rules.filter_map(name).map(|number: usize| number - 1).collect();
        servers.sort_unstable();
        servers.dedup();
        Ok(servers)
    }

    /// Waits until every relay has rules of all these servers for a port's listeners in a state.
    ///
    /// # Panics
    /// When one does not get them.
    #[track_caller]
    pub fn await_servers(&self, protocol: &str, port: u16, servers: &[usize], state: &str) {
        eventually(SOON, &format!("{protocol}/{port} is {state} on {servers:?}"), || {
            self.at_every_relay(protocol, port, state, |there| {
                servers.iter().all(|server| there.contains(server))
            })
        });
    }

    /// Waits until every relay has rules of exactly these servers for a port's listeners in a state.
    ///
    /// # Panics
    /// When one does not.
    #[track_caller]
    pub fn await_exactly(&self, protocol: &str, port: u16, servers: &[usize], state: &str) {
        eventually(SOON, &format!("{protocol}/{port} is {state} on {servers:?} only"), || {
            self.at_every_relay(protocol, port, state, |there| there == servers)
        });
    }

    /// By which relay the client, a router, sends a flow that comes from the host behind it to a port of the service.
    ///
    /// # Panics
    /// When it has no route, or another one.
    #[must_use]
    #[track_caller]
    pub fn relay_of(&self, from: &str, from_port: u16, service: &str, port: u16) -> usize {
        let flow = format!("from {from} iif eth1 ipproto tcp sport {from_port} dport {port}");
        let route = self.lab.client.ok(&format!("ip route get {service} {flow}"));
        let by = |relay: &usize| route.contains(&format!(" dev {} ", client_end(*relay)));
        (0..self.relays()).find(by).unwrap_or_else(|| panic!("by no relay: {route}"))
    }

    /// Relays by which a router's kernel reaches a prefix.
    #[must_use]
    pub fn relays_to(&self, prefix: &str) -> Vec<usize> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let routes = self.lab.client.run(&format!("ip {family} route show {prefix}")).stdout();
        let by = |relay: &usize| routes.contains(&format!(" dev {} ", client_end(*relay)));
        (0..self.relays()).filter(by).collect()
    }

    /// Waits until the router's kernel reaches a prefix by exactly these relays.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn await_relays_to(&self, prefix: &str, relays: &[usize], complain: impl Fn() -> String) {
        eventually(2 * SOON, &format!("{prefix} is reached by relays {relays:?}"), || {
            let there = self.relays_to(prefix);
            if there == relays { Ok(()) } else { Err(format!("by {there:?}\n{}", complain())) }
        });
    }

    fn at_every_relay(
        &self,
        protocol: &str,
        port: u16,
        state: &str,
        enough: impl Fn(&[usize]) -> bool,
    ) -> Result<(), String> {
        for relay in 0..self.relays() {
            let there = self.servers_with(relay, protocol, port, state)?;
            if !enough(&there) {
                return Err(format!("{}: {there:?}", relay_name(relay)));
            }
        }
        Ok(())
    }
}

/// What a relay is called.
#[must_use]
pub fn relay_name(relay: usize) -> String {
    format!("relay{}", relay + 1)
}

/// The symbol of a relay's port on every control.
#[must_use]
pub fn symbol_name(relay: usize) -> String {
    format!("eth{}", relay + 1)
}

/// The client's interface at the network of a relay's port.
#[must_use]
pub fn client_end(relay: usize) -> String {
    // `eth1` leads to the host behind the client.
    if relay == 0 { "eth0".into() } else { format!("eth{}", relay + 1) }
}

//! Several controls on one segment behind one relay, each with a namespace for its programs; a second relay if wanted.

use crate::address::*;
use crate::config::{Control, Relay, Symbol};
use crate::daemon::Daemon;
use crate::lab::{Lab, Layout, cable, number};
use crate::netns::Netns;
use crate::program::Nginx;
use crate::wait::{SOON, eventually};
use serde_json::json;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;

/// A lab whose control is the first of several. Servers count from 0; the control of server 0 is `control1`.
#[derive(Debug)]
pub struct Farm {
    others: Vec<Member>,
    /// The second relay, if there is one. Its port `eth1` is the symbol `eth2` of every control.
    pub relay2: Option<Daemon>,
    /// The relay, the first control, and the clients.
    pub lab: Lab,
}

#[derive(Debug)]
struct Member {
    control: Daemon,
    control_ns: Rc<Netns>,
    programs: Netns,
}

/// What a farm consists of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many controls.
    pub controls: usize,
    /// A host behind the client, which then is a router.
    pub far: bool,
    /// Two relays with [`SERVICE_V4`], of which the client is the router.
    pub two_relays: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { controls: 3, far: false, two_relays: false }
    }
}

impl Farm {
    /// A farm of the usual plan with all symbols up; none, loudly, without root.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn up() -> Option<Self> {
        Self::with(Plan::default(), |_, _| {})
    }

    /// A farm with all symbols up, whose configurations `adapt` may change: it gets the relay's once for each control, with
    /// that control's. None, loudly, without root.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn with(plan: Plan, mut adapt: impl FnMut(&mut Relay, &mut Control)) -> Option<Self> {
        let lab = Lab::build(Layout { far: plan.far, router: true, bridge: true, ..Layout::default() })?;
        let mut farm = Self { others: Vec::new(), relay2: None, lab };
        let mut relay = Relay::default();
        for server in 0..plan.controls {
            let name = format!("control{}", server + 1);
            if server > 0 {
                farm.others.push(farm.member(&name));
            }
            let mut control = farm.control_config(server, name, plan.two_relays);
            adapt(&mut relay, &mut control);
            farm.control(server).configure(&control.to_string());
        }
        farm.lab.relay.configure(&relay.to_string());
        if plan.two_relays {
            farm.add_relay(relay);
        }
        farm.start();
        Some(farm)
    }

    fn member(&self, name: &str) -> Member {
        let control_ns = Rc::new(self.lab.netns(name));
        self.lab.add_to_segment(&control_ns);
        let folder = self.lab.folder().join(name);
        let control = Daemon::new("l2control", &control_ns, folder, "");
        Member { control, control_ns, programs: self.lab.netns(&format!("{name}-router")) }
    }

    fn control_config(&self, server: usize, name: String, two_relays: bool) -> Control {
        let symbol = |name: &str, relay: &str, gateways: [&str; 2]| Symbol {
            relay: relay.into(),
            netns: Some(self.programs(server).name().to_owned()),
            more: format!("name = \"{name}\"\ngateway = {gateways:?}"),
            ..Symbol::new("eth1")
        };
        let mut symbols = vec![symbol("eth1", "relay1", [CLIENT_V4, CLIENT_V6])];
        if two_relays {
            symbols.push(symbol("eth2", "relay2", [CLIENT2_V4, CLIENT2_V6]));
        }
        Control { name, symbols, ..Control::default() }
    }

    /// The second relay, at another network of the client's, and the service's address at both.
    fn add_relay(&mut self, mut config: Relay) {
        let (lab, service) = (&self.lab, format!("addr add {SERVICE_V4}/32 dev eth1"));
        let relay_ns = Rc::new(lab.netns("relay2"));
        lab.add_to_segment(&relay_ns);
        cable(&relay_ns, "eth1", &lab.client, "eth2");
        number(&relay_ns, "eth1", PORT2_V4, PORT2_V6);
        number(&lab.client, "eth2", CLIENT2_V4, CLIENT2_V6);
        relay_ns.ip(&[&service]);
        lab.relay_ns.ip(&[&service]);
        config.name = "relay2".into();
        self.relay2 =
            Some(Daemon::new("l2relay", &relay_ns, lab.folder().join("relay2"), &config.to_string()));
    }

    #[track_caller]
    fn start(&mut self) {
        self.lab.relay.start();
        if let Some(relay2) = &mut self.relay2 {
            relay2.start();
        }
        for server in 0..self.count() {
            self.control(server).start();
        }
        for server in 0..self.count() {
            self.await_symbol(server);
        }
    }

    /// Waits for all symbols of a server's control.
    ///
    /// # Panics
    /// When they do not come up.
    #[track_caller]
    pub fn await_symbol(&self, server: usize) {
        let control = self.control_ref(server);
        let symbols = if self.relay2.is_some() { &["eth1", "eth2"][..] } else { &["eth1"] };
        for name in symbols {
            let _ = control.await_row("symbols", &json!({"name": name, "state": "up"}));
        }
    }

    /// How many controls there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// The daemon of a server's control.
    pub fn control(&mut self, server: usize) -> &mut Daemon {
        match server {
            0 => &mut self.lab.control,
            other => &mut self.others[other - 1].control,
        }
    }

    /// The same, to look at.
    #[must_use]
    pub fn control_ref(&self, server: usize) -> &Daemon {
        match server {
            0 => &self.lab.control,
            other => &self.others[other - 1].control,
        }
    }

    /// The namespace of a server's control, with its end of the segment.
    #[must_use]
    pub fn control_ns(&self, server: usize) -> &Netns {
        match server {
            0 => &self.lab.control_ns,
            other => &self.others[other - 1].control_ns,
        }
    }

    /// The namespace in which a server's symbol lies and its programs run.
    #[must_use]
    pub fn programs(&self, server: usize) -> &Netns {
        match server {
            0 => self.lab.programs(),
            other => &self.others[other - 1].programs,
        }
    }

    /// A server's folder for files.
    #[must_use]
    pub fn folder(&self, server: usize) -> PathBuf {
        self.lab.folder().join(name_of(server))
    }

    /// Starts an nginx on a server, at port 80, whose page is [`name_of`] the server, and waits for its rules to be in force.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    #[track_caller]
    pub fn nginx(&self, server: usize) -> Nginx {
        let nginx = self.claim(server);
        self.await_servers("tcp", 80, &[server], "active");
        nginx
    }

    /// The same without waiting for rules: it listens.
    ///
    /// # Panics
    /// When it does not come to listen.
    #[must_use]
    #[track_caller]
    pub fn claim(&self, server: usize) -> Nginx {
        let nginx = Nginx::start(self.programs(server), &self.folder(server), &["80", "[::]:80"]);
        nginx.set_page(&name_of(server));
        self.programs(server).await_listener("tcp", 80);
        nginx
    }

    /// An nginx on every server.
    ///
    /// # Panics
    /// When their rules do not come.
    #[must_use]
    #[track_caller]
    pub fn nginx_everywhere(&self) -> Vec<Nginx> {
        (0..self.count()).map(|server| self.nginx(server)).collect()
    }

    /// Controls of the relay's rules for a port's listeners with a state, each once.
    ///
    /// # Errors
    /// When the relay does not answer.
    pub fn servers_with(&self, protocol: &str, port: u16, state: &str) -> Result<Vec<usize>, String> {
        let rules = self.lab.relay.show("rules")?;
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

    /// Waits until the relay has rules of all these servers for a port's listeners in a state.
    ///
    /// # Panics
    /// When it does not get them.
    #[track_caller]
    pub fn await_servers(&self, protocol: &str, port: u16, servers: &[usize], state: &str) {
        eventually(SOON, &format!("{protocol}/{port} is {state} on {servers:?}"), || {
            let there = self.servers_with(protocol, port, state)?;
            if servers.iter().all(|server| there.contains(server)) {
                Ok(())
            } else {
                Err(format!("{there:?}"))
            }
        });
    }

    /// Waits until the relay has rules of exactly these servers for a port's listeners in a state.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn await_exactly(&self, protocol: &str, port: u16, servers: &[usize], state: &str) {
        eventually(SOON, &format!("{protocol}/{port} is {state} on {servers:?} only"), || {
            let there = self.servers_with(protocol, port, state)?;
            if there == servers { Ok(()) } else { Err(format!("{there:?}")) }
        });
    }
}

/// What a server calls itself.
#[must_use]
pub fn name_of(server: usize) -> String {
    format!("server{}", server + 1)
}

impl Drop for Farm {
    fn drop(&mut self) {
        if thread::panicking() {
            let others = self.others.iter().map(|member| &member.control).chain(&self.relay2);
            crate::lab::report(&others.map(Daemon::report).collect::<Vec<_>>().join("\n"));
        }
    }
}

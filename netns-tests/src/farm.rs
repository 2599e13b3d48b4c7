//! Several controls on one segment behind one relay, or several, each with a namespace for its programs.

use crate::address::*;
use crate::config::{Control, Relay, Symbol};
use crate::daemon::Daemon;
use crate::farm_relays::{relay_name, symbol_name};
use crate::lab::{Lab, Layout};
use crate::netns::Netns;
use crate::program::Nginx;
use serde_json::json;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;

/// A lab whose control is the first of several, and whose relay may be. Servers count from 0; the control of server 0 is
/// `control1`. So do relays; the port `eth1` of relay 1, which is called `relay2`, is the symbol `eth2` of every control.
#[derive(Debug)]
pub struct Farm {
    others: Vec<Member>,
    pub(crate) other_relays: Vec<(Daemon, Rc<Netns>)>,
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
    /// How many relays, at most three: each at a network of its own, of all of which the client is the router. Several
    /// have [`SERVICE_V4`] and [`SERVICE_V6`].
    pub relays: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { controls: 3, far: false, relays: 1 }
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
        let mut farm = Self { others: Vec::new(), other_relays: Vec::new(), lab };
        let mut relay = Relay::default();
        for server in 0..plan.controls {
            let name = format!("control{}", server + 1);
            if server > 0 {
                farm.others.push(farm.member(&name));
            }
            let mut control = farm.control_config(server, name, plan.relays);
            adapt(&mut relay, &mut control);
            farm.control(server).configure(&control.to_string());
        }
        farm.lab.relay.configure(&relay.to_string());
        for number in 1..plan.relays {
            farm.add_relay(number, relay.clone());
        }
        if plan.relays > 1 {
            for relay in 0..plan.relays {
                farm.relay_ns(relay).ip(&[
                    &format!("addr add {SERVICE_V4}/32 dev eth1"),
                    &format!("addr add {SERVICE_V6}/128 dev eth1 nodad"),
                ]);
            }
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

    fn control_config(&self, server: usize, name: String, relays: usize) -> Control {
        let symbol = |relay: usize| Symbol {
            relay: relay_name(relay),
            netns: Some(self.programs(server).name().to_owned()),
            more: format!(
                "name = \"{}\"\ngateway = {:?}",
                symbol_name(relay),
                [CLIENTS_V4[relay], CLIENTS_V6[relay]]
            ),
            ..Symbol::new("eth1")
        };
        Control { name, symbols: (0..relays).map(symbol).collect(), ..Control::default() }
    }

    #[track_caller]
    fn start(&mut self) {
        for relay in 0..self.relays() {
            self.relay(relay).start();
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
        for relay in 0..self.relays() {
            let symbol = json!({"name": symbol_name(relay), "state": "up"});
            let _ = self.control_ref(server).await_row("symbols", &symbol);
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
}

/// What a server calls itself.
#[must_use]
pub fn name_of(server: usize) -> String {
    format!("server{}", server + 1)
}

impl Drop for Farm {
    fn drop(&mut self) {
        if thread::panicking() {
            let relays = self.other_relays.iter().map(|(relay, _)| relay);
            let others = self.others.iter().map(|member| &member.control).chain(relays);
            crate::lab::report(&others.map(Daemon::report).collect::<Vec<_>>().join("\n"));
        }
    }
}

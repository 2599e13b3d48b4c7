//! `reload` and `confirm`: another configuration, taken over by difference.
//!
//! Everything is checked first, and what can fail is done first: then the file is taken over as a whole or not at all. What
//! was made by hand stays, unless the file says otherwise: what it says is in force afterwards, what it said before and says no
//! more is not, and of the rest it says nothing.

mod difference;

use crate::config::Settings;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::quiet::Quiet;
use crate::source::Source;
use l2link::Time;
use l2link_os::api::{Request, Verb, success};
use l2link_os::metrics::MetricsServer;
use l2link_os::reload::{Change, Wanted, answer, decisions, log_changes};
use l2link_os::{KeyLog, NetNs};
use serde_json::Value;

impl Daemon {
    /// Serves a request about the configuration. Returns whether it was one.
    pub(crate) fn serve_reload(&mut self, request: &Request, now: Time) -> bool {
        let object = request.json.get("object").and_then(Value::as_str);
        let answered = match (request.verb(), object) {
            (Some(Verb::Reload), _) if self.saver.is_busy() => {
                self.saver.wait(request.clone());
                return true;
            }
            (Some(Verb::Reload), _) => Wanted::of(&request.json).and_then(|wanted| self.reload(wanted, now)),
            (Some(Verb::Confirm), _) => self.confirm(),
            (Some(Verb::Show), Some("configuration")) => {
                self.api.answer(request.client, &success(vec![self.reloads.row(&self.config_file, now)]));
                return true;
            }
            _ => return false,
        };
        self.api.answer(request.client, &answer(answered));
        true
    }

    /// SIGHUP: nobody waits for the answer but the log.
    pub(crate) fn reload_by_signal(&mut self, now: Time) {
        if self.saver.is_busy() {
            self.saver.wait_with_reload();
            return;
        }
        self.service_manager.reloading();
        if let Err(error) = self.reload(Wanted::default(), now) {
            log::error!(target: "reload", "nothing was changed: {error}");
        }
        self.service_manager.reloaded();
    }

    /// Goes back to the earlier configuration if nobody has confirmed the present one in time.
    pub(crate) fn end_trial(&mut self, now: Time) {
        let Some(earlier) = self.reloads.take_back(now) else { return };
        let file = earlier.source.path().display();
        log::warn!(
            target: "reload",
            "nobody has confirmed the configuration: back to the earlier one; {file} has the other still, and a restart takes it"
        );
        let changes = self.changes(&earlier);
        match self.take_over(&earlier, now) {
            Ok(()) => {
                log_changes(&changes);
                self.reloads.replace(earlier, None, now);
            }
            Err(error) => log::error!(target: "reload", "there is no way back: {error}"),
        }
    }

    fn reload(&mut self, wanted: Wanted, now: Time) -> Result<Vec<Change>, String> {
        let mut settings = Settings::load(&self.config_file).map_err(|error| error.to_string())?;
        settings.without_restart(self.reloads.in_force()).map_err(|error| error.to_string())?;
        settings.link.share_secrets(&self.reloads.in_force().link);
        let changes = self.changes(&settings);
        if wanted.check {
            return Ok(changes);
        }
        if self.reloads.is_on_trial() {
            return Err("an earlier reload has yet to be confirmed: `l2ctl confirm` it, or wait".to_owned());
        }
        for warning in &settings.warnings {
            log::warn!(target: "relay::config", "{warning}");
        }
        self.take_over(&settings, now)?;
        log_changes(&changes);
        self.reloads.replace(settings, wanted.confirm, now);
        Ok(changes)
    }

    fn confirm(&mut self) -> Result<Vec<Change>, String> {
        if !self.reloads.confirm() {
            return Err("no reload waits to be confirmed".to_owned());
        }
        log::info!(target: "reload", "the configuration is confirmed");
        Ok(Vec::new())
    }

    /// Brings everything in line with these settings.
    fn take_over(&mut self, settings: &Settings, now: Time) -> Result<(), String> {
        self.prepare(settings).map_err(|error| error.to_string())?;
        let ports = &settings.relay.ports;
        let before = self.reloads.in_force().clone();
        self.relay.set_liveness(settings.link.keepalive, settings.link.missed);
        self.busy_poll.set_longest(settings.link.busy_poll);
        self.relay.set_peers(settings.link.peer_keys(), now);
        for route in self.routes_to_go(settings) {
            // One that is gone already is as it is to be.
            let _ = self.relay.delete_route(&route.selector());
        }
        self.relay.reconfigure(ports, settings.relay.fib.clone());
        // The sockets' groups go with them, and addresses while the interfaces are known.
        while self.act(now) {}
        let names: Vec<&str> = ports.iter().map(|port| port.interface.as_str()).collect();
        self.ports.replace(&names);
        self.interfaces.look_now(now);
        self.follow_interfaces(now);
        for route in self.routes_to_come(settings) {
            if let Err(error) = self.relay.add_route(&route) {
                log::error!(target: "relay::route", "route {route}: {error}");
            }
        }
        for (name, decided) in decisions(&before.peers, &settings.peers) {
            self.relay.decide(name, decided);
        }
        while self.act(now) {}
        Ok(())
    }

    /// What can fail. On an error all is as it was.
    fn prepare(&mut self, settings: &Settings) -> Result<(), Failure> {
        let before = self.reloads.in_force().clone();
        let other_log = before.link.keylog != settings.link.keylog;
        let log = settings.link.keylog.as_deref().filter(|_| other_log).map(KeyLog::open).transpose()?;
        self.listen(&before, settings)?;
        if let Err(failure) = self.prepare_kernel(settings) {
            if let Err(error) = self.prepare_kernel(&before) {
                log::error!(target: "reload", "putting back what was: {error}");
            }
            self.listen(settings, &before)?;
            return Err(failure);
        }
        if other_log {
            match &log {
                Some(_) => self.relay.keep_session_keys(),
                None => self.relay.drop_session_keys(),
            }
            self.keylog = log;
        }
        Ok(())
    }

    /// Lets others use the command socket, and hands figures for monitoring out at another place.
    fn listen(&mut self, before: &Settings, after: &Settings) -> Result<(), Failure> {
        self.api.set_access(&after.api.access)?;
        let (old, new) = (before.metrics.as_ref(), after.metrics.as_ref());
        let registry = self.poll.registry();
        if let Err(error) = MetricsServer::switch(&mut self.metrics, old, new, registry, Source::METRICS) {
            self.api.set_access(&before.api.access)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// What the kernel is kept from answering, and its settings.
    fn prepare_kernel(&mut self, settings: &Settings) -> Result<(), Failure> {
        match &mut self.quiet {
            Some(quiet) => quiet.replace(settings.discards())?,
            None => {
                let netns = NetNs::current()?;
                self.quiet = Quiet::begin(&netns, settings.discards(), self.poll.registry())?;
            }
        }
        let (links, _) = self.interfaces.list()?;
        let is_port = |name: &str| settings.relay.ports.iter().any(|port| port.interface == name);
        self.forwarding.change(settings.forwarding, &links, is_port, &settings.addressed_ports())?;
        Ok(())
    }
}

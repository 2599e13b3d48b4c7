//! `reload` and `confirm`: another configuration, taken over by difference.
//!
//! Everything is checked first, and what can fail is done first: then the file is taken over as a whole or not at all. What
//! was made by hand stays, unless the file says otherwise: what it says is in force afterwards, what it said before and says no
//! more is not, and of the rest it says nothing.

mod difference;

use crate::config::{Settings, SymbolSettings};
use crate::daemon::{Daemon, place};
use crate::source::Source;
use control_core::HandError;
use difference::Difference;
use l2link::Time;
use l2link_os::api::{Request, Verb, success};
use l2link_os::metrics::MetricsServer;
use l2link_os::reload::{Change, Wanted, answer, decisions, log_changes};
use l2link_os::{KeyLog, SetupError};
use log::{error, info, warn};
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
            error!(target: "reload", "nothing was changed: {error}");
        }
        self.service_manager.reloaded();
    }

    /// Goes back to the earlier configuration if nobody has confirmed the present one in time.
    pub(crate) fn end_trial(&mut self, now: Time) {
        let Some(earlier) = self.reloads.take_back(now) else { return };
        let file = earlier.source.path().display();
        warn!(
            target: "reload",
            "nobody has confirmed the configuration: back to the earlier one; {file} has the other still, and a restart takes it"
        );
        let difference = self.difference(&earlier);
        let changes = self.changes(&earlier, &difference);
        match self.take_over(&earlier, difference, now) {
            Ok(()) => {
                log_changes(&changes);
                self.reloads.replace(earlier, None, now);
            }
            Err(error) => error!(target: "reload", "there is no way back: {error}"),
        }
    }

    fn reload(&mut self, wanted: Wanted, now: Time) -> Result<Vec<Change>, String> {
        let mut settings = Settings::load(&self.config_file).map_err(|error| error.to_string())?;
        if let Some((contradiction, _)) = settings.refused.first() {
            return Err(contradiction.to_string());
        }
        settings.without_restart(self.reloads.in_force()).map_err(|error| error.to_string())?;
        settings.link.share_secrets(&self.reloads.in_force().link);
        let difference = self.difference(&settings);
        let changes = self.changes(&settings, &difference);
        if wanted.check {
            return Ok(changes);
        }
        if self.reloads.is_on_trial() {
            return Err("an earlier reload has yet to be confirmed: `l2ctl confirm` it, or wait".to_owned());
        }
        for warning in &settings.warnings {
            warn!(target: "control::daemon", "{warning}");
        }
        self.take_over(&settings, difference, now).map_err(|error| error.to_string())?;
        log_changes(&changes);
        self.reloads.replace(settings, wanted.confirm, now);
        Ok(changes)
    }

    fn confirm(&mut self) -> Result<Vec<Change>, String> {
        if !self.reloads.confirm() {
            return Err("no reload waits to be confirmed".to_owned());
        }
        info!(target: "reload", "the configuration is confirmed");
        Ok(Vec::new())
    }

    /// Brings everything in line with these settings.
    fn take_over(
        &mut self,
        settings: &Settings,
        difference: Difference,
        now: Time,
    ) -> Result<(), SetupError> {
        self.prepare(settings)?;
        let before = self.reloads.in_force().clone();
        self.control.set_liveness(settings.link.keepalive, settings.link.missed);
        self.busy_poll.set_longest(settings.link.busy_poll);
        self.control.set_peers(settings.link.peer_keys(), now);
        self.control.set_carrier_hold(settings.carrier_hold);
        self.symbols.keeper.set_keep(settings.keep_symbols, now);
        self.mount_elsewhere(&settings.files, now);
        for route in self.routes_to_go(settings) {
            // One that is gone already is as it is to be.
            let _ = self.control.delete_route(&route.selector());
        }
        for id in difference.gone {
            self.drop_symbol(id, now);
        }
        self.mirror_routes(settings, now);
        for (id, symbol) in difference.stays {
            self.change_symbol(id, symbol, now);
        }
        let complain = |error: HandError| error!(target: "control::daemon", "by hand: {error}");
        for symbol in difference.comes {
            self.make_symbol(symbol, now).1.into_iter().for_each(complain);
        }
        for (id, rule) in difference.rules_gone {
            let _ = self.control.delete_rule(id, rule, now);
        }
        for (id, rule) in difference.rules_come {
            self.control.add_rule(id, rule, now).unwrap_or_else(complain);
        }
        for (name, decided) in decisions(&before.peers, &settings.peers) {
            self.control.decide(name, decided);
        }
        for route in self.routes_to_come(settings) {
            self.control.add_route(&route).unwrap_or_else(complain);
        }
        self.control.set_refused(settings.refused.iter().map(|(_, symbol)| symbol.clone()).collect());
        self.act(now);
        Ok(())
    }

    /// What can fail. On an error all is as it was.
    fn prepare(&mut self, settings: &Settings) -> Result<(), SetupError> {
        let before = self.reloads.in_force();
        let other_log = before.link.keylog != settings.link.keylog;
        let log = settings.link.keylog.as_deref().filter(|_| other_log).map(KeyLog::open).transpose()?;
        self.api.set_access(&settings.api.access)?;
        let (old, new) = (before.metrics.as_ref(), settings.metrics.as_ref());
        let registry = self.poll.registry();
        if let Err(error) = MetricsServer::switch(&mut self.metrics, old, new, registry, Source::METRICS) {
            self.api.set_access(&before.api.access)?;
            return Err(error);
        }
        if other_log {
            match &log {
                Some(_) => self.control.keep_session_keys(),
                None => self.control.drop_session_keys(),
            }
            self.keylog = log;
        }
        Ok(())
    }

    /// Has relays be told other routes. Whose a namespace's main table is decides by which ways answers leave.
    fn mirror_routes(&mut self, settings: &Settings, now: Time) {
        self.control.set_routes(settings.routes.clone());
        for namespace in &mut self.namespaces {
            let routed = self.control.mirrors_routes(namespace.id);
            if let Err(error) = namespace.set_routed(routed, self.poll.registry()) {
                error!(target: "control::route", "{}: {error}", namespace.id);
            }
        }
        for (id, symbol) in &self.settings {
            if let Some(place) = place(&self.control, *id, symbol) {
                self.symbols.replace(*id, place, &mut self.namespaces, now);
            }
        }
    }

    fn change_symbol(&mut self, id: frames::SymbolId, symbol: SymbolSettings, now: Time) {
        if self.settings.get(&id).is_some_and(|known| known.core != symbol.core) {
            self.control.change_symbol(id, symbol.core.clone(), now);
        }
        if let Some(place) = place(&self.control, id, &symbol) {
            self.symbols.replace(id, place, &mut self.namespaces, now);
        }
        self.settings.insert(id, symbol);
    }
}

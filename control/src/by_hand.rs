//! Commands by hand: `rule`, `symbol`, `route` and `peer` at the command socket, and how they are saved.
//!
//! A command that needs a relay's consent is answered when the relay has said yes or no. One that it refuses has changed
//! nothing in the end. One that cannot be put to it now, or that it does not answer in time, stays: it will be in force when
//! that is possible, and the answer says so. What is saved was in force, or waits, before; it is answered for when the file has
//! it.

mod save;

use crate::config::{SymbolSettings, symbol_by_hand};
use crate::daemon::{Daemon, place};
use crate::namespaces::Namespace;
use control_core::{HandError, Standing, SymbolConfig};
use core::time::Duration;
use frames::{ProtocolAddress, SymbolId};
use l2link::Time;
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use l2link_os::api::{ClientId, Request, Verb, failure, success};
use l2link_os::config_file::PeerSettings;
use serde_json::{Value, json};
use toml_edit::Table;

/// A command that waits for a relay.
#[derive(Debug)]
pub(crate) struct Waiting {
    client: ClientId,
    what: What,
    save: bool,
    /// Until when.
    until: Time,
}

/// To whom an answer goes, and its rows.
struct Reply {
    client: ClientId,
    rows: Vec<Value>,
}

#[derive(Debug)]
enum What {
    Rule { symbol: SymbolId, address: ProtocolAddress, text: RuleText },
    Symbol(SymbolId, Table),
    Route(RouteText),
}

/// An answer, or none yet.
type Answered = Result<Option<Value>, String>;

/// How long a relay has for its answer. It has to ask its kernel at most.
const PATIENCE: Duration = Duration::from_secs(3);

impl Daemon {
    /// Serves a request that is a command by hand. Returns whether it was one.
    pub(crate) fn serve_by_hand(&mut self, request: &Request, now: Time) -> bool {
        let is_by_hand = matches!(request.verb(), Some(Verb::Rule | Verb::Symbol | Verb::Route | Verb::Peer));
        if is_by_hand && request.flag("save") && self.saver.is_busy() {
            self.saver.wait(request.clone());
            return true;
        }
        let object = request.json.get("object").and_then(Value::as_str);
        let answered = match (request.verb(), object) {
            (Some(Verb::Rule), Some("add")) => self.add_rule(request, now),
            (Some(Verb::Rule), Some("del")) => self.delete_rule(request, now),
            (Some(Verb::Rule), _) => Err("rule needs an \"object\": add or del".to_owned()),
            (Some(Verb::Symbol), Some("add")) => self.add_symbol(request, now),
            (Some(Verb::Symbol), Some("del")) => self.delete_symbol(request, now),
            (Some(Verb::Symbol), _) => Err("symbol needs an \"object\": add or del".to_owned()),
            (Some(Verb::Route), Some("add")) => self.add_route(request, now),
            (Some(Verb::Route), Some("del")) => self.delete_route(request),
            (Some(Verb::Route), _) => Err("route needs an \"object\": add or del".to_owned()),
            (Some(Verb::Peer), Some("weight")) => self.weigh(request),
            (Some(Verb::Peer), Some("drain")) => self.drain(request),
            (Some(Verb::Peer), Some("forget")) => self.forget(request, now),
            (Some(Verb::Peer), _) => Err("peer needs an \"object\": weight, drain or forget".to_owned()),
            _ => return false,
        };
        match answered {
            Ok(Some(answer)) => self.api.answer(request.client, &answer),
            // Answered at the end of the turn at the earliest.
            Ok(None) => {}
            Err(error) => self.api.answer(request.client, &failure(error)),
        }
        true
    }

    fn add_rule(&mut self, request: &Request, now: Time) -> Answered {
        let (symbol, text) = self.rule_of(request)?;
        self.control.add_rule(symbol, text.0, now).map_err(told)?;
        let what = What::Rule { symbol, address: text.0, text };
        Ok(self.wait(request, what, now))
    }

    fn delete_rule(&mut self, request: &Request, now: Time) -> Answered {
        let (symbol, text) = self.rule_of(request)?;
        self.control.delete_rule(symbol, text.0, now).map_err(told)?;
        self.saved(request, |daemon, reply| daemon.save_rule(symbol, text, false, reply))
    }

    fn rule_of(&self, request: &Request) -> Result<(SymbolId, RuleText), String> {
        let name = request.text("symbol")?;
        let netns = request.json.get("netns").and_then(Value::as_str);
        let symbol = self.control.symbol_named(name, netns, None).map_err(told)?;
        let rule = request.text("rule")?.parse::<RuleText>().map_err(|error| error.to_string())?;
        Ok((symbol, rule))
    }

    fn add_symbol(&mut self, request: &Request, now: Time) -> Answered {
        let keys = request.json.get("symbol").and_then(Value::as_object);
        let keys = keys.ok_or("symbol add needs a \"symbol\": an object with the keys of a [[symbol]]")?;
        let table = save::element(keys)?;
        let present: Vec<_> = self.settings.values().map(|symbol| &symbol.core).collect();
        let settings =
            symbol_by_hand(table.to_string(), &self.name, &present).map_err(|error| error.brief())?;
        let (id, refused) = self.make_symbol(settings, now);
        if let Some(error) = refused.into_iter().next() {
            self.drop_symbol(id, now);
            return Err(told(error));
        }
        self.act(now);
        Ok(self.wait(request, What::Symbol(id, table), now))
    }

    /// Makes a symbol, whose contradictions with others are ruled out, with its rules by hand. Returns why some of these
    /// cannot be.
    pub(crate) fn make_symbol(&mut self, settings: SymbolSettings, now: Time) -> (SymbolId, Vec<HandError>) {
        let id = self.control.add_symbol(settings.core.clone(), now);
        if settings.core.files.is_some() {
            self.files.add(id);
        }
        if let Some(place) = place(&self.control, id, &settings) {
            let known = |namespace: &Namespace| namespace.id == place.namespace;
            if !self.namespaces.iter().any(known) {
                let routed = self.control.mirrors_routes(place.namespace);
                let name = settings.core.netns.as_deref();
                self.namespaces.push(Namespace::new(place.namespace, name, routed, self.trigger.watcher()));
            }
            self.symbols.place(id, place);
        }
        let mut refused = Vec::new();
        for rule in &settings.rules {
            refused.extend(self.control.add_rule(id, *rule, now).err());
        }
        self.settings.insert(id, settings);
        (id, refused)
    }

    fn delete_symbol(&mut self, request: &Request, now: Time) -> Answered {
        let name = request.text("name")?.to_owned();
        let netns = request.json.get("netns").and_then(Value::as_str);
        let kind = request.json.get("kind").and_then(Value::as_str);
        let (netns, kind, routes) = match self.control.symbol_named(&name, netns, kind) {
            Ok(id) => {
                let known = self.settings.get(&id).map(|symbol| &symbol.core);
                let netns = known.and_then(|symbol| symbol.netns.clone());
                let kind = known.map(SymbolConfig::kind);
                (netns, kind, self.drop_symbol(id, now))
            }
            Err(error) => {
                if !self.control.delete_refused_symbol(&name, netns, kind) {
                    return Err(told(error));
                }
                (netns.map(str::to_owned), kind, Vec::new())
            }
        };
        let kind = kind.map(str::to_owned);
        self.saved(request, |daemon, reply| daemon.save_without_symbol(name, netns, kind, routes, reply))
    }

    /// Removes a symbol with all that it has here.
    pub(crate) fn drop_symbol(&mut self, id: SymbolId, now: Time) -> Vec<RouteText> {
        let removed = self.control.delete_symbol(id, now);
        self.act(now);
        self.symbols.displace(id);
        self.files.remove(id);
        self.settings.remove(&id);
        let left = self.namespaces.iter_mut().find(|namespace| Some(namespace.id) == removed.namespace);
        left.into_iter().for_each(Namespace::leave);
        removed.routes
    }

    fn add_route(&mut self, request: &Request, now: Time) -> Answered {
        let route = RouteText::parse(request.text("route")?).map_err(|error| error.to_string())?;
        self.control.add_route(&route).map_err(told)?;
        self.control.pump_routes(now);
        Ok(self.wait(request, What::Route(route), now))
    }

    fn delete_route(&mut self, request: &Request) -> Answered {
        let selector =
            RouteText::parse_selector(request.text("route")?).map_err(|error| error.to_string())?;
        let route = self.control.delete_route(&selector).map_err(told)?;
        self.saved(request, |daemon, reply| daemon.save_without_route(route, reply))
    }

    fn weigh(&mut self, request: &Request) -> Answered {
        let (name, weight) = (request.text("name")?, request.weight()?);
        self.control.weigh(name, weight).map_err(told)?;
        self.saved(request, |daemon, reply| daemon.save_peer(name, reply))
    }

    fn drain(&mut self, request: &Request) -> Answered {
        let (name, draining) = (request.text("name")?, !request.flag("undo"));
        self.control.drain(name, draining).map_err(told)?;
        self.saved(request, |daemon, reply| daemon.save_peer(name, reply))
    }

    fn forget(&mut self, request: &Request, now: Time) -> Answered {
        let name = request.text("name")?;
        self.control.forget(name, request.flag("force"), now).map_err(told)?;
        self.saved(request, |daemon, reply| daemon.save_peer(name, reply))
    }

    /// Answers when the relay has.
    fn wait(&mut self, request: &Request, what: What, now: Time) -> Option<Value> {
        let (client, save) = (request.client, request.flag("save"));
        self.waiting.push(Waiting { client, what, save, until: now + PATIENCE });
        None
    }

    /// When the next command that waits for a relay has waited long enough.
    pub(crate) fn waiting_timeout(&self) -> Option<Time> {
        let is_held_up = |waiting: &&Waiting| waiting.save && self.saver.is_busy();
        self.waiting.iter().filter(|waiting| !is_held_up(waiting)).map(|waiting| waiting.until).min()
    }

    /// Answers the commands whose relay has answered, or has had time enough.
    pub(crate) fn end_waiting(&mut self, now: Time) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.save && self.saver.is_busy() {
                self.waiting.push(waiting);
                continue;
            }
            let standing = match &waiting.what {
                What::Rule { symbol, address, .. } => self.control.rule_standing(*symbol, *address),
                What::Symbol(symbol, _) => self.control.symbol_standing(*symbol),
                What::Route(route) => self.control.route_standing(route),
            };
            let answered = match standing {
                Some(Standing::Asked) if waiting.until > now => {
                    self.waiting.push(waiting);
                    continue;
                }
                Some(Standing::InForce) => self.end(&waiting, Vec::new()),
                Some(Standing::Asked) => self.end(&waiting, vec![standby("the relay has not answered yet")]),
                Some(Standing::Waits(reason)) => self.end(&waiting, vec![standby(&reason)]),
                Some(Standing::Refused(reason)) => {
                    self.undo(&waiting.what, now);
                    Err(reason)
                }
                None => Err("it was removed meanwhile".to_owned()),
            };
            if let Some(answer) = answered.unwrap_or_else(|error| Some(failure(error))) {
                self.api.answer(waiting.client, &answer);
            }
        }
    }

    fn end(&mut self, waiting: &Waiting, rows: Vec<Value>) -> Answered {
        if !waiting.save {
            return Ok(Some(success(rows)));
        }
        let reply = Reply { client: waiting.client, rows };
        match &waiting.what {
            What::Rule { symbol, text, .. } => self.save_rule(*symbol, *text, true, reply),
            What::Symbol(symbol, table) => self.save_new_symbol(*symbol, table.clone(), reply),
            What::Route(route) => self.save_route(route.clone(), reply),
        }
    }

    fn undo(&mut self, what: &What, now: Time) {
        // What is gone already is as it is to be.
        match what {
            What::Rule { symbol, address, .. } => _ = self.control.delete_rule(*symbol, *address, now),
            What::Symbol(symbol, _) => _ = self.drop_symbol(*symbol, now),
            What::Route(route) => _ = self.control.delete_route(&route.selector()),
        }
    }

    /// Saves, if that is wanted, what has been done.
    fn saved(&mut self, request: &Request, save: impl FnOnce(&mut Self, Reply) -> Answered) -> Answered {
        if request.flag("save") {
            return save(self, Reply { client: request.client, rows: Vec::new() });
        }
        Ok(Some(success(Vec::<Value>::new())))
    }

    /// A command is saved, or cannot be. Those follow that waited for that.
    pub(crate) fn end_saving(&mut self, now: Time) {
        match self.saver.saved() {
            Some(Ok(command)) => {
                self.api.answer(command.client, &command.answer());
                (command.then)(self);
            }
            Some(Err((client, answer))) => self.api.answer(client, &answer),
            None => {}
        }
        if self.saver.take_reload() {
            self.reload_by_signal(now);
        }
        while let Some(request) = self.saver.next_waiting() {
            let _ = self.serve_reload(&request, now) || self.serve_by_hand(&request, now);
        }
    }

    /// What is decided about a relay, as a file has it.
    fn peer_settings(&self, name: &str) -> PeerSettings {
        let decided = self.control.decided(name);
        PeerSettings { name: name.to_owned(), weight: decided.weight, drain: decided.draining }
    }
}

fn standby(reason: &str) -> Value {
    json!({"state": "waiting", "reason": reason})
}

fn told(error: HandError) -> String {
    error.to_string()
}

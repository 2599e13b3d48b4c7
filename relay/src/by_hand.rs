//! Commands by hand: `route` and `peer` at the command socket, and how they are saved.
//!
//! A route is answered for when the kernel has said yes or no. One that it refuses has changed nothing in the end. One that
//! has to wait for its ports stays, and the answer says so. What is saved was in force, or waits, before.

use crate::config::Settings;
use crate::daemon::Daemon;
use core::time::Duration;
use l2link::Time;
use l2link::by_hand::Standing;
use l2link::route_text::RouteText;
use l2link_os::api::{ClientId, Request, Verb, failure, success};
use l2link_os::config_file::{ConfigEdit, ConfigError, PeerSettings, remove_route, save_route};
use l2link_os::reload::NOT_SAVED;
use relay_core::HandError;
use serde_json::{Value, json};

/// A route that waits for the kernel.
#[derive(Debug)]
pub(crate) struct Waiting {
    client: ClientId,
    route: RouteText,
    save: bool,
    /// Until when.
    pub(crate) until: Time,
}

/// An answer, or none yet.
type Answered = Result<Option<Value>, String>;

/// How long the kernel has, which may be busy with many routes of controls.
const PATIENCE: Duration = Duration::from_secs(3);

impl Daemon {
    /// Serves a request that is a command by hand. Returns whether it was one.
    pub(crate) fn serve_by_hand(&mut self, request: &Request, now: Time) -> bool {
        let object = request.json.get("object").and_then(Value::as_str);
        let answered = match (request.verb(), object) {
            (Some(Verb::Route), Some("add")) => self.add_route(request, now),
            (Some(Verb::Route), Some("del")) => self.delete_route(request),
            (Some(Verb::Route), _) => Err("route needs an \"object\": add or del".to_owned()),
            (Some(Verb::Peer), Some("weight")) => self.weigh(request),
            (Some(Verb::Peer), Some("drain")) => self.drain(request),
            (Some(Verb::Peer), Some("forget")) => self.forget(request, now),
            (Some(Verb::Peer), _) => Err("peer needs an \"object\": weight, drain or forget".to_owned()),
            (Some(verb @ (Verb::Rule | Verb::Symbol)), _) => Err(format!(
                "a {verb} by hand is a control's: give the command to l2control, which asks this relay"
            )),
            _ => return false,
        };
        match answered {
            Ok(Some(answer)) => self.api.answer(request.client, &answer),
            Ok(None) => {}
            Err(error) => self.api.answer(request.client, &failure(error)),
        }
        true
    }

    fn add_route(&mut self, request: &Request, now: Time) -> Answered {
        let route = RouteText::parse(request.text("route")?).map_err(|error| error.to_string())?;
        self.relay.add_route(&route).map_err(told)?;
        let (client, save) = (request.client, request.flag("save"));
        self.waiting.push(Waiting { client, route, save, until: now + PATIENCE });
        Ok(None)
    }

    fn delete_route(&mut self, request: &Request) -> Answered {
        let selector =
            RouteText::parse_selector(request.text("route")?).map_err(|error| error.to_string())?;
        let route = self.relay.delete_route(&selector).map_err(told)?;
        let answer = self.saved(request, |edit| {
            remove_route(edit, &route);
            Ok(())
        })?;
        if request.flag("save") {
            self.reloads.in_force_mut().static_routes.retain(|known| *known != route);
        }
        Ok(answer)
    }

    fn weigh(&mut self, request: &Request) -> Answered {
        let (name, weight) = (request.text("name")?, request.weight()?);
        self.relay.weigh(name, weight).map_err(told)?;
        self.save_peer(request, name)
    }

    fn drain(&mut self, request: &Request) -> Answered {
        let (name, draining) = (request.text("name")?, !request.flag("undo"));
        self.relay.drain(name, draining).map_err(told)?;
        self.save_peer(request, name)
    }

    fn forget(&mut self, request: &Request, now: Time) -> Answered {
        let name = request.text("name")?;
        self.relay.forget(name, request.flag("force"), now).map_err(told)?;
        self.save_peer(request, name)
    }

    fn save_peer(&mut self, request: &Request, name: &str) -> Answered {
        let settings = self.peer_settings(name);
        let answer = self.saved(request, |edit| settings.save(edit))?;
        if request.flag("save") {
            settings.put_into(&mut self.reloads.in_force_mut().peers);
        }
        Ok(answer)
    }

    /// Answers the commands that the kernel has answered, or has had time enough for.
    pub(crate) fn end_waiting(&mut self, now: Time) {
        for waiting in std::mem::take(&mut self.waiting) {
            let answered = match self.relay.route_standing(&waiting.route) {
                Some(Standing::Asked) if waiting.until > now => {
                    self.waiting.push(waiting);
                    continue;
                }
                Some(Standing::InForce) => self.end(&waiting, Vec::new()),
                Some(Standing::Asked) => self.end(&waiting, vec![standby("the kernel has not answered yet")]),
                Some(Standing::Waits(reason)) => self.end(&waiting, vec![standby(&reason)]),
                Some(Standing::Refused(reason)) => {
                    // What is gone already is as it is to be.
                    let _ = self.relay.delete_route(&waiting.route.selector());
                    Err(reason)
                }
                None => Err("it was removed meanwhile".to_owned()),
            };
            self.api.answer(waiting.client, &answered.unwrap_or_else(failure));
        }
    }

    fn end(&mut self, waiting: &Waiting, rows: Vec<Value>) -> Result<Value, String> {
        if waiting.save {
            self.save(|edit| save_route(edit, &waiting.route, |_| {}))?;
            let saved = &mut self.reloads.in_force_mut().static_routes;
            saved.retain(|known| known.key() != waiting.route.key());
            saved.push(waiting.route.clone());
        }
        Ok(success(rows))
    }

    /// Saves, if that is wanted, what has been done.
    fn saved(
        &self,
        request: &Request,
        change: impl FnOnce(&mut ConfigEdit) -> Result<(), ConfigError>,
    ) -> Answered {
        if request.flag("save") {
            self.save(change)?;
        }
        Ok(Some(success(Vec::<Value>::new())))
    }

    fn save(&self, change: impl FnOnce(&mut ConfigEdit) -> Result<(), ConfigError>) -> Result<(), String> {
        if self.reloads.is_on_trial() {
            return Err(NOT_SAVED.to_owned());
        }
        let save = || {
            let mut edit = ConfigEdit::open(&self.config_file)?;
            change(&mut edit)?;
            edit.save(|path, text| Settings::parse(path, text).map(|_| ()))
        };
        save().map_err(|error: ConfigError| format!("done, but not saved: {error}"))
    }

    /// What is decided about a control, as a file has it.
    fn peer_settings(&self, name: &str) -> PeerSettings {
        let decided = self.relay.decided(name);
        PeerSettings { name: name.to_owned(), weight: decided.weight, drain: decided.draining }
    }
}

fn standby(reason: &str) -> Value {
    json!({"state": "waiting", "reason": reason})
}

fn told(error: HandError) -> String {
    error.to_string()
}

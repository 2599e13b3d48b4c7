//! Commands by hand: `route` and `peer` at the command socket, and how they are saved.
//!
//! A route is answered for when the kernel has said yes or no. One that it refuses has changed nothing in the end. One that
//! has to wait for its ports stays, and the answer says so. What is saved was in force, or waits, before; it is answered for when
//! the file has it.

use crate::config::Settings;
use crate::daemon::Daemon;
use core::time::Duration;
use l2link::Time;
use l2link::by_hand::Standing;
use l2link::route_text::RouteText;
use l2link_os::api::{ClientId, Request, Verb, failure, success};
use l2link_os::config_file::saver::{Command, not_saved};
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
    until: Time,
}

/// An answer, or none yet.
type Answered = Result<Option<Value>, String>;

/// How long the kernel has, which may be busy with many routes of controls.
const PATIENCE: Duration = Duration::from_secs(3);

impl Daemon {
    /// Serves a request that is a command by hand. Returns whether it was one.
    pub(crate) fn serve_by_hand(&mut self, request: &Request, now: Time) -> bool {
        let is_by_hand = matches!(request.verb(), Some(Verb::Route | Verb::Peer));
        if is_by_hand && request.flag("save") && self.saver.is_busy() {
            self.saver.wait(request.clone());
            return true;
        }
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
        let gone = route.clone();
        let change = |edit: &mut ConfigEdit| {
            remove_route(edit, &gone);
            Ok(())
        };
        self.saved(request, change, move |daemon| {
            daemon.reloads.in_force_mut().static_routes.retain(|known| *known != route);
        })
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
        let written = settings.clone();
        self.saved(
            request,
            move |edit| written.save(edit),
            move |daemon| {
                settings.put_into(&mut daemon.reloads.in_force_mut().peers);
            },
        )
    }

    /// When the next command that waits for the kernel has waited long enough.
    pub(crate) fn waiting_timeout(&self) -> Option<Time> {
        let is_held_up = |waiting: &&Waiting| waiting.save && self.saver.is_busy();
        self.waiting.iter().filter(|waiting| !is_held_up(waiting)).map(|waiting| waiting.until).min()
    }

    /// Answers the commands that the kernel has answered, or has had time enough for.
    pub(crate) fn end_waiting(&mut self, now: Time) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.save && self.saver.is_busy() {
                self.waiting.push(waiting);
                continue;
            }
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
            if let Some(answer) = answered.unwrap_or_else(|error| Some(failure(error))) {
                self.api.answer(waiting.client, &answer);
            }
        }
    }

    fn end(&mut self, waiting: &Waiting, rows: Vec<Value>) -> Answered {
        if !waiting.save {
            return Ok(Some(success(rows)));
        }
        let route = waiting.route.clone();
        let change = |edit: &mut ConfigEdit| save_route(edit, &waiting.route, |_| {});
        self.save(waiting.client, rows, change, move |daemon| {
            let saved = &mut daemon.reloads.in_force_mut().static_routes;
            saved.retain(|known| known.key() != route.key());
            saved.push(route);
        })
    }

    /// Saves, if that is wanted, what has been done.
    fn saved(
        &mut self,
        request: &Request,
        change: impl FnOnce(&mut ConfigEdit) -> Result<(), ConfigError>,
        then: impl FnOnce(&mut Self) + 'static,
    ) -> Answered {
        if request.flag("save") {
            return self.save(request.client, Vec::new(), change, then);
        }
        Ok(Some(success(Vec::<Value>::new())))
    }

    /// Begins to save; the answer comes when the file is written, and `then` with it.
    fn save(
        &mut self,
        client: ClientId,
        rows: Vec<Value>,
        change: impl FnOnce(&mut ConfigEdit) -> Result<(), ConfigError>,
        then: impl FnOnce(&mut Self) + 'static,
    ) -> Answered {
        if self.reloads.is_on_trial() {
            return Err(NOT_SAVED.to_owned());
        }
        let edited = || {
            let mut edit = ConfigEdit::open(&self.config_file)?;
            change(&mut edit)?;
            edit.finish(|path, text| Settings::parse(path, text).map(|_| ()))
        };
        let text = edited().map_err(not_saved)?;
        self.saver.save(text, Command { client, rows, then: Box::new(then) })?;
        Ok(None)
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

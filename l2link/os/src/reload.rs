//! [`Reloads`]: the configuration by which a daemon runs, and the one to which it goes back unless that is confirmed.
//!
//! As `commit confirmed` of JunOS: a change that cuts the operator off undoes itself. The daemon takes another file over
//! by difference, and an earlier configuration in the same way. Nothing of this is kept on disk: a daemon that is started
//! anew runs by the file, confirmed or not.

mod difference;

use crate::api::{failure, success};
use core::time::Duration;
use l2link::Time;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

pub use difference::{
    decisions, key_changes, peer_changes, route_changes, routes_to_come, routes_to_go, section_changes,
};

/// A line of what a reload changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of what: `symbol eth1`.
    pub what: String,
    /// `added`, `removed`, or what about it is another one.
    pub change: String,
}

/// What is asked for with a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Only to say what would change.
    pub check: bool,
    /// To go back after this time unless it is confirmed.
    pub confirm: Option<Duration>,
}

/// Longest time for a confirmation.
pub const CONFIRM_MAX: Duration = Duration::from_secs(24 * 3600);

/// The configuration in force, and its predecessor for as long as the daemon may have to go back to it.
#[derive(Debug)]
pub struct Reloads<S> {
    in_force: S,
    since: Time,
    earlier: Option<Earlier<S>>,
}

#[derive(Debug)]
struct Earlier<S> {
    settings: S,
    until: Time,
}

impl Change {
    /// A line.
    #[must_use]
    pub fn new(what: impl Into<String>, change: impl Into<String>) -> Self {
        Self { what: what.into(), change: change.into() }
    }
}

impl Wanted {
    /// Reads a request `reload`.
    ///
    /// # Errors
    /// In words, if `confirm_ms` is no time that can be.
    pub fn of(request: &Value) -> Result<Self, String> {
        let confirm = match request.get("confirm_ms") {
            None | Some(Value::Null) => None,
            Some(ms) => Some(
                ms.as_u64()
                    .map(Duration::from_millis)
                    .filter(|time| !time.is_zero() && *time <= CONFIRM_MAX)
                    .ok_or("\"confirm_ms\" is from 1 ms to a day")?,
            ),
        };
        let check = request.get("check").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { check, confirm })
    }
}

impl<S> Reloads<S> {
    /// A daemon begins by these settings.
    #[must_use]
    pub fn new(settings: S, now: Time) -> Self {
        Self { in_force: settings, since: now, earlier: None }
    }

    /// The settings in force: what the file said when it was read last, and what was saved into it since.
    #[must_use]
    pub fn in_force(&self) -> &S {
        &self.in_force
    }

    /// The same, for what is saved.
    pub fn in_force_mut(&mut self) -> &mut S {
        &mut self.in_force
    }

    /// Other settings are in force from now on; the daemon goes back to the present ones after `confirm`.
    pub fn replace(&mut self, settings: S, confirm: Option<Duration>, now: Time) {
        let before = core::mem::replace(&mut self.in_force, settings);
        self.since = now;
        self.earlier = confirm.map(|time| Earlier { settings: before, until: now + time });
    }

    /// Whether the present ones wait to be confirmed.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.earlier.is_some()
    }

    /// The present ones stay. Returns whether that was the question.
    pub fn confirm(&mut self) -> bool {
        self.earlier.take().is_some()
    }

    /// When [`Reloads::take_back`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.earlier.as_ref().map(|earlier| earlier.until)
    }

    /// The settings to go back to, if nobody has confirmed the present ones in time.
    pub fn take_back(&mut self, now: Time) -> Option<S> {
        self.earlier.take_if(|earlier| earlier.until <= now).map(|earlier| earlier.settings)
    }

    /// The row of `show configuration`.
    #[must_use]
    pub fn row(&self, file: &Path, now: Time) -> Value {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // Who asks is in another folder. Without one, as when it was removed, there is no better name than the given one.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        json!({
            "file": file.display().to_string(),
            "age_ms": ms(now - self.since),
            "state": if self.is_on_trial() { "to be confirmed" } else { "in force" },
            "reverts_in_ms": self.poll_timeout().map(|until| ms(until - now)),
        })
    }
}

/// What the service manager is told besides while a configuration is on trial.
#[must_use]
pub fn status<S>(status: String, reloads: &Reloads<S>) -> String {
    if reloads.is_on_trial() { format!("{status}; `l2ctl confirm` is awaited") } else { status }
}

/// The answer to a request about the configuration.
#[must_use]
pub fn answer(result: Result<Vec<Change>, String>) -> Value {
    match result {
        Ok(changes) => success(changes.iter().map(|change| json!(change)).collect::<Vec<_>>()),
        Err(error) => failure(error),
    }
}

/// Why nothing can be saved while a configuration is on trial: the daemon may go back to another one.
pub const NOT_SAVED: &str = "done, but not saved: a reload has yet to be confirmed";

/// Says in the log what changed.
pub fn log_changes(changes: &[Change]) {
    if changes.is_empty() {
        log::info!(target: "reload", "the configuration was read again: nothing has changed");
    }
    for Change { what, change } in changes {
        log::info!(target: "reload", "{what}: {change}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_nobody_confirms_is_taken_back_once() {
        let start = Time(1_000_000);
        let mut reloads = Reloads::new("old", start);
        reloads.replace("new", Some(SECOND), start);
        assert_eq!((*reloads.in_force(), reloads.poll_timeout()), ("new", Some(start + SECOND)));
        let row = reloads.row(Path::new("/x.toml"), start + SECOND / 4);
        assert_eq!(row["state"], "to be confirmed");
        assert_eq!((&row["age_ms"], &row["reverts_in_ms"]), (&json!(250), &json!(750)));
        assert_eq!(reloads.take_back(start), None, "too early");
        assert_eq!(reloads.take_back(start + SECOND), Some("old"));
        reloads.replace("old", None, start + SECOND);
        assert_eq!((reloads.take_back(start + SECOND * 9), reloads.confirm()), (None, false));
    }

    #[test]
    fn what_is_confirmed_stays() {
        let mut reloads = Reloads::new("old", Time(0));
        reloads.replace("new", Some(SECOND), Time(0));
        assert!(reloads.is_on_trial() && reloads.confirm() && !reloads.is_on_trial());
        assert_eq!((reloads.take_back(Time(0) + SECOND * 2), *reloads.in_force()), (None, "new"));
        assert_eq!(reloads.row(Path::new("/x.toml"), Time(0))["reverts_in_ms"], Value::Null);
        let here = std::env::current_dir().unwrap().join("x.toml");
        assert_eq!(reloads.row(Path::new("x.toml"), Time(0))["file"], here.display().to_string());
    }

    #[test]
    fn requests() {
        let wanted = |json: Value| Wanted::of(&json);
        assert_eq!(wanted(json!({})), Ok(Wanted::default()));
        assert!(wanted(json!({"check": true})).unwrap().check);
        assert_eq!(wanted(json!({"confirm_ms": 1500})).unwrap().confirm, Some(SECOND * 3 / 2));
        for wrong in [json!(0), json!(-1), json!("60s"), json!(86_400_001u64)] {
            assert!(wanted(json!({"confirm_ms": wrong})).is_err(), "{wrong}");
        }
    }
}

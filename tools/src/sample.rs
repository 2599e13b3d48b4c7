//! [`Sample`]: the tables of one daemon at one moment, and what follows from two of them.

use l2link_os::api::{ApiClient, ClientError};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Tables of a daemon, in the form of `l2ctl show --json`.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The daemon itself, in one row; nothing, if it is of a version that does not tell.
    pub device: Vec<Value>,
    /// The devices that it heard.
    pub peers: Vec<Value>,
    /// The relay's ports.
    pub ports: Vec<Value>,
    /// What stands for them.
    pub symbols: Vec<Value>,
    /// Which packets go to which control.
    pub rules: Vec<Value>,
    /// Up and down tunnels.
    pub tunnels: Vec<Value>,
    /// What is rewritten for address symbols.
    pub translations: Vec<Value>,
    /// Frames, drops and the like.
    pub counters: Vec<Value>,
    /// Time since the program was started.
    pub at: Duration,
}

/// What kind of daemon it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `l2relay`.
    Relay,
    /// `l2control`.
    Control,
}

impl Role {
    /// As in `show peers`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Control => "control",
        }
    }
}

/// A text of a row; empty if there is none.
#[must_use]
pub fn word<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// A number of a row; zero if there is none.
#[must_use]
pub fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_default()
}

impl Sample {
    /// Asks a daemon for all of them. `at`: the time since the program was started.
    ///
    /// # Errors
    /// Those of [`ApiClient::request`].
    pub fn ask(client: &mut ApiClient, at: Duration) -> Result<Self, ClientError> {
        let device = match client.request(&json!({"verb": "show", "object": "device"})) {
            Err(ClientError::Refused(_)) => Vec::new(),
            told => told?,
        };
        let mut show = |object: &str| client.request_all(&json!({"verb": "show", "object": object}));
        Ok(Self {
            device,
            peers: show("peers")?,
            ports: show("ports")?,
            symbols: show("symbols")?,
            rules: show("rules")?,
            tunnels: show("tunnels")?,
            translations: show("translations")?,
            counters: show("counters")?,
            at,
        })
    }

    /// What the daemon is. If it does not say so, its tables tell as far as they can: only a relay has ports with controls, only
    /// a control's symbols have a kind, and the peers of one are the others.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.device.first().map(|device| word(device, "role")) {
            Some("relay") => return Some(Role::Relay),
            Some("control") => return Some(Role::Control),
            Some(_) | None => {}
        }
        if self.ports.iter().any(|port| port.get("controls").is_some()) {
            return Some(Role::Relay);
        }
        if self.symbols.iter().any(|symbol| symbol.get("kind").is_some()) {
            return Some(Role::Control);
        }
        match self.peers.iter().map(|peer| word(peer, "role")).next() {
            Some("control") => Some(Role::Relay),
            Some("relay") => Some(Role::Control),
            Some(_) | None => None,
        }
    }

    /// Its name, which stands in every rule as well.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let own = self.device.first().map(|device| word(device, "name"));
        let key = self.role()?.name();
        own.or_else(|| self.rules.first().map(|rule| word(rule, key))).filter(|name| !name.is_empty())
    }
}

/// Per second, from the sample before to this one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    /// Packets.
    pub packets: f64,
    /// Bytes.
    pub bytes: f64,
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Rates of tunnels, translations and counters.
#[derive(Debug, Default)]
pub struct Rates {
    streams: HashMap<String, Rate>,
    counters: HashMap<String, f64>,
}

impl Rates {
    /// Those between two samples. What has become smaller was counted anew, after a restart.
    #[must_use]
    pub fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.saturating_sub(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return Self::default();
        }
        #[allow(clippy::cast_precision_loss, reason = "nobody reads more than three digits of a rate")]
        let per_second =
            |before: u64, after: u64| after.checked_sub(before).unwrap_or(after) as f64 / seconds;
        let streams = |sample: &Sample| -> HashMap<String, (u64, u64)> {
            let rows = sample.tunnels.iter().chain(&sample.translations);
            rows.map(|row| (stream(row), (number(row, "packets"), number(row, "bytes")))).collect()
        };
        let counters = |sample: &Sample| -> HashMap<String, u64> {
            sample.counters.iter().map(|row| (word(row, "name").to_owned(), number(row, "value"))).collect()
        };
        let (old_streams, old_counters) = (streams(before), counters(before));
        let rate = |(key, (packets, bytes)): (String, (u64, u64))| {
            let (old_packets, old_bytes) = old_streams.get(&key).copied().unwrap_or_default();
            let rate =
                Rate { packets: per_second(old_packets, packets), bytes: per_second(old_bytes, bytes) };
            (key, rate)
        };
        let counter = |(name, value): (String, u64)| {
            let old = old_counters.get(&name).copied().unwrap_or_default();
            (name, per_second(old, value))
        };
        Self {
            streams: streams(after).into_iter().map(rate).collect(),
            counters: counters(after).into_iter().map(counter).collect(),
        }
    }

    /// The rate of a row of `show tunnels` or `show translations`.
    #[must_use]
    pub fn stream(&self, row: &Value) -> Rate {
        self.streams.get(&stream(row)).copied().unwrap_or_default()
    }

    /// The rate of a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> f64 {
        self.counters.get(name).copied().unwrap_or_default()
    }
}

/// By what a row is the same one in two samples: all but its figures, and the sockets that come and go under it.
fn stream(row: &Value) -> String {
    let Some(fields) = row.as_object() else { return String::new() };
    let fields = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "packets" | "bytes" | "sockets"));
    fields.map(|(key, value)| format!("{key}={value} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(at: u64, packets: u64, drops: u64) -> Sample {
        Sample {
            tunnels: vec![
                json!({"direction": "up", "id": 1, "peer": "c", "packets": packets, "bytes": 100 * packets}),
            ],
            counters: vec![json!({"name": "drop.unmatched", "value": drops})],
            at: Duration::from_secs(at),
            ..Sample::default()
        }
    }

    #[test]
    fn rates_are_differences_by_time() {
        let (before, after) = (sample(10, 1_000, 5), sample(12, 1_500, 5));
        let rates = Rates::between(&before, &after);
        assert_eq!(rates.stream(&after.tunnels[0]), Rate { packets: 250.0, bytes: 25_000.0 });
        assert_eq!(rates.counter("drop.unmatched"), 0.0);
        assert_eq!(rates.counter("drop.of-something-else"), 0.0);
    }

    #[test]
    fn a_tunnel_is_the_same_with_other_sockets() {
        let (mut before, mut after) = (sample(10, 1_000, 5), sample(11, 1_001, 5));
        before.tunnels[0]["sockets"] = json!([7]);
        after.tunnels[0]["sockets"] = json!([7, 8]);
        assert_eq!(Rates::between(&before, &after).stream(&after.tunnels[0]).packets, 1.0);
    }

    #[test]
    fn after_a_restart_counting_begins_anew() {
        let rates = Rates::between(&sample(10, 1_000, 50), &sample(11, 30, 4));
        assert_eq!(rates.stream(&sample(0, 0, 0).tunnels[0]).packets, 30.0);
        assert_eq!(rates.counter("drop.unmatched"), 4.0);
        let none = Rates::between(&sample(10, 0, 0), &sample(10, 5, 5));
        assert_eq!(none.counter("drop.unmatched"), 0.0, "no time has passed");
    }

    #[test]
    fn a_daemon_is_known_by_its_tables() {
        let with = |ports: &[Value], symbols: &[Value], peers: &[Value]| Sample {
            ports: ports.to_vec(),
            symbols: symbols.to_vec(),
            peers: peers.to_vec(),
            ..Sample::default()
        };
        assert_eq!(with(&[json!({"name": "eth1", "controls": []})], &[], &[]).role(), Some(Role::Relay));
        assert_eq!(
            with(&[], &[json!({"name": "eth1", "kind": "interface"})], &[]).role(),
            Some(Role::Control)
        );
        assert_eq!(with(&[], &[], &[json!({"role": "relay"})]).role(), Some(Role::Control));
        assert_eq!(with(&[], &[], &[]).role(), None);
        let device = vec![json!({"name": "control1", "role": "control"})];
        let silent = Sample { device, ..Sample::default() };
        assert_eq!((silent.role(), silent.name()), (Some(Role::Control), Some("control1")));
    }
}

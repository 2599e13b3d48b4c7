//! [`Wish`]: what a client wants to capture.

use super::{Handling, Offer, Side};
use frames::discovery::Role;
use l2link::by_hand::list;
use l2link::capture_text::{CaptureText, CaptureTextError};
use serde_json::Value;

/// What a client wants to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// Of this port or symbol only.
    place: Option<String>,
    /// To and from this peer only.
    peer: Option<String>,
    text: CaptureText,
    /// Packets after which it is over.
    pub(super) count: Option<u64>,
    /// Bytes of each frame.
    pub(super) longest: usize,
}

impl Wish {
    /// Reads a request.
    ///
    /// # Errors
    /// In words for who asks.
    pub(super) fn read(json: &Value, offer: &Offer<'_>) -> Result<Self, String> {
        let is_relay = offer.role == Role::Relay;
        let text = |key: &str| match json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(format!("{key} is {other}; it has to be a text")),
        };
        let number = |key: &str| match json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number @ 1..) => Ok(Some(number)),
                _ => Err(format!("{key} is {value}; it has to be a number from 1 on")),
            },
        };
        let (port, symbol) = (text("port")?, text("symbol")?);
        let names = offer.places.iter().filter_map(name_of);
        let place = match (port, symbol) {
            (None, None) => None,
            (Some(port), None) if is_relay => Some(known("port", port, names)?),
            (None, Some(symbol)) if !is_relay => Some(known("symbol", symbol, names)?),
            (_, Some(_)) if is_relay => {
                return Err("a relay has ports, and controls have symbols: name a port".to_owned());
            }
            _ => return Err("a control has symbols, and relays have ports: name a symbol".to_owned()),
        };
        let peers = offer.peers.iter().map(String::as_str);
        let peer = text("peer")?.map(|peer| known("peer", peer, peers)).transpose()?;
        let words = text("filter")?.unwrap_or_default();
        let longest = number("snaplen")?.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        Ok(Self {
            place,
            peer,
            text: words.parse().map_err(|error: CaptureTextError| error.to_string())?,
            count: number("count")?,
            longest: longest.min(LONGEST),
        })
    }

    /// Of these ports or symbols, those whose packets it wants.
    pub(super) fn sides(&self, places: &[Side]) -> Vec<Side> {
        let wanted = |side: &&Side| self.place.is_none() || name_of(side) == self.place.as_deref();
        places.iter().filter(wanted).cloned().collect()
    }

    /// Whether it wants a packet. It gets it at all sides if it wants it at any: of a translated one only the address at one
    /// side may be the one that was asked for.
    pub(super) fn wants(&self, handling: &Handling) -> bool {
        (self.place.is_none() || self.place.as_deref() == handling.place())
            && self.peer.as_ref().is_none_or(|peer| handling.has_peer(peer))
            && (!self.text.dropped || handling.was_dropped())
            && handling.sightings().any(|sighting| self.text.holds(&sighting.frame))
    }
}

fn name_of(side: &Side) -> Option<&str> {
    match side {
        Side::Port(name) | Side::Symbol { name, .. } => Some(name),
        Side::Tunnel { .. } | Side::Transit { .. } => None,
    }
}

fn known<'a>(what: &str, name: String, names: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let mut names: Vec<&str> = names.collect();
    if names.contains(&name.as_str()) {
        return Ok(name);
    }
    names.sort_unstable();
    names.dedup();
    Err(format!("there is no {what} {name:?}; there {}", list(&names)))
}

/// As much of a frame as programs of libpcap take.
const LONGEST: usize = 262_144;

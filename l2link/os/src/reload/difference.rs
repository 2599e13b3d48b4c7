//! What differs between two configurations, in those sections that both daemons have.

use super::Change;
use crate::config_file::{LinkSettings, PeerSettings};
use l2link::by_hand::Decided;
use l2link::route_text::RouteText;

/// Sections of which a key changed, as `(section, key, whether it did)` tells.
#[must_use]
pub fn section_changes(keys: &[(&str, &str, bool)]) -> Vec<Change> {
    let changed = keys.iter().filter(|(.., changed)| *changed);
    changed.map(|(section, key, _)| Change::new(*section, format!("{key} changed"))).collect()
}

/// Peers whose public keys come, go, or are others.
#[must_use]
pub fn key_changes(before: &LinkSettings, after: &LinkSettings) -> Vec<Change> {
    let key = |link: &LinkSettings, name: &str| {
        link.peer_keys().iter().find(|(known, _)| known == name).map(|(_, key)| *key)
    };
    let gone = before.peer_keys().iter().filter(|(name, _)| key(after, name).is_none());
    let mut changes: Vec<Change> =
        gone.map(|(name, _)| Change::new(format!("peer {name}"), "public_key removed")).collect();
    for (name, now) in after.peer_keys() {
        let change = match key(before, name) {
            None => "public_key added",
            Some(known) if known != *now => "public_key changed",
            Some(_) => continue,
        };
        changes.push(Change::new(format!("peer {name}"), change));
    }
    changes
}

/// Routes by hand that are to go: those of `live` that `before` names and `after` does not, or otherwise.
pub fn routes_to_go<'a>(
    live: impl Iterator<Item = &'a RouteText>,
    before: &[RouteText],
    after: &[RouteText],
) -> Vec<RouteText> {
    let goes = |route: &&RouteText| {
        let same = |wanted: &&RouteText| wanted.key() == route.key() && wanted.netns == route.netns;
        match after.iter().find(same) {
            Some(wanted) => wanted != *route,
            None => before.contains(route),
        }
    };
    live.filter(goes).cloned().collect()
}

/// Routes by hand that are to come: those that `after` names and that are not `live`.
pub fn routes_to_come<'a>(live: impl Iterator<Item = &'a RouteText>, after: &[RouteText]) -> Vec<RouteText> {
    let live: Vec<&RouteText> = live.collect();
    after.iter().filter(|route| !live.contains(route)).cloned().collect()
}

/// The same, in words.
#[must_use]
pub fn route_changes(go: Vec<RouteText>, come: Vec<RouteText>) -> Vec<Change> {
    let named = |what: &'static str| move |route: RouteText| Change::new(format!("route {route}"), what);
    go.into_iter().map(named("removed")).chain(come.into_iter().map(named("added"))).collect()
}

/// What is decided about peers: as `after` says, and nothing about those of which only `before` said something.
pub fn decisions<'a>(
    before: &'a [PeerSettings],
    after: &'a [PeerSettings],
) -> impl Iterator<Item = (&'a str, Decided)> {
    let gone = before.iter().filter(|peer| !after.iter().any(|known| known.name == peer.name));
    let said = after.iter().map(|peer| (peer.name.as_str(), peer.decided()));
    said.chain(gone.map(|peer| (peer.name.as_str(), Decided::default())))
}

/// Those that are other than what is `decided` now, in words. `own`: whose weight counts if nothing is decided.
pub fn peer_changes<'a>(
    decisions: impl Iterator<Item = (&'a str, Decided)>,
    decided: impl Fn(&str) -> Decided,
    own: &str,
) -> Vec<Change> {
    let others = decisions.filter(|(name, wanted)| decided(name) != *wanted);
    let in_words = |wanted| match wanted {
        Decided { draining: true, .. } => "drained".to_owned(),
        Decided { weight: Some(weight), .. } => format!("weight {weight}"),
        Decided { weight: None, .. } => own.to_owned(),
    };
    others.map(|(name, wanted)| Change::new(format!("peer {name}"), in_words(wanted))).collect()
}

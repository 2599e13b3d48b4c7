//! What differs between a configuration and what is in force.

use crate::config::{Settings, SymbolSettings, clash};
use crate::daemon::Daemon;
use control_core::{Decided, SymbolConfig};
use frames::{ProtocolAddress, SymbolId};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use l2link_os::config_file::PeerSettings;
use l2link_os::reload::{Change, key_changes};

/// What becomes of symbols and their rules.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) gone: Vec<SymbolId>,
    /// Those of the file that are there, as they are to be.
    pub(super) stays: Vec<(SymbolId, SymbolSettings)>,
    pub(super) comes: Vec<SymbolSettings>,
    /// Rules by hand of symbols that stay.
    pub(super) rules_gone: Vec<(SymbolId, ProtocolAddress)>,
    pub(super) rules_come: Vec<(SymbolId, ProtocolAddress)>,
}

impl Daemon {
    /// Compares the symbols of these settings with those that there are.
    pub(super) fn difference(&self, settings: &Settings) -> Difference {
        let before = &self.reloads.in_force().symbols;
        let find = |all: &'_ [SymbolSettings], core: &SymbolConfig| {
            all.iter().position(|symbol| is_same(&symbol.core, core))
        };
        let mut difference = Difference::default();
        for symbol in &settings.symbols {
            let there = self.settings.iter().find(|(_, known)| is_same(&known.core, &symbol.core));
            let Some((id, _)) = there else {
                difference.comes.push(symbol.clone());
                continue;
            };
            let at = |rule: &ProtocolAddress| self.control.rule_at(*id, *rule);
            let wanted: Vec<_> = symbol.rules.iter().map(at).collect();
            let live: Vec<_> = self.control.rules_by_hand(*id).copied().collect();
            let said = find(before, &symbol.core).and_then(|place| before.get(place));
            let said: Vec<_> = said.iter().flat_map(|said| &said.rules).map(at).collect();
            let goes = said.iter().filter(|rule| live.contains(rule) && !wanted.contains(rule));
            difference.rules_gone.extend(goes.map(|rule| (*id, *rule)));
            let comes = wanted.iter().filter(|rule| !live.contains(rule));
            difference.rules_come.extend(comes.map(|rule| (*id, *rule)));
            difference.stays.push((*id, symbol.clone()));
        }
        let comes: Vec<&SymbolConfig> = difference.comes.iter().map(|symbol| &symbol.core).collect();
        for (id, known) in &self.settings {
            let stays = find(&settings.symbols, &known.core).is_some();
            let was_said = find(before, &known.core).is_some();
            // One by hand makes room.
            let in_the_way = || comes.iter().any(|new| clash(new, &[&known.core]).is_some());
            if !stays && (was_said || in_the_way()) {
                difference.gone.push(*id);
            }
        }
        difference
    }

    /// The same, and all else that taking the settings over changes, in words.
    pub(super) fn changes(&self, settings: &Settings, difference: &Difference) -> Vec<Change> {
        let before = self.reloads.in_force();
        let mut changes = sections(before, settings);
        changes.extend(key_changes(&before.link, &settings.link));
        let name = |symbol: &SymbolSettings| format!("symbol {}", symbol.core.name);
        let there = |id: &SymbolId| self.settings.get(id);
        let gone = difference.gone.iter().filter_map(there);
        changes.extend(gone.map(|symbol| Change::new(name(symbol), "removed")));
        changes.extend(difference.comes.iter().map(|symbol| Change::new(name(symbol), "added")));
        for (id, symbol) in &difference.stays {
            let keys = there(id).map(|known| keys(known, symbol)).unwrap_or_default();
            changes.extend(keys.into_iter().map(|key| Change::new(name(symbol), format!("{key} changed"))));
        }
        for (rules, what) in [(&difference.rules_gone, "removed"), (&difference.rules_come, "added")] {
            for (id, rule) in rules {
                let symbol = there(id).map(name).unwrap_or_default();
                changes.push(Change::new(symbol, format!("rule {} {what}", RuleText(*rule))));
            }
        }
        let route = |what: &'static str| move |route: RouteText| Change::new(format!("route {route}"), what);
        changes.extend(self.routes_to_go(settings).into_iter().map(route("removed")));
        changes.extend(self.routes_to_come(settings).into_iter().map(route("added")));
        let decided = settings
            .peers
            .iter()
            .map(|peer| (&peer.name, Decided { weight: peer.weight, draining: peer.drain }))
            .chain(peers_gone(before, settings).map(|peer| (&peer.name, Decided::default())));
        for (name, decided) in decided.filter(|(name, decided)| self.control.decided(name) != *decided) {
            changes.push(Change::new(format!("peer {name}"), decision(decided)));
        }
        changes
    }

    /// Routes by hand that the file named and names no more, or otherwise.
    pub(super) fn routes_to_go(&self, settings: &Settings) -> Vec<RouteText> {
        let before = &self.reloads.in_force().static_routes;
        let goes = |route: &&RouteText| {
            let same = |wanted: &&RouteText| wanted.key() == route.key() && wanted.netns == route.netns;
            match settings.static_routes.iter().find(same) {
                Some(wanted) => wanted != *route,
                None => before.contains(route),
            }
        };
        self.control.routes_by_hand().filter(goes).cloned().collect()
    }

    /// Routes by hand that the file names and that are not there.
    pub(super) fn routes_to_come(&self, settings: &Settings) -> Vec<RouteText> {
        let there = |route: &RouteText| self.control.routes_by_hand().any(|known| known == route);
        settings.static_routes.iter().filter(|route| !there(route)).cloned().collect()
    }
}

/// Whether a symbol can become the other one without being made anew.
fn is_same(one: &SymbolConfig, other: &SymbolConfig) -> bool {
    let place = |symbol: &SymbolConfig| {
        let SymbolConfig { relay, port, name, netns, translation, .. } = symbol.clone();
        (relay, port, name, netns, translation, symbol.kind())
    };
    place(one) == place(other)
}

/// Keys of a symbol that are taken over in place, and differ.
fn keys(before: &SymbolSettings, after: &SymbolSettings) -> Vec<&'static str> {
    let (old, new) = (&before.core, &after.core);
    let keys = [
        ("services", old.exposure != new.exposure),
        ("weight", old.weight != new.weight),
        ("detect", old.detect != new.detect),
        ("owner", old.files != new.files),
        ("gateway", before.gateways != after.gateways),
        ("default_route", before.default_route != after.default_route),
    ];
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// Peers about which the file says nothing any more.
pub(super) fn peers_gone<'a>(
    before: &'a Settings,
    after: &'a Settings,
) -> impl Iterator<Item = &'a PeerSettings> {
    before.peers.iter().filter(|peer| !after.peers.iter().any(|known| known.name == peer.name))
}

fn decision(decided: Decided) -> String {
    match decided {
        Decided { draining: true, .. } => "drained".to_owned(),
        Decided { weight: Some(weight), .. } => format!("weight {weight}"),
        Decided { weight: None, .. } => "its symbols' own weights".to_owned(),
    }
}

fn sections(before: &Settings, after: &Settings) -> Vec<Change> {
    let (link, new_link) = (&before.link, &after.link);
    let keys = [
        ("control", "keep_symbols_ms", before.keep_symbols != after.keep_symbols),
        ("control", "carrier_hold_ms", before.carrier_hold != after.carrier_hold),
        ("link", "keepalive_ms", link.keepalive != new_link.keepalive),
        ("link", "missed", link.missed != new_link.missed),
        ("link", "keylog_file", link.keylog != new_link.keylog),
        ("metrics", "section", before.metrics != after.metrics),
        ("files", "mount", before.files != after.files),
        ("routes", "what is told", before.routes != after.routes),
    ];
    let changed = keys.into_iter().filter(|(.., changed)| *changed);
    changed.map(|(section, key, _)| Change::new(section, format!("{key} changed"))).collect()
}

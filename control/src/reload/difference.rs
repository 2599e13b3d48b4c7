//! What differs between a configuration and what is in force.

use crate::config::{Settings, SymbolSettings, clash};
use crate::daemon::Daemon;
use control_core::SymbolConfig;
use frames::{ProtocolAddress, SymbolId};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use l2link_os::reload::{self, Change, decisions, key_changes, peer_changes, route_changes, section_changes};

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
        changes.extend(route_changes(self.routes_to_go(settings), self.routes_to_come(settings)));
        let decided = |name: &str| self.control.decided(name);
        changes.extend(peer_changes(
            decisions(&before.peers, &settings.peers),
            decided,
            "its symbols' own weights",
        ));
        changes
    }

    /// Routes by hand that the file named and names no more, or otherwise.
    pub(super) fn routes_to_go(&self, settings: &Settings) -> Vec<RouteText> {
        let before = &self.reloads.in_force().static_routes;
        reload::routes_to_go(self.control.routes_by_hand(), before, &settings.static_routes)
    }

    /// Routes by hand that the file names and that are not there.
    pub(super) fn routes_to_come(&self, settings: &Settings) -> Vec<RouteText> {
        reload::routes_to_come(self.control.routes_by_hand(), &settings.static_routes)
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

fn sections(before: &Settings, after: &Settings) -> Vec<Change> {
    let (link, new_link) = (&before.link, &after.link);
    section_changes(&[
        ("control", "keep_symbols_ms", before.keep_symbols != after.keep_symbols),
        ("control", "carrier_hold_ms", before.carrier_hold != after.carrier_hold),
        ("link", "keepalive_ms", link.keepalive != new_link.keepalive),
        ("link", "missed", link.missed != new_link.missed),
        ("link", "keylog_file", link.keylog != new_link.keylog),
        ("link", "busy_poll_us", link.busy_poll != new_link.busy_poll),
        ("api", "access", before.api.access != after.api.access),
        ("metrics", "section", before.metrics != after.metrics),
        ("files", "mount", before.files != after.files),
        ("routes", "what is told", before.routes != after.routes),
    ])
}

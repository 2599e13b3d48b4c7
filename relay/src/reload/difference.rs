//! What differs between a configuration and what is in force.

use crate::config::Settings;
use crate::daemon::Daemon;
use l2link::route_text::RouteText;
use l2link_os::reload::{self, Change, decisions, key_changes, peer_changes, route_changes, section_changes};
use relay_core::PortConfig;

impl Daemon {
    /// What taking these settings over changes.
    pub(super) fn changes(&self, settings: &Settings) -> Vec<Change> {
        let before = self.reloads.in_force();
        let mut changes = sections(before, settings);
        changes.extend(key_changes(&before.link, &settings.link));
        changes.extend(ports(&before.relay.ports, &settings.relay.ports));
        changes.extend(route_changes(self.routes_to_go(settings), self.routes_to_come(settings)));
        let decided = |name: &str| self.relay.decided(name);
        changes.extend(peer_changes(decisions(&before.peers, &settings.peers), decided, "its own weight"));
        changes
    }

    /// Routes by hand that the file named and names no more, or otherwise.
    pub(super) fn routes_to_go(&self, settings: &Settings) -> Vec<RouteText> {
        let before = &self.reloads.in_force().static_routes;
        reload::routes_to_go(self.relay.routes_by_hand(), before, &settings.static_routes)
    }

    /// Routes by hand that the file names and that are not there.
    pub(super) fn routes_to_come(&self, settings: &Settings) -> Vec<RouteText> {
        reload::routes_to_come(self.relay.routes_by_hand(), &settings.static_routes)
    }
}

fn sections(before: &Settings, after: &Settings) -> Vec<Change> {
    let (link, new_link) = (&before.link, &after.link);
    let (fib, new_fib) = (&before.relay.fib, &after.relay.fib);
    section_changes(&[
        ("link", "keepalive_ms", link.keepalive != new_link.keepalive),
        ("link", "missed", link.missed != new_link.missed),
        ("link", "keylog_file", link.keylog != new_link.keylog),
        ("link", "busy_poll_us", link.busy_poll != new_link.busy_poll),
        ("api", "access", before.api.access != after.api.access),
        ("metrics", "section", before.metrics != after.metrics),
        ("routes", "hold_seconds", fib.hold != new_fib.hold),
        ("routes", "max", fib.max != new_fib.max),
        ("routes", "forwarding", before.forwarding != after.forwarding),
    ])
}

fn ports(before: &[PortConfig], after: &[PortConfig]) -> Vec<Change> {
    let find = |all: &'_ [PortConfig], name: &str| all.iter().position(|port| port.interface == name);
    let named = |port: &PortConfig, what: &str| Change::new(format!("port {}", port.interface), what);
    let removed = before.iter().filter(|port| find(after, &port.interface).is_none());
    let mut changes: Vec<Change> = removed.map(|port| named(port, "removed")).collect();
    for port in after {
        let Some(known) = find(before, &port.interface).and_then(|place| before.get(place)) else {
            changes.push(named(port, "added"));
            continue;
        };
        let keys = [
            ("permissions changed", known.allow != port.allow),
            ("relay_services changed", known.relay_services != port.relay_services),
            ("unmatched changed", known.unmatched != port.unmatched),
            ("conflicts changed", known.conflicts != port.conflicts),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changes.extend(changed.map(|(what, _)| named(port, what)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(text: &str) -> Settings {
        let head = "name = \"relay1\"\n[link]\ninterface = \"lan0\"\nsecurity = \"none\"\n";
        Settings::parse(Path::new("/x/relay.toml"), format!("{head}{text}")).unwrap()
    }

    fn lines(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (settings(before), settings(after));
        let changes = [sections(&before, &after), ports(&before.relay.ports, &after.relay.ports)].concat();
        changes.into_iter().map(|Change { what, change }| format!("{what}: {change}")).collect()
    }

    #[test]
    fn each_change_is_a_line() {
        let before = "[[port]]\ninterface = \"eth1\"\n[[port]]\ninterface = \"eth2\"\n";
        assert_eq!(lines(before, before), Vec::<String>::new());
        let after = "missed = 5\n[routes]\nhold_seconds = 5\nforwarding = true\n[[port]]\ninterface = \"eth3\"\n\
                     [[port]]\ninterface = \"eth1\"\nconflicts = \"first\"\nrelay_services = [\"tcp/22\"]\n\
                     [[port.allow]]\ncontrol = \"*\"\n";
        let expected = [
            "link: missed changed",
            "routes: hold_seconds changed",
            "routes: forwarding changed",
            "port eth2: removed",
            "port eth3: added",
            "port eth1: permissions changed",
            "port eth1: relay_services changed",
            "port eth1: conflicts changed",
        ];
        assert_eq!(lines(before, after), expected);
    }

    #[test]
    fn the_order_of_ports_means_nothing() {
        let (one, two) = ("[[port]]\ninterface = \"eth1\"\n", "[[port]]\ninterface = \"eth2\"\n");
        assert_eq!(lines(&format!("{one}{two}"), &format!("{two}{one}")), Vec::<String>::new());
    }
}

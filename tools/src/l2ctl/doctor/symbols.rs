//! Symbols that are not up, with what brings them up.

use super::Finding;
use crate::columns::Object;
use crate::daemon::show;
use l2link_os::{NetNs, Netlink};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};
use serde_json::Value;
use std::path::Path;

const TOPIC: &str = "symbol";

/// What a reason has in it, and what to do about it.
const REMEDIES: [(&str, &str); 15] = [
    (
        "has not been heard",
        "does l2relay run there, and is `relay` in the [[symbol]] its name? `l2ctl show peers` lists who was heard",
    ),
    ("no contact with", "`l2ctl show peers` tells of the relay; `l2ctl doctor` on it tells more"),
    ("no network namespace", "`ip netns add` it; the symbol comes by itself"),
    ("no such port", "correct `port` in the control's file, or add a [[port]] to the relay's"),
    ("no such address", "`ip addr add` it to the relay's port, or correct `address` in the control's file"),
    ("does not have the address", "`ip addr add` it to the relay's port"),
    (
        "not permitted",
        "add a [[port.allow]] for this control to the port in the relay's file, and `l2ctl reload` there",
    ),
    ("was removed", "it is made again within a second; the daemon's log tells if that fails"),
    ("is set down", "`ip link set … up` it"),
    ("is called", "`ip link set … name …` gives it its name back"),
    (
        "its interface lacks",
        "`ip addr add` it again, or `systemctl restart l2control`; of IPv6, is `disable_ipv6` set there?",
    ),
    (
        "has the Ethernet address",
        "`ip link set … address …` gives it its port's (`l2ctl show symbols --json`)",
    ),
    ("were unmounted", "`systemctl restart l2control` mounts them again"),
    ("File exists", "an interface of that name is there: choose another `name` in the [[symbol]]"),
    ("port ", "`l2ctl show ports` on the relay tells more: is it connected, and up (`ip link set … up`)?"),
];

/// Those that a daemon has. `mount`: where the files of a control are.
pub(super) fn examine(socket: &Path, mount: Option<&Path>, findings: &mut Vec<Finding>) {
    let Ok(symbols) = show(socket, Object::Symbols) else { return };
    findings.extend(symbols.iter().map(finding));
    findings.extend(symbols.iter().filter_map(bridged));
    let files = symbols.iter().any(|symbol| symbol["kind"] == "files" && symbol["state"] == "up");
    if let Some(mount) = mount.filter(|_| files) {
        findings.extend(hidden(mount));
    }
}

fn finding(symbol: &Value) -> Finding {
    let text = |key: &str| symbol[key].as_str().unwrap_or("?");
    // At a relay they are those of controls.
    let name = match symbol["control"].as_str() {
        Some(control) => format!("symbol of {control} at port {}", text("port")),
        None => format!("symbol {}", text("name")),
    };
    let Some(reason) = symbol["reason"].as_str() else {
        return Finding::ok(TOPIC, format!("{name} is {}", text("state")));
    };
    let known = REMEDIES.iter().find(|(words, _)| reason.contains(words));
    let remedy = known.map_or("the daemon's log tells more", |(_, remedy)| remedy);
    Finding::wrong(TOPIC, format!("{name} is {}: {reason}", text("state")), remedy)
}

/// A symbol of a control whose interface is a bridge's port.
fn bridged(symbol: &Value) -> Option<Finding> {
    let text = |key: &str| symbol[key].as_str();
    let (name, netns) = (text("name")?, text("netns"));
    let place = netns.map_or_else(NetNs::current, NetNs::named).ok()?;
    let links = Netlink::open(&place).ok()?.links().ok()?;
    let port = links.iter().find(|link| link.name == name && link.bridge_port)?;
    let bridge = links.iter().find(|link| Some(link.ifindex) == port.master);
    let bridge = bridge.map_or("a bridge", |bridge| &bridge.name);
    let ip = netns.map_or("ip".to_owned(), |netns| format!("ip -n {netns}"));
    Some(Finding::wrong(
        TOPIC,
        format!(
            "the interface {name} is a port of {bridge}, which takes its packets: answers go by {name} all the same, and are lost"
        ),
        format!(
            "`{ip} link set {name} nomaster`, and restart l2control if {name} has lost its addresses: programs use the symbol itself, \
             and each namespace can have one"
        ),
    ))
}

/// Files that the daemon has mounted where others do not see them.
fn hidden(mount: &Path) -> Option<Finding> {
    let seen = statfs(mount).is_ok_and(|found| found.filesystem_type() == FUSE_SUPER_MAGIC);
    let path = mount.display();
    (!seen).then(|| {
        Finding::wrong(
            "files",
            format!("l2control has mounted files at {path}, and nobody else sees them: its service has mounts of its own"),
            "`install -D /usr/share/doc/l2link/examples/l2control-files.conf /etc/systemd/system/l2control.service.d/files.conf && \
             systemctl daemon-reload && systemctl restart l2control`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("relay relay1 has not been heard", "its name")]
    #[case("no contact with relay relay1", "show peers")]
    #[case("there is no network namespace router", "ip netns add")]
    #[case(
        "relay relay1: no such port: relay relay1 does not offer port eth1; it offers eth7",
        "add a [[port]]"
    )]
    #[case("port eth1 of relay relay1 does not have the address 192.0.2.10", "ip addr add")]
    #[case("port eth1 of relay relay1: no carrier", "show ports")]
    #[case("its interface lacks 192.0.2.1/24", "ip addr add")]
    #[case("its interface is called eth7 now", "name")]
    #[case("not permitted", "[[port.allow]]")]
    #[case("something else", "log")]
    fn each_reason_has_its_remedy(#[case] reason: &str, #[case] remedy: &str) {
        let found = finding(&json!({"name": "eth1", "state": "waiting", "reason": reason}));
        assert_eq!(found.level, Level::Wrong);
        assert!(found.found.starts_with("symbol eth1 is waiting: "), "{found:?}");
        assert!(found.remedy.as_ref().unwrap().contains(remedy), "{found:?}");
    }

    #[test]
    fn a_relay_tells_whose_it_is() {
        let row = json!({"control": "control1", "symbol": 1, "port": "eth1", "state": "refused", "reason": "not permitted"});
        assert_eq!(finding(&row).found, "symbol of control1 at port eth1 is refused: not permitted");
        assert_eq!(finding(&json!({"name": "eth1", "state": "up", "reason": null})).level, Level::Ok);
    }

    #[test]
    fn files_that_nobody_sees_are_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(hidden(folder.path()).unwrap().remedy.unwrap().contains("l2control-files.conf"));
    }
}

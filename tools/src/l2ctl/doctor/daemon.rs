//! The running daemon, as its command socket shows it.

use super::{Finding, symbols};
use crate::Failure;
use crate::columns::Object;
use crate::daemon::{show, verify};
use frames::discovery::Role;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

const TOPIC: &str = "daemon";

/// Drops that tell of something that an operator can mend, with what to do.
const TELLING: [(&str, &str); 9] = [
    ("bad-gate", "a device of the segment has another key: compare the files that `psk_file` names"),
    (
        "mode-mismatch",
        "`security`, `encrypt` and `data` in [link] have to be the same on all devices of the segment",
    ),
    (
        "unknown-peer",
        "a device of the segment has no [[peer]] with its name and public key in the file of this one: add it, if it may be a peer",
    ),
    (
        "wrong-key",
        "a device of the segment has not the `public_key` of its [[peer]] in this file, or another psk: `l2ctl pubkey` there tells \
         what it is",
    ),
    (
        "not-its-peer",
        "the file of a device of the segment has no [[peer]] with the name and the public key of this one: `l2ctl pubkey` here tells \
         what it is",
    ),
    ("name-in-use", "two devices of the segment have one name: change `name` in one of the files"),
    (
        "version",
        "devices of the segment run releases that do not understand one another: update the older ones",
    ),
    (
        "link-rx-overrun",
        "frames come faster than the daemon reads them: give it a core, or raise net.core.rmem_max",
    ),
    (
        "port-rx-overrun",
        "packets come faster than the daemon reads them: give it a core, or raise net.core.rmem_max",
    ),
];

/// The process of the daemon behind a socket, if it is known to run in another network namespace than this one.
pub(super) fn elsewhere(socket: &Path) -> Option<i32> {
    let pid = getsockopt(&UnixStream::connect(socket).ok()?, PeerCredentials).ok()?.pid();
    let place = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
    let (its, own) = (place(&pid.to_string()).ok()?, place("self").ok()?);
    (its != own).then_some(pid)
}

/// Looks at the daemon behind a socket. `mount`: where the files of a control are, if it has any.
pub(super) fn examine(role: Option<Role>, socket: &Path, mount: Option<&Path>, findings: &mut Vec<Finding>) {
    let program = role.map_or("the daemon".to_owned(), |role| format!("l2{role}"));
    let peers = match show(socket, Object::Peers) {
        Ok(peers) => peers,
        Err(failure) => {
            let remedy = match failure {
                Failure::Denied(_) => "run it with sudo, or as a member of that group".to_owned(),
                _ => format!("start {program}; its log tells why it has stopped"),
            };
            findings.push(Finding::note(TOPIC, failure.to_string(), remedy));
            return;
        }
    };
    findings.push(Finding::ok(TOPIC, format!("{program} answers at {}", socket.display())));
    findings.extend(self::peers(&peers));
    if let Ok(device) = show(socket, Object::Device) {
        findings.extend(device.iter().filter_map(detection));
    }
    symbols::examine(socket, mount, findings);
    if let Ok(rules) = show(socket, Object::Rules) {
        findings.extend(refused(&rules));
    }
    match verify(socket) {
        Ok(rows) => findings.push(differences(&rows, socket, findings)),
        Err(failure) => findings.push(Finding::note(TOPIC, failure.to_string(), "try again")),
    }
    if let Ok(counters) = show(socket, Object::Counters) {
        findings.extend(counters.iter().filter_map(counter));
    }
}

/// Whom it has met on the segment.
fn peers(peers: &[Value]) -> Vec<Finding> {
    if peers.is_empty() {
        return vec![Finding::wrong(
            TOPIC,
            "nobody was heard on the segment",
            "is the other daemon running, on the same LAN, with the same EtherType? `tcpdump -i INTERFACE ether proto 0x88b5` \
             shows its frames; switches must pass them",
        )];
    }
    let text = |peer: &Value, key: &str| peer[key].as_str().unwrap_or("?").to_owned();
    peers
        .iter()
        .map(|peer| {
            let (name, state) = (text(peer, "name"), text(peer, "state"));
            let found = format!("{} {name} at {} is {state}", text(peer, "role"), text(peer, "mac"));
            match state.as_str() {
                "up" => Finding::ok("peer", found),
                "down" => Finding::wrong(
                    "peer",
                    found,
                    format!("is its daemon running? `l2ctl doctor` there tells more of {name}"),
                ),
                refused => Finding::wrong("peer", found, remedy(refused.trim_start_matches("refused: "))),
            }
        })
        .collect()
}

/// What tells a control of new sockets.
fn detection(device: &Value) -> Option<Finding> {
    const TOPIC: &str = "detection";
    Some(match device["detection"].as_str()? {
        "bpf" => Finding::ok(TOPIC, "BPF tells l2control of new sockets at once"),
        "tracefs" => Finding::ok(
            TOPIC,
            "tracefs tells l2control of new sockets at once, at some 40 ns for each system call of this machine; its log tells why it is \
             not BPF",
        ),
        _ => Finding::note(
            TOPIC,
            "nothing tells l2control of new sockets: it finds them by polling, in up to 250 ms",
            "its log tells why; `detection` of l2control.toml(5)",
        ),
    })
}

/// Rules that are not in force.
fn refused(rules: &[Value]) -> Option<Finding> {
    let reasons: Vec<_> = rules
        .iter()
        .filter(|rule| rule["state"] == "refused")
        .map(|rule| rule["reason"].as_str().unwrap_or("without a reason"))
        .collect();
    let first = reasons.first()?;
    Some(Finding::note(
        "rules",
        format!("{} rules are refused, one of them: {first}", reasons.len()),
        "`l2ctl show rules` shows them; `allow` of the port in the relay's file says what a control may have",
    ))
}

/// What the kernel has otherwise than the daemon means, but for what has been told already: a symbol that is not up.
fn differences(rows: &[Value], socket: &Path, told: &[Finding]) -> Finding {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("?").to_owned();
    let is_told = |difference: &str| told.iter().any(|finding| finding.found.ends_with(difference));
    let new: Vec<_> = rows
        .iter()
        .map(|row| (text(row, "what"), text(row, "difference")))
        .filter(|(_, difference)| !is_told(difference))
        .collect();
    let Some((what, difference)) = new.first() else {
        return Finding::ok(TOPIC, "the kernel has what the daemon means");
    };
    let more = if new.len() == 1 { String::new() } else { format!(", and {} more", new.len() - 1) };
    Finding::wrong(
        TOPIC,
        format!("the kernel differs from what the daemon means: {what}: {difference}{more}"),
        format!(
            "`l2ctl --socket {} verify` lists all; another program may have changed them",
            socket.display()
        ),
    )
}

fn counter(row: &Value) -> Option<Finding> {
    let name = row["name"].as_str()?;
    let count = row["value"].as_u64().filter(|count| *count > 0)?;
    let (reason, remedy) = TELLING.iter().find(|(reason, _)| name.strip_prefix("drop.") == Some(*reason))?;
    Some(Finding::note("drops", format!("{count} frames were dropped since the start: {reason}"), *remedy))
}

/// What to do about a device that is refused for this reason.
fn remedy(reason: &str) -> String {
    let known = TELLING.iter().find(|(name, _)| *name == reason);
    known.map_or_else(
        || "its log and `l2ctl show peers` tell more".to_owned(),
        |(_, remedy)| (*remedy).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use frames::DropReason;
    use serde_json::json;

    #[test]
    fn every_telling_drop_exists() {
        for (name, _) in TELLING {
            assert!(DropReason::ALL.iter().any(|reason| reason.name() == name), "{name}");
        }
    }

    #[test]
    fn a_difference_is_told_once() {
        let row = |what: &str, difference: &str| json!({"what": what, "difference": difference});
        let rows = [row("symbol eth1", "no contact"), row("route 10.0.0.0/8", "is missing")];
        let told = [Finding::wrong("symbol", "symbol eth1 is down: no contact", "")];
        let socket = Path::new("/run/s");
        assert_eq!(differences(&rows[..1], socket, &told).level, Level::Ok);
        let found = differences(&rows, socket, &told).found;
        assert!(found.ends_with("means: route 10.0.0.0/8: is missing"), "{found}");
        assert!(differences(&rows, socket, &[]).found.ends_with("no contact, and 1 more"));
    }

    #[test]
    fn peers_that_are_not_up_are_wrong() {
        let rows = [
            json!({"name": "relay1", "role": "relay", "mac": "02:00:00:00:00:01", "state": "up"}),
            json!({"name": "relay2", "role": "relay", "mac": "02:00:00:00:00:02", "state": "refused: bad-gate"}),
        ];
        let levels: Vec<_> = peers(&rows).iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Wrong]);
        assert!(peers(&rows)[1].remedy.as_ref().unwrap().contains("psk_file"));
        assert_eq!(peers(&[])[0].level, Level::Wrong);
    }
}

//! What may not have changed after a fault: processes, memory, descriptors, and what the kernels have.

use super::{Chaos, Fault};
use crate::{Netns, SOON, eventually};
use std::collections::BTreeMap;
use std::fs;

pub(crate) struct Health {
    processes: BTreeMap<&'static str, Resources>,
    kernels: String,
}

#[derive(Debug, Clone, Copy)]
struct Resources {
    /// Resident memory in KiB.
    memory: u64,
    descriptors: usize,
}

/// Memory may grow by 5 %, or by so many KiB if that is more: pages of heap and stack that a fault is the first to use.
const MEMORY_KIB: u64 = 2_048;

/// Descriptors may be so many more: connections of `l2ctl`.
const DESCRIPTORS: usize = 2;

impl Health {
    pub(crate) fn of(chaos: &mut Chaos) -> Self {
        let processes = chaos.daemons().map(|(name, daemon)| (name, Resources::of(daemon.process().pid())));
        Self { processes: processes.into(), kernels: kernels(chaos) }
    }

    /// Sees to it that all is as it was, but for so many KiB of memory in any case, and returns its greatest growth in KiB.
    #[track_caller]
    pub(crate) fn compare(&self, chaos: &mut Chaos, fault: &Fault, kept: u64) -> u64 {
        let mut most = 0;
        for (name, daemon) in chaos.daemons() {
            let process = daemon.process();
            let end = process.try_wait();
            assert!(end.is_none(), "{name} has died of {}: {end:?}", fault.name);
            let pid = process.pid();
            let before = self.processes[name];
            let allowed = before.memory + MEMORY_KIB.max(before.memory / 20).max(kept);
            let now = eventually(SOON, &format!("{name} uses no more than before"), || {
                let now = Resources::of(pid);
                let good = now.memory <= allowed && now.descriptors <= before.descriptors + DESCRIPTORS;
                if good { Ok(now) } else { Err(format!("{before:?} became {now:?}")) }
            });
            most = most.max(now.memory.saturating_sub(before.memory));
        }
        eventually(SOON, "the kernels have what they had", || {
            let now = kernels(chaos);
            if now == self.kernels { Ok(()) } else { Err(difference(&self.kernels, &now)) }
        });
        most
    }
}

impl Resources {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self { memory, descriptors }
    }
}

/// All that our daemons could leave in the kernels, as text: interfaces, addresses, routing rules, routes and tables of nftables.
fn kernels(chaos: &Chaos) -> String {
    let lab = &chaos.lab;
    let namespaces: [(&str, &Netns); 5] = [
        ("relay", &lab.relay_ns),
        ("control1", &lab.control_ns),
        ("programs1", lab.programs()),
        ("control2", &chaos.control2_ns),
        ("programs2", &chaos.programs2),
    ];
    let mut text = String::new();
    for (name, netns) in namespaces {
        let mut lines = Vec::new();
        for link in netns.ip_json("addr show").as_array().into_iter().flatten() {
            let link_name = link["ifname"].as_str().unwrap_or("?");
            lines.push(format!("link {link_name} mtu {} {}", link["mtu"], link["operstate"]));
            for address in link["addr_info"].as_array().into_iter().flatten() {
                // Those that the kernel makes of the MAC address change with it.
                if address["scope"] != "link" {
                    lines.push(format!("address {link_name} {}/{}", address["local"], address["prefixlen"]));
                }
            }
        }
        for (what, command) in [
            ("rule", "ip -4 rule"),
            ("rule", "ip -6 rule"),
            ("route", "ip -4 route show table all"),
            ("route", "ip -6 route show table all"),
        ] {
            let shown = netns.ok(command);
            let routes = shown.lines().filter(|line| !line.contains("fe80:"));
            // Numbers of nexthop objects and expiry are FRR's and the kernel's.
            lines.extend(routes.map(|line| format!("{what} {}", without(line, &["nhid", "expires"]))));
        }
        lines.extend(netns.ok("nft -s list ruleset").lines().map(|line| format!("nft {}", line.trim())));
        lines.sort();
        lines.dedup();
        for line in lines {
            text += &format!("{name}: {line}\n");
        }
    }
    text
}

/// A line without some words and what follows each.
fn without(line: &str, words: &[&str]) -> String {
    let mut kept = Vec::new();
    let mut rest = line.split_whitespace();
    while let Some(word) = rest.next() {
        if words.contains(&word) {
            let _ = rest.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

fn difference(before: &str, now: &str) -> String {
    let gone = before.lines().filter(|line| !now.lines().any(|other| other == *line));
    let new = now.lines().filter(|line| !before.lines().any(|other| other == *line));
    gone.map(|line| format!("- {line}\n")).chain(new.map(|line| format!("+ {line}\n"))).collect()
}

//! The topology as a tree: segments, below them relays with their ports and who has these, and controls.

use super::round_trip;
use l2link_tools::topology::{Service, Symbol, Topology};
use std::io::{self, Write};

/// A line, and what hangs below it.
struct Branch {
    text: String,
    below: Vec<Branch>,
}

pub(super) fn print(out: &mut impl Write, topology: &Topology) -> io::Result<()> {
    for (number, segment) in (1..).zip(&topology.segments) {
        let below = segment.iter().map(|name| device(topology, name)).collect();
        let name =
            if topology.segments.len() == 1 { "segment".to_owned() } else { format!("segment {number}") };
        Branch { text: name, below }.print(out, "", "")?;
    }
    for silent in &topology.silent {
        writeln!(out, "{}: {}", silent.name, silent.reason)?;
    }
    Ok(())
}

fn device(topology: &Topology, name: &str) -> Branch {
    let Some(device) = topology.devices.get(name) else {
        return Branch { text: name.to_owned(), below: Vec::new() };
    };
    let told = topology.links.iter().filter(|link| link.to == name && !device.asked);
    let times = told.filter_map(|link| round_trip(link.rtt_us));
    let text = line([device.role, name, &device.state].into_iter().map(str::to_owned).chain(times));
    let below = match device.role {
        "relay" => topology.ports_of(name).map(|port| {
            let text = line(
                [format!("port {}", port.name), port.state.clone()].into_iter().chain(port.addresses.clone()),
            );
            let below = topology.symbols_of(port).map(|symbol| of_symbol(topology, symbol)).collect();
            Branch { text, below }
        }),
        _ => return Branch { text, below: Vec::new() },
    };
    Branch { text, below: below.collect() }
}

fn of_symbol(topology: &Topology, symbol: &Symbol) -> Branch {
    let time = topology.link(&symbol.relay, &symbol.control).and_then(|link| round_trip(link.rtt_us));
    let about = [format!("control {}", symbol.control), format!("symbol {}", symbol.label())];
    let kind = symbol.kind.clone().filter(|kind| kind != "interface");
    let more =
        [kind, symbol.virtual_address.clone(), Some(symbol.state.clone()), symbol.reason.clone(), time];
    let services = symbol.served().map(|service| Branch { text: of_service(service), below: Vec::new() });
    let flows = match symbol.flows {
        0 => None,
        1 => Some("1 flow".to_owned()),
        flows => Some(format!("{flows} flows")),
    };
    let flows = flows.map(|text| Branch { text, below: Vec::new() });
    let text = line(about.into_iter().chain(more.into_iter().flatten()));
    Branch { text, below: services.chain(flows).collect() }
}

fn of_service(service: &Service) -> String {
    line([service.service.clone(), service.state.clone()].into_iter().chain(service.reason.clone()))
}

fn line(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join("  ")
}

impl Branch {
    fn print(&self, out: &mut impl Write, branch: &str, stem: &str) -> io::Result<()> {
        writeln!(out, "{branch}{}", self.text)?;
        let mut below = self.below.iter().peekable();
        while let Some(next) = below.next() {
            let (branch, deeper) =
                if below.peek().is_some() { ("├─ ", "│  ") } else { ("└─ ", "   ") };
            next.print(out, &format!("{stem}{branch}"), &format!("{stem}{deeper}"))?;
        }
        Ok(())
    }
}

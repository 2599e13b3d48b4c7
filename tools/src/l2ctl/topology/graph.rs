//! [`Graph`]: the topology as boxes in boxes, and lines between them, whatever language draws it.

use super::round_trip;
use l2link_tools::topology::{Device, Symbol, Topology};
use std::collections::BTreeMap;

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) boxes: Vec<Frame>,
    /// Outside all boxes.
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// A box around others, and nodes.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) boxes: Vec<Frame>,
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: String,
    /// Lines of text.
    pub(super) label: Vec<String>,
    pub(super) shape: Shape,
    pub(super) well: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A daemon's own end of the segment.
    Device,
    Segment,
    Port,
    Symbol,
}

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) label: String,
    pub(super) line: Line,
    pub(super) well: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A cable.
    Cable,
    /// Tunnels or translation.
    Tunnel,
}

impl Graph {
    pub(super) fn new(topology: &Topology) -> Self {
        let mut graph = Self::default();
        let ids: BTreeMap<&str, String> = topology
            .devices
            .keys()
            .map(String::as_str)
            .zip((0..).map(|number| format!("d{number}")))
            .collect();
        for (name, device) in &topology.devices {
            let mut frame = Frame {
                id: format!("box_{}", ids[&**name]),
                label: format!("{} {name}", device.role),
                boxes: Vec::new(),
                nodes: vec![own_end(&ids[&**name], name, device)],
            };
            if device.role == "relay" {
                frame.nodes.extend(
                    topology.ports.iter().enumerate().filter(|(_, port)| port.relay == *name).map(
                        |(number, port)| Node {
                            id: format!("p{number}"),
                            label: [format!("{} {}", port.name, port.state)]
                                .into_iter()
                                .chain(port.addresses.clone())
                                .collect(),
                            shape: Shape::Port,
                            well: port.state == "up",
                        },
                    ),
                );
            } else {
                graph.add_symbols(topology, name, &mut frame);
            }
            graph.boxes.push(frame);
        }
        for (number, segment) in topology.segments.iter().enumerate() {
            let id = format!("s{number}");
            let label = vec!["segment".to_owned()];
            graph.nodes.push(Node { id: id.clone(), label, shape: Shape::Segment, well: true });
            for name in segment {
                let links = || topology.links.iter().filter(|link| link.from == *name || link.to == *name);
                let times: Vec<String> = match topology.devices[name].role {
                    "control" => links().take(1).filter_map(|link| round_trip(link.rtt_us)).collect(),
                    _ => Vec::new(),
                };
                let well = topology.devices[name].state == "up";
                let (from, to) = (ids[&**name].clone(), id.clone());
                graph.edges.push(Edge { from, to, label: times.join(" "), line: Line::Cable, well });
            }
        }
        graph
    }

    /// The symbols of a control, those of a namespace in a box of their own, each with a line to its port.
    fn add_symbols(&mut self, topology: &Topology, control: &str, frame: &mut Frame) {
        for (number, symbol) in
            topology.symbols.iter().enumerate().filter(|(_, symbol)| symbol.control == control)
        {
            let node = of_symbol(number, symbol);
            let port =
                topology.ports.iter().position(|port| port.relay == symbol.relay && port.name == symbol.port);
            if let Some(port) = port {
                self.edges.push(Edge {
                    from: format!("p{port}"),
                    to: node.id.clone(),
                    label: symbol.served().map(|served| served.service.clone()).collect::<Vec<_>>().join(" "),
                    line: Line::Tunnel,
                    well: symbol.state == "up",
                });
            }
            let Some(netns) = &symbol.netns else {
                frame.nodes.push(node);
                continue;
            };
            let label = format!("namespace {netns}");
            let known = frame.boxes.iter().position(|inner| inner.label == label);
            let place = known.unwrap_or_else(|| {
                let id = format!("{}_{}", frame.id, frame.boxes.len());
                frame.boxes.push(Frame { id, label, boxes: Vec::new(), nodes: Vec::new() });
                frame.boxes.len() - 1
            });
            frame.boxes[place].nodes.push(node);
        }
    }
}

fn own_end(id: &str, name: &str, device: &Device) -> Node {
    let label = vec![name.to_owned(), device.state.clone()];
    Node { id: id.to_owned(), label, shape: Shape::Device, well: device.state == "up" }
}

fn of_symbol(number: usize, symbol: &Symbol) -> Node {
    let name = symbol.name.clone().unwrap_or_else(|| symbol.label());
    let refused = symbol.services.iter().filter(|service| service.state == "refused");
    let refused = refused.map(|service| format!("{} refused", service.service));
    let lines =
        [Some(format!("{name} {}", symbol.state)), symbol.virtual_address.clone(), symbol.reason.clone()];
    Node {
        id: format!("y{number}"),
        label: lines.into_iter().flatten().chain(refused).collect(),
        shape: Shape::Symbol,
        well: symbol.state == "up",
    }
}

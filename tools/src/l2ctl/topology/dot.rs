//! The language of Graphviz (<https://graphviz.org/doc/info/lang.html>).

use super::graph::{Edge, Frame, Graph, Line, Node, Shape};
use std::io::{self, Write};

pub(super) fn print(out: &mut impl Write, graph: &Graph) -> io::Result<()> {
    writeln!(out, "graph l2link {{")?;
    writeln!(
        out,
        "    rankdir=LR;\n    node [fontname=\"sans-serif\"];\n    edge [fontname=\"sans-serif\"];"
    )?;
    writeln!(out, "    graph [fontname=\"sans-serif\", style=rounded];")?;
    graph.boxes.iter().try_for_each(|frame| print_box(out, frame, "    "))?;
    graph.nodes.iter().try_for_each(|node| print_node(out, node, "    "))?;
    graph.edges.iter().try_for_each(|edge| print_edge(out, edge))?;
    writeln!(out, "}}")
}

/// A subgraph is drawn as a box if its name begins so.
fn print_box(out: &mut impl Write, frame: &Frame, indent: &str) -> io::Result<()> {
    writeln!(out, "{indent}subgraph cluster_{} {{", frame.id)?;
    let inner = format!("{indent}    ");
    writeln!(out, "{inner}label={};", quoted(&frame.label))?;
    frame.boxes.iter().try_for_each(|frame| print_box(out, frame, &inner))?;
    frame.nodes.iter().try_for_each(|node| print_node(out, node, &inner))?;
    writeln!(out, "{indent}}}")
}

fn print_node(out: &mut impl Write, node: &Node, indent: &str) -> io::Result<()> {
    let shape = match node.shape {
        Shape::Device => "box3d",
        Shape::Segment => "ellipse",
        Shape::Port | Shape::Symbol => "box",
    };
    writeln!(
        out,
        "{indent}{} [label={}, shape={shape}{}];",
        node.id,
        quoted(&node.label.join("\n")),
        color(node.well)
    )
}

fn print_edge(out: &mut impl Write, edge: &Edge) -> io::Result<()> {
    let style = match edge.line {
        Line::Cable => ", style=bold",
        // The segment, not the tunnels, says where a device stands.
        Line::Tunnel => ", style=dashed, constraint=false",
    };
    let Edge { from, to, label, .. } = edge;
    writeln!(out, "    {from} -- {to} [label={}{style}{}];", quoted(label), color(edge.well))
}

fn color(well: bool) -> &'static str {
    if well { "" } else { ", color=red" }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

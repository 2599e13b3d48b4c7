//! The language of Mermaid's flowcharts (<https://mermaid.js.org/syntax/flowchart.html>).

use super::graph::{Edge, Frame, Graph, Line, Node, Shape};
use std::io::{self, Write};

pub(super) fn print(out: &mut impl Write, graph: &Graph) -> io::Result<()> {
    writeln!(out, "flowchart LR")?;
    graph.boxes.iter().try_for_each(|frame| print_box(out, frame, "    "))?;
    graph.nodes.iter().try_for_each(|node| print_node(out, node, "    "))?;
    graph.edges.iter().try_for_each(|edge| print_edge(out, edge))?;
    writeln!(out, "    classDef wrong stroke:red")
}

fn print_box(out: &mut impl Write, frame: &Frame, indent: &str) -> io::Result<()> {
    writeln!(out, "{indent}subgraph {}[{}]", frame.id, quoted(&frame.label))?;
    let inner = format!("{indent}    ");
    frame.boxes.iter().try_for_each(|frame| print_box(out, frame, &inner))?;
    frame.nodes.iter().try_for_each(|node| print_node(out, node, &inner))?;
    writeln!(out, "{indent}end")
}

fn print_node(out: &mut impl Write, node: &Node, indent: &str) -> io::Result<()> {
    let label = quoted(&node.label.join("\n"));
    let shaped = match node.shape {
        Shape::Device => format!("[[{label}]]"),
        Shape::Segment => format!("([{label}])"),
        Shape::Port | Shape::Symbol => format!("[{label}]"),
    };
    writeln!(out, "{indent}{}{shaped}{}", node.id, if node.well { "" } else { ":::wrong" })
}

fn print_edge(out: &mut impl Write, edge: &Edge) -> io::Result<()> {
    let line = match edge.line {
        Line::Cable => "===",
        Line::Tunnel => "-.-",
    };
    let label = if edge.label.is_empty() { String::new() } else { format!("|{}|", quoted(&edge.label)) };
    writeln!(out, "    {} {line}{label} {}", edge.from, edge.to)
}

/// Entities stand for what would end the text; a number sign begins one.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('#', "#35;").replace('"', "#quot;").replace('\n', "<br>"))
}

//! The views that are tables: columns, rows, order, and their widths.

use super::{cut, style};
use crate::figure;
use crate::model::{Daemon, Model, Sorting, View};
use core::cmp::Ordering;
use l2link_tools::sample::{number, word};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};
use serde_json::Value;

/// Space between two columns, and where room is short.
const GAPS: [usize; 2] = [2, 1];
/// Least width of a column that has to give some up.
const NARROW: usize = 4;

/// A table as it is to be drawn.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
    sorting: Sorting,
}

/// What stands in a row's column.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    text: String,
    /// By what it is sorted, if it is a figure: the largest first.
    figure: Option<f64>,
}

/// The columns of a view.
pub(super) const fn columns(view: View) -> &'static [&'static str] {
    match view {
        View::Topology => &[],
        View::Peers => &["DAEMON", "PEER", "ROLE", "STATE", "SESSION", "RTT", "MAC"],
        View::Symbols => &["DAEMON", "PEER", "PORT", "SYMBOL", "STATE", "ADDRESSES, REASON"],
        View::Rules => {
            &["DAEMON", "PORT", "PROTOCOL ADDRESS", "CONTROL", "STATE", "PKT/S", "TUNNEL", "REASON"]
        }
        View::Traffic => &["DAEMON", "DIR", "PEER", "PORT", "CARRIES", "PKT/S", "RATE", "TOTAL"],
        View::Drops => &["DAEMON", "DROPPED", "PER SECOND", "TOTAL"],
    }
}

impl Table {
    /// The table that the user looks at.
    pub(super) fn of(model: &Model) -> Self {
        let (view, sorting) = (model.view(), model.sorting());
        let mut rows: Vec<Vec<Cell>> = model.daemons().flat_map(|daemon| rows(view, daemon)).collect();
        rows.sort_by(|a, b| {
            let first =
                a.get(sorting.column).zip(b.get(sorting.column)).map_or(Ordering::Equal, |(a, b)| a.order(b));
            let first = if sorting.reversed { first.reverse() } else { first };
            let rest = || a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
            first.then_with(|| rest().unwrap_or(Ordering::Equal))
        });
        Self { columns: columns(view), rows, sorting }
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Lines, with the heading, and one that says that there is nothing else.
    pub(super) fn height(&self) -> usize {
        self.rows.len().max(1) + 1
    }

    /// Draws the rows from `first` on.
    pub(super) fn render(&self, first: usize, area: Rect, buffer: &mut Buffer) {
        let headings: Vec<Cell> =
            self.columns.iter().zip(0..).map(|(title, place)| self.heading(title, place)).collect();
        let (widths, gap) = self.widths(&headings, area.width.into());
        let is_figure = |place: usize| {
            self.rows.iter().any(|row| row.get(place).is_some_and(|cell| cell.figure.is_some()))
        };
        let right: Vec<bool> = (0..headings.len()).map(is_figure).collect();
        let text = |row: &[Cell]| {
            let cells = row.iter().zip(&widths).zip(&right).map(|((cell, width), right)| {
                let text = cut(&cell.text, *width);
                if *right { format!("{text:>width$}") } else { format!("{text:width$}") }
            });
            cells.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_owned()
        };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut lines = vec![Line::styled(text(&headings), bold)];
        if self.rows.is_empty() {
            lines.push(Line::raw("(none)"));
        }
        let state = self.columns.iter().position(|title| *title == "STATE");
        let room = usize::from(area.height).saturating_sub(1);
        for row in self.rows.iter().skip(first).take(room) {
            let state = state.and_then(|place| row.get(place)).map_or("", |cell| &cell.text);
            lines.push(Line::styled(text(row), style(state)));
        }
        Paragraph::new(lines).render(area, buffer);
    }

    fn heading(&self, title: &str, place: usize) -> Cell {
        let arrow = match (place == self.sorting.column, self.sorting.reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        Cell::text(format!("{title}{arrow}"))
    }

    /// The widths of all columns and of the gaps between them: what is in them if there is room, and else the widest give some
    /// up.
    fn widths(&self, headings: &[Cell], room: usize) -> (Vec<usize>, usize) {
        let widest = |(place, heading): (usize, &Cell)| {
            let cells = self.rows.iter().filter_map(|row| row.get(place));
            cells.chain([heading]).map(|cell| cell.text.chars().count()).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = headings.iter().enumerate().map(widest).collect();
        let gaps = widths.len().saturating_sub(1);
        let [wide, narrow] = GAPS;
        let gap = if widths.iter().sum::<usize>() + wide * gaps > room { narrow } else { wide };
        let room = room.saturating_sub(gap * gaps);
        while widths.iter().sum::<usize>() > room {
            let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROW) else { break };
            *widest -= 1;
        }
        (widths, gap)
    }
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self { text: if text.is_empty() { "-".to_owned() } else { text }, figure: None }
    }

    fn figure(text: impl Into<String>, figure: f64) -> Self {
        Self { text: text.into(), figure: Some(figure) }
    }

    #[allow(clippy::cast_precision_loss, reason = "it is for the order of rows")]
    fn whole(text: impl Into<String>, figure: u64) -> Self {
        Self::figure(text, figure as f64)
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self.figure, other.figure) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.text.cmp(&other.text),
        }
    }
}

fn rows(view: View, daemon: &Daemon) -> Vec<Vec<Cell>> {
    let Some(sample) = daemon.latest() else { return Vec::new() };
    let name = daemon.name();
    let with_name = |rest: Vec<Cell>| [vec![Cell::text(&*name)], rest].concat();
    let each = |rows: &[Value], cells: &dyn Fn(&Value) -> Vec<Cell>| -> Vec<Vec<Cell>> {
        rows.iter().map(|row| with_name(cells(row))).collect()
    };
    match view {
        View::Topology => Vec::new(),
        View::Peers => each(&sample.peers, &peer),
        View::Symbols => each(&sample.symbols, &symbol),
        View::Rules => each(&sample.rules, &|row| rule(row, daemon)),
        View::Traffic => {
            let streams: Vec<Value> = sample.tunnels.iter().chain(&sample.translations).cloned().collect();
            each(&streams, &|row| stream(row, daemon))
        }
        View::Drops => {
            let is_drop = |row: &&Value| {
                let counter = word(row, "name");
                let dropped = counter.starts_with("drop.")
                    || counter.starts_with("punt.") && counter.ends_with(".dropped");
                dropped && number(row, "value") > 0
            };
            let drops: Vec<Value> = sample.counters.iter().filter(is_drop).cloned().collect();
            each(&drops, &|row| drop_of(row, daemon))
        }
    }
}

fn peer(row: &Value) -> Vec<Cell> {
    let age = row["session_age_ms"].as_u64();
    let rtt = row["rtt_us"].as_u64();
    vec![
        Cell::text(word(row, "name")),
        Cell::text(word(row, "role")),
        Cell::text(word(row, "state")),
        age.map_or_else(|| Cell::text(""), |age| Cell::whole(figure::age(age), age)),
        rtt.map_or_else(|| Cell::text(""), |rtt| Cell::whole(figure::micros(rtt), rtt)),
        Cell::text(word(row, "mac")),
    ]
}

fn symbol(row: &Value) -> Vec<Cell> {
    let name = match (word(row, "name"), word(row, "netns")) {
        ("", _) => number(row, "symbol").to_string(),
        (name, "") => name.to_owned(),
        (name, netns) => format!("{name} in {netns}"),
    };
    let addresses = row["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let more: Vec<&str> = addresses
        .chain([word(row, "virtual_address"), word(row, "reason")])
        .filter(|text| !text.is_empty())
        .collect();
    let far = if row.get("relay").is_some() { "relay" } else { "control" };
    vec![
        Cell::text(word(row, far)),
        Cell::text(word(row, "port")),
        Cell::text(name),
        Cell::text(word(row, "state")),
        Cell::text(more.join(" ")),
    ]
}

/// `tcp 192.0.2.1:80`, and the far end of a flow.
fn protocol_address(row: &Value) -> String {
    let (protocol, address, remote) = (word(row, "protocol"), word(row, "address"), word(row, "remote"));
    let local = match row["port_number"].as_u64() {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    };
    if remote.is_empty() { format!("{protocol} {local}") } else { format!("{protocol} {local} {remote}") }
}

fn rule(row: &Value, daemon: &Daemon) -> Vec<Cell> {
    let tunnel = number(row, "up_tunnel");
    let is_its = |stream: &&Value| {
        word(stream, "direction") == "up"
            && number(stream, "id") == tunnel
            && [word(row, "control"), word(row, "relay")].contains(&word(stream, "peer"))
    };
    let tunnels = daemon.latest().map(|sample| sample.tunnels.as_slice()).unwrap_or_default();
    let rate = tunnels.iter().find(is_its).map(|stream| daemon.rates().stream(stream).packets);
    vec![
        Cell::text(word(row, "port")),
        Cell::text(protocol_address(row)),
        Cell::text(word(row, "control")),
        Cell::text(word(row, "state")),
        rate.map_or_else(|| Cell::text(""), |rate| Cell::figure(figure::rate(rate), rate)),
        Cell::whole(tunnel.to_string(), tunnel),
        Cell::text(word(row, "reason")),
    ]
}

fn stream(row: &Value, daemon: &Daemon) -> Vec<Cell> {
    let rate = daemon.rates().stream(row);
    let bytes = number(row, "bytes");
    let peer =
        ["peer", "control", "relay"].into_iter().map(|key| word(row, key)).find(|peer| !peer.is_empty());
    let carried = word(row, "protocol_address");
    let direction = match word(row, "direction") {
        // Of a translation.
        "" if carried.is_empty() => "down",
        "" => "up",
        direction => direction,
    };
    let carries = match (word(row, "from"), carried) {
        ("", "") => "all".to_owned(),
        ("", carried) => carried.to_owned(),
        (from, _) => format!("{from} → {}", word(row, "to")),
    };
    vec![
        Cell::text(direction),
        Cell::text(peer.unwrap_or_default()),
        Cell::text(word(row, "port")),
        Cell::text(carries),
        Cell::figure(figure::rate(rate.packets), rate.packets),
        Cell::figure(figure::bits(rate.bytes), rate.bytes),
        Cell::whole(figure::bytes(bytes), bytes),
    ]
}

fn drop_of(row: &Value, daemon: &Daemon) -> Vec<Cell> {
    let (name, total) = (word(row, "name"), number(row, "value"));
    let rate = daemon.rates().counter(name);
    let reason = name.strip_prefix("drop.").unwrap_or(name);
    vec![Cell::text(reason), Cell::figure(figure::rate(rate), rate), Cell::whole(figure::count(total), total)]
}

//! Draws a [`Model`]: a line that says who is watched, one with the views, the view, and one with the keys.

mod table;
#[cfg(test)]
mod tests;

use crate::model::{Model, View};
use crate::topology;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};
use table::Table;

/// Lines besides the view itself.
const FRAME: usize = 3;
const KEYS: &str = "q quit  Tab ←→ 1-6 views  ↑↓ scroll  s sort  r reverse  p pause";

/// Number of columns of a view, by which it can be sorted.
pub(crate) fn columns(view: View) -> usize {
    table::columns(view).len()
}

/// Lines that the whole of a view takes at this width.
pub(crate) fn height(model: &Model, _width: u16) -> u16 {
    let lines = match model.view() {
        View::Topology => topology::lines(model).len(),
        _ => Table::of(model).height(),
    };
    u16::try_from(lines + FRAME).unwrap_or(u16::MAX)
}

/// Draws it all.
pub(crate) fn render(model: &mut Model, area: Rect, buffer: &mut Buffer) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [head, tabs, body, keys] = rows.areas(area);
    Paragraph::new(title(model)).render(head, buffer);
    Paragraph::new(names(model)).render(tabs, buffer);
    match model.view() {
        View::Topology => {
            let lines = topology::lines(model);
            let first = model.offset(lines.len(), body.height.into());
            let shown = lines.into_iter().skip(first).take(body.height.into());
            let shown: Vec<Line<'_>> =
                shown.map(|line| Line::styled(line.text, style(&line.state))).collect();
            Paragraph::new(shown).render(body, buffer);
        }
        _ => {
            let table = Table::of(model);
            // One is the heading's.
            let room = usize::from(body.height).saturating_sub(1);
            let first = model.offset(table.len(), room);
            table.render(first, body, buffer);
        }
    }
    Paragraph::new(Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM))).render(keys, buffer);
}

fn title(model: &Model) -> Line<'static> {
    let mut spans = vec![Span::styled("l2top", Style::new().add_modifier(Modifier::BOLD))];
    if model.is_paused() {
        spans.push(Span::styled("  PAUSED", style("waiting")));
    }
    for daemon in model.daemons() {
        let role = daemon.role().map_or("", |role| role.name());
        let (state, text) = match (daemon.trouble(), daemon.latest()) {
            (Some(trouble), _) => ("down", trouble.to_owned()),
            (None, Some(_)) => ("up", "up".to_owned()),
            (None, None) => ("waiting", "…".to_owned()),
        };
        let name = daemon.name();
        let who = if role.is_empty() || role == name { name } else { format!("{role} {name}") };
        spans.push(Span::raw(format!("  {who}: ")));
        spans.push(Span::styled(text, style(state)));
    }
    Line::from(spans)
}

fn names(model: &Model) -> Line<'static> {
    let name = |(view, number): (&View, usize)| {
        let chosen = *view == model.view();
        let text = if chosen {
            format!("[{number} {}]", view.title())
        } else {
            format!(" {number} {} ", view.title())
        };
        Span::styled(text, if chosen { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() })
    };
    Line::from(View::ALL.iter().zip(1..).map(name).collect::<Vec<_>>())
}

/// The color of what is in this state.
fn style(state: &str) -> Style {
    let style = Style::new();
    match state {
        "up" | "active" | "installed" => style.fg(Color::Green),
        "down" | "lost" | "absent" | "no-carrier" | "not heard" => style.fg(Color::Red),
        state if state.starts_with("refused") => style.fg(Color::Red),
        "waiting" | "pending" | "standby" | "draining" | "closing" => style.fg(Color::Yellow),
        _ => style,
    }
}

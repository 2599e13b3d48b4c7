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

/// Lines above the view itself.
const HEAD: usize = 2;
/// Columns that are left to why a daemon cannot be reached, whatever else there is.
const LEAST: usize = 12;
const KEYS: &str = "q quit  Tab ←→ 1-6 views  ↑↓ scroll  s sort  r reverse  p pause";

/// Number of columns of a view, by which it can be sorted.
pub(crate) fn columns(view: View) -> usize {
    table::columns(view).len()
}

/// Lines of a picture that has the whole of a view, and takes no keys.
pub(crate) fn height(model: &Model) -> u16 {
    let lines = match model.view() {
        View::Topology => topology::lines(model).len(),
        _ => Table::of(model).height(),
    };
    u16::try_from(lines + HEAD).unwrap_or(u16::MAX)
}

/// Draws it all. A picture that takes no keys has no line that names them.
pub(crate) fn render(model: &mut Model, takes_keys: bool, area: Rect, buffer: &mut Buffer) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(takes_keys.into()),
    ]);
    let [head, tabs, body, keys] = rows.areas(area);
    let width = usize::from(area.width);
    Paragraph::new(title(model, width)).render(head, buffer);
    Paragraph::new(names(model)).render(tabs, buffer);
    match model.view() {
        View::Topology => {
            let lines = topology::lines(model);
            let first = model.offset(lines.len(), body.height.into());
            let shown = lines.into_iter().skip(first).take(body.height.into());
            let shown: Vec<Line<'_>> =
                shown.map(|line| Line::styled(cut(&line.text, width), style(&line.state))).collect();
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
    if takes_keys {
        Paragraph::new(Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM))).render(keys, buffer);
    }
}

/// A text in so many columns, with a mark where it was cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Who is watched and how each is. Why daemons cannot be reached has the room that all else leaves.
fn title(model: &Model, width: usize) -> Line<'static> {
    let mut spans = vec![Span::styled("l2top", Style::new().add_modifier(Modifier::BOLD))];
    if model.is_paused() {
        spans.push(Span::styled("  PAUSED", style("waiting")));
    }
    let mut troubles = Vec::new();
    for daemon in model.daemons() {
        let role = daemon.role().map_or("", |role| role.name());
        let (state, text) = match (daemon.trouble(), daemon.latest()) {
            (Some(_), _) => ("down", ""),
            (None, Some(_)) => ("up", "up"),
            (None, None) => ("waiting", "…"),
        };
        let name = daemon.name();
        let who = if role.is_empty() || role == name { name } else { format!("{role} {name}") };
        spans.push(Span::raw(format!("  {who}: ")));
        troubles.extend(daemon.trouble().map(|trouble| (spans.len(), trouble)));
        spans.push(Span::styled(text, style(state)));
    }
    let taken: usize = spans.iter().map(|span| span.content.chars().count()).sum();
    let room = width.saturating_sub(taken) / troubles.len().max(1);
    for (place, trouble) in troubles {
        spans[place].content = cut(trouble, room.max(LEAST)).into();
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

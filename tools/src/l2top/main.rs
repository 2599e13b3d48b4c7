//! `l2top`: a live view of running `l2relay` and `l2control` in the terminal.
//!
//! # Theory of operation
//!
//! [`feed`] asks each daemon for its tables, on a thread of its own, through the API socket that `l2ctl` uses; a daemon that
//! restarts is found again. [`model`] keeps the newest tables of each and the ones before, from which rates follow, and what
//! the user chose. [`view`] draws a model, whatever the terminal is: so the tests draw into memory. Here are the command
//! line, the keys and the loop.
//!
//! Exit code 0: done; 1: no daemon can be reached (with `--once`), or the terminal failed; 2: the command line is wrong.

mod feed;
mod figure;
mod model;
mod topology;
mod view;

use clap::Parser;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use feed::{Feed, News};
use l2link_os::signals::Signals;
use l2link_pages::{Page, Section};
use model::{Model, View};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Watch running l2relay and l2control: peers, rules, rates, drops and the topology.
#[derive(Debug, Parser)]
#[command(name = "l2top", version)]
struct Arguments {
    /// API socket of a daemon; may be given several times [default: those of /run/l2link/{relay,control}.sock that exist]
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// View to begin with
    #[arg(long, value_enum, default_value = "topology")]
    view: View,
    /// Print the view as text and exit
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || "0.1 to 3600 seconds".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

/// Where daemons are unless something else is said.
const SOCKETS: [&str; 2] = ["/run/l2link/relay.sock", "/run/l2link/control.sock"];
/// How long news may wait to be seen.
const TICK: Duration = Duration::from_millis(100);
/// Width of a text that is not for a terminal.
const WIDTH: u16 = 80;

/// What the man page tells besides the command line.
const PAGE: Page = Page {
    sections: &[
        Section {
            title: "EXIT STATUS",
            entries: &[
                ("0", "Done."),
                ("1", "No daemon can be reached, or the terminal failed."),
                ("2", "The command line is wrong."),
            ],
        },
        Section {
            title: "FILES",
            entries: &[(
                "/run/l2link/relay.sock, /run/l2link/control.sock",
                "The command sockets of the daemons that are shown unless others are named.",
            )],
        },
    ],
    see_also: &["l2ctl(8)", "l2relay(8)", "l2control(8)"],
};

fn main() -> ExitCode {
    let arguments = l2link_pages::parse::<Arguments>(&PAGE);
    let run = sockets(&arguments.socket).and_then(|sockets| {
        if arguments.once { print(&arguments, &sockets) } else { watch(&arguments, &sockets) }
    });
    let Err(error) = run else { return ExitCode::SUCCESS };
    // Nobody is left to tell if this fails too.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

/// The sockets that were asked for, or those that are there.
fn sockets(given: &[PathBuf]) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let there: Vec<PathBuf> = SOCKETS.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    if there.is_empty() {
        let [relay, control] = SOCKETS;
        let hint = "if a configuration names another [api] socket, add --socket PATH";
        return Err(format!("no daemon is running here: there is no {relay} and no {control}; {hint}").into());
    }
    Ok(there)
}

/// Prints a view once all daemons have answered twice, or failed.
fn print(arguments: &Arguments, sockets: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut model = Model::new(sockets, arguments.view);
    let feed = Feed::start(sockets, arguments.interval);
    while !model.is_complete() {
        let Some(news) = feed.wait(arguments.interval + Duration::from_secs(10)) else {
            return Err("a daemon does not answer".into());
        };
        take(&mut model, news);
    }
    let silent = model.daemons().filter(|daemon| daemon.latest().is_none());
    let silent: Vec<String> = silent.filter_map(|daemon| daemon.trouble().map(str::to_owned)).collect();
    if silent.len() == sockets.len() {
        return Err(silent.join("; ").into());
    }
    let terminal = io::stdout().is_terminal().then(crossterm::terminal::size).transpose()?;
    let area = Rect::new(0, 0, width(terminal), view::height(&model));
    let mut buffer = Buffer::empty(area);
    view::render(&mut model, false, area, &mut buffer);
    match write!(io::stdout(), "{}", text(&buffer)) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("cannot write the output: {error}").into()),
    }
}

/// The width of a text. A terminal that does not know its size, as a serial line or a container's, says 0.
fn width(terminal: Option<(u16, u16)>) -> u16 {
    terminal.map(|(columns, _)| columns).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

/// The letters of a picture, without what is blank at the end.
fn text(buffer: &Buffer) -> String {
    let line = |y: u16| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    let lines: Vec<String> = (0..buffer.area.height).map(line).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

/// Shows views until the user has enough.
fn watch(arguments: &Arguments, sockets: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err("this is no terminal: `--once` prints one picture".into());
    }
    // Before any thread is started, so that all leave the signals to the descriptor.
    let signals = Signals::open()?;
    let mut model = Model::new(sockets, arguments.view);
    let feed = Feed::start(sockets, arguments.interval);
    // From here on a panic restores the terminal, too.
    let mut terminal = ratatui::try_init()?;
    end_with_terminal(signals)?;
    let shown = show(&mut terminal, &mut model, &feed);
    if shown.is_err() && has_gone(io::stdin().as_fd()) {
        // What draws would try to tell the terminal when it is dropped, and panic.
        std::process::exit(0);
    }
    let restored = ratatui::try_restore();
    shown?;
    Ok(restored?)
}

/// Whether a terminal is no more.
fn has_gone(terminal: BorrowedFd<'_>) -> bool {
    // Its end comes unasked.
    poll(&mut [PollFd::new(terminal, PollFlags::empty())], PollTimeout::ZERO).is_ok_and(|events| events > 0)
}

/// Ends the program when a signal says so or the terminal goes, whatever it is doing: crossterm reads a terminal that has gone again
/// and again, and never comes back from it.
fn end_with_terminal(signals: Signals) -> io::Result<()> {
    let terminal = io::stdin().as_fd().try_clone_to_owned()?;
    let watch = move || {
        loop {
            let mut waiting = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                // Of this its end alone, which comes unasked.
                PollFd::new(terminal.as_fd(), PollFlags::empty()),
            ];
            if poll(&mut waiting, PollTimeout::NONE).is_ok_and(|events| events > 0) {
                // Kept to the end, so that nobody draws behind it. A terminal that has gone takes none of this.
                let mut out = io::stdout().lock();
                let _ = crossterm::execute!(out, crossterm::cursor::Show);
                let _ = ratatui::try_restore();
                std::process::exit(0);
            }
        }
    };
    thread::Builder::new().name("terminal".to_owned()).spawn(watch)?;
    Ok(())
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    model: &mut Model,
    feed: &Feed,
) -> Result<(), Box<dyn Error>> {
    let mut stale = true;
    loop {
        while let Some(news) = feed.poll() {
            take(model, news);
            stale = true;
        }
        if std::mem::take(&mut stale) {
            terminal.draw(|frame| view::render(model, true, frame.area(), frame.buffer_mut()))?;
        }
        let until = Instant::now() + TICK;
        while event::poll(until.saturating_duration_since(Instant::now()))? {
            stale = true;
            let Event::Key(key) = event::read()? else { continue };
            match if key.kind == KeyEventKind::Release { Wish::Stay } else { press(model, key) } {
                Wish::Stay => {}
                Wish::Suspend => suspend(terminal)?,
                Wish::Quit => return Ok(()),
            }
        }
    }
}

/// Gives the terminal back to the shell until that has this program go on.
fn suspend(terminal: &mut ratatui::DefaultTerminal) -> Result<(), Box<dyn Error>> {
    terminal.show_cursor()?;
    ratatui::try_restore()?;
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP)?;
    *terminal = ratatui::try_init()?;
    Ok(())
}

fn take(model: &mut Model, News { place, told }: News) {
    match told {
        Ok(sample) => model.take(place, sample),
        Err(trouble) => model.lose(place, trouble),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Stay,
    Suspend,
    Quit,
}

/// Does what a key says.
fn press(model: &mut Model, key: KeyEvent) -> Wish {
    const PAGE: isize = 10;
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Quit,
        KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
        KeyCode::Char('z') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Suspend,
        KeyCode::Tab | KeyCode::Right => model.turn(1),
        KeyCode::BackTab | KeyCode::Left => model.turn(-1),
        KeyCode::Char(digit @ '1'..='6') => model.choose(usize::from(digit as u8 - b'1')),
        KeyCode::Char('s') => model.sort_by_next(),
        KeyCode::Char('r') => model.reverse(),
        KeyCode::Char('p' | ' ') => model.pause(),
        KeyCode::Up | KeyCode::Char('k') => model.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => model.scroll(1),
        KeyCode::PageUp => model.scroll(-PAGE),
        KeyCode::PageDown => model.scroll(PAGE),
        KeyCode::Home => model.scroll(isize::MIN),
        KeyCode::End => model.scroll(isize::MAX),
        _ => {}
    }
    Wish::Stay
}

/// What a daemon is called before it has said its name: its socket.
fn label(socket: &Path) -> String {
    socket
        .file_stem()
        .map_or_else(|| socket.display().to_string(), |stem| stem.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_no_width_gets_a_text_all_the_same() {
        assert_eq!([None, Some((0, 0)), Some((120, 40))].map(width), [80, 80, 120]);
    }
}

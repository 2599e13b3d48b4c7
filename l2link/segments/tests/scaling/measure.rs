//! What happens to a segment of one size, and what it costs.

use crate::segment::{Segment, Size};
use crate::tally::Tally;
use control_core::seen::OpenSocket;
use core::time::Duration;
use frames::ProtocolAddress;
use frames::protocol_address::{Family, Local};
use l2link::sim::Weather;

/// One number of a size.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) grows: &'static str,
    pub(crate) value: u64,
    /// Whether it may be another one elsewhere: memory and time.
    pub(crate) varies: bool,
}

/// Sockets that the programs of each control have open.
const SOCKETS: usize = 100;

/// Lets a segment of this size live, and counts.
pub(crate) fn measure(size: Size) -> Result<Vec<Figure>, String> {
    let mut segment = Segment::new(size, 1);
    let mut figures = Vec::new();
    let mut add = |what, grows, value, varies| figures.push(Figure { what, grows, value, varies });
    let (sessions, controls) = (size.relays * size.controls, segment.controls());
    let rules = sessions * (SOCKETS + 1);
    add("sessions", PAIRS, sessions as u64, false);
    add("rules at all relays together", PAIRS_RULES, rules as u64, false);

    let empty = segment.memory();
    let (took, start) =
        event(&mut segment, |segment| (0..segment.devices.len()).for_each(|place| segment.start(place)))?;
    add("all start at once: messages", PAIRS, start.messages, false);
    add("frames besides keepalives", PAIRS, start.besides_keepalives(), false);
    add("ms until all sessions are up", TIME, millis(took), true);
    segment.run(SECOND);
    let up = segment.memory();
    let before = segment.tally();
    segment.run(SECOND);
    let idle = &segment.tally() - &before;
    add("nothing happens: frames a second", PAIRS, idle.frames, false);
    add("KB a second", PAIRS, idle.bytes / 1_000, false);

    let sockets = |segment: &mut Segment| {
        controls.clone().zip(0..).for_each(|(control, number)| segment.open(control, sockets(number)));
    };
    let (took, all) = event(&mut segment, sockets)?;
    add("all programs start: messages", PAIRS_RULES, all.messages, false);
    add("ms until all rules are in force", TIME, millis(took), true);
    let full = segment.memory();

    let socket = tcp(9_999);
    let first = controls.start;
    let (_, opens) = event(&mut segment, |segment| segment.open(first, [socket]))?;
    add("a socket opens: messages", "relays", opens.messages, false);
    let (_, closes) = event(&mut segment, |segment| segment.close(first, &socket))?;
    add("a socket closes: messages", "relays", closes.messages, false);
    let (took, relay) = event(&mut segment, |segment| segment.start(0))?;
    add("a relay restarts: messages", "controls × rules", relay.messages, false);
    add("ms until it has all rules again", TIME, millis(took), true);
    let (took, control) = event(&mut segment, |segment| segment.start(first))?;
    add("a control restarts: messages", "relays × rules", control.messages, false);
    add("ms until all relays have its rules again", TIME, millis(took), true);
    add(
        "a service that all controls share, and another joins: messages at a relay",
        "controls",
        share(size.controls)?,
        false,
    );

    let each =
        |after: i64, before: i64, count: usize| u64::try_from(after - before).unwrap_or(0) / count as u64;
    add("bytes of a relay for a session", "", each(up[0], empty[0], sessions), true);
    add("bytes of a relay for a rule", "", each(full[0], up[0], rules), true);
    add("bytes of a control for a session", "", each(up[1], empty[1], sessions), true);
    add("bytes of a control for a rule", "", each(full[1], up[1], rules), true);

    storm(&mut segment);
    segment.settle()?;
    segment.compare_tables()?;
    Ok(figures)
}

/// Something happens; what follows, until all is as it should be.
fn event(segment: &mut Segment, happens: impl FnOnce(&mut Segment)) -> Result<(Duration, Tally), String> {
    let before = segment.tally();
    happens(segment);
    let (took, after) = segment.settle()?;
    // What comes later of the same event is none of the next.
    segment.run(PAUSE);
    Ok((took, Tally { messages: segment.tally().messages - before.messages, ..&after - &before }))
}

/// Loss, reordering, repetition and corruption, while devices die and come back and programs come and go. One control never
/// comes back.
fn storm(segment: &mut Segment) {
    segment.weather = Weather { loss: 20, repeat: 10, corrupt: 2, delay: 50, jitter: 2_000 };
    if segment.size.controls > 1 {
        let last = segment.devices.len() - 1;
        segment.kill(last);
    }
    for blow in 0..BLOWS {
        segment.run(Duration::from_millis(150));
        let restarts = segment.dice.index(segment.devices.len());
        if segment.devices[restarts].core.is_some() {
            segment.start(restarts);
        }
        let controls = segment.controls();
        let control = controls.start + segment.dice.index(controls.len());
        segment.open(control, [tcp(9_000 + blow)]);
        let control = controls.start + segment.dice.index(controls.len());
        if let Some(socket) = segment.devices[control].sockets.first().copied() {
            segment.close(control, &socket);
        }
    }
    segment.weather = Weather::FAIR;
}

/// The messages at a relay when one more control serves what others do already.
fn share(controls: usize) -> Result<u64, String> {
    let mut segment = Segment::new(Size { relays: 1, controls: controls + 1 }, 1);
    let places = segment.controls();
    event(&mut segment, |segment| {
        (0..segment.devices.len()).for_each(|place| segment.start(place));
        places.clone().skip(1).for_each(|control| segment.open(control, [tcp(80)]));
    })?;
    event(&mut segment, |segment| segment.open(places.start, [tcp(80)])).map(|(_, tally)| tally.messages)
}

/// What a control has open: servers of its own, and of some a routing daemon.
fn sockets(control: u16) -> impl Iterator<Item = OpenSocket> {
    let (first, socket) = (10_000 + 100 * control, |address| OpenSocket { address, interface: None });
    let routing = [
        ProtocolAddress::EtherType(0x88cc),
        ProtocolAddress::IpProtocol { protocol: 89, local: Local::Any(Family::V4) },
    ];
    let daemon = routing.into_iter().map(socket).filter(move |_| control < ROUTERS);
    daemon.chain((first..).map(tcp)).take(SOCKETS)
}

fn tcp(port: u16) -> OpenSocket {
    let address = ProtocolAddress::Listener { protocol: 6, local: Local::Any(Family::V4), port };
    OpenSocket { address, interface: None }
}

#[allow(clippy::cast_possible_truncation, reason = "some seconds")]
fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

const PAIRS: &str = "relays × controls";
const PAIRS_RULES: &str = "relays × controls × rules";
const TIME: &str = "";
const SECOND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
/// Restarts, openings and closings in a storm.
const BLOWS: u16 = 10;
/// Controls with a routing daemon.
const ROUTERS: u16 = 5;

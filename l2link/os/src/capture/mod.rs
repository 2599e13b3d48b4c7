//! [`Captures`]: copies of the packets that pass through a daemon, for clients of its command socket.
//!
//! # Theory of operation
//!
//! A daemon sees each packet at two sides: at a relay's port or a control's symbol, and in the tunnel, where it is plain before it is
//! sealed and after it was opened. What it saw of one packet is a [`Handling`]: one for the relay's port and for each tunnel that a
//! copy goes into. Each client that captures gets those that it asked for as a file in the form of pcapng, behind the answer to its
//! request, on the same connection. The sides are the interfaces of the file; the same packet has the same `epb_packetid` at all of
//! them, the number of a tunnel is its `epb_queue`, and why it was dropped its comment.
//!
//! The data path is never held up. Blocks are written into the client's buffer, which is bounded, and leave at the end of a turn of
//! the daemon's loop. When there is no room, packets are lost to the capture until half of the buffer is free again: the loss is
//! counted and told for each side, in an Interface Statistics Block at the place of the loss and in one at the end. While nobody
//! captures, a packet costs the question whether anybody does.

mod pcapng;
mod request;
mod sighting;

pub use sighting::{Direction, Handling, Side, Sighting};

use crate::api::{ApiServer, ClientId, Request, Stream, failure, success};
use core::time::Duration;
use frames::discovery::Role;
use pcapng::Packet;
use request::Wish;
use serde_json::json;
use sighting::time_of_day;
use std::borrow::Cow;

/// The captures of a daemon.
#[derive(Debug)]
pub struct Captures {
    program: String,
    captures: Vec<Capture>,
    /// Number of the last packet.
    packets: u64,
}

/// What captures can ask a daemon for, and what it is called.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// What the daemon is.
    pub role: Role,
    /// Its own name.
    pub device: &'a str,
    /// Its ports or symbols.
    pub places: Vec<Side>,
    /// Its peers.
    pub peers: Vec<String>,
}

/// One client's capture.
#[derive(Debug)]
struct Capture {
    client: ClientId,
    wish: Wish,
    interfaces: Vec<Interface>,
    /// Whether packets are lost at present.
    losing: bool,
    /// Packets of the file so far.
    written: u64,
}

#[derive(Debug)]
struct Interface {
    side: Side,
    seen: u64,
    lost: u64,
    /// Whether any was lost since the last statistics.
    loss_untold: bool,
}

impl Captures {
    /// Most captures at a time.
    pub const AT_ONCE: usize = 4;

    /// None yet, by a program of this name and version.
    #[must_use]
    pub fn new(program: &str, version: &str) -> Self {
        Self { program: format!("{program} {version}"), captures: Vec::new(), packets: 0 }
    }

    /// Whether anybody captures.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !self.captures.is_empty()
    }

    /// The beginning of a packet's handling, unless nobody captures.
    #[must_use]
    pub fn handling(&self) -> Option<Handling> {
        if self.is_active() { Some(Handling::begin()) } else { None }
    }

    /// Begins the capture that a client asks for, and answers.
    pub fn begin(&mut self, api: &mut ApiServer, request: &Request, offer: &Offer<'_>) {
        // One connection carries one file.
        if self.captures.iter().any(|capture| capture.client == request.client) {
            return;
        }
        if self.captures.len() >= Self::AT_ONCE {
            let text = format!("{} captures run already, which are as many as there can be", Self::AT_ONCE);
            return api.answer(request.client, &failure(text));
        }
        let wish = match Wish::read(&request.json, offer) {
            Ok(wish) => wish,
            Err(error) => return api.answer(request.client, &failure(error)),
        };
        let sides = wish.sides(&offer.places);
        let names: Vec<String> = sides.iter().map(Side::to_string).collect();
        api.answer(request.client, &success(vec![json!({"device": offer.device, "sides": names})]));
        let Some(mut stream) = api.stream(request.client) else { return };
        pcapng::section_header(stream.output(), std::env::consts::OS, &self.program);
        let interfaces = Vec::new();
        let mut capture = Capture { client: request.client, wish, interfaces, losing: false, written: 0 };
        for side in sides {
            capture.interface(side, stream.output());
        }
        log::info!(target: "os::capture", "a capture of {} begins", names.join(", "));
        self.captures.push(capture);
    }

    /// Writes a packet into the captures that want it.
    pub fn record(&mut self, api: &mut ApiServer, handling: &Handling) {
        if handling.is_empty() {
            return;
        }
        self.packets += 1;
        for capture in &mut self.captures {
            if capture.wish.wants(handling)
                && let Some(mut stream) = api.stream(capture.client)
            {
                capture.record(handling, self.packets, &mut stream);
            }
        }
    }

    /// Sends what was recorded, as far as the clients read, and ends what is over. To be called in each turn.
    pub fn serve(&mut self, api: &mut ApiServer) {
        self.captures.retain_mut(|capture| {
            let Some(mut stream) = api.stream(capture.client) else {
                log::info!(target: "os::capture", "a capture ends: its client is gone");
                return false;
            };
            if !stream.has_hung_up() && !capture.is_complete() {
                // One that is gone is told of by its event as well.
                let _ = stream.flush();
                return true;
            }
            capture.tell_statistics(true, stream.output());
            api.end_stream(capture.client);
            log::info!(target: "os::capture", "a capture of {} packets ends", capture.written);
            false
        });
    }
}

impl Capture {
    fn record(&mut self, handling: &Handling, number: u64, stream: &mut Stream<'_>) {
        if self.is_complete() {
            return;
        }
        let room = stream.room();
        let loses = if self.losing { room < RESUME } else { room < ENOUGH };
        if loses {
            self.losing = true;
            for sighting in handling.sightings() {
                let place = self.interface(sighting.side.clone(), stream.output());
                let interface = &mut self.interfaces[place];
                interface.seen += 1;
                interface.lost += 1;
                interface.loss_untold = true;
            }
            return;
        }
        let output = stream.output();
        if core::mem::take(&mut self.losing) {
            self.tell_statistics(false, output);
        }
        for sighting in handling.sightings() {
            if self.is_complete() {
                return;
            }
            let place = self.interface(sighting.side.clone(), output);
            self.interfaces[place].seen += 1;
            self.written += 1;
            let cut = sighting.frame.len().min(self.wish.longest);
            let packet = Packet {
                interface: number_of(place),
                time: sighting.time,
                frame: &sighting.frame[..cut],
                length: sighting.frame.len(),
                outbound: sighting.direction == Direction::Outbound,
                number,
                queue: sighting.tunnel.map(|tunnel| tunnel.0),
                comment: handling.comment(sighting).map(Cow::Owned),
            };
            pcapng::packet(output, &packet);
        }
    }

    /// The place of a side, which is described if it is new.
    fn interface(&mut self, side: Side, output: &mut Vec<u8>) -> usize {
        if let Some(place) = self.interfaces.iter().position(|known| known.side == side) {
            return place;
        }
        let description = side.description();
        pcapng::interface_description(output, &side.to_string(), description.as_deref(), self.wish.longest);
        self.interfaces.push(Interface { side, seen: 0, lost: 0, loss_untold: false });
        self.interfaces.len() - 1
    }

    /// Tells how many packets were seen and lost, at each side or where that is news.
    fn tell_statistics(&mut self, all: bool, output: &mut Vec<u8>) {
        let now: Duration = time_of_day();
        for (place, interface) in self.interfaces.iter_mut().enumerate() {
            if core::mem::take(&mut interface.loss_untold) || all {
                pcapng::statistics(output, number_of(place), now, interface.seen, interface.lost);
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.wish.count.is_some_and(|count| self.written >= count)
    }
}

fn number_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Room without which no packet is written: that of a super-packet at both sides.
const ENOUGH: usize = 2 * 65_536 + 1_024;
/// Room with which a capture that lost packets goes on, so that it has whole stretches.
const RESUME: usize = 4 * 1024 * 1024;

//! Every schedule of a few faults on a small segment.
//!
//! # Theory of operation
//!
//! What can go wrong between devices goes wrong at a frame: it is lost, late, or comes again, or the device that it comes from or is
//! for dies, leaves, hangs, hears nothing for a while or gets another address just then. The frames that arrive are numbered from
//! the segment's start. A *schedule* says which fault strikes at which numbers. [`exhaust`] runs the devices' own code, not a model
//! of it, through each schedule of so many faults at the first so many frames: the handshakes, the tables that follow them, and
//! the first keepalives. All frames take equally long, so that a schedule is one run, always the same.
//!
//! As soon as a device has a peer up, it sends two messages on each stream, as a daemon sends its tables. After the last fault
//! the segment must come right: everybody up, all messages of the last association there, each once and in order, and
//! nobody goes down again. What a device checks besides at every step is in [`super::node`].

use super::node::{Node, check_all_arrived, check_up};
use super::world::fresh_mac;
use super::{Dice, Scenario, Weather};
use crate::{Config, Event, Time};
use core::fmt;
use core::time::Duration;
use frames::Mac;
use frames::discovery::Protection;
use frames::session::CloseReason;
use std::collections::BTreeMap;

/// How far the search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Relays, each of which has a session with each control.
    pub relays: usize,
    /// Controls.
    pub controls: usize,
    /// The first so many frames that arrive may be struck.
    pub frames: u32,
    /// How many faults a schedule has.
    pub faults: usize,
    /// Whether the devices have key pairs; a shared key otherwise.
    pub keys: bool,
}

/// What strikes at a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is lost.
    Lose,
    /// It comes twice.
    Repeat,
    /// It comes after those that the receiver's timers send.
    Delay,
    /// It comes again when the association that it belonged to may have ended.
    Replay,
    /// Its sender is killed and starts again.
    KillSender,
    /// Its receiver is killed and starts again before it comes.
    KillReceiver,
    /// Its receiver stops in good order, and starts again.
    Stop,
    /// Its receiver hears nothing for longer than a peer may be silent.
    Deafen,
    /// Its receiver gets no processor for that long, and then has all that came meanwhile.
    Stall,
    /// Its receiver has another Ethernet address.
    Move,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Lose,
        Self::Repeat,
        Self::Delay,
        Self::Replay,
        Self::KillSender,
        Self::KillReceiver,
        Self::Stop,
        Self::Deafen,
        Self::Stall,
        Self::Move,
    ];
}

/// Which faults strike, at the frame of which number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(pub Vec<(u32, Fault)>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (frame, fault)) in self.0.iter().enumerate() {
            write!(f, "{}{fault:?} at frame {frame}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What a search went through.
#[derive(Debug, Clone, Default)]
pub struct Covered {
    /// Schedules, all different.
    pub schedules: u64,
    /// Frames that arrived in them.
    pub frames: u64,
    /// How often a peer went down.
    pub downs: u64,
    /// The longest that a segment took from its last fault until all was right.
    pub slowest: Duration,
    /// Which one that was.
    pub slowest_schedule: String,
}

/// Runs every schedule within the bounds.
///
/// # Errors
/// The first that does not come right, and how.
pub fn exhaust(bounds: Bounds) -> Result<Covered, String> {
    let mut covered = Covered::default();
    let mut schedule = Schedule(Vec::new());
    descend(bounds, &mut schedule, &mut covered)?;
    Ok(covered)
}

/// All schedules that begin with this one.
fn descend(bounds: Bounds, schedule: &mut Schedule, covered: &mut Covered) -> Result<(), String> {
    if schedule.0.len() == bounds.faults {
        return Segment::new(bounds, schedule).run(covered).map_err(|what| format!("{schedule}: {what}"));
    }
    let first = schedule.0.last().map_or(0, |(frame, _)| frame + 1);
    for frame in first..bounds.frames {
        for fault in Fault::ALL {
            schedule.0.push((frame, fault));
            descend(bounds, schedule, covered)?;
            schedule.0.pop();
        }
    }
    Ok(())
}

struct Segment<'a> {
    scenario: Scenario,
    schedule: &'a Schedule,
    dice: Dice,
    now: Time,
    nodes: Vec<Node>,
    /// By arrival, then in the order of sending: who gets it, and whether it has come before.
    under_way: BTreeMap<(Time, u64), Arrival>,
    sent: u64,
    /// Number of the next frame.
    frame: u32,
    /// Until when a device hears nothing.
    deaf: Vec<Option<Time>>,
    /// When the last fault was over.
    struck: Time,
    /// Since when all is right.
    right: Option<Time>,
    tag: u32,
    macs: u8,
    downs: u64,
}

struct Arrival {
    sender: usize,
    receiver: usize,
    frame: Vec<u8>,
    again: bool,
}

impl<'a> Segment<'a> {
    fn new(bounds: Bounds, schedule: &'a Schedule) -> Self {
        let scenario = Scenario {
            relays: bounds.relays,
            controls: bounds.controls,
            secured: true,
            keys: bounds.keys,
            control: Protection::SEALED,
            data: Protection::SEALED,
            weather: Weather::FAIR,
            heals: Time(0),
            quiet: Time(0),
            end: Time(0),
            keepalive: Config::KEEPALIVE,
            missed: Config::MISSED,
            rekey_after: Duration::from_secs(120),
            pause: 0,
            blows: 0,
        };
        let (mut dice, mut macs, now) = (Dice::new(1), 0, Time(1_000));
        let count = bounds.relays + bounds.controls;
        let nodes: Vec<Node> = (0..count)
            .map(|device| Node::new(&scenario, device, fresh_mac(&mut macs), MTU, &mut dice, now))
            .collect();
        Self {
            scenario,
            schedule,
            dice,
            now,
            nodes,
            under_way: BTreeMap::new(),
            sent: 0,
            frame: 0,
            deaf: vec![None; count],
            struck: now,
            right: None,
            tag: 0,
            macs,
            downs: 0,
        }
    }

    fn run(mut self, covered: &mut Covered) -> Result<(), String> {
        for device in 0..self.nodes.len() {
            self.nodes[device].link.handle_timeout(self.now);
            self.work(device)?;
        }
        let last = self.schedule.0.last().map_or(0, |(frame, _)| *frame);
        let mut idle = 0;
        loop {
            let before = self.now;
            self.advance()?;
            idle = if self.now > before { 0 } else { idle + 1 };
            if idle > 1_000 {
                return Err("a timer spins".into());
            }
            self.arrive()?;
            for device in 0..self.nodes.len() {
                self.wake(device)?;
            }
            if self.frame <= last || self.now < self.struck {
                continue;
            }
            let state = check_up(&self.scenario, &self.nodes).and_then(|()| check_all_arrived(&self.nodes));
            match (state, self.right) {
                (Ok(()), None) => self.right = Some(self.now),
                (Ok(()), Some(since)) if self.now >= since + STAYS => break,
                (Ok(()), Some(_)) => {}
                (Err(_), _) if self.now < self.struck + CONVERGES => self.right = None,
                (Err(what), _) => return Err(what),
            }
        }
        let took = self.right.map_or(Duration::ZERO, |right| right.max(self.struck) - self.struck);
        covered.schedules += 1;
        covered.frames += self.sent;
        covered.downs += self.downs;
        if took > covered.slowest {
            covered.slowest = took;
            covered.slowest_schedule = self.schedule.to_string();
        }
        Ok(())
    }

    /// Lets time pass until something is due.
    fn advance(&mut self) -> Result<(), String> {
        let awake = self.nodes.iter().filter(|node| node.stalled.is_none());
        let timers = awake.filter_map(|node| node.link.poll_timeout());
        let stalls = self.nodes.iter().filter_map(|node| node.stalled);
        let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
        let next = timers.chain(stalls).chain(arrival).min().ok_or("nothing will ever happen again")?;
        self.now = self.now.max(next);
        Ok(())
    }

    /// What is due arrives, and the faults with it.
    fn arrive(&mut self) -> Result<(), String> {
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let arrival = entry.remove();
            let mut comes = true;
            if !arrival.again {
                let number = self.frame;
                self.frame += 1;
                let schedule = self.schedule;
                for (_, fault) in schedule.0.iter().filter(|(frame, _)| *frame == number) {
                    comes &= self.strike(*fault, &arrival)?;
                }
            }
            let receiver = arrival.receiver;
            if !comes || self.deaf[receiver].is_some_and(|until| until > self.now) {
                continue;
            }
            if self.nodes[receiver].arrive(arrival.frame, self.now)? {
                self.work(receiver)?;
            }
        }
        Ok(())
    }

    /// Whether the frame comes now.
    fn strike(&mut self, fault: Fault, at: &Arrival) -> Result<bool, String> {
        self.right = None;
        self.struck = self.now;
        match fault {
            Fault::Lose => return Ok(false),
            Fault::Repeat => self.carry(at.sender, at.receiver, &at.frame, FLIGHT, true),
            Fault::Delay => {
                self.carry(at.sender, at.receiver, &at.frame, DELAY, true);
                self.struck = self.now + DELAY;
                return Ok(false);
            }
            Fault::Replay => {
                self.carry(at.sender, at.receiver, &at.frame, REPLAY, true);
                self.struck = self.now + REPLAY;
            }
            Fault::KillSender => self.restart(at.sender)?,
            Fault::KillReceiver => self.restart(at.receiver)?,
            Fault::Stop => {
                self.nodes[at.receiver].link.close(CloseReason::SHUTDOWN, self.now);
                self.work(at.receiver)?;
                self.restart(at.receiver)?;
            }
            Fault::Deafen => {
                self.struck = self.now + OUT;
                self.deaf[at.receiver] = Some(self.struck);
            }
            Fault::Stall => {
                self.struck = self.now + OUT;
                self.nodes[at.receiver].stalled = Some(self.struck);
            }
            Fault::Move => {
                let mac = fresh_mac(&mut self.macs);
                self.nodes[at.receiver].set_interface(mac, MTU);
                self.work(at.receiver)?;
            }
        }
        Ok(true)
    }

    fn restart(&mut self, device: usize) -> Result<(), String> {
        let mac = self.nodes[device].mac;
        self.nodes[device] = Node::new(&self.scenario, device, mac, MTU, &mut self.dice, self.now);
        self.deaf[device] = None;
        self.nodes[device].link.handle_timeout(self.now);
        self.work(device)
    }

    /// A device's timers.
    fn wake(&mut self, device: usize) -> Result<(), String> {
        let node = &mut self.nodes[device];
        let due = node.link.poll_timeout().is_some_and(|at| at <= self.now);
        if !node.end_stall(self.now)? && (node.stalled.is_some() || !due) {
            return Ok(());
        }
        self.nodes[device].link.handle_timeout(self.now);
        self.work(device)
    }

    /// What a shell does at the end of each wake-up.
    fn work(&mut self, device: usize) -> Result<(), String> {
        if self.nodes[device].stalled.is_some() {
            return Ok(());
        }
        while let Some(event) = self.nodes[device].take_event() {
            let up = if let Event::PeerUp { peer, .. } = &event { Some(*peer) } else { None };
            self.downs += u64::from(matches!(event, Event::PeerDown { .. }));
            let node = &mut self.nodes[device];
            node.handle_event(event, &mut self.tag)?;
            if let Some(peer) = up
                && let Some(known) = node.peers.get_mut(&peer)
            {
                for event in [true, false, false, true] {
                    known.send(&mut node.link, peer, event, false);
                }
            }
        }
        loop {
            let Node { link, batch, .. } = &mut self.nodes[device];
            let waiting = link.poll_transmit(batch, self.now);
            let frames: Vec<Vec<u8>> = batch.frames().map(<[u8]>::to_vec).collect();
            batch.clear();
            for frame in frames {
                let Some(destination) = frame.first_chunk().map(|octets| Mac(*octets)) else { continue };
                for receiver in 0..self.nodes.len() {
                    let meant = destination.is_multicast() || destination == self.nodes[receiver].mac;
                    if meant && receiver != device {
                        self.carry(device, receiver, &frame, FLIGHT, false);
                    }
                }
            }
            if !waiting {
                break;
            }
        }
        self.nodes[device].check_bounds(self.nodes.len())
    }

    fn carry(&mut self, sender: usize, receiver: usize, frame: &[u8], flight: Duration, again: bool) {
        let arrival = Arrival { sender, receiver, frame: frame.to_vec(), again };
        self.under_way.insert((self.now + flight, self.sent), arrival);
        self.sent += 1;
    }
}

const MTU: u32 = 1500;
/// How long a frame takes.
const FLIGHT: Duration = Duration::from_micros(50);
/// More than the first repetition of a handshake's frame (20 ms), less than contact takes to be lost.
const DELAY: Duration = Duration::from_millis(30);
/// Longer than contact takes to be lost (300 ms) and made again.
const REPLAY: Duration = Duration::from_millis(900);
/// The same for devices: somewhat longer than contact takes to be lost.
const OUT: Duration = Duration::from_millis(400);
/// All is right when it has been for longer than contact takes to be lost.
const STAYS: Duration = Duration::from_millis(350);
/// Longest until all is right: as [`Scenario`] has it.
const CONVERGES: Duration = Duration::from_millis(3_300);

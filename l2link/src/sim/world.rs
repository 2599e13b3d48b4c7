//! The segment's clock: carries frames, wakes devices, strikes blows, and checks.

use super::network::Network;
use super::node::{Node, Tally, check_all_arrived, check_up};
use super::{Dice, Scenario, Weather};
use crate::{Event, Time};
use core::fmt;
use frames::Mac;
use frames::session::CloseReason;

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Frames that the network carried.
    pub frames: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// Parcels that arrived.
    pub parcels: u64,
    /// How often a peer came up.
    pub ups: u64,
    /// How often one went down.
    pub downs: u64,
}

/// What a run did that it must not.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// When it was seen.
    pub at: Time,
    /// What.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} after {} µs: {}\nreplay it: L2LINK_SEED={} cargo test -p l2link --test simulation replay -- --nocapture",
            self.seed, self.at.0, self.what, self.seed
        )
    }
}

impl core::error::Error for Failure {}

/// Runs the scenario of a seed.
///
/// # Errors
/// The first [`Failure`].
pub fn run(seed: u64) -> Result<Report, Failure> {
    run_traced(seed, None)
}

/// What a run tells of itself, line by line.
pub type Trace<'a> = &'a mut dyn FnMut(Time, fmt::Arguments<'_>);

/// Runs the scenario of a seed and tells what happens.
///
/// # Errors
/// The first [`Failure`].
pub fn run_traced(seed: u64, trace: Option<Trace<'_>>) -> Result<Report, Failure> {
    let mut dice = Dice::new(seed);
    let scenario = Scenario::draw(&mut dice);
    let mut world = World::new(scenario, dice, trace);
    match world.run() {
        Ok(()) => Ok(world.report()),
        Err(what) => Err(Failure { seed, at: world.now, what }),
    }
}

struct World<'a> {
    scenario: Scenario,
    dice: Dice,
    now: Time,
    network: Network,
    nodes: Vec<Node>,
    next_blow: Time,
    /// Devices that are cut off, until when.
    cuts: Vec<(usize, Time)>,
    tag: u32,
    macs: u8,
    former: Tally,
    /// Peers that had gone down when all was to be well.
    settled: Option<u64>,
    spinning: u32,
    trace: Option<Trace<'a>>,
}

macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = &mut $world.trace { trace($world.now, format_args!($($text)*)); }
    };
}

impl<'a> World<'a> {
    fn new(scenario: Scenario, mut dice: Dice, trace: Option<Trace<'a>>) -> Self {
        let now = Time(dice.below(1_000));
        let count = scenario.relays + scenario.controls;
        let mut macs = 0;
        let nodes = (0..count).map(|device| {
            let (mac, mtu) = (fresh_mac(&mut macs), draw_mtu(&mut dice));
            Node::new(&scenario, device, mac, mtu, &mut dice, now)
        });
        let nodes = nodes.collect();
        let next_blow = now;
        let mut world = Self {
            scenario,
            dice,
            now,
            network: Network::default(),
            nodes,
            next_blow,
            cuts: Vec::new(),
            tag: 0,
            macs,
            former: Tally::default(),
            settled: None,
            spinning: 0,
            trace,
        };
        tell!(world, "{:?}", world.scenario);
        world
    }

    fn run(&mut self) -> Result<(), String> {
        for device in 0..self.nodes.len() {
            self.work(device)?;
        }
        while self.now < self.scenario.end {
            self.advance()?;
            while let Some((device, frame)) = self.network.arrived(self.now) {
                if self.nodes[device].arrive(frame, self.now)? {
                    self.work(device)?;
                }
            }
            self.mend();
            if self.now >= self.next_blow && self.now < self.scenario.heals {
                self.blow()?;
            }
            for device in 0..self.nodes.len() {
                self.wake(device)?;
            }
            if self.now >= self.scenario.quiet && self.settled.is_none() {
                check_up(&self.scenario, &self.nodes)?;
                self.settled = Some(self.report().downs);
            }
        }
        check_up(&self.scenario, &self.nodes)?;
        if self.settled != Some(self.report().downs) {
            return Err("a session ended though nothing was wrong any more".into());
        }
        check_all_arrived(&self.nodes)
    }

    /// Lets time pass until something is due.
    fn advance(&mut self) -> Result<(), String> {
        let awake = || self.nodes.iter().filter(|node| node.stalled.is_none());
        let timers = awake().filter_map(|node| node.link.poll_timeout());
        let sends = awake().filter(|node| node.busy.is_none()).map(|node| node.next_send);
        let phases = [self.next_blow, self.scenario.heals, self.scenario.quiet, self.scenario.end];
        let later = |at: &Time| *at > self.now;
        let idle = awake().filter_map(|node| node.busy);
        let idle = idle.chain(self.nodes.iter().filter_map(|node| node.stalled));
        let steps =
            sends.chain(phases).chain(idle).chain(self.cuts.iter().map(|(_, until)| *until)).filter(later);
        let next = steps.chain(timers).chain(self.network.next()).min().unwrap_or(self.scenario.end);
        self.spinning = if next > self.now { 0 } else { self.spinning + 1 };
        if self.spinning > 1_000 {
            return Err("a timer spins".into());
        }
        self.now = self.now.max(next);
        Ok(())
    }

    /// A device's turn: timers, and its owner's wish to send.
    fn wake(&mut self, device: usize) -> Result<(), String> {
        let node = &mut self.nodes[device];
        if node.end_stall(self.now)? {
            self.work(device)?;
        } else if node.stalled.is_some() {
            return Ok(());
        }
        let node = &mut self.nodes[device];
        let due = node.link.poll_timeout().is_some_and(|at| at <= self.now);
        let free = node.busy.take_if(|until| *until <= self.now).is_some();
        if free {
            self.work(device)?;
        }
        let node = &mut self.nodes[device];
        let sends = node.next_send <= self.now && self.now < self.scenario.quiet && node.busy.is_none();
        if due {
            node.link.handle_timeout(self.now);
        }
        if sends {
            node.send(&mut self.dice, self.now);
            node.next_send = Time(self.now.0 + self.dice.between(1, self.scenario.pause * 2));
        }
        if due || sends { self.work(device) } else { Ok(()) }
    }

    /// What a shell does at the end of each wake-up.
    fn work(&mut self, device: usize) -> Result<(), String> {
        if self.nodes[device].stalled.is_some() {
            return Ok(());
        }
        while let Some(event) = self.nodes[device].take_event() {
            match &event {
                Event::Message { peer, message } => {
                    tell!(self, "{device}: {} of {} bytes from {peer:?}", message.kind, message.body.len());
                }
                other => tell!(self, "{device}: {other:?}"),
            }
            self.nodes[device].handle_event(event, &mut self.tag)?;
        }
        loop {
            let Node { link, batch, .. } = &mut self.nodes[device];
            let waiting = link.poll_transmit(batch, self.now);
            self.transmit(device);
            if !waiting {
                break;
            }
        }
        self.nodes[device].check_bounds(self.nodes.len())
    }

    fn transmit(&mut self, device: usize) {
        let weather = if self.now < self.scenario.heals { self.scenario.weather } else { Weather::FAIR };
        let stations: Vec<_> = self.nodes.iter().map(|node| (node.mac, node.reachable)).collect();
        for frame in self.nodes[device].batch.frames() {
            self.network.send(device, frame, &stations, &weather, &mut self.dice, self.now);
        }
        self.nodes[device].batch.clear();
    }

    /// Something happens to a device.
    fn blow(&mut self) -> Result<(), String> {
        self.next_blow = Time(self.now.0 + self.dice.between(1, self.scenario.blows * 2));
        let device = self.dice.index(self.nodes.len());
        match self.dice.below(8) {
            0 | 1 => {
                let until = Time(self.now.0 + self.dice.between(50_000, 1_000_000));
                tell!(self, "{device} is cut off until {} µs", until.0);
                self.nodes[device].reachable = false;
                self.cuts.push((device, until));
            }
            2 => self.restart(device, "is killed and starts again"),
            3 => {
                self.nodes[device].link.close(CloseReason::SHUTDOWN, self.now);
                self.work(device)?;
                self.restart(device, "stops and starts again");
            }
            4 => {
                let mac = fresh_mac(&mut self.macs);
                tell!(self, "{device} gets the address {mac}");
                let mtu = self.nodes[device].mtu;
                self.nodes[device].set_interface(mac, mtu);
            }
            5 => {
                let until = Time(self.now.0 + self.dice.between(50_000, 500_000));
                tell!(self, "{device} takes no events until {} µs", until.0);
                self.nodes[device].busy = Some(until);
            }
            6 => {
                let until = Time(self.now.0 + self.dice.between(50_000, 2_000_000)).min(self.scenario.heals);
                tell!(self, "{device} is stalled until {} µs", until.0);
                self.nodes[device].stalled = Some(until);
            }
            _ => {
                let (mac, mtu) = (self.nodes[device].mac, draw_mtu(&mut self.dice));
                tell!(self, "{device} gets the MTU {mtu}");
                self.nodes[device].set_interface(mac, mtu);
            }
        }
        self.work(device)
    }

    fn restart(&mut self, device: usize, how: &str) {
        tell!(self, "{device} {how}");
        let node = &mut self.nodes[device];
        self.former.add(node.tally);
        let (mac, mtu, reachable) = (node.mac, node.mtu, node.reachable);
        *node = Node::new(&self.scenario, device, mac, mtu, &mut self.dice, self.now);
        node.reachable = reachable;
    }

    /// Ends the cuts that are over; all are when the network heals.
    fn mend(&mut self) {
        let (now, heals) = (self.now, self.scenario.heals);
        let nodes = &mut self.nodes;
        self.cuts.retain(|(device, until)| {
            let over = *until <= now || heals <= now;
            nodes[*device].reachable |= over;
            !over
        });
    }

    fn report(&self) -> Report {
        let mut sum = self.former;
        self.nodes.iter().for_each(|node| sum.add(node.tally));
        let Tally { messages, parcels, ups, downs } = sum;
        Report { frames: self.network.carried(), messages, parcels, ups, downs }
    }
}

pub(super) fn fresh_mac(macs: &mut u8) -> Mac {
    *macs = macs.wrapping_add(1);
    Mac([2, 0x4c, 0, 0, 0, *macs])
}

fn draw_mtu(dice: &mut Dice) -> u32 {
    dice.pick(&[1280, 1500, 1500, 4000, 9000])
}

//! The segment: carries frames, wakes devices, and counts.

use crate::device::Device;
use crate::tally::Tally;
use control_core::seen::OpenSocket;
use core::fmt;
use core::time::Duration;
use frames::Mac;
use l2link::sim::{Dice, Network, Weather};
use l2link::{Batch, Time};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Segment {
    pub(crate) now: Time,
    pub(crate) size: Size,
    pub(crate) weather: Weather,
    pub(crate) dice: Dice,
    /// The relays, then the controls.
    pub(crate) devices: Vec<Device>,
    places: BTreeMap<Mac, usize>,
    network: Network,
    /// When devices want to be woken, and the same by device.
    alarms: BTreeSet<(Time, usize)>,
    alarm_of: Vec<Option<Time>>,
    batch: Batch,
    tally: Tally,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) relays: usize,
    pub(crate) controls: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.relays, self.controls)
    }
}

/// Frames that arrive within this time, in µs, are taken in one wake-up, as cards and kernels do it.
const WAKE_UP: u64 = 50;

impl Segment {
    /// A segment on which nobody lives yet.
    pub(crate) fn new(size: Size, seed: u64) -> Self {
        let relays = (0..size.relays).map(Device::relay);
        let devices: Vec<Device> = relays.chain((0..size.controls).map(Device::control)).collect();
        Self {
            now: Time(1_000_000),
            size,
            weather: Weather::FAIR,
            dice: Dice::new(seed),
            places: devices.iter().enumerate().map(|(place, device)| (device.mac, place)).collect(),
            alarm_of: vec![None; devices.len()],
            devices,
            network: Network::default(),
            alarms: BTreeSet::new(),
            batch: Batch::new(64, 1514),
            tally: Tally::default(),
        }
    }

    pub(crate) fn relays(&self) -> core::ops::Range<usize> {
        0..self.size.relays
    }

    pub(crate) fn controls(&self) -> core::ops::Range<usize> {
        self.size.relays..self.devices.len()
    }

    /// A device begins a life, or another one.
    pub(crate) fn start(&mut self, place: usize) {
        let (boot, mut seed) = (self.dice.draw(), [0; 32]);
        seed.copy_from_slice(&Dice::bytes(self.dice.draw(), 32));
        let (now, relays) = (self.now, self.size.relays);
        let device = &mut self.devices[place];
        device.kill();
        if place < relays {
            device.start_relay(boot, seed, now);
        } else {
            device.start_control(relays, boot, seed, now);
        }
        self.work(place);
    }

    /// A device dies without a word.
    pub(crate) fn kill(&mut self, place: usize) {
        self.devices[place].kill();
        self.work(place);
    }

    /// Programs of a control open sockets.
    pub(crate) fn open(&mut self, control: usize, sockets: impl IntoIterator<Item = OpenSocket>) {
        self.devices[control].sockets.extend(sockets);
        self.devices[control].hint(self.now);
        self.work(control);
    }

    /// Programs of a control close a socket.
    pub(crate) fn close(&mut self, control: usize, socket: &OpenSocket) {
        self.devices[control].sockets.remove(socket);
        self.devices[control].hint(self.now);
        self.work(control);
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(Time(next.0.next_multiple_of(WAKE_UP)));
            let mut awake = BTreeSet::new();
            while let Some((place, mut frame)) = self.network.arrived(self.now) {
                self.devices[place].receive(&mut frame, self.now);
                awake.insert(place);
            }
            while let Some((_, place)) = self.alarms.first().filter(|(at, _)| *at <= self.now).copied() {
                self.set_alarm(place, None);
                awake.insert(place);
            }
            awake.into_iter().for_each(|place| self.work(place));
        }
        self.now = self.now.max(end);
    }

    /// Lets time pass until everything is as it should be, and tells how long that took, and what was sent by then.
    pub(crate) fn settle(&mut self) -> Result<(Duration, Tally), String> {
        let begin = self.now;
        let mut before = self.tally();
        while self.now - begin < PATIENCE {
            self.run(STEP);
            let tally = self.tally();
            // Looking at all rules takes long: it can wait until nobody says anything any more.
            if core::mem::replace(&mut before, tally.clone()).messages == tally.messages && self.is_settled()
            {
                return Ok((self.now - begin - STEP, tally));
            }
        }
        Err(format!("after {PATIENCE:?}: {}", self.complaint()))
    }

    /// What was sent since the start.
    pub(crate) fn tally(&self) -> Tally {
        let messages = self.devices.iter().map(Device::messages).sum();
        Tally { messages, ..self.tally.clone() }
    }

    /// Bytes of the relays and of the controls.
    pub(crate) fn memory(&self) -> [i64; 2] {
        [self.relays(), self.controls()].map(|places| places.map(|place| self.devices[place].memory).sum())
    }

    fn is_settled(&self) -> bool {
        let live = |places: core::ops::Range<usize>| {
            places.filter(|place| self.devices[*place].core.is_some()).collect::<Vec<_>>()
        };
        let (relays, controls) = (live(self.relays()), live(self.controls()));
        let up =
            |places: &[usize], others| places.iter().all(|place| self.devices[*place].peers_up() == others);
        let rules: usize = controls.iter().map(|place| self.devices[*place].rules_expected()).sum();
        up(&relays, controls.len())
            && up(&controls, relays.len())
            && relays.iter().all(|place| self.devices[*place].rules() == rules as u64)
    }

    fn complaint(&self) -> String {
        let devices = self.devices.iter().filter(|device| device.core.is_some());
        let tell =
            |device: &Device| format!("{} {} up {} rules", device.name, device.peers_up(), device.rules());
        devices.map(tell).collect::<Vec<_>>().join(", ")
    }

    /// When something happens next.
    fn next(&self) -> Option<Time> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        [alarm, self.network.next()].into_iter().flatten().min()
    }

    /// A device's wake-up.
    fn work(&mut self, place: usize) {
        self.devices[place].work(self.now);
        loop {
            let waits = self.devices[place].transmit(&mut self.batch, self.now);
            for frame in self.batch.frames() {
                self.tally.send(frame);
                let Some(destination) = frame.first_chunk().map(|octets| Mac(*octets)) else { continue };
                if destination.is_multicast() {
                    for other in (0..self.devices.len()).filter(|other| *other != place) {
                        self.network.send_to(other, frame, &self.weather, &mut self.dice, self.now);
                    }
                } else if let Some(other) = self.places.get(&destination) {
                    self.network.send_to(*other, frame, &self.weather, &mut self.dice, self.now);
                }
            }
            self.batch.clear();
            if !waits {
                break;
            }
        }
        let alarm = self.devices[place].poll_timeout();
        self.set_alarm(place, alarm);
    }

    fn set_alarm(&mut self, place: usize, alarm: Option<Time>) {
        if let Some(before) = core::mem::replace(&mut self.alarm_of[place], alarm) {
            self.alarms.remove(&(before, place));
        }
        self.alarms.extend(alarm.map(|at| (at, place)));
    }
}

/// How exactly it is told how long something took.
const STEP: Duration = Duration::from_millis(5);
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

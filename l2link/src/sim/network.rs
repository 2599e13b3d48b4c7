//! The bad network.

use super::Dice;
use crate::Time;
use frames::Mac;
use std::collections::BTreeMap;

/// How bad it is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Frames lost, of a thousand.
    pub loss: u64,
    /// Frames delivered twice, of a thousand.
    pub repeat: u64,
    /// Frames of which bits flip, of a thousand.
    pub corrupt: u64,
    /// Least delay in µs.
    pub delay: u64,
    /// Further delay, different for each frame, in µs: more than the time between frames reorders them.
    pub jitter: u64,
}

impl Weather {
    /// A sound LAN.
    pub const FAIR: Self = Self { loss: 0, repeat: 0, corrupt: 0, delay: 50, jitter: 10 };
}

/// Frames on their way, by arrival.
#[derive(Debug, Default)]
pub struct Network {
    under_way: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    sent: u64,
}

impl Network {
    /// Sends a frame to every station that it is for: `stations` are the address of each and whether it is reachable.
    pub(super) fn send(
        &mut self,
        sender: usize,
        frame: &[u8],
        stations: &[(Mac, bool)],
        weather: &Weather,
        dice: &mut Dice,
        now: Time,
    ) {
        let Some(destination) = frame.first_chunk().map(|octets| Mac(*octets)) else { return };
        for (station, (mac, reachable)) in stations.iter().enumerate() {
            let meant = destination.is_multicast() || destination == *mac;
            if station != sender && meant && *reachable && stations[sender].1 {
                self.send_to(station, frame, weather, dice, now);
            }
        }
    }

    /// Sends a frame to one station, which may get it once, twice or never.
    pub fn send_to(&mut self, station: usize, frame: &[u8], weather: &Weather, dice: &mut Dice, now: Time) {
        if dice.chance(weather.loss) {
            return;
        }
        self.carry(station, frame, weather, dice, now);
        if dice.chance(weather.repeat) {
            self.carry(station, frame, weather, dice, now);
        }
    }

    fn carry(&mut self, station: usize, frame: &[u8], weather: &Weather, dice: &mut Dice, now: Time) {
        let mut frame = frame.to_vec();
        if dice.chance(weather.corrupt) {
            for _ in 0..dice.between(1, 3) {
                let byte = dice.index(frame.len());
                frame[byte] ^= 1 << dice.below(8);
            }
            if dice.chance(200) {
                frame.truncate(dice.index(frame.len()) + 1);
            }
        }
        let arrival = Time(now.0 + weather.delay + dice.below(weather.jitter + 1));
        self.sent += 1;
        self.under_way.insert((arrival, self.sent), (station, frame));
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// A frame that has arrived by now, and where.
    pub fn arrived(&mut self, now: Time) -> Option<(usize, Vec<u8>)> {
        if self.next()? > now {
            return None;
        }
        self.under_way.pop_first().map(|(_, delivery)| delivery)
    }

    /// Frames carried so far.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.sent
    }
}

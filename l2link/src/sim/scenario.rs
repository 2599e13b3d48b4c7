//! What a seed stands for.

use super::{Dice, Weather};
use crate::{Config, Keys, PrivateKey, Secret, Security, Time};
use core::time::Duration;
use frames::discovery::{Protection, Role};
use frames::{BootId, Mac};

/// A segment, its network and how long each phase takes.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// How many of the devices are relays; they come first.
    pub relays: usize,
    /// How many are controls.
    pub controls: usize,
    /// Whether there is a psk, or key pairs.
    pub secured: bool,
    /// Whether there are key pairs.
    pub keys: bool,
    /// Protection of session frames.
    pub control: Protection,
    /// Protection of data frames.
    pub data: Protection,
    /// The network until it heals.
    pub weather: Weather,
    /// When it heals.
    pub heals: Time,
    /// When sending stops.
    pub quiet: Time,
    /// When everything must have arrived.
    pub end: Time,
    /// Longest silence of a device.
    pub keepalive: Duration,
    /// Keepalives missed until a peer counts as lost.
    pub missed: u32,
    /// Age at which keys are replaced.
    pub rekey_after: Duration,
    /// Mean pause between two things that a device sends, in µs.
    pub pause: u64,
    /// Mean pause between two blows (restart, cut, stall, new address, new MTU), in µs.
    pub blows: u64,
}

/// The longest time from healing to "up" that is allowed besides the liveness time-out: the next hello of a device that
/// misses somebody (half a second), twice, as the first handshake may meet what is left of an old one, and another second.
const CONVERGES: Duration = Duration::from_secs(2);
/// Time for what is queued to arrive.
const DRAINS: Duration = Duration::from_secs(2);
/// Time in which a session that ends by itself does so: some do nothing for this long.
const LONG: Duration = Duration::from_secs(30);

impl Scenario {
    /// Draws one.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let secured = !dice.chance(200);
        let (control, data) = if secured {
            let sealed = [Protection::SEALED, Protection::ENCRYPTED];
            let any = [Protection::SEALED, Protection::SEALED, Protection::ENCRYPTED, Protection::CLEAR];
            (dice.pick(&sealed), dice.pick(&any))
        } else {
            (Protection::CLEAR, Protection::CLEAR)
        };
        let mut up_to_one_of = |worst: &[u64]| {
            let worst = dice.pick(worst);
            dice.between(0, worst)
        };
        let weather = Weather {
            loss: up_to_one_of(&[0, 20, 100, 300, 500]),
            repeat: up_to_one_of(&[0, 50, 300]),
            corrupt: up_to_one_of(if secured { &[0, 20, 150] } else { &[0] }),
            delay: up_to_one_of(&[20, 500]),
            jitter: up_to_one_of(&[10, 1000, 8000]),
        };
        let heals = Time(dice.between(500_000, 3_000_000));
        let keepalive = dice.pick(&[Config::KEEPALIVE, Config::KEEPALIVE, Duration::from_millis(400)]);
        let missed = dice.pick(&[3, 3, 5, 10]);
        let quiet = heals + keepalive * missed + CONVERGES;
        Self {
            relays: dice.pick(&[1, 1, 2]),
            controls: dice.pick(&[1, 1, 2, 3]),
            secured,
            control,
            data,
            weather,
            heals,
            quiet,
            end: quiet + if dice.chance(50) { LONG } else { DRAINS },
            rekey_after: Duration::from_millis(dice.pick(&[50, 300, 1_000, 120_000])),
            keepalive,
            missed,
            pause: dice.between(2_000, 60_000),
            blows: dice.between(100_000, 2_000_000),
            keys: secured && dice.chance(400),
        }
    }

    /// Whether a parcel that arrives must be one that was sent.
    #[must_use]
    pub fn protects_parcels(&self) -> bool {
        self.data != Protection::CLEAR || self.weather.corrupt == 0
    }

    /// The security of a device, who knows all of the other role.
    #[allow(clippy::cast_possible_truncation, reason = "there are a few devices")]
    fn security(&self, device: usize) -> Security {
        let psk = Secret::from([42; 32]);
        match (self.secured, self.keys) {
            (false, _) => Security::None,
            (true, false) => Security::Psk(psk),
            (true, true) => {
                let key = |device: usize| PrivateKey::new(&[device as u8 + 1; 32]);
                let is_relay = |device: &usize| *device < self.relays;
                let others =
                    (0..self.relays + self.controls).filter(|other| is_relay(other) != is_relay(&device));
                let peer = |other| (self.name(other), key(other).public());
                let (private, peers) = (key(device), others.map(peer).collect());
                Security::Keys(Box::new(Keys { private, psk: (self.relays > 1).then_some(psk), peers }))
            }
        }
    }

    fn role(&self, device: usize) -> Role {
        if device < self.relays { Role::Relay } else { Role::Control }
    }

    fn name(&self, device: usize) -> String {
        format!("{}{device}", self.role(device))
    }

    /// The configuration of a device in one of its lives.
    #[must_use]
    pub fn config(&self, device: usize, boot: u64, mac: Mac, mtu: u32) -> Config {
        Config {
            name: self.name(device),
            role: self.role(device),
            boot: BootId(boot),
            mac,
            ethertype: frames::header::DEFAULT_ETHERTYPE,
            mtu,
            security: self.security(device),
            control: self.control,
            data: self.data,
            keepalive: self.keepalive,
            missed: self.missed,
        }
    }
}

//! Devices on a segment that carries every frame in no time, driven step by step.
#![allow(dead_code, reason = "every test binary uses its own part")]

use core::time::Duration;
use frames::data::Tunnel;
use frames::discovery::{Protection, Role};
use frames::message::MessageType;
use frames::route::{RoutesDigest, TableDigest};
use frames::{BootId, DropReason, Mac};
use l2link::{Batch, Config, DownReason, Event, Keys, Link, PeerId, PrivateKey, Rx, Security, Time};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

pub(crate) fn device(station: usize, mac: u8) -> Config {
    let role = [Role::Relay, Role::Control][station];
    Config {
        name: format!("{role}{station}"),
        role,
        boot: BootId(station as u64 + 1),
        mac: Mac([2, 0, 0, 0, 0, mac]),
        ethertype: 0x88b5,
        mtu: 1500,
        security: psk(3),
        control: Protection::SEALED,
        data: Protection::SEALED,
        keepalive: Config::KEEPALIVE,
        missed: Config::MISSED,
    }
}

pub(crate) fn psk(key: u8) -> Security {
    Security::Psk([key; 32].into())
}

pub(crate) fn private_key(byte: u8) -> PrivateKey {
    PrivateKey::new(&[byte; 32])
}

/// Mode `keys` with this key of the device, and those of others.
pub(crate) fn keys(own: u8, psk: Option<u8>, peers: &[(&str, u8)]) -> Security {
    let public = |(name, byte): &(&str, u8)| ((*name).to_owned(), private_key(*byte).public());
    let psk = psk.map(|psk| [psk; 32].into());
    let peers = peers.iter().map(public).collect();
    Security::Keys(Box::new(Keys { private: private_key(own), psk, peers }))
}

/// As [`device`], in mode `keys`: the relay's key is 10, the control's 11.
pub(crate) fn keyed(station: usize, mac: u8) -> Config {
    let security = [keys(10, None, &[("control1", 11)]), keys(11, None, &[("relay0", 10)])];
    let security = security.into_iter().nth(station).unwrap();
    Config { security, ..device(station, mac) }
}

/// A segment that carries every frame in no time.
#[derive(Default)]
pub(crate) struct Segment {
    pub(crate) now: Time,
    pub(crate) cut: bool,
    /// Station of which nothing arrives.
    pub(crate) mute: Option<usize>,
    /// Kind of frames of which none arrives.
    pub(crate) lost: Option<u8>,
    pub(crate) stations: Vec<Station>,
    pub(crate) wire: Vec<(Mac, Vec<u8>)>,
}

pub(crate) struct Station {
    pub(crate) link: Link,
    pub(crate) mac: Mac,
    pub(crate) batch: Batch,
    pub(crate) told: Vec<String>,
    pub(crate) parcels: Vec<Vec<u8>>,
}

impl Station {
    pub(crate) fn start(&mut self, config: Config, now: Time) {
        self.link = Link::new(config, [self.mac.0[5]; 32], now);
        self.batch = Batch::new(80, self.link.frame_len_max());
    }
}

/// A relay (station 0) and a control (station 1) that have met.
pub(crate) fn met(devices: [Config; 2]) -> Segment {
    let mut segment = Segment::of(devices);
    segment.run(2 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (vec!["up".to_owned()], vec!["up".to_owned()]));
    segment
}

impl Segment {
    /// One with these devices, which have yet to say anything.
    pub(crate) fn of<const COUNT: usize>(devices: [Config; COUNT]) -> Self {
        let mut segment = Self::default();
        devices.into_iter().for_each(|device| segment.add(device));
        segment
    }

    pub(crate) fn add(&mut self, config: Config) {
        let mac = config.mac;
        let link = Link::new(config, [mac.0[5]; 32], self.now);
        let batch = Batch::new(80, link.frame_len_max());
        self.stations.push(Station { link, mac, batch, told: Vec::new(), parcels: Vec::new() });
    }

    /// Lets some µs pass.
    pub(crate) fn run(&mut self, micros: u64) {
        let end = self.now + Duration::from_micros(micros);
        loop {
            for station in 0..self.stations.len() {
                self.stations[station].link.handle_timeout(self.now);
                self.flush(station);
            }
            self.deliver();
            let next = self.stations.iter().filter_map(|station| station.link.poll_timeout()).min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = end;
    }

    /// Puts what a station has to send on the wire; returns how many frames.
    pub(crate) fn flush(&mut self, station: usize) -> usize {
        let before = self.wire.len();
        loop {
            let station = &mut self.stations[station];
            let waiting = station.link.poll_transmit(&mut station.batch, self.now);
            self.wire.extend(station.batch.frames().map(|frame| (station.mac, frame.to_vec())));
            station.batch.clear();
            if !waiting {
                return self.wire.len() - before;
            }
        }
    }

    /// Carries what is on the wire, and the answers to it.
    pub(crate) fn deliver(&mut self) {
        while !self.wire.is_empty() {
            for (sender, mut frame) in std::mem::take(&mut self.wire) {
                if self.mute.is_some_and(|mute| self.stations[mute].mac == sender)
                    || self.lost == Some(frame[15])
                {
                    continue;
                }
                let destination = Mac(*frame.first_chunk().unwrap());
                for station in &mut self.stations {
                    let meant = destination.is_multicast() || destination == station.mac;
                    if !meant || station.mac == sender || self.cut {
                        continue;
                    }
                    let mut next = Some(station.link.handle_frame(&mut frame, self.now));
                    while let Some(received) = next {
                        if let Rx::Parcel { parcel, .. } = received {
                            station.parcels.push(parcel.to_vec());
                        }
                        next = station.link.next_parcel(&mut frame);
                    }
                }
            }
            for station in 0..self.stations.len() {
                self.take_events(station);
                self.flush(station);
            }
        }
    }

    pub(crate) fn take_events(&mut self, station: usize) {
        let station = &mut self.stations[station];
        while let Some(event) = station.link.poll_event() {
            station.told.push(match event {
                Event::PeerUp { .. } => "up".to_owned(),
                Event::PeerDown { reason, .. } => {
                    let reason: DownReason = reason;
                    format!("down: {reason}")
                }
                Event::Message { message, .. } => MessageType::to_string(&message.kind),
                Event::RoutesDigest { digest, .. } => {
                    format!("routes up to {}: {}", digest.request, digest.table)
                }
                Event::Refused { name, reason, .. } => format!("refused {name}: {reason}"),
            });
        }
    }

    /// The relay says from now on that it has no routes after this request.
    pub(crate) fn say_routes(&mut self, request: u32) {
        let digest = RoutesDigest { request, table: TableDigest::default() };
        self.stations[0].link.set_routes_digest(PeerId(0), Some(digest));
    }

    /// What a station's link told its owner since the last call.
    pub(crate) fn told(&mut self, station: usize) -> Vec<String> {
        self.take_events(station);
        std::mem::take(&mut self.stations[station].told)
    }

    pub(crate) fn send_parcel(&mut self, station: usize, parcel: &[u8]) -> Result<(), DropReason> {
        let sender = &mut self.stations[station];
        sender.link.send_parcel(PeerId(0), Tunnel(5), parcel, &mut sender.batch, self.now)?;
        self.flush(station);
        self.deliver();
        Ok(())
    }

    pub(crate) fn send_parcel_unheard(&mut self, station: usize, parcel: &[u8]) {
        let sender = &mut self.stations[station];
        sender.link.send_parcel(PeerId(0), Tunnel(5), parcel, &mut sender.batch, self.now).unwrap();
        self.flush(station);
    }

    pub(crate) fn parcels(&mut self, station: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.stations[station].parcels)
    }
}

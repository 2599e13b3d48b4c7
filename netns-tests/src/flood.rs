//! A stranger at the segment who sends as many frames as it can.

use crate::netns::Netns;
use frames::discovery::{Handshake, Hello, Mode, Protection, Role};
use frames::header::{EthernetHeader, Flags, HEADERS_LEN, Kind, LinkHeader, TAG_LEN};
use frames::{BootId, Mac, SessionIndex};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// What is sent.
#[derive(Debug, Clone)]
pub enum Sort {
    /// Hellos of controls, each of another name and address, with a tag that is a guess.
    Hellos,
    /// First handshake messages from one address, each another one, with a tag that is a guess.
    Inits,
    /// Hellos and first handshake messages in clear, from as many addresses as there are frames.
    Clear,
    /// Keepalives of sessions that there are not.
    Sessions,
    /// Genuine frames, recorded before, again and again.
    Replayed(Vec<Vec<u8>>),
}

/// Frames from a namespace of the segment.
#[derive(Debug)]
pub struct Flood<'a> {
    /// From where.
    pub netns: &'a Netns,
    /// What.
    pub sort: Sort,
    /// To whom, besides all.
    pub relay: Mac,
    /// The mode of those who are flooded, and how they protect frames.
    pub mode: (Mode, Protection),
    /// Frames a second.
    pub rate: u32,
}

impl Flood<'_> {
    /// Sends while `during` runs, which learns how many frames were sent so far. Returns what it returns.
    ///
    /// # Panics
    /// When nothing can be sent.
    pub fn run<T>(&self, during: impl FnOnce(&AtomicU64) -> T) -> T {
        let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| self.netns.enter(|| self.send(&sent, &stop)));
            // Also when `during` panics: the scope waits for its threads.
            let _stopper = Stopper(&stop);
            during(&sent)
        })
    }

    fn send(&self, sent: &AtomicU64, stop: &AtomicBool) {
        let (mut sender, _) = channel();
        let mut forger = Forger { flood: self, random: 0x9e37_79b9_7f4a_7c15, serial: 0 };
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            // What is due goes out in one burst; what a busy machine has missed for long is not made up for.
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            let due = micros.saturating_mul(self.rate.into()) / 1_000_000;
            let late = due.saturating_sub(forger.serial);
            forger.serial = due - late.min(u64::from(self.rate) / 50);
            while forger.serial < due {
                let frame = forger.next();
                if sender.send_to(&frame, None).is_some_and(|result| result.is_ok()) {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
            thread::sleep(Duration::from_micros(500));
        }
    }
}

struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Forger<'a> {
    flood: &'a Flood<'a>,
    random: u64,
    /// Frames that were made, and those that were left out.
    serial: u64,
}

impl Forger<'_> {
    fn next(&mut self) -> Vec<u8> {
        self.serial += 1;
        let even = self.serial.is_multiple_of(2);
        let to = self.flood.relay;
        match &self.flood.sort {
            Sort::Hellos => self.hello(Flags::GATED),
            Sort::Inits => self.init([2, 0, 0, 0, 0, 0x66], Flags::GATED),
            Sort::Clear if even => self.hello(Flags::empty()),
            Sort::Clear => {
                let source = self.address();
                self.init(source, Flags::empty())
            }
            Sort::Sessions => {
                let (source, body) = (self.address(), [0; 24]);
                let index = SessionIndex(u32::try_from(self.random() & 0xffff_ffff).expect("32 bits"));
                let frame = self.frame(to, source, Kind::KEEPALIVE, Flags::SEALED, &body);
                set_receiver(frame, index)
            }
            Sort::Replayed(frames) => {
                let serial = usize::try_from(self.serial).unwrap_or(0);
                frames[serial % frames.len()].clone()
            }
        }
    }

    fn hello(&mut self, flags: Flags) -> Vec<u8> {
        let (source, body) = (self.address(), self.hello_body());
        self.frame(Mac::LINK_GROUP, source, Kind::HELLO, flags, &body)
    }

    fn init(&mut self, source: [u8; 6], flags: Flags) -> Vec<u8> {
        let mut noise = self.hello_body();
        if self.flood.mode.0 != Mode::NONE {
            noise.extend((0..96).map(|at| at ^ 0x5a));
        }
        let association = self.random();
        let mut body = [0; 256];
        let init = Handshake { sender: SessionIndex(7), association, noise: &noise };
        let length = init.emit(&mut body).expect("room for a handshake");
        self.frame(self.flood.relay, source, Kind::HANDSHAKE_INIT, flags, &body[..length])
    }

    fn hello_body(&mut self) -> Vec<u8> {
        let name = format!("stranger{}", self.random() % 1_000_000);
        let (mode, protection) = self.flood.mode;
        let boot = BootId(self.random());
        let hello =
            Hello { role: Role::Control, mode, data: protection, control: protection, boot, name: &name };
        let mut body = [0; 128];
        let length = hello.emit(&mut body).expect("room for a hello");
        body[..length].to_vec()
    }

    fn frame(&mut self, to: Mac, source: [u8; 6], kind: Kind, flags: Flags, body: &[u8]) -> Vec<u8> {
        let flags = if self.flood.mode.0 == Mode::NONE { Flags::empty() } else { flags };
        let ethernet = EthernetHeader { destination: to, source: Mac(source), ethertype: 0x88b5.into() };
        let length = u16::try_from(body.len()).expect("a short body");
        let header = LinkHeader::new(kind, flags, length, SessionIndex(0), 0);
        let mut frame = [ethernet.as_bytes(), header.as_bytes(), body].concat();
        if !flags.is_empty() {
            frame.extend((0..TAG_LEN / 8).flat_map(|_| self.random().to_be_bytes()));
        }
        frame.resize(frame.len().max(60), 0);
        frame
    }

    fn address(&mut self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, _] = self.random().to_be_bytes();
        [2, a, b, c, d, e]
    }

    /// xorshift64: cheap, and the same in each run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn set_receiver(mut frame: Vec<u8>, receiver: SessionIndex) -> Vec<u8> {
    let place = HEADERS_LEN - 12;
    frame[place..place + 4].copy_from_slice(&receiver.0.to_be_bytes());
    frame
}

/// Notes frames of the link protocol that a namespace sends.
#[derive(Debug)]
pub struct Recorder;

impl Recorder {
    /// Different frames of these kinds that leave by `lan0` of `netns` while `during` runs.
    ///
    /// # Panics
    /// When nothing can be received.
    pub fn record(netns: &Netns, kinds: &[Kind], during: impl FnOnce()) -> Vec<Vec<u8>> {
        let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let recorder = scope.spawn(|| netns.enter(|| record(kinds, &ready, &stop)));
            while !ready.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            {
                let _stopper = Stopper(&stop);
                during();
            }
            recorder.join().expect("a recorder")
        })
    }
}

fn record(kinds: &[Kind], ready: &AtomicBool, stop: &AtomicBool) -> Vec<Vec<u8>> {
    let (_, mut receiver) = channel();
    let own = own_mac();
    ready.store(true, Ordering::Relaxed);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(frame) = receiver.next() else { continue };
        let ours = frame.len() > HEADERS_LEN && frame[12..14] == [0x88, 0xb5] && frame[6..12] == own.0;
        if ours
            && kinds.iter().any(|kind| kind.0 == frame[15])
            && !recorded.iter().any(|known| known == frame)
        {
            recorded.push(frame.to_vec());
        }
    }
    recorded
}

fn channel() -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let config = Config { read_timeout: Some(Duration::from_millis(20)), ..Config::default() };
    match pnet_datalink::channel(&lan0(), config) {
        Ok(Channel::Ethernet(sender, receiver)) => (sender, receiver),
        other => panic!("no channel: {:?}", other.err()),
    }
}

fn lan0() -> pnet_datalink::NetworkInterface {
    let found = pnet_datalink::interfaces().into_iter().find(|interface| interface.name == "lan0");
    found.expect("an interface lan0")
}

fn own_mac() -> Mac {
    Mac(lan0().mac.expect("an address").octets())
}

/// The address of `lan0` in a namespace.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn mac_of(netns: &Netns) -> Mac {
    netns.enter(own_mac)
}

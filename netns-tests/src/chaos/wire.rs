//! The fault injector: a bad piece of cable, for kernels without netem.
//!
//! Two interfaces of a namespace are joined by two threads, one for each direction, each with its packet socket. A thread
//! takes a frame, asks [`Fates`] what becomes of it by the current [`Plan`], and keeps what goes on in order of its time. It
//! looks once a millisecond at the least, so that is how exact delays are. It holds so many frames at most, and what is
//! beyond that is lost, and counted, as on a switch.

use super::plan::{Fate, Fates, Plan};
use crate::netns::Netns;
use nix::sys::socket::{setsockopt, sockopt};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};
use socket2::{Domain, Protocol, Socket, Type};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A bad wire between two interfaces; dropping it cuts it.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    inject: [Sender<Vec<u8>>; 2],
    threads: Vec<JoinHandle<()>>,
}

/// Frames since the wire was made, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came.
    pub taken: u64,
    /// Those of them of which no copy went on.
    pub lost: u64,
    /// Frames that the storm or [`Wire::inject`] sent.
    pub made: u64,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    /// Grows with each new plan.
    version: AtomicU64,
    stop: AtomicBool,
    taken: AtomicU64,
    lost: AtomicU64,
    made: AtomicU64,
}

impl Wire {
    /// Joins two interfaces of a namespace. `stations` are the addresses of who is behind each, at whom a storm aims.
    ///
    /// # Panics
    /// When there is no such interface.
    #[must_use]
    pub fn new(netns: &Netns, ends: [&str; 2], stations: [[u8; 6]; 2], seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let [(to_first, from_first), (to_second, from_second)] = netns.enter(|| ends.map(open));
        let (inject_second, injected_second) = mpsc::channel();
        let (inject_first, injected_first) = mpsc::channel();
        let ways = [(from_first, to_second, injected_second), (from_second, to_first, injected_first)];
        let threads = ways.into_iter().enumerate().map(|(direction, (from, to, injected))| {
            let mut way = Way {
                shared: Arc::clone(&shared),
                direction,
                station: stations[1 - direction],
                fates: Fates::new(seed.wrapping_mul(2).wrapping_add(direction as u64)),
                waiting: BinaryHeap::new(),
                serial: 0,
                injected,
            };
            thread::spawn(move || way.run(from, to))
        });
        let threads = threads.collect();
        Self { shared, inject: [inject_second, inject_first], threads }
    }

    /// Has it do this from now on.
    ///
    /// # Panics
    /// When one of its threads has panicked.
    pub fn set(&self, plan: Plan) {
        *self.shared.plan.lock().expect("a plan") = plan;
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// Has it do nothing to the frames from now on.
    pub fn heal(&self) {
        self.set(Plan::default());
    }

    /// Sends a frame in a direction: 0 to the second end, 1 to the first.
    ///
    /// # Panics
    /// When that direction's thread has panicked.
    pub fn inject(&self, direction: usize, frame: Vec<u8>) {
        self.inject[direction].send(frame).expect("a wire that is whole");
    }

    /// What has crossed it.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { taken, lost, made, .. } = &*self.shared;
        Counts { taken: read(taken), lost: read(lost), made: read(made) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has said already what was wrong.
            let _ = thread.join();
        }
    }
}

/// One direction.
struct Way {
    shared: Arc<Shared>,
    direction: usize,
    station: [u8; 6],
    fates: Fates,
    /// Frames under way, the next to be sent first; the number keeps those of one time in order.
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    serial: u64,
    injected: Receiver<Vec<u8>>,
}

impl Way {
    fn run(&mut self, mut from: Box<dyn DataLinkReceiver>, mut to: Box<dyn DataLinkSender>) {
        let (mut plan, mut version) = (Plan::default(), 0);
        let mut last_storm = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let current = self.shared.version.load(Ordering::Acquire);
            if current != version {
                (plan, version) = (self.shared.plan.lock().expect("a plan").clone(), current);
                last_storm = Instant::now();
            }
            // Also an error: none came in time, or the interface is down.
            match from.next() {
                Ok(frame) => self.take(&plan, frame),
                Err(error) if error.kind() != std::io::ErrorKind::TimedOut => thread::sleep(TICK),
                Err(_) => {}
            }
            let now = Instant::now();
            let due = u128::from(plan.storm) * (now - last_storm).as_micros() / 1_000_000;
            if due >= 1 {
                last_storm = now;
                // What it is late with by more is left out: the storm must not drown the wire itself.
                for _ in 0..due.min(STORM_AT_ONCE) {
                    let frame = self.fates.bogus(self.station);
                    self.made(&mut *to, &frame);
                }
            }
            for frame in self.injected.try_iter().take(INJECTED_AT_ONCE).collect::<Vec<_>>() {
                self.made(&mut *to, &frame);
            }
            self.send_due(&mut *to, now);
        }
    }

    fn take(&mut self, plan: &Plan, frame: &[u8]) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        let mut fates = self.fates.decide(plan, self.direction, frame);
        if self.waiting.len() >= MOST_WAITING {
            fates.clear();
        }
        if fates.is_empty() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        for Fate { delay, frame } in fates {
            self.serial += 1;
            self.waiting.push(Reverse((now + delay, self.serial, frame)));
        }
    }

    fn send_due(&mut self, to: &mut dyn DataLinkSender, now: Instant) {
        while let Some(Reverse((time, ..))) = self.waiting.peek()
            && *time <= now.max(Instant::now())
        {
            if let Some(Reverse((_, _, frame))) = self.waiting.pop() {
                // An interface that is down loses it, as a cable would.
                let _ = to.send_to(&frame, None);
            }
        }
    }

    fn made(&self, to: &mut dyn DataLinkSender, frame: &[u8]) {
        self.shared.made.fetch_add(1, Ordering::Relaxed);
        let _ = to.send_to(frame, None);
    }
}

/// A channel for all frames of an interface, of any length. Both directions must share it: the kernel does not give a packet
/// socket back what was sent by it, but what was sent by another.
fn open(name: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let interfaces = pnet_datalink::interfaces();
    let interface = interfaces.iter().find(|interface| interface.name == name).expect("the wire's interface");
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).expect("a packet socket");
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("a large buffer");
    let config = Config {
        read_buffer_size: LONGEST,
        write_buffer_size: LONGEST,
        read_timeout: Some(TICK),
        write_timeout: Some(TICK),
        socket_fd: Some(socket.into_raw_fd()),
        ..Config::default()
    };
    match pnet_datalink::channel(interface, config) {
        Ok(Channel::Ethernet(sender, receiver)) => (sender, receiver),
        Ok(_) => unreachable!("the only kind of channel"),
        Err(error) => panic!("a channel on {name}: {error}"),
    }
}

/// How often it looks for what is due.
const TICK: Duration = Duration::from_millis(1);
/// Bytes of the longest frame.
const LONGEST: usize = 16 << 10;
/// Bytes of the receive buffer: some 5,000 frames.
const BUFFER: usize = 16 << 20;
/// Frames under way at most: at 100,000 a second what 0.2 s of delay hold.
const MOST_WAITING: usize = 20_000;
/// Frames of a storm between two looks at the real ones.
const STORM_AT_ONCE: u128 = 64;
/// Frames of [`Wire::inject`] between two looks.
const INJECTED_AT_ONCE: usize = 16;

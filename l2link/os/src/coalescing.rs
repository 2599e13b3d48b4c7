//! [`Coalescing`]: many frames with one wake.
//!
//! A frame that somebody waits for has the kernel wake them, or at least look whether they are awake. Where many come one after the
//! other, as those of a transfer do, that adds up. So while many come nobody waits for them: after the
//! socket was read empty, a timer tells when to look again. Network cards do the same with their interrupts (`rx-usecs` of ethtool(8)).
//! As soon as few come, each wakes as ever.

use crate::clock;
use core::time::Duration;
use l2link::Time;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Of one socket: its events come by this.
#[derive(Debug)]
pub(crate) struct Coalescing {
    timer: TimerFd,
    /// When the timer rings, or rang last.
    rings: Time,
    /// Where events go, while any are wanted.
    wanted: Option<(Registry, Token, Interest)>,
    /// Whether each frame makes an event, and not only the timer.
    watched: bool,
    rate: Rate,
}

/// How often frames come.
#[derive(Debug, Default)]
struct Rate {
    since: Time,
    frames: u64,
    /// Whether many came in the last window.
    many: bool,
}

/// How long after it was read empty a socket is looked at again: short beside the time for which packets of a transfer wait elsewhere.
const PERIOD: Duration = Duration::from_micros(50);
const WINDOW: Duration = Duration::from_millis(1);
/// Frames in a window of which three have one wake then. Half as many still go on by the timer.
const MANY: u64 = 60;

impl Coalescing {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(Self { timer, rings: Time(0), wanted: None, watched: false, rate: Rate::default() })
    }

    /// As [`mio::event::Source::register`] of the socket.
    pub(crate) fn register(
        &mut self,
        socket: RawFd,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.wanted = Some((registry.try_clone()?, token, interests));
        SourceFd(&self.timer.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)?;
        self.watched = true;
        SourceFd(&socket).register(registry, token, interests)
    }

    /// As [`mio::event::Source::deregister`] of the socket.
    pub(crate) fn deregister(&mut self, socket: RawFd, registry: &Registry) -> io::Result<()> {
        self.wanted = None;
        SourceFd(&self.timer.as_fd().as_raw_fd()).deregister(registry)?;
        if core::mem::take(&mut self.watched) { SourceFd(&socket).deregister(registry) } else { Ok(()) }
    }

    /// So many frames were taken.
    pub(crate) fn note(&mut self, frames: usize) {
        self.rate.frames += frames as u64;
    }

    /// The socket was read empty. An event tells when to read it again: the next frame's, or the timer's.
    pub(crate) fn rest(&mut self, socket: RawFd) -> io::Result<()> {
        let now = clock::now();
        let many = self.rate.follow(now);
        let Some((registry, token, interests)) = &self.wanted else { return Ok(()) };
        match (many, self.watched) {
            (true, true) => SourceFd(&socket).deregister(registry)?,
            // If a frame has come meanwhile, that makes an event as well.
            (false, false) => SourceFd(&socket).register(registry, *token, *interests)?,
            _ => {}
        }
        self.watched = !many;
        if many && self.rings <= now {
            self.timer.set(Expiration::OneShot(PERIOD.into()), TimerSetTimeFlags::empty())?;
            self.rings = now + PERIOD;
        }
        Ok(())
    }
}

impl Rate {
    /// Whether many frames come.
    fn follow(&mut self, now: Time) -> bool {
        let window = now - self.since;
        if window >= WINDOW {
            let least = if self.many { MANY / 2 } else { MANY };
            self.many =
                u128::from(self.frames) * WINDOW.as_micros() >= u128::from(least) * window.as_micros();
            (self.since, self.frames) = (now, 0);
        }
        self.many
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const TOKEN: Token = Token(3);

    #[test]
    fn many_frames_are_sixty_in_a_millisecond_at_first_and_half_of_that_then() {
        let mut rate = Rate::default();
        let mut at = |ms: u64, frames| {
            rate.frames += frames;
            rate.follow(Time(1000 * ms))
        };
        assert!(!at(10, 100), "in 10 ms");
        assert!(!at(11, 59));
        assert!(at(12, 60));
        assert!(at(12, 0), "the window is not over");
        assert!(at(13, 30));
        assert!(!at(14, 29));
        assert!(!at(15, 59));
    }

    /// A socket, and who sends to it.
    struct Bench {
        sender: UnixStream,
        socket: UnixStream,
        coalescing: Coalescing,
        poll: Poll,
    }

    impl Bench {
        fn new() -> Self {
            let (sender, socket) = UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            let (poll, mut coalescing) = (Poll::new().unwrap(), Coalescing::new().unwrap());
            coalescing.register(socket.as_raw_fd(), poll.registry(), TOKEN, Interest::READABLE).unwrap();
            Self { sender, socket, coalescing, poll }
        }

        /// Whether there is an event within a time.
        fn has_event(&mut self, within: Duration) -> bool {
            let mut events = Events::with_capacity(4);
            self.poll.poll(&mut events, Some(within)).unwrap();
            events.iter().all(|event| event.token() == TOKEN) && !events.is_empty()
        }

        /// Reads the socket empty, and has that be so many frames.
        fn read(&mut self, frames: usize) {
            let mut buffer = [0; 64];
            while self.socket.read(&mut buffer).is_ok() {}
            self.coalescing.note(frames);
            self.coalescing.rest(self.socket.as_raw_fd()).unwrap();
        }

        /// Has many frames come until the socket is not watched.
        fn transfer(&mut self) {
            let begin = Instant::now();
            while self.coalescing.watched {
                self.read(100_000);
                assert!(begin.elapsed() < Duration::from_secs(10));
            }
        }
    }

    #[test]
    fn each_of_few_frames_makes_an_event() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            assert!(!bench.has_event(Duration::ZERO));
            bench.sender.write_all(b"x").unwrap();
            assert!(bench.has_event(Duration::ZERO));
            bench.read(1);
        }
    }

    #[test]
    fn of_many_the_timer_tells() {
        let mut bench = Bench::new();
        bench.transfer();
        for _ in 0..3 {
            assert!(bench.has_event(Duration::from_secs(10)), "whether a frame has come or not");
            bench.sender.write_all(b"x").unwrap();
            assert!(!bench.has_event(Duration::ZERO), "of the frame");
            bench.read(100_000);
        }
    }

    #[test]
    fn what_comes_at_the_end_of_many_makes_an_event() {
        let mut bench = Bench::new();
        bench.transfer();
        while !bench.coalescing.watched {
            assert!(bench.has_event(Duration::from_secs(10)));
            bench.read(0);
        }
        bench.has_event(PERIOD * 100);
        assert!(!bench.has_event(PERIOD * 100), "the timer has come to rest");
        bench.sender.write_all(b"x").unwrap();
        assert!(bench.has_event(Duration::ZERO));
    }

    #[test]
    fn nothing_makes_an_event_where_none_is_wanted() {
        let mut bench = Bench::new();
        for many in [false, true] {
            if many {
                bench.transfer();
            }
            bench.coalescing.deregister(bench.socket.as_raw_fd(), bench.poll.registry()).unwrap();
            bench.sender.write_all(b"x").unwrap();
            bench.coalescing.rest(bench.socket.as_raw_fd()).unwrap();
            assert!(!bench.has_event(PERIOD * 10));
            let registry = bench.poll.registry();
            bench.coalescing.register(bench.socket.as_raw_fd(), registry, TOKEN, Interest::READABLE).unwrap();
            assert!(bench.has_event(Duration::ZERO), "of what has come meanwhile");
            bench.read(1);
        }
    }
}

//! [`Damper`]: keeps a flood of frames that are all dropped from waking a daemon for each of them.
//!
//! Waking up costs a daemon several times what a frame at the gate does. So while nearly all that comes is dropped, and that
//! is much, the socket rests for [`REST`] after it was read empty, and what came meanwhile is taken in one go. Genuine
//! frames among them are late by no more than that. All other sources of the daemon are served as ever.

use l2link::Time;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io;
use std::time::Duration;

/// Of one socket.
#[derive(Debug, Default)]
pub struct Damper {
    /// Begin of the present window.
    since: Time,
    kept: u64,
    dropped: u64,
    /// Whether the last window was one of a flood.
    flooded: bool,
    /// Until when the socket rests.
    until: Option<Time>,
}

/// How long a flooded socket rests: at 100,000 frames a second a hundred come meanwhile, and its buffer has room for many
/// times as many.
const REST: Duration = Duration::from_millis(1);
const WINDOW: Duration = Duration::from_millis(10);
/// Frames dropped in a window that make it one of a flood, if no more than a quarter as many were kept.
const MANY: u64 = 100;

impl Damper {
    /// Notes what became of frames of one turn.
    pub fn note(&mut self, kept: usize, dropped: usize, now: Time) {
        (self.kept, self.dropped) = (self.kept + kept as u64, self.dropped + dropped as u64);
        if self.since + WINDOW <= now {
            self.flooded = self.dropped >= MANY && self.kept <= self.dropped / 4;
            // A window that lasted long, as nothing came, says nothing of a flood.
            self.flooded &= now < self.since + 2 * WINDOW;
            (self.since, self.kept, self.dropped) = (now, 0, 0);
        }
    }

    /// The socket was read empty: it is not watched any more if it is to rest.
    pub fn rest(&mut self, registry: &Registry, socket: &mut impl Source, now: Time) {
        if self.flooded && registry.deregister(socket).is_ok() {
            self.until = Some(now + REST);
        }
    }

    /// Ends a rest that is over: returns whether the socket is to be read, as it is watched again.
    pub fn wake(
        &mut self,
        registry: &Registry,
        socket: Option<&mut impl Source>,
        token: Token,
        now: Time,
    ) -> bool {
        if self.until.is_none_or(|until| now < until) {
            return false;
        }
        self.until = None;
        let watched = socket.map(|socket| registry.register(socket, token, Interest::READABLE));
        match watched {
            // It was opened anew meanwhile, and is watched.
            Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => {
                log::error!("the link's socket cannot be watched: {error}");
            }
            _ => {}
        }
        true
    }

    /// When to call [`Damper::wake`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::unix::SourceFd;
    use mio::{Events, Poll};
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const MS: u64 = 1_000;

    fn noted(frames: impl Fn(u64) -> (usize, usize)) -> Damper {
        let mut damper = Damper::default();
        for at in 0..100 {
            let (kept, dropped) = frames(at);
            damper.note(kept, dropped, Time(at * MS));
        }
        damper
    }

    #[test]
    fn a_flood_is_many_frames_of_which_few_are_kept() {
        assert!(noted(|_| (0, 100)).flooded);
        assert!(noted(|_| (20, 100)).flooded);
        assert!(!noted(|_| (50, 100)).flooded, "much is genuine");
        assert!(!noted(|_| (0, 5)).flooded, "few");
        assert!(!noted(|at| if at < 80 { (0, 100) } else { (1, 0) }).flooded, "over");
    }

    #[test]
    fn a_resting_socket_wakes_nobody_until_its_rest_is_over() {
        let (mut sender, socket) = UnixStream::pair().unwrap();
        let descriptor = socket.as_raw_fd();
        let mut socket = SourceFd(&descriptor);
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        poll.registry().register(&mut socket, Token(3), Interest::READABLE).unwrap();
        let mut damper = noted(|_| (0, 100));
        damper.rest(poll.registry(), &mut socket, Time(100 * MS));
        sender.write_all(b"x").unwrap();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        assert!(!damper.wake(poll.registry(), Some(&mut socket), Token(3), Time(100 * MS + 999)));
        assert_eq!(damper.poll_timeout(), Some(Time(101 * MS)));
        assert!(damper.wake(poll.registry(), Some(&mut socket), Token(3), Time(101 * MS)));
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().next().map(mio::event::Event::token), Some(Token(3)));
        assert_eq!(damper.poll_timeout(), None);
    }
}

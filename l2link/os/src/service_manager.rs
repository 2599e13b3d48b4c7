//! [`ServiceManager`]: what the service manager that started this daemon hears of it, by the protocol of sd_notify(3).
//!
//! It is told when the daemon works, how things are in one line, and, with a watchdog (`WatchdogSec=`), that the event loop
//! still turns. A daemon that was started by hand has nobody to tell: everything here does nothing then.

use core::time::Duration;
use l2link::{Link, PeerState, Time};
use sd_notify::NotifyState;

/// Least time between two lines of status.
const STATUS: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    present: bool,
    /// Half of the time after which a silent daemon is killed.
    watchdog: Option<Duration>,
    /// When the next sign of life and the next line of status are due.
    next: Option<Next>,
    status: String,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    status: Time,
    watchdog: Option<Time>,
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET` and `WATCHDOG_USEC` of the environment tell of.
    #[must_use]
    pub fn from_environment() -> Self {
        let present = std::env::var_os("NOTIFY_SOCKET").is_some();
        // Without a watchdog the variable is missing; 0 would be an alarm at every moment.
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| present && !limit.is_zero());
        Self { present, watchdog: watchdog.map(|limit| limit / 2), next: None, status: String::new() }
    }

    /// The daemon serves from now on.
    pub fn ready(&mut self, now: Time) {
        if self.present {
            self.tell(&[NotifyState::Ready]);
            self.next = Some(Next { status: now, watchdog: self.watchdog.map(|_| now) });
        }
    }

    /// The daemon reads its configuration again; to be followed by [`ServiceManager::reloaded`].
    pub fn reloading(&self) {
        if self.present
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// It has done so, whatever came of it.
    pub fn reloaded(&self) {
        if self.present {
            self.tell(&[NotifyState::Ready]);
        }
    }

    /// When [`ServiceManager::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let next = self.next?;
        Some(next.watchdog.map_or(next.status, |watchdog| watchdog.min(next.status)))
    }

    /// Tells what is due. To be called by each turn of the event loop, and by nothing else: that it is called is the sign
    /// of life.
    pub fn handle_timeout(&mut self, status: impl FnOnce() -> String, now: Time) {
        let Some(mut next) = self.next else { return };
        if let Some(interval) = self.watchdog
            && next.watchdog.is_some_and(|time| time <= now)
        {
            self.tell(&[NotifyState::Watchdog]);
            next.watchdog = Some(now + interval);
        }
        if next.status <= now {
            let status = status();
            if status != self.status {
                self.tell(&[NotifyState::Status(&status)]);
                self.status = status;
            }
            next.status = now + STATUS;
        }
        self.next = Some(next);
    }

    /// The daemon ends.
    pub fn stopping(&mut self) {
        if self.present {
            self.tell(&[NotifyState::Stopping]);
            self.next = None;
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            log::debug!(target: "service", "telling the service manager: {error}");
        }
    }
}

/// How things are, in a line. `things` and `peers` are words for what is `up` of `all`, and for who is at the other end.
#[must_use]
pub fn status(things: &str, (up, all): (usize, usize), peers: &str, link: &Link) -> String {
    let known = link.peers();
    let count = |wanted: &[PeerState]| known.iter().filter(|peer| wanted.contains(&peer.state)).count();
    let (here, heard) = (count(&[PeerState::Up]), count(&[PeerState::Up, PeerState::Down]));
    format!("{up} of {all} {things} up, {here} of {heard} {peers} in contact")
}

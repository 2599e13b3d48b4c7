//! Devices that were heard and with which there can be no session.
//!
//! A bounded list, as anyone on the segment can make up names. An entry lives as long as the device is heard; a new one
//! takes the place of one not heard for a while, if there is one: who makes up names all the time displaces nobody that is
//! there. Each is told once a minute, all together at most
//! [`REPORT_BURST`] at once and one a second.

use crate::bucket::TokenBucket;
use crate::{Event, PeerId, PeerInfo, PeerState, Time};
use core::time::Duration;
use frames::discovery::Role;
use frames::{DropReason, Mac};

const ENTRIES_MAX: usize = 32;
const REPORT_EVERY: Duration = Duration::from_secs(60);
const REPORT_BURST: u64 = 32;
/// Five of the slowest hellos: who is not heard for so long gives way.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(10);
/// Thirty of the slowest hellos.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Refusals {
    entries: Vec<Refusal>,
    reports: TokenBucket,
}

#[derive(Debug)]
struct Refusal {
    name: String,
    role: Role,
    mac: Mac,
    reason: DropReason,
    since: Time,
    heard: Time,
    reported: Option<Time>,
}

impl Refusals {
    pub(crate) fn new(now: Time) -> Self {
        Self { entries: Vec::new(), reports: TokenBucket::new(1, REPORT_BURST, now) }
    }

    /// Notes a device; returns the event if it is time to tell.
    pub(crate) fn note(
        &mut self,
        name: &str,
        role: Role,
        mac: Mac,
        reason: DropReason,
        now: Time,
    ) -> Option<Event> {
        let same = |entry: &Refusal| entry.mac == mac && entry.reason == reason && entry.name == name;
        let index = match self.entries.iter().position(same) {
            Some(index) => index,
            None => {
                if self.entries.len() == ENTRIES_MAX {
                    let silent = |entry: &Refusal| entry.heard + GIVE_WAY_AFTER <= now;
                    self.entries.swap_remove(self.entries.iter().position(silent)?);
                }
                let name = name.to_owned();
                self.entries.push(Refusal {
                    name,
                    role,
                    mac,
                    reason,
                    since: now,
                    heard: now,
                    reported: None,
                });
                self.entries.len() - 1
            }
        };
        let entry = &mut self.entries[index];
        entry.heard = now;
        if entry.reported.is_some_and(|reported| now < reported + REPORT_EVERY) || !self.reports.take(now) {
            return None;
        }
        entry.reported = Some(now);
        Some(Event::Refused { name: entry.name.clone(), mac, reason })
    }

    /// A session with this device exists: it is not refused any more.
    pub(crate) fn forget(&mut self, name: &str, mac: Mac) {
        self.entries.retain(|entry| entry.name != name || entry.mac != mac);
    }

    /// Forgets the devices that fell silent.
    pub(crate) fn expire(&mut self, now: Time) {
        self.entries.retain(|entry| now < entry.heard + FORGET_AFTER);
    }

    /// The list as `show peers` prints it. The handles are none of any peer.
    pub(crate) fn infos(&self) -> impl Iterator<Item = PeerInfo> {
        self.entries.iter().zip((0..=u32::MAX).rev()).map(|(entry, handle)| PeerInfo {
            peer: PeerId(handle),
            name: entry.name.clone(),
            role: entry.role,
            mac: entry.mac,
            key: None,
            state: PeerState::Refused(entry.reason),
            since: entry.since,
            rtt: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn told_once_a_minute_per_device_and_reason() {
        let mut refusals = Refusals::new(Time(0));
        let mut note = |mac: u8, reason, second: u64| {
            refusals.note("a", Role::Relay, Mac([mac; 6]), reason, Time(second * SECOND)).is_some()
        };
        assert!(note(1, DropReason::BadGate, 0));
        assert!(!note(1, DropReason::BadGate, 59));
        assert!(note(1, DropReason::ModeMismatch, 59));
        assert!(note(2, DropReason::BadGate, 59));
        assert!(note(1, DropReason::BadGate, 60));
    }

    #[test]
    fn bounded_and_forgetful() {
        let mut refusals = Refusals::new(Time(0));
        let told = (0..200_u64).filter(|at| {
            let name = format!("device {at}");
            refusals.note(&name, Role::Relay, Mac::default(), DropReason::BadGate, Time(*at)).is_some()
        });
        assert_eq!(told.count() as u64, REPORT_BURST);
        assert_eq!(refusals.infos().count(), ENTRIES_MAX);
        let mut note = |second| {
            refusals.note("late", Role::Relay, Mac::default(), DropReason::BadGate, Time(second * SECOND))
        };
        assert!(note(9).is_none() && note(11).is_some());
        refusals.forget("late", Mac::default());
        assert_eq!(refusals.infos().count(), ENTRIES_MAX - 1);
        let last_heard = ENTRIES_MAX as u64 - 1;
        refusals.expire(Time(60 * SECOND + last_heard - 1));
        assert_eq!(refusals.infos().count(), 1);
        refusals.expire(Time(60 * SECOND + last_heard));
        assert_eq!(refusals.infos().count(), 0);
    }
}

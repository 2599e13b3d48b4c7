//! Controls that come and go, and orphans.

use super::{Fib, Work};
use l2link::{PeerId, Time};
use std::collections::BTreeSet;

impl Fib {
    /// A control begins an association: what it said before is stale until it has said its table anew.
    pub(crate) fn peer_up(&mut self, peer: PeerId, name: &str) {
        let speaker = self.speakers.entry(peer).or_default();
        name.clone_into(&mut speaker.name);
        speaker.epoch = speaker.epoch.wrapping_add(1);
        speaker.up = true;
        speaker.newest = 0;
        speaker.ended = false;
        speaker.turned_away = false;
        speaker.unsaid.clear();
        speaker.told = None;
        speaker.until = None;
        self.partners.mark_stale(peer);
        self.marks.remove(&peer);
        self.work.retain(|work| !matches!(work, Work::Mark(marked, _) if *marked == peer));
    }

    /// A control is gone: its routes stay for the hold time.
    pub(crate) fn peer_down(&mut self, peer: PeerId, now: Time) {
        let hold = self.config.hold;
        let holds = self.partners.has(peer);
        let Some(speaker) = self.speakers.get_mut(&peer) else { return };
        speaker.up = false;
        speaker.until = hold.filter(|_| speaker.digest.count > 0 || holds).map(|hold| now + hold);
        if let (Some(hold), true) = (hold, speaker.digest.count > 0) {
            log::info!(
                target: "relay::route",
                "control {} is gone; its {} routes stay for {} s", speaker.name, speaker.digest.count, hold.as_secs()
            );
        }
    }

    /// Whether the routes of a control are left from an earlier association, or from one that ended.
    pub(super) fn is_stale(&self, peer: PeerId, epoch: u32) -> bool {
        self.speakers.get(&peer).is_none_or(|speaker| !speaker.up || speaker.epoch != epoch)
    }

    /// Begins the time in which orphans may be claimed.
    pub(super) fn adopt(&mut self, now: Time) {
        self.orphans_until = self.config.hold.map(|hold| now + hold);
        if self.claimants.as_ref().is_some_and(BTreeSet::is_empty) {
            self.sweep_orphans();
        }
    }

    /// A control has said all of its routes: what nobody else can claim goes.
    pub(super) fn claimed(&mut self, name: &str) {
        let Some(claimants) = &mut self.claimants else { return };
        claimants.remove(name);
        if claimants.is_empty() && self.ready {
            self.sweep_orphans();
        }
    }

    /// Gives up what no control wants.
    pub(super) fn sweep_orphans(&mut self) {
        (self.keeps_orphans, self.orphans_until) = (false, None);
        let orphans: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.adopted).map(|(key, _)| *key).collect();
        if !orphans.is_empty() {
            log::info!(target: "relay::route", "{} routes of an earlier life that nobody claims go", orphans.len());
        }
        for key in orphans {
            self.queue(key);
        }
    }
}

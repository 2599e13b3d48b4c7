//! [`SymbolKeeper`]: hands the symbols' devices to the keeper, and sees to it that there is one.
//!
//! The keeper is an insurance: without it, or with one that does not do its part, the daemon works as it does with it,
//! and the symbols go with the daemon. So nothing here fails; a keeper that is lost is told once and replaced.

use crate::source::Source;
use core::fmt;
use core::time::Duration;
use l2link::Time;
use l2link_os::SetupError;
use l2link_os::keeper::{Keeper, Kept, Place, Predecessor};
use log::{debug, error, info, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Least time between two keepers, and pause before one that could not be started is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The keeper, or none for now, or none at all.
#[derive(Debug)]
pub(crate) struct SymbolKeeper {
    path: PathBuf,
    /// How long symbols are kept for a successor; zero for no keeper.
    keep: Duration,
    running: Option<Keeper>,
    /// When it was started last.
    started: Option<Time>,
    start_at: Option<Time>,
    /// Whether it could not be started the last time, which is told once.
    failed: bool,
}

/// A device that is to be held, with what is written down about it.
pub(crate) struct Device<'a> {
    pub(crate) place: Place,
    pub(crate) note: Vec<u8>,
    pub(crate) descriptor: BorrowedFd<'a>,
}

impl SymbolKeeper {
    /// The keeper that belongs to a command socket. It is not there before [`SymbolKeeper::start`].
    pub(crate) fn beside(socket: &Path, keep: Duration) -> Self {
        let mut path = socket.as_os_str().to_owned();
        path.push(".keeper");
        Self { path: path.into(), keep, running: None, started: None, start_at: None, failed: false }
    }

    /// Has symbols be kept for that long from now on: by another keeper, which takes the place of the present one.
    pub(crate) fn set_keep(&mut self, keep: Duration, now: Time) {
        if self.keep == keep {
            return;
        }
        self.keep = keep;
        self.running.take().into_iter().for_each(|mut keeper| keeper.end());
        self.start_at = Some(now);
    }

    /// What an earlier daemon left, by its place.
    pub(crate) fn take_over(&self) -> (Option<Predecessor>, BTreeMap<Place, Kept>) {
        match Keeper::take_over(&self.path) {
            Ok((predecessor, kept)) => {
                (predecessor, kept.into_iter().map(|kept| (kept.place.clone(), kept)).collect())
            }
            Err(error) => {
                let path = self.path.display();
                warn!(target: "control::keeper", "{path}: what an earlier l2control left cannot be taken over: {error}");
                (None, BTreeMap::new())
            }
        }
    }

    /// Starts a keeper, hands it the devices, and dismisses the predecessor's.
    pub(crate) fn start<'a>(
        &mut self,
        predecessor: Option<Predecessor>,
        devices: impl Iterator<Item = Device<'a>>,
        registry: &Registry,
        now: Time,
    ) {
        (self.started, self.start_at) = (Some(now), None);
        if self.keep.is_zero() {
            predecessor.into_iter().for_each(Predecessor::dismiss);
            return;
        }
        let started =
            Keeper::start(&self.path, self.keep, predecessor).and_then(|mut keeper| {
                match hand_over(&mut keeper, devices, registry) {
                    Ok(()) => Ok(keeper),
                    Err(error) => {
                        keeper.end();
                        Err(SetupError::system("handing symbols to the keeper", error))
                    }
                }
            });
        match started {
            Ok(keeper) => {
                debug!(target: "control::keeper", "the keeper is process {}", keeper.pid());
                (self.running, self.failed) = (Some(keeper), false);
            }
            Err(error) => {
                if !self.failed {
                    error!(target: "control::keeper", "symbols would not outlive this daemon: {error}");
                }
                (self.start_at, self.failed) = (Some(now + RETRY), true);
            }
        }
    }

    /// Hands over a device that was made.
    pub(crate) fn hold(&mut self, device: &Device<'_>, now: Time) {
        self.tell(now, |keeper| keeper.hold(&device.place, &device.note, device.descriptor));
    }

    /// Replaces what is written down about a device.
    pub(crate) fn note(&mut self, place: &Place, note: &[u8], now: Time) {
        self.tell(now, |keeper| keeper.note(place, note));
    }

    /// A device is removed.
    pub(crate) fn forget(&mut self, place: &Place, now: Time) {
        self.tell(now, |keeper| keeper.forget(place));
    }

    /// The keeper says nothing, so it has gone.
    pub(crate) fn handle_gone(&mut self, now: Time) {
        self.lose(&"it has ended", now);
    }

    /// When [`SymbolKeeper::start`] wants to be called, for a keeper that was lost.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.start_at
    }

    /// Ends the keeper with all that it holds.
    pub(crate) fn dismiss(&mut self) {
        self.running.take().into_iter().for_each(Keeper::dismiss);
    }

    /// Leaves the keeper with all that it holds to a successor.
    pub(crate) fn leave(self) {
        match &self.running {
            Some(_) => info!(target: "control::keeper", "the symbols stay for {} s", self.keep.as_secs_f32()),
            None => warn!(target: "control::keeper", "there is no keeper: the symbols go"),
        }
    }

    fn tell(&mut self, now: Time, message: impl FnOnce(&mut Keeper) -> io::Result<()>) {
        if let Some(Err(error)) = self.running.as_mut().map(message) {
            self.lose(&error, now);
        }
    }

    fn lose(&mut self, why: &dyn fmt::Display, now: Time) {
        if let Some(mut keeper) = self.running.take() {
            warn!(target: "control::keeper", "the keeper is lost and will be replaced: {why}");
            keeper.end();
            // At once, unless it happens again and again.
            self.start_at = self.started.map(|started| now.max(started + RETRY));
        }
    }
}

fn hand_over<'a>(
    keeper: &mut Keeper,
    devices: impl Iterator<Item = Device<'a>>,
    registry: &Registry,
) -> io::Result<()> {
    for Device { place, note, descriptor } in devices {
        keeper.hold(&place, &note, descriptor)?;
    }
    let descriptor = keeper.as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), Source::Keeper.token(), Interest::READABLE)?;
    keeper.publish()
}

//! [`Live`]: frames as they pass an interface.

use crate::Failure;
use crate::capture::Captured;
use l2link_os::Sniffer;
use l2link_os::signals::Signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A capture that ends by SIGINT or SIGTERM.
#[derive(Debug)]
pub(crate) struct Live {
    interface: String,
    sniffer: Sniffer,
    signals: Signals,
    frames: u64,
    /// Whether the interface was down when it was last heard of.
    is_down: bool,
}

impl Live {
    /// Says on standard error when it has begun: what passes from then on is not missed.
    pub(crate) fn open(interface: &str, ethertype: u16) -> Result<Self, Failure> {
        let signals = Signals::open()?;
        let sniffer = Sniffer::open(interface, ethertype)?;
        writeln!(io::stderr(), "listening on {interface}, EtherType {ethertype:#06x}")?;
        Ok(Self { interface: interface.to_owned(), sniffer, signals, frames: 0, is_down: false })
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<Captured>, Failure> {
        let failed = |source| Failure::Live { interface: self.interface.clone(), source };
        loop {
            if self.signals.next().map_err(failed)?.is_some() {
                return Ok(None);
            }
            match self.sniffer.receive() {
                Ok(Some(sniffed)) => {
                    self.frames += 1;
                    self.is_down = false;
                    return Ok(Some(Captured::new(sniffed.time, sniffed.frame, sniffed.length)));
                }
                Ok(None) => {}
                // It goes on when the interface is up again.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENETDOWN) => {
                    self.is_down = true;
                    writeln!(io::stderr(), "{} is down", self.interface)?;
                }
                Err(error) => return Err(failed(error)),
            }
            if self.is_down && !self.sniffer.is_there() {
                return Err(failed(nix::Error::ENODEV.into()));
            }
            let timeout = if self.is_down { LOOK_AGAIN_MS.into() } else { PollTimeout::NONE };
            let mut waiting = [self.sniffer.as_fd(), self.signals.as_fd()]
                .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
            match poll(&mut waiting, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// Says what came, and what was lost.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let lost = self.sniffer.overruns();
        writeln!(io::stderr(), "{} frames captured, {lost} dropped by the kernel", self.frames)?;
        Ok(())
    }
}

/// How long an interface that is down may be gone unnoticed.
const LOOK_AGAIN_MS: u16 = 500;

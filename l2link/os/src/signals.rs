//! Signals as events of the daemon's loop, by signalfd(2).

use crate::SetupError;
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: an orderly exit.
    Stop,
    /// SIGHUP: apply a changed configuration.
    Reload,
    /// SIGUSR2: exit, and leave everything as it is for a successor.
    Leave,
}

/// SIGTERM, SIGINT, SIGHUP and SIGUSR2 of this process.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals and opens the descriptor. To be called before any thread is started. Child processes inherit
    /// the block.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> Result<Self, SetupError> {
        let mut mask = SigSet::empty();
        mask.add(Number::SIGTERM);
        mask.add(Number::SIGINT);
        mask.add(Number::SIGHUP);
        mask.add(Number::SIGUSR2);
        mask.thread_block()
            .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
            .map(|descriptor| Self { descriptor })
            .map_err(|error| SetupError::system("opening a signal descriptor", error.into()))
    }

    /// The next signal that arrived. Does not block.
    ///
    /// # Errors
    /// If the descriptor cannot be read.
    #[allow(clippy::should_implement_trait, reason = "an iterator has no errors, and ends for good")]
    pub fn next(&mut self) -> io::Result<Option<Signal>> {
        let Some(signal) = self.descriptor.read_signal()? else { return Ok(None) };
        match i32::try_from(signal.ssi_signo) {
            Ok(libc::SIGHUP) => Ok(Some(Signal::Reload)),
            Ok(libc::SIGUSR2) => Ok(Some(Signal::Leave)),
            _ => Ok(Some(Signal::Stop)),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::pthread::{pthread_kill, pthread_self};

    #[test]
    fn signals_are_read_once_each() {
        let mut signals = Signals::open().unwrap();
        assert_eq!(signals.next().unwrap(), None);
        pthread_kill(pthread_self(), Number::SIGHUP).unwrap();
        assert_eq!(signals.next().unwrap(), Some(Signal::Reload));
        pthread_kill(pthread_self(), Number::SIGTERM).unwrap();
        assert_eq!(signals.next().unwrap(), Some(Signal::Stop));
        pthread_kill(pthread_self(), Number::SIGINT).unwrap();
        assert_eq!(signals.next().unwrap(), Some(Signal::Stop));
        pthread_kill(pthread_self(), Number::SIGUSR2).unwrap();
        assert_eq!(signals.next().unwrap(), Some(Signal::Leave));
        assert_eq!(signals.next().unwrap(), None);
    }
}

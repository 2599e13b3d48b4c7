//! A long transfer that is watched for stalls.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A program that prints without end, such as `curl`, and how evenly it does.
#[derive(Debug)]
pub struct Download {
    child: Child,
    reader: Option<JoinHandle<Progress>>,
    begun: Receiver<()>,
    bytes: Arc<AtomicU64>,
}

/// How a transfer went.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes received.
    pub bytes: u64,
    /// Longest time without any.
    pub longest_gap: Duration,
    /// Whether they were what they should be.
    pub intact: bool,
}

impl Download {
    /// Starts a command and reads what it prints.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self::checked(command, |_, _| true)
    }

    /// The same, with a look at what comes: `is_right` is asked whether these bytes are those at an offset.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn checked(command: &mut Command, is_right: fn(u64, &[u8]) -> bool) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start a download");
        let mut pipe = child.stdout.take().expect("a pipe from the download");
        let (first, begun) = mpsc::channel();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut progress = Progress { bytes: 0, longest_gap: Duration::ZERO, intact: true };
            let mut last = None;
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                let now = Instant::now();
                progress.longest_gap =
                    progress.longest_gap.max(last.map_or(Duration::ZERO, |last| now - last));
                progress.intact &= is_right(progress.bytes, &buffer[..length]);
                progress.bytes += length as u64;
                counted.store(progress.bytes, Ordering::Relaxed);
                if last.replace(now).is_none() {
                    // Nobody waits any more if it fails.
                    let _ = first.send(());
                }
            }
            progress
        });
        Self { child, reader: Some(reader), begun, bytes }
    }

    /// Waits for the first bytes.
    ///
    /// # Panics
    /// When none come.
    #[track_caller]
    pub fn await_begin(&self) {
        self.begun.recv_timeout(crate::SOON).expect("the download begins");
    }

    /// Waits until more bytes have come than until now, or it has come to its end.
    ///
    /// # Panics
    /// When none come.
    #[track_caller]
    pub fn await_more(&mut self, deadline: Duration) {
        let before = self.bytes();
        crate::eventually(deadline, "the download goes on", || {
            let goes_on = self.bytes() > before || !self.is_running();
            if goes_on { Ok(()) } else { Err(format!("it stays at {before} bytes")) }
        });
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Stops it and says how it went.
    ///
    /// # Panics
    /// When it had ended by itself.
    #[track_caller]
    pub fn stop(mut self) -> Progress {
        assert!(self.is_running(), "the download broke off");
        self.end()
    }

    /// Stops it, unless it has come to its end meanwhile, which must be a success, and says how it went.
    ///
    /// # Panics
    /// When it has failed.
    #[track_caller]
    pub fn stop_or_finish(mut self) -> Progress {
        let status = self.child.try_wait().expect("wait for a download");
        assert!(status.is_none_or(|status| status.success()), "the download broke off: {status:?}");
        self.end()
    }

    /// Waits for its end, which must be a success, and says how it went.
    ///
    /// # Panics
    /// When it fails, or does not end in time.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> Progress {
        let status = crate::eventually(deadline, "the download ends", || {
            self.child.try_wait().ok().flatten().ok_or("it still runs".into())
        });
        assert!(status.success(), "the download broke off: {status}");
        self.end()
    }

    fn end(&mut self) -> Progress {
        // It may have ended meanwhile.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.take().expect("a reader").join().expect("a reader that does not panic")
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.reader.is_some() {
            let _ = self.end();
        }
    }
}

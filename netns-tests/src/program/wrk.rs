//! wrk, the load generator.

use crate::netns::Netns;
use crate::process::Process;
use std::time::Duration;

/// A running wrk that makes a new connection for every request.
#[derive(Debug)]
pub struct Wrk {
    process: Process,
    seconds: u64,
}

/// What it says at its end.
#[derive(Debug, Clone)]
pub struct Load {
    /// Requests that were answered.
    pub requests: u64,
    /// Its complaints; none is what is wanted.
    pub errors: Vec<String>,
}

impl Wrk {
    /// Starts it with a few connections for so many seconds.
    #[must_use]
    pub fn start(from: &Netns, url: &str, seconds: u64) -> Self {
        let mut command = from.command("wrk");
        command.args(["-t", "1", "-c", "8", "-d", &format!("{seconds}s"), "--timeout", "4s"]);
        command.args(["-H", "Connection: close", url]);
        Self { process: Process::start("wrk", &mut command, from.folder()), seconds }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end, or does not tell.
    #[must_use]
    #[track_caller]
    pub fn finish(mut self) -> Load {
        let _ = self.process.wait(Duration::from_secs(self.seconds + 10));
        let log = self.process.log();
        let summary = log.lines().find_map(|line| line.trim().split_once(" requests in "));
        let requests = summary.and_then(|(count, _)| count.parse().ok()).expect("a number of requests");
        let is_complaint = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
        Load { requests, errors: log.lines().filter(is_complaint).map(str::to_owned).collect() }
    }

    /// Waits for its end, and sees to it that no request failed.
    ///
    /// # Panics
    /// When one did.
    #[track_caller]
    pub fn failed_nothing(self) {
        let load = self.finish();
        assert!(load.requests > 100 && load.errors.is_empty(), "{load:?}");
    }
}

//! What goes on during a fault.

use super::lab::HOST_BEHIND;
use super::{Chaos, Fault};
use crate::address::*;
use crate::program::{Prober, is_slow};
use crate::{Daemon, Download, Ping, binary};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Traffic {
    transit: Ping,
    healthy: Prober,
    download: Download,
    monitors: [Monitor; 2],
}

/// A connection goes on within this time: TCP's pauses between attempts have become as long as the fault was.
const RETRANSMITTED: Duration = Duration::from_secs(40);

/// What was seen of it.
pub(crate) struct Seen {
    pub(crate) detected: Option<Duration>,
    /// Packets sent and lost.
    pub(crate) transit: (u64, u64),
    pub(crate) healthy: (u64, u64),
}

impl Traffic {
    #[track_caller]
    pub(crate) fn start(chaos: &Chaos) -> Self {
        let lab = &chaos.lab;
        let url = format!("http://{PORT_V4}/slow");
        let download = Download::checked(lab.client.command("curl").args(["-sSf", &url]), is_slow);
        download.await_begin();
        Self {
            transit: Ping::start(lab.client2(), HOST_BEHIND),
            healthy: Prober::start(&lab.client, &format!("udp {PORT_V4} 7000")),
            download,
            monitors: [Monitor::start(&lab.relay), Monitor::start(&lab.control)],
        }
    }

    /// Ends it, and judges it by what the fault must spare.
    #[track_caller]
    pub(crate) fn end(self, chaos: &Chaos, fault: &Fault) -> Seen {
        let Self { transit, healthy, mut download, monitors } = self;
        download.await_more(RETRANSMITTED);
        let detected = monitors.iter().filter_map(|monitor| monitor.first_loss(chaos.struck)).min();
        let (sent, answered) = transit.end();
        let lost = sent - answered;
        // The last one may be under way.
        let allowed = 1 + sent * chaos.may_lose / 100;
        assert!(!fault.spares.transit() || lost <= allowed, "{lost} of {sent} packets in transit were lost");
        let probes = healthy.end();
        let answered: u64 = probes.answered.values().sum();
        let missed = probes.lost.len() as u64;
        assert!(
            !fault.spares.healthy() || missed <= (answered + missed) * chaos.may_lose / 100,
            "{missed} requests of the healthy pair were lost, {answered} answered"
        );
        let progress = download.stop_or_finish();
        assert!(progress.intact, "the download has wrong bytes");
        Seen { detected, transit: (sent, lost.saturating_sub(1)), healthy: (answered + missed, missed) }
    }
}

/// A running `l2ctl monitor`, and when its lines came.
struct Monitor {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Monitor {
    fn start(daemon: &Daemon) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(binary("l2ctl")).arg("--socket").arg(daemon.socket());
        command.args(["monitor", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start l2ctl");
        let pipe = child.stdout.take().expect("a pipe from l2ctl");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Nobody listens any more at the end.
                let _ = sender.send((Instant::now(), line));
            }
        });
        Self { child, lines }
    }

    /// How long after `since` the first peer was missed, if one was.
    fn first_loss(&self, since: Instant) -> Option<Duration> {
        let losses = self.lines.try_iter().filter(|(_, line)| line.contains("\"peer-down\""));
        losses.map(|(time, _)| time.saturating_duration_since(since)).next()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It ends by itself with its daemon.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

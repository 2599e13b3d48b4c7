//! [`Feed`]: asks the daemons for their tables.
//!
//! A daemon answers in its one loop, so asking must not cost it much: when the tables are large and an answer takes long,
//! the pause until the next one grows with it.

use l2link_os::api::{ApiClient, ClientError};
use l2link_tools::sample::Sample;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Least pause after an answer, in units of what it took: a daemon with large tables spends a twentieth on this.
const SHARE: u32 = 20;
/// Pause before a daemon that cannot be reached is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What one daemon told.
#[derive(Debug)]
pub(crate) struct News {
    /// Its place in the list of sockets.
    pub(crate) place: usize,
    /// Its tables, or why there are none.
    pub(crate) told: Result<Sample, String>,
}

/// A thread for each daemon.
#[derive(Debug)]
pub(crate) struct Feed {
    news: Receiver<News>,
}

impl Feed {
    /// Begins to ask.
    pub(crate) fn start(sockets: &[PathBuf], interval: Duration) -> Self {
        let (sender, news) = channel();
        let start = Instant::now();
        for (place, socket) in sockets.iter().cloned().enumerate() {
            let sender = sender.clone();
            // They end with the process, or when nobody listens any more.
            thread::spawn(move || ask(place, &socket, interval, start, &sender));
        }
        Self { news }
    }

    /// What was told meanwhile. Does not wait.
    pub(crate) fn poll(&self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Waits for news; none if they do not come.
    pub(crate) fn wait(&self, most: Duration) -> Option<News> {
        self.news.recv_timeout(most).ok()
    }
}

fn ask(place: usize, socket: &Path, interval: Duration, start: Instant, sender: &Sender<News>) {
    let mut client = None;
    loop {
        let before = Instant::now();
        let told = tables(socket, &mut client, start);
        let took = before.elapsed();
        let pause = match &told {
            Ok(_) => interval.saturating_sub(took).max(took * SHARE),
            Err(_) => {
                client = None;
                RETRY.min(interval)
            }
        };
        let told = told.map_err(|error| error.to_string());
        if sender.send(News { place, told }).is_err() {
            return;
        }
        thread::sleep(pause);
    }
}

fn tables(socket: &Path, client: &mut Option<ApiClient>, start: Instant) -> Result<Sample, ClientError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(ApiClient::connect(socket)?),
    };
    Sample::ask(client, start.elapsed())
}

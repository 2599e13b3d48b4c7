//! nginx.

use crate::netns::Netns;
use crate::process::Process;
use crate::sweep;
use crate::wait::{SOON, eventually};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A running nginx with two workers, a page and a large file.
#[derive(Debug)]
pub struct Nginx {
    /// The master process.
    pub master: Process,
    folder: PathBuf,
}

/// Size of `/large`: a file of zeroes that takes no space, and more than a test can download.
const LARGE: u64 = 64 << 30;

/// Bytes a second of `/slow`, whose pace leaves the machine to others. Every byte of it tells its place: [`is_slow`].
pub const SLOW: u64 = 1 << 20;

/// Seconds that `/slow` lasts.
const SLOW_SECONDS: u64 = 60;

/// Whether these are the bytes of `/slow` at an offset: those of numbers of 64 bits, of which each is its own offset.
#[must_use]
pub fn is_slow(offset: u64, bytes: &[u8]) -> bool {
    (offset..).zip(bytes).all(|(place, byte)| (place & !7).to_be_bytes()[(place & 7) as usize] == *byte)
}

/// What `/` is unless a test says otherwise.
pub const PAGE: &str = "served by the control\n";

impl Nginx {
    /// Starts it; `listen` has the arguments of its `listen` directives. It may not be ready yet.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, listen: &[&str]) -> Self {
        let folder = folder.join("nginx");
        fs::create_dir_all(folder.join("www")).expect("make nginx's folders");
        fs::write(folder.join("www/index.html"), PAGE).expect("write a page");
        let large = File::create(folder.join("www/large")).expect("make a file");
        large.set_len(LARGE).expect("set a file's length");
        let slow = folder.join("www/slow");
        if !slow.exists() {
            fs::hard_link(numbers(), slow).expect("link a file");
        }
        let config = folder.join("nginx.conf");
        fs::write(&config, Self::config(&folder, listen)).expect("write nginx.conf");
        let master = netns.spawn(&format!("nginx -e stderr -c {}", config.display()));
        Self { master, folder }
    }

    /// Writes a configuration with other `listen` directives, for a reload.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, listen: &[&str]) {
        fs::write(self.folder.join("nginx.conf"), Self::config(&self.folder, listen))
            .expect("write nginx.conf");
    }

    /// Gives it another page at `/`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_page(&self, page: &str) {
        fs::write(self.folder.join("www/index.html"), page).expect("write a page");
    }

    /// Has it take no new connection, finish those that it has, and end, as `nginx -s quit` does.
    pub fn quit(&self) {
        self.master.signal(Signal::SIGQUIT);
    }

    /// Waits for a text in its access log.
    ///
    /// # Panics
    /// When it does not appear.
    #[track_caller]
    pub fn await_access(&self, text: &str) {
        eventually(SOON, &format!("nginx's access log has {text:?}"), || {
            if self.has_logged(text) { Ok(()) } else { Err(self.access_log()) }
        });
    }

    /// Whether its access log has a text by now.
    #[must_use]
    pub fn has_logged(&self, text: &str) -> bool {
        self.access_log().contains(text)
    }

    fn access_log(&self) -> String {
        fs::read_to_string(self.folder.join("access.log")).unwrap_or_default()
    }

    fn config(folder: &Path, listen: &[&str]) -> String {
        let folder = folder.display();
        let listen: String = listen.iter().map(|arguments| format!("listen {arguments}; ")).collect();
        format!(
            "user root; daemon off; worker_processes 2; pid {folder}/pid; error_log stderr;
            events {{}}
            http {{
                access_log {folder}/access.log;
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
                sendfile on;
                server {{ {listen} root {folder}/www; location = /slow {{ limit_rate {SLOW}; }} }}
            }}"
        )
    }
}

/// The file behind every `/slow` of this process.
fn numbers() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = sweep::begin().expect("a folder for tests").join("numbers");
        let numbers: Vec<u8> = (0..SLOW * SLOW_SECONDS).step_by(8).flat_map(u64::to_be_bytes).collect();
        fs::write(&path, numbers).expect("write a file");
        path
    })
}

//! [`Terminal`]: a program in a pseudo-terminal, as a user at the keyboard sees it.

use crate::wait::{SOON, eventually};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A running program with a terminal of its own; dropping it kills the program.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// The program's end, which stays open so that the terminal outlives the program.
    tty: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts a program in a terminal of this size.
    ///
    /// # Panics
    /// When there is no terminal, or the program cannot be started.
    #[must_use]
    pub fn start(program: &Path, arguments: &[&str], columns: u16, lines: u16) -> Self {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("share the terminal"));
        // `setsid` turns into the program, and makes the terminal that of its session.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "setsid", "--ctty"]).arg(program).args(arguments);
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("start a program in a terminal");
        let keyboard = File::from(pty.master);
        let mut output = keyboard.try_clone().expect("share the terminal");
        let some = |count: u16| NonZeroU16::new(count).expect("a terminal has lines and columns");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(lines), some(columns), 0)));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        Self { child, keyboard, tty: pty.slave, screen }
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal has gone.
    pub fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("type");
    }

    /// The lines of the screen.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.contents().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn contents(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Waits until the screen is as `right` says, and returns its lines.
    ///
    /// # Panics
    /// When it does not become so, with the screen.
    #[track_caller]
    pub fn await_screen(&self, what: &str, right: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(SOON, what, || {
            let lines = self.lines();
            if right(&lines) { Ok(lines) } else { Err(format!("the screen is\n{}", lines.join("\n"))) }
        })
    }

    /// Waits for a text anywhere on the screen.
    ///
    /// # Panics
    /// When it does not appear, with the screen.
    #[track_caller]
    pub fn await_text(&self, text: &str) -> Vec<String> {
        self.await_screen(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// Sends a signal to the program.
    ///
    /// # Panics
    /// When it has gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"));
        kill(pid, signal).expect("send a signal");
    }

    /// Waits for the program's end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually(SOON, "the program ends", || self.child.try_wait().ok().flatten().ok_or("it runs".into()))
    }

    /// Waits until the terminal is as a shell needs it: the program's last words may have yet to be read when it has ended.
    ///
    /// # Panics
    /// When it does not become so, with the screen.
    #[track_caller]
    pub fn await_usable(&self) {
        eventually(SOON, "the terminal is usable", || {
            if self.is_usable() { Ok(()) } else { Err(format!("the screen is\n{}", self.contents())) }
        });
    }

    /// Whether the terminal is as a shell needs it: lines, echo, a cursor, and the usual screen.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let flags = tcgetattr(&self.tty).expect("a terminal").local_flags;
        let parser = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = parser.screen();
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
            && !screen.alternate_screen()
            && !screen.hide_cursor()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

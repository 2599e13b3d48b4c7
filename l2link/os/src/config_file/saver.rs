//! [`Saver`]: writes a configuration file while the daemon goes on.
//!
//! # Theory of operation
//!
//! What is to survive a crash of the machine has to be on the disk before the file gets its name, and a disk with other
//! writers takes up to seconds for that: longer than peers wait for a daemon that says nothing. So a thread waits for it. The
//! daemon answers the command, and takes for saved what it saved, when the thread is through. Until then commands that are to
//! be saved as well wait, and reloads: the next one reads the file as this one leaves it.

use super::{ConfigError, NewText};
use crate::SetupError;
use crate::api::{ClientId, Request, failure, success};
use core::fmt;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};

/// The command that is being saved, and those that wait for that. `D` is the daemon.
pub struct Saver<D> {
    /// Where the thread says that it is through, and by what. There can be one [`mio::Waker`] only, which is that of files.
    told: UnixStream,
    tells: UnixStream,
    saving: Option<Saving<D>>,
    waiting: VecDeque<Request>,
    /// A signal asked for a reload meanwhile.
    reload: bool,
}

struct Saving<D> {
    command: Command<D>,
    written: Receiver<Result<(), ConfigError>>,
    thread: JoinHandle<()>,
}

/// A command whose text is in the file as soon as it has been checked and written.
pub struct Command<D> {
    /// Who gave it.
    pub client: ClientId,
    /// The rows of the answer.
    pub rows: Vec<Value>,
    /// What the daemon does when it is saved.
    pub then: Box<dyn FnOnce(&mut D)>,
}

impl<D> Saver<D> {
    /// One that wakes the daemon by this token.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn new(registry: &Registry, token: Token) -> Result<Self, SetupError> {
        let system = |source| SetupError::system("make a pair of sockets", source);
        let (told, tells) = UnixStream::pair().map_err(system)?;
        told.set_nonblocking(true).map_err(system)?;
        registry.register(&mut SourceFd(&told.as_raw_fd()), token, Interest::READABLE).map_err(system)?;
        Ok(Self { told, tells, saving: None, waiting: VecDeque::new(), reload: false })
    }

    /// Whether a command is being saved.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.saving.is_some()
    }

    /// Lets a reload, for which a signal asks, wait until no command is being saved: [`Saver::take_reload`].
    pub fn wait_with_reload(&mut self) {
        self.reload = true;
    }

    /// Whether a reload waits, if no command is being saved. It does no more then.
    pub fn take_reload(&mut self) -> bool {
        !self.is_busy() && core::mem::take(&mut self.reload)
    }

    /// Lets a command wait until none is being saved: [`Saver::next_waiting`].
    pub fn wait(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// The next command that waits, if none is being saved.
    pub fn next_waiting(&mut self) -> Option<Request> {
        if self.is_busy() { None } else { self.waiting.pop_front() }
    }

    /// Begins to save a command; none is being saved.
    ///
    /// # Errors
    /// If there can be no more threads. The command is done, and not saved.
    pub fn save(&mut self, text: NewText, command: Command<D>) -> Result<(), String> {
        let (tells, (result, written)) = (Ending(self.tells.try_clone().map_err(not_saved)?), channel());
        let work = move || {
            // Told when the result is there, or never will be: what comes last goes first.
            let _tells = tells;
            let result = result;
            // The daemon may have ended.
            let _ = result.send(text.write());
        };
        let thread = thread::Builder::new().name("save".into()).spawn(work).map_err(not_saved)?;
        self.saving = Some(Saving { command, written, thread });
        Ok(())
    }

    /// The command that is saved now, or the client and the answer of one that could not be. `None` while it is still under way.
    pub fn saved(&mut self) -> Option<Result<Command<D>, (ClientId, Value)>> {
        let result = match self.saving.as_ref()?.written.try_recv() {
            Ok(result) => result.map_err(not_saved),
            Err(TryRecvError::Disconnected) => Err(not_saved("the thread that writes has failed")),
            Err(TryRecvError::Empty) => return None,
        };
        let _ = self.told.read(&mut [0; 8]);
        let Saving { command, thread, .. } = self.saving.take()?;
        let _ = thread.join();
        match result {
            Ok(()) => Some(Ok(command)),
            Err(error) => Some(Err((command.client, failure(error)))),
        }
    }
}

impl<D> Command<D> {
    /// The answer when it is saved.
    #[must_use]
    pub fn answer(&self) -> Value {
        success(self.rows.clone())
    }
}

/// What was done, and why the file does not have it.
#[must_use]
pub fn not_saved(error: impl fmt::Display) -> String {
    format!("done, but not saved: {error}")
}

/// Tells when the thread is through, however it ends.
struct Ending(UnixStream);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.write(&[0]);
    }
}

/// What is being written is written, also if the daemon ends meanwhile.
impl<D> Drop for Saver<D> {
    fn drop(&mut self) {
        if let Some(saving) = self.saving.take() {
            let _ = saving.thread.join();
        }
    }
}

impl<D> fmt::Debug for Saver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.len();
        f.debug_struct("Saver").field("is_busy", &self.is_busy()).field("waiting", &waiting).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::ConfigEdit;
    use mio::{Events, Poll};
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    fn text(path: &Path, line: &str) -> NewText {
        let mut edit = ConfigEdit::open(path).unwrap();
        edit.section("section", |_| {}).unwrap()["line"] = toml_edit::value(line);
        edit.finish(|_, _| Ok(())).unwrap()
    }

    fn command(number: u64) -> Command<Vec<u64>> {
        let then = Box::new(move |done: &mut Vec<u64>| done.push(number));
        Command { client: ClientId(number), rows: vec![number.into()], then }
    }

    fn request(number: u64) -> Request {
        Request { client: ClientId(number), json: Value::Null }
    }

    fn saved(poll: &mut Poll, saver: &mut Saver<Vec<u64>>) -> Result<Command<Vec<u64>>, (ClientId, Value)> {
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(events.iter().next().unwrap().token(), Token(7));
        saver.saved().unwrap()
    }

    #[test]
    fn one_after_the_other_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let mut poll = Poll::new().unwrap();
        let mut saver = Saver::new(poll.registry(), Token(7)).unwrap();
        let mut done = Vec::new();
        assert!(!saver.is_busy() && saver.saved().is_none());
        saver.save(text(&path, "one"), command(1)).unwrap();
        assert!(saver.is_busy());
        saver.wait(request(2));
        saver.wait(request(3));
        assert_eq!(saver.next_waiting(), None, "not before the first one");

        let first = saved(&mut poll, &mut saver).unwrap_or_else(|_| panic!("not saved"));
        assert_eq!((first.client, first.answer()), (ClientId(1), success(vec![1])));
        (first.then)(&mut done);
        assert_eq!(done, [1]);
        assert!(fs::read_to_string(&path).unwrap().contains("one"));
        assert_eq!(saver.next_waiting(), Some(request(2)));

        // It is gone: what is known of it cannot be put in its place.
        let second = text(&path, "two");
        fs::remove_file(&path).unwrap();
        saver.save(second, command(2)).unwrap();
        let Err((client, answer)) = saved(&mut poll, &mut saver) else { panic!("saved") };
        assert_eq!(client, ClientId(2));
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with("done, but not saved: ") && error.contains("cannot be written"), "{error}");
        assert_eq!(saver.next_waiting(), Some(request(3)));
        assert_eq!(done, [1]);
    }

    #[test]
    fn what_is_under_way_is_saved_when_the_daemon_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let poll = Poll::new().unwrap();
        let mut saver = Saver::<Vec<u64>>::new(poll.registry(), Token(7)).unwrap();
        saver.save(text(&path, "last"), command(1)).unwrap();
        drop(saver);
        assert!(fs::read_to_string(&path).unwrap().contains("last"));
    }
}

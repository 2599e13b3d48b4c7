//! [`MetricsServer`]: the figures over HTTP, for a mio loop.
//!
//! # Theory of operation
//!
//! Nothing here blocks and nothing grows without bound, whatever a client does. There are at most
//! [`MetricsServer::CLIENTS`] at a time, each with one request of bounded length, one answer, and [`PATIENCE`] from the first
//! to the last byte: who is slower is cut off. The text is made at most once in [`FRESH`], however many ask, so that
//! nobody can keep the daemon from its packets by asking.

mod connection;

use super::exposition::{Exposition, classic};
use super::request::{self, Format, Status};
use super::{Metric, process};
use crate::SetupError;
use crate::access::{Access, Caller, Permission};
use crate::config_file::MetricsSettings;
use crate::socket_file::SocketFile;
use connection::{Connection, Step, Stream};
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use l2link::Time;
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

/// How long a client may take. Prometheus gives up after 10 s by default.
const PATIENCE: Duration = Duration::from_secs(5);
/// Age at which a text is made anew.
const FRESH: Duration = Duration::from_millis(100);

/// Hands out the figures. The socket file is removed when it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    file: Option<SocketFile>,
    /// Who may use that.
    access: Access,
    tcp: Option<TcpListener>,
    /// The token of the file's listener; that of TCP and those of the clients follow.
    first_token: usize,
    /// By their place.
    clients: BTreeMap<usize, Connection>,
    text: Option<(Time, String)>,
    results: Results,
    started: SystemTime,
}

#[derive(Debug, Clone, Copy, Default)]
struct Results {
    answered: u64,
    refused: u64,
    cut_off: u64,
}

impl MetricsServer {
    /// Most clients at a time. A further one is told so and closed.
    pub const CLIENTS: usize = 16;
    /// How many tokens [`MetricsServer::register`] needs.
    pub const TOKENS: usize = LISTENERS + Self::CLIENTS;

    /// Listens where the configuration says.
    ///
    /// # Errors
    /// [`SetupError::SocketInUse`] if another daemon listens there; [`SetupError::System`] if the file cannot be made, or
    /// the address cannot be had.
    pub fn bind(settings: &MetricsSettings) -> Result<Self, SetupError> {
        let access = &settings.access;
        let file =
            settings.socket.as_deref().map(|path| SocketFile::listen(path, access, "the metrics socket"));
        let tcp = |address: SocketAddr| {
            let failed = |error| SetupError::system(format!("listening at {address} for [metrics]"), error);
            TcpListener::bind(address).map_err(failed)
        };
        Ok(Self {
            file: file.transpose()?,
            access: access.clone(),
            tcp: settings.listen.map(tcp).transpose()?,
            first_token: 0,
            clients: BTreeMap::new(),
            text: None,
            results: Results::default(),
            started: SystemTime::now(),
        })
    }

    /// Has a server listen as `after` says that listened as `before` says; or as before, if that fails.
    ///
    /// # Errors
    /// Those of [`MetricsServer::bind`] and [`MetricsServer::register`].
    pub fn switch(
        server: &mut Option<Self>,
        before: Option<&MetricsSettings>,
        after: Option<&MetricsSettings>,
        registry: &Registry,
        tokens: Range<usize>,
    ) -> Result<(), SetupError> {
        if before == after {
            return Ok(());
        }
        let open = |settings: &MetricsSettings| {
            let mut server = Self::bind(settings)?;
            server
                .register(registry, tokens.clone())
                .map_err(|error| SetupError::system("watch the metrics server", error))?;
            Ok(server)
        };
        // A part of both may be the same.
        *server = None;
        match after.map(open).transpose() {
            Ok(opened) => {
                *server = opened;
                Ok(())
            }
            Err(error) => {
                *server = before.and_then(|before| open(before).ok());
                Err(error)
            }
        }
    }

    /// Registers the listeners by the first of `tokens` and later the clients by the others. There must be
    /// [`MetricsServer::TOKENS`] of them.
    ///
    /// # Errors
    /// If epoll refuses.
    ///
    /// # Panics
    /// If there are too few tokens.
    pub fn register(&mut self, registry: &Registry, tokens: Range<usize>) -> io::Result<()> {
        assert!(tokens.len() >= Self::TOKENS, "the metrics server needs {} tokens", Self::TOKENS);
        self.first_token = tokens.start;
        if let Some(file) = &mut self.file {
            registry.register(&mut **file, Token(tokens.start), Interest::READABLE)?;
        }
        if let Some(tcp) = &mut self.tcp {
            registry.register(tcp, Token(tokens.start + 1), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Does what an event asks for. Returns whether fresh figures are wanted: [`MetricsServer::answer`] is owed then.
    #[must_use]
    pub fn handle(&mut self, registry: &Registry, event: &Event, now: Time) -> bool {
        let Some(place) = event.token().0.checked_sub(self.first_token) else { return false };
        match place.checked_sub(LISTENERS) {
            None => self.accept(registry, now),
            Some(slot) => self.serve(slot),
        }
        if !self.clients.values().any(|client| client.asked().is_some()) {
            return false;
        }
        let fresh = self.text.as_ref().is_some_and(|(made, _)| now - *made < FRESH);
        if fresh {
            self.answer_all();
        }
        !fresh
    }

    /// Answers all clients that have asked. The server adds what it knows itself.
    pub fn answer(&mut self, mut exposition: Exposition, now: Time) {
        let Results { answered, refused, cut_off } = self.results;
        let results = [("answered", answered), ("refused", refused), ("cut-off", cut_off)];
        exposition.add_each(Metric::Scrapes, results);
        process::add(&mut exposition, self.started);
        self.text = Some((now, exposition.into_text()));
        self.answer_all();
    }

    /// When [`MetricsServer::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.clients.values().map(|client| client.deadline).min()
    }

    /// Cuts off who is too slow. Harmless at any moment.
    pub fn handle_timeout(&mut self, now: Time) {
        self.clients.retain(|_, client| {
            let kept = now < client.deadline;
            if !kept {
                self.results.cut_off += 1;
                log::info!(target: "metrics", "a client was too slow and was cut off");
            }
            kept
        });
        self.text = self.text.take().filter(|(made, _)| now - *made < FRESH);
    }

    fn accept(&mut self, registry: &Registry, now: Time) {
        for _ in 0..ACCEPTS {
            let file = self.file.as_ref().map(|file| file.accept().map(|(stream, _)| Stream::Unix(stream)));
            let tcp = || self.tcp.as_ref().map(|tcp| tcp.accept().map(|(stream, _)| Stream::Tcp(stream)));
            let accepted = match file {
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => tcp(),
                None => tcp(),
                Some(accepted) => Some(accepted),
            };
            match accepted {
                None => return,
                Some(Ok(stream)) => self.admit(registry, stream, now),
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // Out of descriptors, most likely: the next client's event brings us back here.
                        log::warn!(target: "metrics", "a client cannot be accepted: {error}");
                        return;
                    }
                },
            }
        }
        // There are more: have the events again.
        if let Err(error) = self.watch(registry) {
            log::error!(target: "metrics", "the sockets cannot be watched: {error}");
        }
    }

    fn watch(&mut self, registry: &Registry) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            registry.reregister(&mut **file, Token(self.first_token), Interest::READABLE)?;
        }
        if let Some(tcp) = &mut self.tcp {
            registry.reregister(tcp, Token(self.first_token + 1), Interest::READABLE)?;
        }
        Ok(())
    }

    fn admit(&mut self, registry: &Registry, stream: Stream, now: Time) {
        let permitted = self.permits(&stream);
        let mut connection = Connection::new(stream, now + PATIENCE);
        if !permitted {
            self.results.refused += 1;
            let _ = connection.send(request::refusal(Status::Forbidden));
            return;
        }
        let Some(slot) = (0..Self::CLIENTS).find(|slot| !self.clients.contains_key(slot)) else {
            self.results.refused += 1;
            let _ = connection.send(request::refusal(Status::TooManyClients));
            return;
        };
        let token = Token(self.first_token + LISTENERS + slot);
        match connection.register(registry, token) {
            Ok(()) => _ = self.clients.insert(slot, connection),
            Err(error) => log::warn!(target: "metrics", "a client cannot be registered: {error}"),
        }
    }

    /// Whether who has connected may have the figures. At TCP, which is at the loopback, everybody of this machine may.
    fn permits(&self, stream: &Stream) -> bool {
        match stream {
            Stream::Unix(stream) => {
                Caller::of(stream).is_ok_and(|caller| self.access.permits(&caller) >= Permission::Look)
            }
            Stream::Tcp(_) => true,
        }
    }

    fn serve(&mut self, slot: usize) {
        let Some(client) = self.clients.get_mut(&slot) else { return };
        match client.handle() {
            Step::Wait => {}
            Step::Refused => self.results.refused += 1,
            Step::Close => _ = self.clients.remove(&slot),
        }
        // A refusal was written at once, most likely.
        if self.clients.get(&slot).is_some_and(Connection::is_over) {
            self.clients.remove(&slot);
        }
    }

    fn answer_all(&mut self) {
        let Some((_, text)) = &self.text else { return };
        let results = &mut self.results;
        self.clients.retain(|_, client| {
            let Some((format, body)) = client.asked() else { return true };
            results.answered += 1;
            let answer = match format {
                Format::OpenMetrics => request::answer(text, format, body),
                Format::Classic => request::answer(&classic(text), format, body),
            };
            client.send(answer).is_ok() && !client.is_over()
        });
    }
}

/// Clients accepted before all else has its turn.
const ACCEPTS: usize = 32;
/// Tokens of the listeners.
const LISTENERS: usize = 2;

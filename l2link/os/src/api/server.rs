//! [`ApiServer`]: the listening end, for a mio loop.
//!
//! # Theory of operation
//!
//! Nothing here blocks and nothing grows without bound, whatever a client does. A client's input is read in steps into
//! a buffer of at most one longest request; its answers wait in a buffer that is bounded too. Who does not read its
//! answers is not read from until it does; a monitor, which cannot be held up so, is cut off. A [`Stream`] carries other bytes than
//! answers, and tells its owner how much room there is. mio is edge-triggered: a
//! client that is left before its socket is drained is registered again, which brings its event back.

mod connection;
mod stream;

use crate::SetupError;
use crate::socket_file::SocketFile;
pub use stream::Stream;

use connection::{Connection, Step};
use core::ops::Range;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// A client's handle, never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

/// A request to be answered by [`ApiServer::answer`].
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Who asks.
    pub client: ClientId,
    /// What: always a JSON object; others are answered by the server itself.
    pub json: Value,
}

impl Request {
    /// A text that has to be there.
    ///
    /// # Errors
    /// In words for who asks, if it is not.
    pub fn text(&self, key: &str) -> Result<&str, String> {
        let found = self.json.get(key).and_then(Value::as_str);
        found.ok_or_else(|| format!("the request needs a text {key:?}"))
    }

    /// Whether something is `true`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.json.get(key).and_then(Value::as_bool) == Some(true)
    }

    /// The `weight` of a peer; `None` if it is null.
    ///
    /// # Errors
    /// In words for who asks, if there is none, or it is no number of 16 bits.
    pub fn weight(&self) -> Result<Option<u16>, String> {
        match self.json.get("weight") {
            Some(Value::Null) => Ok(None),
            Some(weight) => {
                let number = weight.as_u64().and_then(|weight| u16::try_from(weight).ok());
                number.map(Some).ok_or_else(|| format!("weight is {weight}; 0 to {} are allowed", u16::MAX))
            }
            None => Err("the request needs a \"weight\", or null for the peer's own".to_owned()),
        }
    }
}

/// The listening end. The socket file is removed when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    listener: SocketFile,
    /// The listener's token; those of the clients follow.
    first_token: usize,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
}

#[derive(Debug)]
struct Client {
    /// Which of the clients' tokens it has.
    slot: usize,
    connection: Connection,
}

impl ApiServer {
    /// Most clients at a time. A further one is told so and closed.
    pub const CLIENTS: usize = 64;
    /// How many tokens [`ApiServer::register`] needs.
    pub const TOKENS: usize = Self::CLIENTS + 1;

    /// Listens at `path`, with the permission bits `mode`. The folder is made if it is missing. A socket file of a
    /// daemon that is gone is replaced.
    ///
    /// # Errors
    /// [`SetupError::SocketInUse`] if another daemon listens there; [`SetupError::System`] if the file cannot be made.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SetupError> {
        let listener = SocketFile::listen(path, mode, "the command socket")?;
        Ok(Self { listener, first_token: 0, clients: BTreeMap::new(), next_client: 0 })
    }

    /// Registers the listener by the first of `tokens` and later the clients by the others. There must be
    /// [`ApiServer::TOKENS`] of them.
    ///
    /// # Errors
    /// If epoll refuses.
    ///
    /// # Panics
    /// If there are too few tokens.
    pub fn register(&mut self, registry: &Registry, tokens: Range<usize>) -> io::Result<()> {
        assert!(tokens.len() >= Self::TOKENS, "the command socket needs {} tokens", Self::TOKENS);
        self.first_token = tokens.start;
        registry.register(&mut *self.listener, Token(self.first_token), Interest::READABLE)
    }

    /// Whether `token` is one of this server's.
    #[must_use]
    pub const fn owns(&self, token: Token) -> bool {
        token.0 >= self.first_token && token.0 - self.first_token < Self::TOKENS
    }

    /// Does what an event asks for, and returns the requests that arrived.
    pub fn handle(&mut self, registry: &Registry, event: &Event) -> Vec<Request> {
        let Some(place) = event.token().0.checked_sub(self.first_token) else { return Vec::new() };
        match place.checked_sub(1) {
            None => {
                self.accept(registry);
                Vec::new()
            }
            Some(slot) => self.serve(registry, slot),
        }
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(registry, stream),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // Out of descriptors, most likely: the next client's event brings us back here.
                        log::warn!(target: "api", "a client cannot be accepted: {error}");
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, registry: &Registry, stream: mio::net::UnixStream) {
        let mut connection = Connection::new(stream);
        let used = |slot: &usize| self.clients.values().any(|client| client.slot == *slot);
        let Some(slot) = (0..Self::CLIENTS).find(|slot| !used(slot)) else {
            log::warn!(target: "api", "more than {} clients at the command socket", Self::CLIENTS);
            connection.send(&super::failure("too many clients"));
            return;
        };
        match connection.register(registry, self.token(slot)) {
            Ok(()) => {
                self.clients.insert(ClientId(self.next_client), Client { slot, connection });
                self.next_client += 1;
            }
            Err(error) => log::warn!(target: "api", "a client cannot be registered: {error}"),
        }
    }

    const fn token(&self, slot: usize) -> Token {
        Token(self.first_token + 1 + slot)
    }

    fn serve(&mut self, registry: &Registry, slot: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        let found = self.clients.iter_mut().find(|(_, client)| client.slot == slot);
        let Some((&id, client)) = found else { return requests };
        let step = client.connection.handle(|json| requests.push(Request { client: id, json }));
        match step {
            Step::Idle => {}
            Step::Again => {
                let token = self.token(slot);
                if let Some(client) = self.clients.get_mut(&id)
                    && client.connection.register_again(registry, token).is_err()
                {
                    self.clients.remove(&id);
                }
            }
            Step::Close => {
                self.clients.remove(&id);
            }
        }
        requests
    }

    /// Answers a request. Nothing happens if the client is gone, or reads a stream by now.
    pub fn answer(&mut self, client: ClientId, answer: &Value) {
        if let Some(found) = self.clients.get_mut(&client)
            && !found.connection.streams
            && !found.connection.send(answer)
        {
            self.clients.remove(&client);
        }
    }

    /// Makes a client a monitor: it gets every [`ApiServer::broadcast`] from now on.
    pub fn monitor(&mut self, client: ClientId) {
        if let Some(found) = self.clients.get_mut(&client) {
            found.connection.monitor = true;
        }
    }

    /// The client as a reader of a stream of bytes, which follow the answers that it got: it asks for nothing more. `None` if it is
    /// gone.
    pub fn stream(&mut self, client: ClientId) -> Option<Stream<'_>> {
        let found = self.clients.get_mut(&client)?;
        (found.connection.streams, found.connection.monitor) = (true, false);
        Some(Stream::new(&mut found.connection))
    }

    /// Closes a stream when all that was pushed is read.
    pub fn end_stream(&mut self, client: ClientId) {
        if self.clients.get_mut(&client).is_some_and(|found| found.connection.finish()) {
            self.clients.remove(&client);
        }
    }

    /// Whether there is any monitor: if not, events need not be made.
    #[must_use]
    pub fn monitored(&self) -> bool {
        self.clients.values().any(|client| client.connection.monitor)
    }

    /// Sends an event, an object, to every monitor. One that is too slow is cut off.
    pub fn broadcast(&mut self, event: &Value) {
        if !self.monitored() {
            return;
        }
        let answer = super::success(vec![event.clone()]);
        self.clients.retain(|_, client| {
            let kept = !client.connection.monitor || client.connection.send(&answer);
            if !kept {
                log::info!(target: "api", "a monitor read too slowly and was cut off");
            }
            kept
        });
    }
}

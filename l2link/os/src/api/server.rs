//! [`ApiServer`]: the listening end, for a mio loop.
//!
//! # Theory of operation
//!
//! Nothing here blocks and nothing grows without bound, whatever a client does. A client's input is read in steps into
//! a buffer of at most one longest request; its answers wait in a buffer that is bounded too. Who does not read its
//! answers is not read from until it does; a monitor, which cannot be held up so, is cut off. A [`Stream`] carries other bytes than
//! answers, and tells its owner how much room there is. mio is edge-triggered: a
//! client that is left before its socket is drained is registered again, which brings its event back.
//!
//! What a client may is decided when it connects ([`crate::access`]), and again when the configuration changes. No request that
//! it may not make reaches the daemon. Root trusts itself; others are held off from it and from the daemon's packets:
//!
//! - [`seats`]: some places are root's, and no user can have all of the rest;
//! - [`turns`]: who may only look has one request served a turn of the loop, and a share of its time.

mod connection;
mod refusals;
mod seats;
mod stream;
mod turns;

use super::{Verb, denial, failure, success};
use crate::SetupError;
use crate::access::{Access, Caller, Permission};
use crate::socket_file::SocketFile;
use connection::{Connection, One, Step};
use core::ops::Range;
use l2link::Time;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use refusals::{Refusals, Why};
use seats::Full;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
pub use stream::Stream;
use turns::Turns;

/// A client's handle, never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

/// A request to be answered by [`ApiServer::answer`].
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Who asks.
    pub client: ClientId,
    /// What: always a JSON object; others are answered by the server itself.
    pub json: Value,
}

impl Request {
    /// Its verb; `None` if it has none that is known.
    #[must_use]
    pub fn verb(&self) -> Option<Verb> {
        Verb::of(&self.json)
    }

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
    access: Access,
    /// The listener's token; those of the clients follow.
    first_token: usize,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    turns: Turns,
    refusals: Refusals,
}

#[derive(Debug)]
struct Client {
    /// Which of the clients' tokens it has.
    slot: usize,
    caller: Caller,
    permission: Permission,
    connection: Connection,
    /// Of who takes turns: whether an answer is owed.
    asked: bool,
}

impl Client {
    /// Whether it waits for its turn, as it may only look.
    const fn takes_turns(&self) -> bool {
        !matches!(self.permission, Permission::Change)
    }
}

impl ApiServer {
    /// Most clients at a time. A further one is told so and closed.
    pub const CLIENTS: usize = 64;
    /// Most of these that are not root's.
    pub const CLIENTS_BUT_ROOT: usize = 48;
    /// Most of one user, root excepted.
    pub const CLIENTS_OF_USER: usize = 16;
    /// How many tokens [`ApiServer::register`] needs.
    pub const TOKENS: usize = Self::CLIENTS + 1;

    /// Listens at `path` for those who have `access`. The folder is made if it is missing. A socket file of a daemon that is
    /// gone is replaced.
    ///
    /// # Errors
    /// [`SetupError::SocketInUse`] if another daemon listens there; [`SetupError::System`] if the file cannot be made.
    pub fn bind(path: &Path, access: &Access) -> Result<Self, SetupError> {
        Ok(Self {
            listener: SocketFile::listen(path, access, "the command socket")?,
            access: access.clone(),
            first_token: 0,
            clients: BTreeMap::new(),
            next_client: 0,
            turns: Turns::default(),
            refusals: Refusals::default(),
        })
    }

    /// Others have access from now on. Clients that have none any more are closed.
    ///
    /// # Errors
    /// [`SetupError::System`] if the socket's file cannot be changed: then all is as it was.
    pub fn set_access(&mut self, access: &Access) -> Result<(), SetupError> {
        if self.access == *access {
            return Ok(());
        }
        let failed = |error| SetupError::system("opening the command socket to others", error);
        self.listener.open_to(access).map_err(failed)?;
        self.access = access.clone();
        self.clients.retain(|id, client| {
            client.permission = access.permits(&client.caller);
            if client.connection.streams && client.permission < Verb::Capture.needs() {
                return false;
            }
            // What it has sent and nobody has read yet is found by its turn, whichever way it is served from now on.
            self.turns.wait(*id);
            client.permission > Permission::Nothing
        });
        Ok(())
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

    /// Does what an event asks for, and returns the requests that arrived, but for those of [`ApiServer::next_turn`].
    pub fn handle(&mut self, registry: &Registry, event: &Event, now: Time) -> Vec<Request> {
        let Some(place) = event.token().0.checked_sub(self.first_token) else { return Vec::new() };
        match place.checked_sub(1) {
            None => {
                self.accept(registry, now);
                Vec::new()
            }
            Some(slot) => self.serve(registry, slot),
        }
    }

    /// The request of one of those who may only look, if it is time for one. To be called in each turn of the loop.
    pub fn next_turn(&mut self, now: Time) -> Option<Request> {
        self.turns.settle(now);
        for _ in 0..turns::ATTEMPTS {
            let id = self.turns.next(now)?;
            let Some(client) = self.clients.get_mut(&id).filter(|client| !client.asked) else { continue };
            match client.connection.one() {
                One::Request(json) => {
                    client.asked = true;
                    self.turns.charge(turns::price(Verb::of(&json)));
                    let permitted = self.judge(Request { client: id, json }, now);
                    if permitted.is_some() {
                        return permitted;
                    }
                }
                One::Nonsense => {
                    self.turns.charge(turns::price(None));
                    self.turns.wait(id);
                }
                One::Nothing => {}
                One::Close => _ = self.clients.remove(&id),
            }
        }
        None
    }

    /// When [`ApiServer::next_turn`] may have something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.turns.poll_timeout()
    }

    /// Clients and requests that were refused, by the reason.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); 2] {
        self.refusals.counts()
    }

    fn accept(&mut self, registry: &Registry, now: Time) {
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(registry, stream, now),
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
        // There are more: have the event again.
        if let Err(error) =
            registry.reregister(&mut *self.listener, Token(self.first_token), Interest::READABLE)
        {
            log::error!(target: "api", "the command socket cannot be watched: {error}");
        }
    }

    fn admit(&mut self, registry: &Registry, stream: mio::net::UnixStream, now: Time) {
        let caller = match Caller::of(&stream) {
            Ok(caller) => caller,
            Err(error) => {
                log::warn!(target: "api", "the kernel does not tell who has connected: {error}");
                return;
            }
        };
        let permission = self.access.permits(&caller);
        let mut connection = Connection::new(stream);
        if permission == Permission::Nothing {
            let who = self.access.who_may(Permission::Look);
            let text = format!("no permission for {caller}: it is for {who}");
            connection.send(&denial(&text));
            self.refusals.note(Why::NotPermitted, &text, now);
            return;
        }
        let slot = match self.free_slot(&caller) {
            Ok(slot) => slot,
            Err(full) => {
                self.refusals.note(Why::TooMany, &format!("{caller}: {full}"), now);
                connection.send(&failure(full));
                return;
            }
        };
        match connection.register(registry, self.token(slot)) {
            Ok(()) => {
                let client = Client { slot, caller, permission, connection, asked: false };
                self.clients.insert(ClientId(self.next_client), client);
                self.next_client += 1;
            }
            Err(error) => log::warn!(target: "api", "a client cannot be registered: {error}"),
        }
    }

    fn free_slot(&self, caller: &Caller) -> Result<usize, Full> {
        seats::admit(caller, self.clients.values().map(|client| &client.caller))?;
        let used = |slot: &usize| self.clients.values().any(|client| client.slot == *slot);
        (0..Self::CLIENTS).find(|slot| !used(slot)).ok_or(Full::Clients)
    }

    const fn token(&self, slot: usize) -> Token {
        Token(self.first_token + 1 + slot)
    }

    fn serve(&mut self, registry: &Registry, slot: usize) -> Vec<Request> {
        let found = self.clients.iter_mut().find(|(_, client)| client.slot == slot);
        let Some((&id, client)) = found else { return Vec::new() };
        if client.takes_turns() {
            if client.connection.flush().is_ok() {
                self.turns.wait(id);
            } else {
                self.clients.remove(&id);
            }
            return Vec::new();
        }
        let mut requests = Vec::new();
        match client.connection.handle(|json| requests.push(Request { client: id, json })) {
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

    /// The request, if its client may make it. Otherwise the client is told so. One that the daemon does not know is no look.
    fn judge(&mut self, request: Request, now: Time) -> Option<Request> {
        let needs = request.verb().map_or(Permission::Change, Verb::needs);
        let client = self.clients.get(&request.client)?;
        if client.permission >= needs {
            return Some(request);
        }
        let verb = request.verb().map_or("that", Verb::name);
        let text = format!("{} may only look: {verb} is for {}", client.caller, self.access.who_may(needs));
        self.answer(request.client, &denial(&text));
        self.refusals.note(Why::NotPermitted, &text, now);
        None
    }

    /// Answers a request. Nothing happens if the client is gone, or reads a stream by now.
    pub fn answer(&mut self, client: ClientId, answer: &Value) {
        let Some(found) = self.clients.get_mut(&client).filter(|found| !found.connection.streams) else {
            return;
        };
        let before = found.connection.answered();
        if !found.connection.send(answer) {
            self.clients.remove(&client);
            return;
        }
        if found.takes_turns() {
            self.turns.charge(found.connection.answered() - before);
        }
        self.answered(client);
    }

    /// Makes a client a monitor: it gets every [`ApiServer::broadcast`] from now on.
    pub fn monitor(&mut self, client: ClientId) {
        if let Some(found) = self.clients.get_mut(&client) {
            found.connection.monitor = true;
            self.answered(client);
        }
    }

    /// A client that takes turns may have its next one.
    fn answered(&mut self, client: ClientId) {
        if let Some(found) = self.clients.get_mut(&client)
            && std::mem::take(&mut found.asked)
        {
            self.turns.wait(client);
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
        let answer = success(vec![event.clone()]);
        self.clients.retain(|_, client| {
            let kept = !client.connection.monitor || client.connection.send(&answer);
            if !kept {
                log::info!(target: "api", "a monitor read too slowly and was cut off");
            }
            kept
        });
    }
}

/// Clients accepted before all else has its turn.
const ACCEPTS: usize = 32;

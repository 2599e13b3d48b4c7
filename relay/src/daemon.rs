//! The event loop: one thread, one `Poll`.
//!
//! mio tells of a source once when it becomes readable, so a source that was not drained stays in the ready set, and
//! the next turn does not wait. Each source has a budget per turn, so that a flood at one starves no other.

use crate::answer::{Asked, answer};
use crate::by_hand::Waiting;
use crate::config::Settings;
use crate::failure::Failure;
use crate::forwarding::Forwarding;
use crate::interfaces::Interfaces;
use crate::metrics;
use crate::outlets::Outlets;
use crate::own_routes::OwnRoutes;
use crate::ports::Ports;
use crate::quiet::Quiet;
use crate::remembered::Remembered;
use crate::routes::Routes;
use crate::source::Source;
use crate::trace;
use crate::transits::Transits;
use crate::wire::{Wire, register};
use ::fast_path::Cache;
use core::time::Duration;
use frames::discovery::Role;
use l2link::Time;
use l2link_os::api::{ApiServer, ClientId, Request, success};
use l2link_os::capture::Captures;
use l2link_os::config_file::Saver;
use l2link_os::confine::{Confinement, folder_of};
use l2link_os::metrics::{Metric, MetricsServer};
use l2link_os::privileges::{Capability, require};
use l2link_os::reload::{self, Reloads};
use l2link_os::service_manager::{self, ServiceManager};
use l2link_os::signals::{Signal, Signals};
use l2link_os::{BusyPoll, Conversations, KeyLog, NetNs, RecordFile, SetupError, clock, seed};
use mio::{Events, Poll};
use relay_core::{Arrival, Beginning, Recorded};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The running relay.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) relay: Recorded,
    /// Where the keys of sessions are written, if anywhere.
    pub(crate) keylog: Option<KeyLog>,
    pub(crate) wire: Wire,
    /// The fast path, if there is one.
    pub(crate) cache: Option<Cache>,
    pub(crate) ports: Ports,
    pub(crate) outlets: Outlets,
    pub(crate) transits: Transits,
    pub(crate) interfaces: Interfaces,
    /// Where the ports are.
    netns: NetNs,
    signals: Signals,
    pub(crate) api: ApiServer,
    pub(crate) captures: Captures,
    pub(crate) name: String,
    /// Figures for monitoring; `None` if nobody may have them.
    pub(crate) metrics: Option<MetricsServer>,
    pub(crate) service_manager: ServiceManager,
    /// Requests of this turn, answered at its end.
    requests: Vec<Request>,
    /// Keeps the relay's kernel quiet; `None` without any port.
    pub(crate) quiet: Option<Quiet>,
    /// Clients that wait for the end of a verification.
    pub(crate) verifying: Vec<ClientId>,
    /// Where changes by hand are saved.
    pub(crate) config_file: PathBuf,
    /// What the file said when it was read last.
    pub(crate) reloads: Reloads<Settings>,
    /// Commands that wait for the kernel.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) saver: Saver<Daemon>,
    /// The kernel's routes.
    pub(crate) routes: Routes,
    /// Those of them that controls are told, as they are none of theirs.
    own_routes: OwnRoutes,
    /// The settings of a router; put back when this is dropped.
    pub(crate) forwarding: Forwarding,
    /// The controls that have routes.
    pub(crate) remembered: Remembered,
    /// What a port received just now.
    pub(crate) arrivals: Vec<Arrival>,
    /// Sources that have something to read.
    pub(crate) ready: BTreeSet<Source>,
    /// The signal that ends the daemon.
    stopping: Option<Signal>,
    pub(crate) busy_poll: BusyPoll,
    pub(crate) conversations: Conversations,
    // Last, as the others' registrations end before it does.
    pub(crate) poll: Poll,
}

impl Daemon {
    /// Sets everything up, and records it to this file if there is one.
    pub(crate) fn start(
        settings: Settings,
        config_file: PathBuf,
        record: Option<&Path>,
    ) -> Result<Self, Failure> {
        require(CAPABILITIES)?;
        let now = clock::now();
        let poll = Poll::new()?;
        let registry = poll.registry();
        let signals = Signals::open()?;
        register(registry, &signals, Source::Signals)?;
        let netns = NetNs::current()?;
        let mut interfaces = Interfaces::open(&netns, registry)?;
        let (links, mut addresses) = interfaces.list()?;
        let discards = settings.discards();

        // First of all, as it fails if this relay is running already, whose table must not be touched.
        let mut api = ApiServer::bind(&settings.api.socket, &settings.api.access)?;
        api.register(registry, Source::API)?;
        let mut metrics = settings.metrics.as_ref().map(MetricsServer::bind).transpose()?;
        if let Some(metrics) = &mut metrics {
            metrics.register(registry, Source::METRICS)?;
        }
        let keylog = settings.link.keylog.as_deref().map(KeyLog::open).transpose()?;
        let mut wire = Wire::open(&settings.link.interface, settings.link.ethertype, registry)?;
        let names = settings.relay.ports.iter().map(|port| port.interface.clone());
        let mut ports = Ports::new(names, settings.link.ethertype);
        ports.open(&links, registry)?;
        let quiet = Quiet::begin(&netns, discards, registry)?;
        let routes = Routes::open(&netns, registry)?;
        let is_port = |name: &str| settings.relay.ports.iter().any(|port| port.interface == name);
        let wanted = settings.forwarding;
        let addressed = settings.addressed_ports();
        let forwarding =
            Forwarding::begin(&netns, &settings.api.socket, wanted, &links, is_port, &addressed)?;
        // An interface that is no port any more has no control to give it addresses.
        if interfaces.delete_all(|ifindex| !ports.has(ifindex))? {
            addresses = interfaces.list()?.1;
        }

        let (remembered, names) = Remembered::open(&netns, &settings.api.socket)?;

        let (_, mac, mtu) = wire.attributes().unwrap_or_default();
        let config = settings.link.config(&settings.relay.name, Role::Relay, seed::boot_id()?, mac, mtu);
        let name = settings.relay.name.clone();
        let beginning = Beginning {
            config: settings.relay.clone(),
            link: config,
            seed: seed::random()?,
            remembered: names,
            now,
        };
        let (mut relay, writer) = match record.map(RecordFile::create).transpose()? {
            Some((file, writer)) => (Recorded::begin(beginning, Box::new(file), clock::wall()), Some(writer)),
            None => (beginning.relay().into(), None),
        };
        if keylog.is_some() {
            relay.keep_session_keys();
        }
        wire.size_batch(&relay);
        let is_clear = relay.link().is_data_clear();
        let (policy, ethertype) = (settings.link.fast_path, settings.link.ethertype);
        let cache =
            Cache::open(policy, ethertype, is_clear, wire.fast_link()).map_err(SetupError::FastPath)?;
        for peer in &settings.peers {
            relay.decide(&peer.name, peer.decided());
        }
        for route in &settings.static_routes {
            if let Err(error) = relay.add_route(route) {
                log::error!(target: "relay::route", "route {route}: {error}");
            }
        }
        let own_routes = OwnRoutes::new(&netns, now);
        if ports.follow(&links, &addresses, own_routes.known(), &mut relay, registry, now) {
            interfaces.look_again(now);
        }
        let figures = settings.metrics.as_ref().and_then(|metrics| metrics.socket.as_ref());
        let written =
            [Some(&settings.api.socket), Some(&config_file), settings.link.keylog.as_ref(), figures];
        let written =
            written.into_iter().flatten().map(|file| folder_of(file)).chain(WRITTEN.map(PathBuf::from));
        Confinement::new(CAPABILITIES)
            .using(&config_file)
            .with_bpf(cache.is_some())
            .writing_below(written)
            .begin()?;
        if let Some(writer) = writer {
            writer.start()?;
        }
        log::info!(target: "relay::daemon", "the configuration is that of {}", config_file.display());
        log::info!(target: "relay::daemon", "l2relay {name}: ready on {}", settings.link.interface);
        Ok(Self {
            relay,
            keylog,
            wire,
            cache,
            ports,
            outlets: Outlets::open(&netns)?,
            transits: Transits::open(&netns)?,
            interfaces,
            netns,
            signals,
            api,
            captures: Captures::new("l2relay", env!("CARGO_PKG_VERSION")),
            name,
            metrics,
            service_manager: ServiceManager::from_environment(),
            requests: Vec::new(),
            quiet,
            verifying: Vec::new(),
            config_file,
            busy_poll: BusyPoll::new(settings.link.busy_poll),
            conversations: Conversations::default(),
            reloads: Reloads::new(settings, now),
            waiting: Vec::new(),
            saver: Saver::new(poll.registry(), Source::Saved.token())?,
            routes,
            own_routes,
            forwarding,
            remembered,
            arrivals: Vec::new(),
            ready: BTreeSet::new(),
            stopping: None,
            poll,
        })
    }

    /// Runs until a signal ends it.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS);
        let mut now = clock::now();
        self.service_manager.ready(now);
        loop {
            // 1. Say and do what the last turn led to, to the fast path first.
            self.follow_fast_path(now);
            let acting = self.act(now);
            self.transmit(now);
            self.answer(now);
            self.end_waiting(now);
            self.serve_captures();
            self.relay.flush();
            if let Some(signal) = self.stopping {
                return self.stop(signal, now);
            }
            // 2. Wait, unless something is left to do or to read.
            let timeout = if acting { Some(Duration::ZERO) } else { self.timeout(clock::now()) };
            if let Err(error) = self.busy_poll.wait(&mut self.poll, &mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error.into());
            }
            // 3. Read the clock: this turn happens at one moment.
            now = clock::now();
            // 4. Note who has something to read.
            self.note(&events, now);
            // 5. Signals before anything that a flood can delay.
            if self.ready.remove(&Source::Signals) {
                self.read_signals(now);
            }
            // 6. Interfaces and tables of the kernel before frames, which then meet them as they are.
            if self.ready.remove(&Source::Interfaces) || is_due(self.interfaces.poll_timeout(), now) {
                self.follow_interfaces(now);
            }
            if self.ready.remove(&Source::Discard)
                && let Some(quiet) = &mut self.quiet
            {
                quiet.restore();
            }
            // 7. Frames of the link: parcels go out of their ports, messages change the tables.
            if self.wire.wake(self.poll.registry(), now) {
                self.ready.insert(Source::Link);
            }
            if self.ready.remove(&Source::Link) && self.read_link(now) {
                self.ready.insert(Source::Link);
            }
            // 8. Timers, after the frames that may have made them pointless.
            if is_due(self.relay.poll_timeout(), now) {
                self.relay.handle_timeout(now);
            }
            if let Some(metrics) = &mut self.metrics
                && is_due(metrics.poll_timeout(), now)
            {
                metrics.handle_timeout(now);
            }
            let relay = &self.relay;
            let status = || {
                let status = service_manager::status("ports", relay.ports_up(), "controls", relay.link());
                reload::status(status, &self.reloads)
            };
            self.service_manager.handle_timeout(status, now);
            self.end_trial(now);
            if self.ready.remove(&Source::Saved) {
                self.end_saving(now);
            }
            // 9. Packets at the ports: by the tables as the messages left them.
            for place in self.ports_in_turn() {
                let more = self.read_port(place, now);
                self.ports.note_turn(place, more);
                if more {
                    self.ready.insert(Source::Port(place));
                }
            }
            for place in 0..self.transits.len() {
                if self.ready.remove(&Source::Transit(place)) && self.read_transit(place, now) {
                    self.ready.insert(Source::Transit(place));
                }
            }
            if self.ready.remove(&Source::OwnErrors) && self.read_own_errors(now) {
                self.ready.insert(Source::OwnErrors);
            }
            // 10. Routes, a millisecond's worth: a million of them must not hold packets up.
            if self.ready.remove(&Source::Routes) && self.routes.follow(&mut self.relay, now) {
                self.ready.insert(Source::Routes);
            }
            if self.routes.is_looking() && self.routes.step(&mut self.relay, now) {
                self.ready.insert(Source::Routes);
            }
            if self.relay.routes_waiting() {
                self.relay.change_routes();
            }
            self.follow_own_routes(now);
        }
    }

    /// Takes the ports out that have something to give; one with more than a turn's worth comes behind the others, who would wait
    /// for it.
    fn ports_in_turn(&mut self) -> Vec<usize> {
        let mut places: Vec<usize> =
            (0..self.ports.len()).filter(|place| self.ready.remove(&Source::Port(*place))).collect();
        places.sort_by_key(|place| self.ports.has_more(*place));
        places
    }

    /// Sends what waits in the link and in the batch.
    fn transmit(&mut self, now: Time) {
        if let Some(keylog) = &mut self.keylog {
            while let Some(keys) = self.relay.poll_session_keys() {
                keylog.write(&keys);
            }
        }
        while self.relay.poll_transmit(&mut self.wire.batch, now) && !self.wire.batch.is_empty() {
            self.wire.flush(&mut self.relay);
        }
        self.wire.flush(&mut self.relay);
    }

    fn answer(&mut self, now: Time) {
        if !self.requests.is_empty() {
            self.take_fast_counts(now);
        }
        for request in std::mem::take(&mut self.requests) {
            if self.serve_reload(&request, now)
                || self.serve_by_hand(&request, now)
                || self.serve_capture(&request)
            {
                continue;
            }
            let Request { client, json } = request;
            match answer(&json, &self.relay, now) {
                Asked::Answer(answer) => self.api.answer(client, &answer),
                Asked::Trace => {
                    self.api.answer(client, &trace::answer(&json, &self.relay, &self.netns, now));
                }
                Asked::Verify => {
                    self.verifying.push(client);
                    self.relay.verify();
                }
                Asked::Monitor => {
                    self.api.answer(client, &success(Vec::<Value>::new()));
                    self.api.monitor(client);
                }
            }
        }
    }

    fn timeout(&self, now: Time) -> Option<Duration> {
        if !self.ready.is_empty() || self.relay.routes_waiting() || self.routes.is_looking() {
            return Some(Duration::ZERO);
        }
        let own_routes = self.own_routes.poll_timeout(now);
        let metrics = self.metrics.as_ref().and_then(MetricsServer::poll_timeout);
        let waiting = self.waiting_timeout();
        let service_manager = self.service_manager.poll_timeout();
        let (relay, interfaces) = (self.relay.poll_timeout(), self.interfaces.poll_timeout());
        let (wire, trial) = (self.wire.poll_timeout(), self.reloads.poll_timeout());
        let api = self.api.poll_timeout();
        let next = [relay, interfaces, own_routes, metrics, waiting, service_manager, wire, trial, api];
        next.into_iter().flatten().min().map(|next| next - now)
    }

    fn note(&mut self, events: &Events, now: Time) {
        for event in events {
            match Source::of(event.token()) {
                Some(Source::Api) => {
                    self.requests.extend(self.api.handle(self.poll.registry(), event, now));
                }
                Some(Source::Metrics) => self.tell_metrics(event, now),
                Some(source) => {
                    self.ready.insert(source);
                }
                None => {}
            }
        }
        self.requests.extend(self.api.next_turn(now));
    }

    fn tell_metrics(&mut self, event: &mio::event::Event, now: Time) {
        self.take_fast_counts(now);
        let Some(server) = &mut self.metrics else { return };
        if server.handle(self.poll.registry(), event, now) {
            let mut figures = metrics::collect(&self.name, &self.relay, self.routes.batches(), now);
            figures.add(Metric::BusyPoll, &[], self.busy_poll.spent());
            figures.add_each(Metric::ApiRefused, self.api.refused());
            server.answer(figures, now);
        }
    }

    fn read_signals(&mut self, now: Time) {
        loop {
            match self.signals.next() {
                Ok(Some(signal @ (Signal::Stop | Signal::Leave))) => self.stopping = Some(signal),
                Ok(Some(Signal::Reload)) => self.reload_by_signal(now),
                Ok(None) => return,
                Err(error) => {
                    log::error!(target: "relay::daemon", "reading signals: {error}");
                    return;
                }
            }
        }
    }

    pub(crate) fn follow_interfaces(&mut self, now: Time) {
        let Some((links, addresses)) = self.interfaces.changed(now) else { return };
        let registry = self.poll.registry();
        let link = links.iter().find(|info| info.name == self.wire.interface());
        let again = self.wire.follow(link, &mut self.relay, registry, now)
            | self.ports.follow(&links, &addresses, self.own_routes.known(), &mut self.relay, registry, now);
        if again {
            self.interfaces.look_again(now);
        }
        if let Some(cache) = &mut self.cache {
            cache.follow_link(self.wire.fast_link());
            cache.retain(&self.ports.ifindexes());
        }
        for peer in self.transits.cut_off(&links) {
            self.relay.handle_transit_lost(peer);
        }
        // Sockets that were opened just now are read at once, whatever mio has told of them.
        self.ready.insert(Source::Link);
        self.ready.extend((0..self.ports.len()).map(Source::Port));
        self.act(now);
    }

    /// What controls are told of ports goes with the relay's own routes.
    fn follow_own_routes(&mut self, now: Time) {
        if self.routes.take_others_changed() {
            self.own_routes.handle_changed(now);
        }
        if is_due(self.own_routes.poll_timeout(now), now)
            && self.own_routes.step(self.routes.ipv6_changes(), now)
        {
            self.interfaces.look_now(now);
        }
    }

    /// Says goodbye, and leaves the machine as it was; or as it is, for a successor, who is told nothing.
    fn stop(mut self, signal: Signal, now: Time) -> Result<(), Failure> {
        self.service_manager.stopping();
        if signal == Signal::Leave {
            if let Some(quiet) = self.quiet.take() {
                quiet.leave();
            }
            self.forwarding.leave();
            self.relay.end();
            log::info!(target: "relay::daemon", "stopped; routes, addresses and discards stay for a successor");
            return Ok(());
        }
        self.relay.close(now);
        while self.act(now) {}
        self.transmit(now);
        self.relay.end();
        if let Some(quiet) = self.quiet.take() {
            quiet.end()?;
        }
        self.routes.remove_all()?;
        self.remembered.forget();
        self.interfaces.delete_all(|_| true)?;
        log::info!(target: "relay::daemon", "stopped");
        Ok(())
    }
}

fn is_due(timeout: Option<Time>, now: Time) -> bool {
    timeout.is_some_and(|timeout| timeout <= now)
}

/// Events of one turn; more are told in the next.
const EVENTS: usize = 64;
/// What it cannot do without: interfaces, routes, nftables; packet sockets.
const CAPABILITIES: &[Capability] = &[Capability::NetAdmin, Capability::NetRaw];
/// Where it writes besides the folders of its own files: settings of the kernel, interfaces to other relays, and what nft(8) is not
/// to say.
const WRITTEN: [&str; 3] = ["/proc/sys/net", "/dev/net/tun", "/dev/null"];

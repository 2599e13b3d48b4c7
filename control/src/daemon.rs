//! [`Daemon`]: one thread, one loop.

use crate::api;
use crate::by_hand::Waiting;
use crate::config::{Settings, SymbolSettings};
use crate::crossings::{self, Crossings};
use crate::files::Files;
use crate::keeper::SymbolKeeper;
use crate::link_interface::{Followed, LinkInterface};
use crate::metrics;
use crate::namespaces::Namespace;
use crate::packets::new_batch;
use crate::rate_limit::RateLimit;
use crate::ready::Ready;
use crate::source::Source;
use crate::symbol_interface::ByAddress;
use crate::symbols::{Adopted, Place, Symbols};
use crate::trigger::Trigger;
use crate::way_back;
use ::fast_path::Cache;
use control_core::{Beginning, Config, Control, Failure, Ground, Recorded};
use core::time::Duration;
use frames::discovery::Role;
use frames::{DropReason, SymbolId};
use l2link::{Batch, Time};
use l2link_os::api::{ApiServer, ClientId, Request};
use l2link_os::capture::Captures;
use l2link_os::config_file::Saver;
use l2link_os::metrics::{Metric, MetricsServer};
use l2link_os::reload::{self, Reloads};
use l2link_os::service_manager::{self, ServiceManager};
use l2link_os::signals::{Signal, Signals};
use l2link_os::{BusyPoll, Conversations, KeyLog, RecordFile, SetupError, clock, seed};
use log::{error, info, warn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Everything that the daemon holds.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) poll: Poll,
    pub(crate) busy_poll: BusyPoll,
    pub(crate) conversations: Conversations,
    pub(crate) ready: Ready,
    pub(crate) control: Recorded,
    pub(crate) link: LinkInterface,
    pub(crate) symbols: Symbols,
    pub(crate) files: Files,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) trigger: Trigger,
    pub(crate) signals: Signals,
    pub(crate) api: ApiServer,
    pub(crate) captures: Captures,
    /// Figures for monitoring; none if nobody may have them.
    pub(crate) metrics: Option<MetricsServer>,
    /// Where the keys of sessions are written, if anywhere.
    pub(crate) keylog: Option<KeyLog>,
    pub(crate) service_manager: ServiceManager,
    /// Link frames on their way out.
    pub(crate) batch: Batch,
    pub(crate) looks: RateLimit,
    pub(crate) receive: RateLimit,
    /// The fast path, if there is one.
    pub(crate) cache: Option<Cache>,
    pub(crate) name: String,
    pub(crate) link_name: String,
    /// Clients that wait for the end of a verification.
    pub(crate) verifying: Vec<ClientId>,
    /// Where changes by hand are saved.
    pub(crate) config_file: PathBuf,
    /// What the file said when it was read last.
    pub(crate) reloads: Reloads<Settings>,
    /// The symbols as they were configured, by hand or in the file.
    pub(crate) settings: BTreeMap<SymbolId, SymbolSettings>,
    /// Commands that wait for a relay.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) saver: Saver<Daemon>,
    /// Routes are being listed, or told.
    routes_wait: bool,
    /// When to look again at a link interface that could not be used.
    follow_link_at: Option<Time>,
}

/// Events taken with one system call.
const EVENTS: usize = 64;
/// Pause before a link interface that could not be used is tried again.
const RETRY_LINK: Duration = Duration::from_secs(1);

impl Daemon {
    /// Opens everything that has to be there at the start. Everything is recorded there, if that is said.
    pub(crate) fn new(
        settings: Settings,
        config_file: PathBuf,
        signals: Signals,
        record: Option<RecordFile>,
    ) -> Result<Self, SetupError> {
        let now = clock::now();
        let poll = Poll::new().map_err(|error| SetupError::system("make an epoll descriptor", error))?;
        let registry = poll.registry();
        for warning in &settings.warnings {
            warn!(target: "control::daemon", "{warning}");
        }
        for (contradiction, _) in &settings.refused {
            error!(target: "control::daemon", "a symbol is left out: {contradiction}");
        }
        let link = LinkInterface::open(&settings.link.interface, settings.link.ethertype, registry)?;
        let mut api = ApiServer::bind(&settings.api.socket, &settings.api.access)?;
        let keylog = settings.link.keylog.as_deref().map(KeyLog::open).transpose()?;
        let watch = |source: Source| move |error| SetupError::system(format!("watch {source}"), error);
        api.register(registry, Source::API).map_err(watch(Source::Api))?;
        let mut metrics = settings.metrics.as_ref().map(MetricsServer::bind).transpose()?;
        if let Some(metrics) = &mut metrics {
            metrics.register(registry, Source::METRICS).map_err(watch(Source::Metrics))?;
        }
        let register = |descriptor: i32, source: Source| {
            let registered =
                registry.register(&mut SourceFd(&descriptor), source.token(), Interest::READABLE);
            registered.map_err(watch(source))
        };
        register(signals.as_raw_fd(), Source::Signals)?;
        let trigger = Trigger::open(settings.detection)?;
        if let Some(descriptor) = trigger.descriptor() {
            register(descriptor, Source::Trigger)?;
        }
        let (mac, mtu) = link.address();
        let link_config = settings.link.config(&settings.name, Role::Control, seed::boot_id()?, mac, mtu);
        let config = Config {
            refused: settings.refused.iter().map(|(_, symbol)| symbol.clone()).collect(),
            symbols: settings.symbols.iter().map(|symbol| symbol.core.clone()).collect(),
            triggered: trigger.triggered(),
            addressing: settings.addressing,
            routes: settings.routes.clone(),
            carrier_hold: settings.carrier_hold,
        };
        let beginning = Beginning { config, link: link_config, seed: seed::random()?, now };
        let mut control = match record {
            Some(file) => Recorded::begin(beginning, Box::new(file), clock::wall()),
            None => beginning.control().into(),
        };
        if keylog.is_some() {
            control.keep_session_keys();
        }
        let is_clear = control.link().is_data_clear();
        let (policy, ethertype) = (settings.link.fast_path, settings.link.ethertype);
        let cache =
            Cache::open(policy, ethertype, is_clear, link.fast_link()).map_err(SetupError::FastPath)?;
        let crossings = cache.as_ref().map(|_| Crossings::open()).transpose()?;
        let symbols: BTreeMap<SymbolId, SymbolSettings> =
            (1..).map(SymbolId).zip(settings.symbols.clone()).collect();
        let places = symbols.iter().filter_map(|(id, symbol)| Some((*id, place(&control, *id, symbol)?)));
        let places = places.collect();
        for peer in &settings.peers {
            control.decide(&peer.name, peer.decided());
        }
        let complain = |error| error!(target: "control::daemon", "by hand: {error}");
        for (id, symbol) in &symbols {
            symbol.rules.iter().for_each(|rule| control.add_rule(*id, *rule, now).unwrap_or_else(complain));
        }
        settings.static_routes.iter().for_each(|route| control.add_route(route).unwrap_or_else(complain));
        let of_files = symbols.iter().filter(|(_, symbol)| symbol.core.files.is_some()).map(|(id, _)| *id);
        let files = Files::new(settings.files.clone(), of_files.collect());
        let keeper = SymbolKeeper::beside(&settings.api.socket, settings.keep_symbols);
        let mut daemon = Self {
            symbols: Symbols::new(places, crossings, keeper),
            files,
            config_file,
            settings: symbols,
            waiting: Vec::new(),
            saver: Saver::new(poll.registry(), Source::Saved.token())?,
            namespaces: control
                .namespaces()
                .map(|(id, name)| Namespace::new(id, name, control.mirrors_routes(id), trigger.watcher()))
                .collect(),
            keylog,
            cache,
            batch: new_batch(&control),
            ready: Ready::default(),
            looks: RateLimit::default(),
            receive: RateLimit::default(),
            name: settings.name.clone(),
            link_name: settings.link.interface.clone(),
            busy_poll: BusyPoll::new(settings.link.busy_poll),
            conversations: Conversations::default(),
            reloads: Reloads::new(settings, now),
            verifying: Vec::new(),
            routes_wait: false,
            follow_link_at: None,
            control,
            poll,
            link,
            trigger,
            signals,
            api,
            captures: Captures::new("l2control", env!("CARGO_PKG_VERSION")),
            metrics,
            service_manager: ServiceManager::from_environment(),
        };
        daemon.adopt_symbols(now);
        Ok(daemon)
    }

    /// Runs until a signal says to stop.
    pub(crate) fn run(mut self) -> Result<(), SetupError> {
        info!(target: "control::daemon", "the configuration is that of {}", self.config_file.display());
        info!(target: "control::daemon", "l2control {}: ready on {}", self.name, self.link_name);
        let mut events = Events::with_capacity(EVENTS);
        let mut now = clock::now();
        self.service_manager.ready(now);
        loop {
            // 1. Let the fast path know, then send what waits, so that nothing waits while the daemon does.
            self.follow_fast_path(now);
            self.transmit(now);
            // 2. Wait, but not if a source has more to give.
            let busy = !self.ready.is_empty() || self.routes_wait;
            let timeout = if busy { Some(Duration::ZERO) } else { self.timeout(now) };
            match self.busy_poll.wait(&mut self.poll, &mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(SetupError::system("wait for events", error));
                }
                Ok(()) | Err(_) => {}
            }
            // 3. Read the clock, once.
            now = clock::now();
            // 4. Answer the command socket; note the other sources.
            for event in &events {
                match Source::of(event.token()) {
                    Some(Source::Api) => self.serve(event, now),
                    Some(Source::Metrics) => self.tell_metrics(event, now),
                    Some(source) => self.ready.insert(source),
                    None => {}
                }
            }
            if let Some(request) = self.api.next_turn(now) {
                self.serve_request(&request, now);
            }
            if self.link.wake(self.poll.registry(), now) {
                self.ready.insert(Source::Link);
            }
            self.control.set_monitored(self.api.monitored());
            // 5. Take from each source in order, up to its budget, and do what follows from it.
            for source in self.ready.pass() {
                match self.take(source, now) {
                    Taken::All => {}
                    Taken::Some => self.ready.put_back(source),
                    Taken::Stop => {
                        self.stop(now);
                        return Ok(());
                    }
                    Taken::Leave => {
                        self.leave();
                        return Ok(());
                    }
                }
                self.act(now);
            }
            // 6. Let time pass.
            if self.control.poll_timeout().is_some_and(|time| time <= now) {
                self.control.handle_timeout(now);
            }
            if let Some(metrics) = &mut self.metrics
                && metrics.poll_timeout().is_some_and(|time| time <= now)
            {
                metrics.handle_timeout(now);
            }
            let control = &self.control;
            let status = || {
                let (up, link) = (control.symbols_up(), control.link());
                reload::status(service_manager::status("symbols", up, "relays", link), &self.reloads)
            };
            self.service_manager.handle_timeout(status, now);
            self.end_trial(now);
            self.follow_namespaces(now);
            if self.follow_link_at.is_some_and(|time| time <= now) {
                self.follow_link(now);
            }
            self.symbols.follow_keeper(self.poll.registry(), now);
            // 7. Routes, a bounded part of them: packets must not wait for a million.
            self.routes_wait = self.list_routes(now);
            self.routes_wait |= self.control.pump_routes(now);
            self.act(now);
            // 8. Commands by hand whose relay has answered.
            self.end_waiting(now);
            self.serve_captures();
            self.control.flush();
        }
    }

    /// Takes what a source has to give.
    fn take(&mut self, source: Source, now: Time) -> Taken {
        match source {
            Source::Signals => return self.take_signals(now),
            Source::Monitor => {
                // A bell that cannot be heard counts as rung.
                if self.link.is_changed().unwrap_or(true) {
                    self.follow_link(now);
                }
            }
            Source::Trigger => self.trigger.hint(&mut self.control, now),
            Source::Keeper => self.symbols.keeper.handle_gone(now),
            Source::Closed(namespace) => self.take_closed(namespace, now),
            Source::Groups(namespace) => self.take_group_events(namespace, now),
            Source::Interfaces(namespace) => self.follow_interfaces(namespace, now),
            Source::Routes(namespace) => {
                return if self.follow_routes(namespace, now) { Taken::Some } else { Taken::All };
            }
            Source::Link => {
                let taken = self.receive(now);
                self.control.handle_link_events(now);
                return taken;
            }
            Source::FileRequests => return self.take_file_requests(now),
            Source::FileTree => self.pass_tree_answers(now),
            Source::FileQuestions => self.answer_tree(),
            Source::Saved => self.end_saving(now),
            Source::Symbol(symbol) => return self.read_symbol(symbol, now),
            // Served at once, with its event.
            Source::Api | Source::Metrics => {}
        }
        Taken::All
    }

    fn follow_link(&mut self, now: Time) {
        // What waits was written for the former address and MTU.
        self.transmit(now);
        let followed = self.link.follow(self.poll.registry());
        self.follow_fast_link();
        self.follow_link_at = match followed {
            Ok(Followed::Same) => None,
            Ok(Followed::Changed) => {
                let (mac, mtu) = self.link.address();
                self.control.handle_interface_changed(mac, mtu);
                self.batch = new_batch(&self.control);
                // Frames may have come before the new socket was watched.
                self.ready.insert(Source::Link);
                None
            }
            Ok(Followed::Failed) => Some(now + RETRY_LINK),
            Err(error) => {
                self.receive.warn(now, format_args!("looking at interface {}: {error}", self.link_name));
                Some(now + RETRY_LINK)
            }
        };
    }

    /// A namespace may have been deleted, and another one made in its name.
    fn follow_namespaces(&mut self, now: Time) {
        for namespace in &mut self.namespaces {
            if namespace.is_lost(now) {
                self.control.handle_routes_lost(namespace.id);
                for symbol in self.symbols.remove_all_in(namespace.id, self.poll.registry(), now) {
                    self.control.handle_symbol_failed(symbol, Failure::NamespaceAbsent, now);
                }
            }
        }
    }

    fn take_signals(&mut self, now: Time) -> Taken {
        loop {
            match self.signals.next() {
                Ok(Some(Signal::Stop)) => return Taken::Stop,
                Ok(Some(Signal::Leave)) => return Taken::Leave,
                Ok(Some(Signal::Reload)) => self.reload_by_signal(now),
                Ok(None) => return Taken::All,
                Err(error) => {
                    error!(target: "control::daemon", "reading signals: {error}");
                    return Taken::All;
                }
            }
        }
    }

    fn count_overruns(&mut self) {
        if let Some(socket) = self.link.socket() {
            let overruns = socket.overruns();
            self.control.handle_drops(DropReason::LinkRxOverrun, overruns);
        }
    }

    fn tell_metrics(&mut self, event: &mio::event::Event, now: Time) {
        self.count_overruns();
        self.take_fast_counts(now);
        let Some(server) = &mut self.metrics else { return };
        if server.handle(self.poll.registry(), event, now) {
            let mut figures = metrics::collect(&self.name, &self.control, now);
            figures.add(Metric::BusyPoll, &[], self.busy_poll.spent());
            figures.add_each(Metric::ApiRefused, self.api.refused());
            server.answer(figures, now);
        }
    }

    fn serve(&mut self, event: &mio::event::Event, now: Time) {
        for request in self.api.handle(self.poll.registry(), event, now) {
            self.serve_request(&request, now);
        }
    }

    fn serve_request(&mut self, request: &Request, now: Time) {
        if self.serve_reload(request, now) || self.serve_by_hand(request, now) || self.serve_capture(request)
        {
            return;
        }
        self.count_overruns();
        self.take_fast_counts(now);
        let sockets = if api::needs_sockets(request) { self.numbered_sockets(now) } else { Vec::new() };
        let (api, places, detection) = (&mut self.api, &self.namespaces, self.trigger.name());
        if api::answer(api, request, &mut self.control, &sockets, places, detection, now) {
            self.verifying.push(request.client);
        }
    }

    fn timeout(&self, now: Time) -> Option<Duration> {
        let namespaces = self.namespaces.iter().filter_map(Namespace::timeout);
        let all = namespaces
            .chain(self.control.poll_timeout())
            .chain(self.follow_link_at)
            .chain(self.link.poll_timeout())
            .chain(self.metrics.as_ref().and_then(MetricsServer::poll_timeout))
            .chain(self.waiting_timeout())
            .chain(self.symbols.keeper.timeout())
            .chain(self.api.poll_timeout())
            .chain(self.reloads.poll_timeout())
            .chain(self.service_manager.poll_timeout());
        all.min().map(|time| time - now)
    }

    /// Gives the ports back, removes the interfaces and takes leave.
    fn stop(mut self, now: Time) {
        self.service_manager.stopping();
        info!(target: "control::daemon", "l2control {}: stopping", self.name);
        self.control.handle_shutdown();
        self.act(now);
        self.files.unmount();
        self.transmit(now);
        self.control.handle_close(now);
        self.transmit(now);
        self.control.end();
        // Those that could not be changed, and count as none, are there as well.
        self.symbols.remove_all(&mut self.namespaces, self.poll.registry(), now);
        self.symbols.remove_crossings();
        crossings::sweep(&self.namespaces);
        self.symbols.keeper.dismiss();
    }

    /// Leaves the ports and the interfaces to a successor. To the relay it is as if the daemon had been killed.
    fn leave(mut self) {
        self.service_manager.stopping();
        info!(target: "control::daemon", "l2control {}: leaving all to a successor", self.name);
        // Nobody could go on with them.
        self.files.unmount();
        self.control.end();
        // Packets go by the interfaces' devices again before the ways of the others go.
        self.cache = None;
        self.symbols.remove_crossings();
        self.symbols.keeper.leave();
    }

    /// Goes on with the interfaces of an earlier life.
    fn adopt_symbols(&mut self, now: Time) {
        let registry = self.poll.registry();
        let (predecessor, adopted) = self.symbols.adopt_all(&mut self.namespaces, registry, now);
        for Adopted { symbol, ifindex, carrier, stale } in adopted {
            self.control.handle_drops(DropReason::NoSession, stale);
            self.control.handle_symbol_adopted(symbol, ifindex, carrier, now);
        }
        self.symbols.start_keeper(predecessor, registry, now);
        way_back::sweep(&self.namespaces);
        crossings::sweep(&self.namespaces);
        self.act(now);
    }
}

/// Where a symbol belongs, as its configuration says.
pub(crate) fn place(control: &Control, id: SymbolId, symbol: &SymbolSettings) -> Option<Place> {
    let (namespace, name) = control.seat_of(id)?;
    let ground = match &symbol.core.netns {
        _ if control.mirrors_routes(namespace) => Ground::Daemons,
        Some(_) => Ground::Symbols,
        None => Ground::Machine,
    };
    let gateways = symbol.gateways.clone();
    let by_address = symbol.core.translation.map(|translation| ByAddress {
        virtual_address: translation.virtual_address,
        default_route: symbol.default_route,
    });
    Some(Place { namespace, name: name.to_owned(), gateways, by_address, ground })
}

/// How much of a source was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of it: mio will tell of more.
    All,
    /// Not all: it has to be asked again.
    Some,
    /// The source says that the daemon is to stop.
    Stop,
    /// It says that the daemon is to stop and leave everything to a successor.
    Leave,
}

//! [`Control`]: the whole of the control's decisions.

use crate::action::{Action, Failure};
use crate::config::RefusedSymbol;
use crate::files::Files;
use crate::metrics::Latencies;
use crate::namespace::Namespace;
use crate::parcels::place;
use crate::relay::{Relay, RelayId};
use crate::report::{Event, Report};
use crate::reports::Reports;
use crate::routes::Routes;
use crate::seen::{IfIndex, SocketPart};
use crate::show::SymbolRow;
use crate::symbol::{Interface, RETRY_INTERFACE, Stage, State, Symbol};
use crate::symbol_rules::Tables;
use crate::{Addressing, Config, Decided, NamespaceId, Triggered};
use core::time::Duration;
use frames::message::{Message, PortRelease};
use frames::session::CloseReason;
use frames::{DropReason, Mac, SymbolId};
use l2link::{Batch, Counters, Link, Secret, SessionKeys, Time};
use log::{Level, info, log, warn};
use std::collections::{BTreeMap, VecDeque};

/// The control device's decisions: symbols, rules, tunnels, over one link.
///
/// After any `handle_*` the shell takes [`Control::poll_action`] until it is empty, then
/// [`Control::poll_transmit`], and comes back at [`Control::poll_timeout`].
#[derive(Debug)]
pub struct Control {
    pub(crate) name: String,
    pub(crate) link: Link,
    pub(crate) triggered: Triggered,
    pub(crate) addressing: Addressing,
    pub(crate) reports: Reports,
    /// Symbols that the configuration contradicts.
    pub(crate) refused: Vec<RefusedSymbol>,
    monitored: bool,
    pub(crate) relays: Vec<Relay>,
    /// In the order of their numbers.
    pub(crate) symbols: Vec<Symbol>,
    /// The number that was given last.
    pub(crate) last_symbol: SymbolId,
    /// What operators decided about relays.
    pub(crate) decided: BTreeMap<String, Decided>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) tables: Tables,
    pub(crate) routes: Routes,
    pub(crate) latencies: Latencies,
    pub(crate) files: Files,
    /// Drops that are decided here; the link counts its own.
    pub(crate) drops: Counters,
    actions: VecDeque<Action>,
    /// When flows are searched for idle ones.
    pub(crate) sweep_at: Option<Time>,
    /// When rules are asked for again whose refusal may have passed.
    pub(crate) ask_again_at: Option<Time>,
    /// Until when other relays of one router are waited for before a table counts as whole.
    pub(crate) together_by: Option<Time>,
    /// How long a symbol keeps its carrier without contact.
    pub(crate) carrier_hold: Duration,
    /// A rule waits in the link that a parcel must not overtake.
    pub(crate) rules_first: bool,
}

/// What a time-out is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The link's own timers.
    Link,
    /// A look at a namespace's sockets, connections or groups.
    Look(NamespaceId),
    /// Another try of a symbol that was refused or failed.
    Retry(SymbolId),
    /// The end of a carrier without contact.
    Hold(SymbolId),
    /// A search for idle flows.
    Sweep,
    /// Another try of rules that were refused.
    AskAgain,
    /// The end of openings of files that the relay did not answer.
    Openings,
    /// Other relays of one router are not waited for any longer.
    Together,
}

impl Control {
    /// A control that begins to look for its relays. `seed` must be unpredictable in production.
    #[must_use]
    pub fn new(config: Config, link: l2link::Config, seed: impl Into<Secret>, now: Time) -> Self {
        let name = link.name.clone();
        let mut link = Link::new(link, seed, now);
        // Numbers of tunnels are seen by others: none of the seed may be in them.
        let [a, b, c, d, ..] = link.draw_salt();
        let mut control = Self {
            name,
            tables: Tables::new(u32::from_ne_bytes([a, b, c, d])),
            link,
            triggered: config.triggered,
            addressing: config.addressing,
            reports: Reports::default(),
            refused: config.refused,
            routes: Routes::new(config.routes),
            files: Files::default(),
            monitored: false,
            relays: Vec::new(),
            symbols: Vec::new(),
            last_symbol: SymbolId(0),
            decided: BTreeMap::new(),
            namespaces: Vec::new(),
            latencies: Latencies::default(),
            drops: Counters::default(),
            actions: VecDeque::new(),
            sweep_at: None,
            ask_again_at: None,
            together_by: None,
            carrier_hold: config.carrier_hold,
            rules_first: false,
        };
        for symbol in config.symbols {
            let _ = control.place_symbol(symbol);
        }
        control.together_by = control.has_several_relays().then(|| now + TOGETHER);
        control
    }

    /// From now on [`Control::poll_session_keys`] gives the keys of new sessions away, for a key log.
    pub fn keep_session_keys(&mut self) {
        self.link.keep_session_keys();
    }

    /// Ends [`Control::keep_session_keys`].
    pub fn drop_session_keys(&mut self) {
        self.link.drop_session_keys();
    }

    /// The keys of the next session that was made; to be polled before [`Control::poll_transmit`].
    pub fn poll_session_keys(&mut self) -> Option<SessionKeys> {
        self.link.poll_session_keys()
    }

    /// The next thing that the shell is to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Writes waiting link frames into `batch` until nothing waits or the batch is full. Returns whether anything
    /// still waits.
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        let waits = self.link.poll_transmit(batch, now);
        // Routes may wait for long; rules go before them.
        self.rules_first &= waits;
        waits
    }

    /// When [`Control::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers().map(|(time, _)| time).min()
    }

    /// Lets time pass; harmless at any moment.
    pub fn handle_timeout(&mut self, now: Time) {
        let due: Vec<Timer> =
            self.timers().filter(|(time, _)| *time <= now).map(|(_, timer)| timer).collect();
        for timer in due {
            match timer {
                Timer::Link => self.link.handle_timeout(now),
                // Below, for all namespaces.
                Timer::Look(_) => {}
                Timer::Retry(symbol) => self.retry(symbol, now),
                Timer::Hold(symbol) => self.end_hold(symbol, now),
                Timer::Sweep => self.sweep_flows(now),
                Timer::AskAgain => self.ask_again(),
                Timer::Openings => self.expire_openings(now),
                // The routes are pumped after anything that happens.
                Timer::Together => self.together_by = None,
            }
        }
        self.look(now);
        self.handle_link_events(now);
    }

    fn timers(&self) -> impl Iterator<Item = (Time, Timer)> {
        let looks = self.namespaces.iter().flat_map(|place| {
            [place.socket_looks.timeout(), place.connection_looks.timeout(), place.group_looks.timeout()]
                .into_iter()
                .flatten()
                .map(|time| (time, Timer::Look(place.id)))
        });
        let retries = self.symbols.iter().filter_map(|symbol| Some((symbol.retry?, Timer::Retry(symbol.id))));
        let holds = self.symbols.iter().filter_map(|symbol| Some((symbol.hold?, Timer::Hold(symbol.id))));
        let link = self.link.poll_timeout().map(|time| (time, Timer::Link));
        let sweep = self.sweep_at.map(|time| (time, Timer::Sweep));
        let ask_again = self.ask_again_at.map(|time| (time, Timer::AskAgain));
        let openings = self.files.timeout().map(|time| (time, Timer::Openings));
        let together = self.together_by.map(|time| (time, Timer::Together));
        let others = [link, sweep, ask_again, openings, together].into_iter().flatten();
        looks.chain(retries).chain(holds).chain(others)
    }

    /// The namespaces of the configuration, in order of their [`NamespaceId`]: their name, or none for the daemon's
    /// own.
    pub fn namespaces(&self) -> impl Iterator<Item = (NamespaceId, Option<&str>)> {
        self.namespaces.iter().map(|place| (place.id, place.name.as_deref()))
    }

    /// A symbol's namespace and interface name; `None` of a file symbol, which has neither.
    #[must_use]
    pub fn seat_of(&self, symbol: SymbolId) -> Option<(NamespaceId, &str)> {
        let symbol = self.symbol(symbol).filter(|symbol| symbol.config.files.is_none());
        symbol.map(|symbol| (symbol.namespace, symbol.config.name.as_str()))
    }

    /// The link, for its sizes.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Counts what the shell saw dropped.
    pub fn handle_drops(&mut self, reason: DropReason, times: u64) {
        self.drops.drops(reason, times);
    }

    /// How often a reason to drop occurred, anywhere in the control.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.link.counters().dropped(reason) + self.drops.dropped(reason)
    }

    /// Whether anybody watches: [`Action::Report`] is made only then.
    pub fn set_monitored(&mut self, monitored: bool) {
        self.monitored = monitored;
    }

    pub(crate) fn is_monitored(&self) -> bool {
        self.monitored
    }

    /// The link interface got another address or MTU.
    pub fn handle_interface_changed(&mut self, mac: Mac, mtu: u32) {
        self.link.set_interface(mac, mtu);
    }

    /// The symbol's interface was made, without carrier.
    pub fn handle_symbol_created(&mut self, symbol: SymbolId, interface: IfIndex, now: Time) {
        let Some(symbol) = self.symbol_mut(symbol) else { return };
        symbol.interface = Interface::Created(interface);
        symbol.looked = symbol.unlooked();
        symbol.addresses.present = None;
        symbol.retry = symbol.retry.filter(|_| matches!(symbol.stage, Stage::Refused(_)));
        symbol.carrier = false;
        let (id, namespace) = (symbol.id, symbol.namespace);
        let newer = symbol.attributes.clone().filter(|_| symbol.attributes != symbol.blueprint);
        if let Some(attributes) = newer {
            self.actions.push_back(Action::UpdateSymbol { symbol: id, attributes });
        }
        self.refresh(id, now);
        self.begin_looks(namespace, now);
        self.list_addresses(namespace);
        self.end_rules(now);
        self.flush();
    }

    /// The symbol's interface could not be made or changed, or has gone. It is tried again by itself.
    pub fn handle_symbol_failed(&mut self, symbol: SymbolId, failure: Failure, now: Time) {
        self.note_change();
        let Some(place) = place(&self.symbols, symbol) else { return };
        let symbol = &mut self.symbols[place];
        symbol.interface = Interface::Failed(failure);
        symbol.addresses.present = None;
        symbol.altered = None;
        symbol.carrier = false;
        symbol.retry = Some(now + RETRY_INTERFACE);
        symbol.rules.discard_all(now, &mut self.tables);
        let (id, namespace) = (symbol.id, symbol.namespace);
        if !self.is_inhabited(namespace)
            && let Some(place) = self.namespace_mut(namespace)
        {
            place.forget();
        }
        self.refresh(id, now);
        self.end_rules(now);
        self.flush();
    }

    /// What somebody has done to a symbol's interface that keeps packets away, in words; `None` if it is as it was made.
    pub fn handle_symbol_altered(&mut self, symbol: SymbolId, altered: Option<&str>, now: Time) {
        let Some(symbol) = self.symbol_mut(symbol).filter(|symbol| symbol.ifindex().is_some()) else {
            return;
        };
        if symbol.altered.as_deref() != altered {
            symbol.altered = altered.map(str::to_owned);
            let id = symbol.id;
            self.refresh(id, now);
        }
    }

    /// An orderly exit begins: gives the ports back and removes the interfaces. To be followed by
    /// [`Control::poll_transmit`], then [`Control::handle_close`].
    pub fn handle_shutdown(&mut self) {
        for symbol in &mut self.symbols {
            if let Some(grant) = symbol.rules.grant() {
                let release = PortRelease { symbol: symbol.id, port: grant.port };
                self.tables.send(grant.peer, Message::PortRelease(release));
            }
            if symbol.ifindex().is_some() {
                self.actions.push_back(Action::RemoveSymbol { symbol: symbol.id });
            }
        }
        self.flush();
    }

    /// Ends all sessions: `CLOSE` frames wait for [`Control::poll_transmit`].
    pub fn handle_close(&mut self, now: Time) {
        self.link.close(CloseReason::SHUTDOWN, now);
    }

    /// Tries a symbol again that was refused or that failed.
    fn retry(&mut self, id: SymbolId, now: Time) {
        let Some(symbol) = self.symbol_mut(id) else { return };
        symbol.retry = None;
        if matches!(symbol.interface, Interface::Failed(_)) {
            self.create_symbol(id);
        }
        if self.symbol(id).is_some_and(|symbol| matches!(symbol.stage, Stage::Refused(_))) {
            self.request_port(id, now);
        }
        self.flush();
    }

    /// Asks again for rules whose refusal may have passed.
    fn ask_again(&mut self) {
        self.ask_again_at = None;
        for symbol in &mut self.symbols {
            symbol.rules.ask_again(false, &mut self.tables);
        }
        self.flush();
    }

    /// Asks for the interface.
    pub(crate) fn create_symbol(&mut self, id: SymbolId) {
        let Some(symbol) = self.symbol_mut(id) else { return };
        let Some(attributes) = symbol.attributes.clone() else { return };
        symbol.blueprint = Some(attributes.clone());
        // A failure stays visible until the interface is there.
        if symbol.interface == Interface::None {
            symbol.interface = Interface::Creating;
        }
        self.actions.push_back(Action::CreateSymbol { symbol: id, attributes });
    }

    /// Brings carrier, log and monitors in line with a symbol's state.
    pub(crate) fn refresh(&mut self, id: SymbolId, now: Time) {
        let Some(symbol) = self.symbol_mut(id) else { return };
        let (state, reason) = symbol.state();
        let up = symbol.wants_carrier(state);
        if symbol.carrier != up && symbol.ifindex().is_some() {
            symbol.carrier = up;
            self.actions.push_back(Action::SetCarrier { symbol: id, up });
        }
        let Some(symbol) = self.symbol_mut(id) else { return };
        if symbol.told == (state, reason.clone()) {
            return;
        }
        let before = symbol.told.0;
        symbol.told = (state, reason.clone());
        let lacks_interface = matches!(symbol.interface, Interface::Failed(_));
        let (name, why) = (symbol.config.name.clone(), reason.unwrap_or_default());
        let row = SymbolRow::of(symbol);
        match state {
            State::Up => {
                match &*why {
                    "" => info!(target: "control::symbol", "symbol {name}: up"),
                    why => warn!(target: "control::symbol", "symbol {name}: up, but {why}"),
                }
                self.report(Event::SymbolUp(row), now);
            }
            State::Refused => {
                warn!(target: "control::symbol", "symbol {name}: refused: {why}");
                self.report(Event::SymbolRefused(row), now);
            }
            State::Down | State::Waiting => {
                // On the way up every step waits for the next one for a moment.
                let level = if before == State::Up || lacks_interface { Level::Info } else { Level::Debug };
                log!(target: "control::symbol", level, "symbol {name}: {}: {why}", state.name());
                if before == State::Up {
                    self.report(Event::SymbolDown(row), now);
                }
            }
        }
    }

    /// A symbol of the namespace is there, and its sockets, connections and groups are not known yet.
    pub(crate) fn begin_looks(&mut self, namespace: NamespaceId, now: Time) {
        if let Some(place) = self.namespace_mut(namespace) {
            place.socket_looks.hint(now);
            place.connection_looks.ask(now);
            place.group_looks.ask(now);
        }
        self.look(now);
    }

    /// Asks for the looks that are due.
    pub(crate) fn look(&mut self, now: Time) {
        for place in &mut self.namespaces {
            let namespace = place.id;
            for part in SocketPart::ALL {
                if place.socket_looks.of(part).poll(now) {
                    self.actions.push_back(Action::DumpSockets { namespace, part });
                }
            }
            if place.connection_looks.poll(now) {
                self.actions.push_back(Action::DumpConnections { namespace });
            }
            if place.group_looks.poll(now) {
                self.actions.push_back(Action::DumpMemberships { namespace });
            }
        }
    }

    /// Hands the messages that were made to the link.
    pub(crate) fn flush(&mut self) {
        for (peer, message) in self.tables.outbox.drain(..) {
            self.link.send_message(peer, &message);
            self.rules_first = true;
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn report(&mut self, event: Event, now: Time) {
        if self.monitored {
            self.actions.push_back(Action::Report(Box::new(Report { time_us: now.0, event })));
        }
    }

    pub(crate) fn symbol(&self, id: SymbolId) -> Option<&Symbol> {
        self.symbols.get(place(&self.symbols, id)?)
    }

    pub(crate) fn symbol_mut(&mut self, id: SymbolId) -> Option<&mut Symbol> {
        let place = place(&self.symbols, id)?;
        self.symbols.get_mut(place)
    }

    pub(crate) fn namespace_mut(&mut self, id: NamespaceId) -> Option<&mut Namespace> {
        self.namespaces.get_mut(usize::try_from(id.0).ok()?)
    }

    pub(crate) fn relay_named(&mut self, name: &str) -> RelayId {
        let known = self.relays.iter().position(|relay| relay.name == name);
        RelayId(known.unwrap_or_else(|| {
            self.relays.push(Relay::new(name.to_owned()));
            self.relays.len() - 1
        }))
    }

    pub(crate) fn namespace_named(&mut self, name: Option<&str>) -> NamespaceId {
        if let Some(place) = self.namespaces.iter().find(|place| place.name.as_deref() == name) {
            return place.id;
        }
        let id = NamespaceId(u32::try_from(self.namespaces.len()).unwrap_or(u32::MAX));
        self.routes.add_namespace(name);
        self.namespaces.push(Namespace::new(id, name.map(str::to_owned)));
        id
    }
}

/// How long a control that has just started waits for all relays of one router, before it tells one of them that what it has said
/// is all: routes by the others are still to come.
const TOGETHER: Duration = Duration::from_secs(3);

//! The network namespaces in which symbols stand, and what is watched there.

use crate::routes::RouteWatch;
use crate::source::Source;
use crate::trigger;
use control_core::NamespaceId;
use control_core::seen::{
    ClosedSocket, Connection, Connections, IfIndex, NumberedSocket, OpenSocket, OpenSockets, Queue,
    SocketPart,
};
use core::time::Duration;
use frames::ProtocolAddress;
use frames::message::Group;
use l2link::Time;
use l2link_os::sockets::{
    DestroyEvents, Destroyed, Membership, MembershipEvents, MembershipTable, Part, Socket, SocketState,
    SocketTable,
};
use l2link_os::{Monitor, NetNs, Netlink, ReturnTables, SetupError, clock};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use socket_events::{Watch, Watcher};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;

/// How often a named namespace is looked for: whether it has come, gone, or become another one.
const CHECK: Duration = Duration::from_secs(1);

/// One namespace of the configuration. It is opened when the first symbol is to be made in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: NamespaceId,
    name: Option<String>,
    /// Whether relays are told its routes.
    routed: bool,
    /// Has to be told which namespaces are there, if anything has.
    watcher: Option<Watcher>,
    open: Option<Watched>,
    check_at: Time,
}

/// A namespace that is there.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) netns: NetNs,
    pub(crate) netlink: Netlink,
    pub(crate) sockets: SocketTable,
    watch: Option<Watch>,
    pub(crate) closed: DestroyEvents,
    pub(crate) groups: MembershipTable,
    pub(crate) group_events: Option<MembershipEvents>,
    /// The routes, if relays are told of them.
    pub(crate) routes: Option<RouteWatch>,
    /// Rings when interfaces, addresses, routing rules or queues change.
    pub(crate) bell: Monitor,
    /// By what answers leave.
    pub(crate) return_tables: ReturnTables,
}

impl Namespace {
    pub(crate) fn new(id: NamespaceId, name: Option<&str>, routed: bool, watcher: Option<Watcher>) -> Self {
        Self { id, name: name.map(str::to_owned), routed, watcher, open: None, check_at: Time(0) }
    }

    /// Its name; none for the daemon's own.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its number, if it is open.
    pub(crate) fn inode(&self) -> Option<u64> {
        self.open.as_ref().map(|watched| watched.netns.inode())
    }

    /// What is watched, if the namespace is open.
    pub(crate) fn watched(&mut self) -> Option<&mut Watched> {
        self.open.as_mut()
    }

    /// Opens the namespace if it is not open yet.
    pub(crate) fn enter(&mut self, registry: &Registry, now: Time) -> Result<&mut Watched, SetupError> {
        let watched = match self.open.take() {
            Some(watched) => watched,
            None => {
                self.check_at = now + CHECK;
                Watched::open(self, registry)?
            }
        };
        Ok(self.open.insert(watched))
    }

    /// Has relays be told its routes, or not any more.
    pub(crate) fn set_routed(&mut self, routed: bool, registry: &Registry) -> Result<(), SetupError> {
        self.routed = routed;
        let Some(watched) = &mut self.open else { return Ok(()) };
        if !routed {
            watched.routes = None;
        } else if watched.routes.is_none() {
            let watch = RouteWatch::open(&watched.netns)?;
            let (descriptor, source) = (watch.as_raw_fd(), Source::Routes(self.id));
            registry
                .register(&mut SourceFd(&descriptor), source.token(), Interest::READABLE)
                .map_err(|error| SetupError::system(format!("watch {source}"), error))?;
            watched.routes = Some(watch);
        }
        Ok(())
    }

    /// Whether the namespace that is open is no longer the one of its name. It is closed then. An error that does not
    /// tell (descriptors have run out) is no reason to take the symbols from the programs.
    pub(crate) fn is_lost(&mut self, now: Time) -> bool {
        let (Some(name), Some(watched)) = (&self.name, &self.open) else { return false };
        if now < self.check_at {
            return false;
        }
        self.check_at = now + CHECK;
        let lost = match NetNs::named(name) {
            Ok(netns) => netns.inode() != watched.netns.inode(),
            Err(error) => matches!(error, SetupError::NoNetNs { .. } | SetupError::NotANetNs { .. }),
        };
        if lost {
            self.open = None;
        }
        lost
    }

    /// Watches nothing there any more.
    pub(crate) fn leave(&mut self) {
        self.open = None;
    }

    /// When [`Namespace::is_lost`] wants to be asked again.
    pub(crate) fn timeout(&self) -> Option<Time> {
        (self.name.is_some() && self.open.is_some()).then_some(self.check_at)
    }
}

impl Watched {
    fn open(place: &Namespace, registry: &Registry) -> Result<Self, SetupError> {
        let Namespace { id, routed, .. } = *place;
        let netns = place.name().map_or_else(NetNs::current, NetNs::named)?;
        let watched = Self {
            netlink: Netlink::open(&netns)?,
            sockets: SocketTable::open(&netns)?,
            watch: place.watcher.as_ref().and_then(|watcher| trigger::watch(watcher, &netns, id)),
            closed: DestroyEvents::open(&netns)?,
            groups: MembershipTable::open(&netns)?,
            group_events: MembershipEvents::open(&netns)?,
            routes: routed.then(|| RouteWatch::open(&netns)).transpose()?,
            bell: Monitor::open(&netns)?
                .with_rules()
                .and_then(Monitor::with_queues)
                .map_err(|error| SetupError::system("watch routing rules and queues", error))?,
            return_tables: ReturnTables::open(&netns)?,
            netns,
        };
        let register = |descriptor: &dyn AsRawFd, source: Source| {
            let descriptor = descriptor.as_raw_fd();
            registry
                .register(&mut SourceFd(&descriptor), source.token(), Interest::READABLE)
                .map_err(|error| SetupError::system(format!("watch {source}"), error))
        };
        register(&watched.closed, Source::Closed(id))?;
        if let Some(events) = &watched.group_events {
            register(events, Source::Groups(id))?;
        }
        if let Some(routes) = &watched.routes {
            register(routes, Source::Routes(id))?;
        }
        register(&watched.bell, Source::Interfaces(id))?;
        Ok(watched)
    }

    /// All open sockets of a part that symbols may reach.
    pub(crate) fn open_sockets(&mut self, part: SocketPart, symbols: &[IfIndex]) -> io::Result<OpenSockets> {
        let part = dumped(part);
        if let Some(watch) = &self.watch {
            watch.begin_look(part);
        }
        let (sockets, took) = timed(|| self.sockets.dump_reachable(part))?;
        let open = self.by_symbol(&sockets, symbols)?.into_iter();
        let open = open.map(|(_, address, interface)| OpenSocket { address, interface });
        let connections = sockets.iter().filter_map(connection);
        let queues = sockets.iter().filter(|socket| socket.queue.0 > 0).filter_map(|socket| {
            let (waiting, room) = socket.queue;
            Some(Queue { listener: socket.listens_for()?, waiting, room })
        });
        Ok(OpenSockets {
            sockets: open.collect(),
            connections: connections.collect(),
            queues: queues.collect(),
            took,
        })
    }

    /// What sockets listen for and to which interface they are bound; one that is bound to an interface above symbols once
    /// for each of these.
    fn by_symbol<'a>(
        &mut self,
        sockets: &'a [Socket],
        symbols: &[IfIndex],
    ) -> io::Result<Vec<(&'a Socket, ProtocolAddress, Option<IfIndex>)>> {
        let mut open = Vec::with_capacity(sockets.len());
        let mut bound = BTreeMap::new();
        for (socket, address) in sockets.iter().filter_map(|socket| Some((socket, socket.listens_for()?))) {
            match socket.interface.map(|interface| IfIndex(interface.0)) {
                Some(interface) if !symbols.contains(&interface) => {
                    let below = match bound.entry(interface) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => {
                            new.insert(symbols_below(&mut self.netlink, interface, symbols)?)
                        }
                    };
                    open.extend(below.iter().map(|symbol| (socket, address, Some(*symbol))));
                }
                interface => open.push((socket, address, interface)),
            }
        }
        Ok(open)
    }

    /// All sockets that a process may hold, with their numbers.
    pub(crate) fn numbered_sockets(
        &mut self,
        namespace: NamespaceId,
        symbols: &[IfIndex],
    ) -> io::Result<Vec<NumberedSocket>> {
        let sockets = self.sockets.dump_listeners()?;
        let listeners = self.by_symbol(&sockets, symbols)?.into_iter();
        let numbered = |socket: &Socket, address, interface| NumberedSocket {
            namespace,
            address,
            interface,
            inode: socket.inode,
        };
        let mut all: Vec<_> =
            listeners.map(|(socket, address, interface)| numbered(socket, address, interface)).collect();
        let known: BTreeSet<u32> = all.iter().map(|socket| socket.inode).collect();
        // Those that are bound to interfaces which have nothing to do with symbols.
        all.extend(sockets.iter().filter(|socket| !known.contains(&socket.inode)).filter_map(|socket| {
            let interface = socket.interface.map(|interface| IfIndex(interface.0));
            Some(numbered(socket, socket.listens_for()?, interface))
        }));
        let connections = self.sockets.dump_connections()?;
        all.extend(connections.iter().filter_map(|socket| Some(numbered(socket, socket.flow()?, None))));
        // Connections that wait to be accepted, or for their last packets, are nobody's.
        all.retain(|socket| socket.inode != 0);
        Ok(all)
    }

    /// All connections.
    pub(crate) fn connections(&mut self) -> io::Result<Connections> {
        let (sockets, took) = timed(|| self.sockets.dump_connections())?;
        let connections = sockets.iter().filter_map(connection).collect();
        Ok(Connections { connections, took })
    }

    /// Groups by interface, and what else the symbols' interfaces accept.
    pub(crate) fn groups(&mut self, symbols: &[IfIndex]) -> io::Result<Vec<(IfIndex, Group)>> {
        let group = |membership| match membership {
            Membership::Group { interface, group } => (IfIndex(interface.0), Group::Ip(group)),
            Membership::Ethernet { interface, mac } => (IfIndex(interface.0), Group::Ethernet(mac)),
        };
        let mut groups: Vec<_> = self.groups.memberships()?.into_iter().map(group).collect();
        for symbol in symbols {
            let macs = self.netlink.extra_macs(l2link_os::IfIndex(symbol.0))?;
            groups.extend(macs.into_iter().map(|mac| (*symbol, Group::Ethernet(mac))));
        }
        Ok(groups)
    }

    /// Sockets that were closed, and whether more were closed than could be told.
    pub(crate) fn closed_sockets(&mut self) -> io::Result<(Vec<ClosedSocket>, bool)> {
        let Destroyed { sockets, overrun } = self.closed.drain()?;
        let sockets = sockets.into_iter().map(|socket| ClosedSocket {
            protocol: socket.protocol,
            local: socket.local,
            local_port: socket.local_port,
            remote: socket.remote.map(|remote| (remote.ip(), remote.port())),
        });
        Ok((sockets.collect(), overrun))
    }
}

const fn dumped(part: SocketPart) -> Part {
    match part {
        SocketPart::Listeners => Part::Listeners,
        SocketPart::Others => Part::Others,
    }
}

/// The symbols by which packets reach sockets that are bound to another interface: one that stands on a symbol, as the
/// macvlan of a virtual router, or one that symbols are part of, as a VRF.
fn symbols_below(netlink: &mut Netlink, interface: IfIndex, symbols: &[IfIndex]) -> io::Result<Vec<IfIndex>> {
    let Some(upper) = netlink.link_by_index(l2link_os::IfIndex(interface.0))? else { return Ok(Vec::new()) };
    let mut below = Vec::new();
    for symbol in symbols {
        let index = l2link_os::IfIndex(symbol.0);
        let is_part = |link: l2link_os::LinkInfo| link.master == Some(upper.ifindex);
        if upper.link == Some(index) || netlink.link_by_index(index)?.is_some_and(is_part) {
            below.push(*symbol);
        }
    }
    Ok(below)
}

fn connection(socket: &Socket) -> Option<Connection> {
    socket.flow().map(|flow| Connection { flow, time_wait: socket.state == SocketState::TIME_WAIT })
}

/// What a look costs is an input of the core, so it is measured by itself, besides the clock of the loop: the processor's time,
/// as one that has to wait for the processor costs nobody anything.
fn timed<T>(look: impl FnOnce() -> io::Result<T>) -> io::Result<(T, Duration)> {
    let before = clock::worked()?;
    let found = look()?;
    Ok((found, clock::worked()?.saturating_sub(before)))
}

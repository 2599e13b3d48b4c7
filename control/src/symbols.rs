//! The symbols' interfaces, and their duplicates with the keeper.

use crate::crossings::Crossings;
use crate::keeper::{Device, SymbolKeeper};
use crate::namespaces::{Namespace, Watched};
use crate::source::Source;
use crate::symbol_interface::{ByAddress, FastInterface, Standing, SymbolInterface};
use crate::way_back::WaysBack;
use ::fast_path::{Cache, ELSEWHERE};
use control_core::seen::{IfIndex, SymbolGroups};
use control_core::{Attributes, Failure, Ground, NamespaceId, WayBack};
use core::net::IpAddr;
use frames::SymbolId;
use frames::message::Group;
use l2link::Time;
use l2link_os::keeper::{Kept, Predecessor};
use l2link_os::{InterfaceAddress, SetupError, Tap};
use log::{info, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;

/// Where a symbol belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: NamespaceId,
    pub(crate) name: String,
    pub(crate) gateways: Vec<IpAddr>,
    /// Of an address symbol.
    pub(crate) by_address: Option<ByAddress>,
    /// Whose the namespace's main routing table is.
    pub(crate) ground: Ground,
}

/// An interface of an earlier daemon that is a symbol's again.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) symbol: SymbolId,
    pub(crate) ifindex: IfIndex,
    pub(crate) carrier: bool,
    /// Parcels that waited too long.
    pub(crate) stale: u64,
}

impl Place {
    /// By which ways what is sent from the symbol's addresses leaves.
    fn way_back(&self, attributes: &Attributes) -> WayBack {
        match self.by_address {
            Some(by_address) => WayBack::by_address(by_address.virtual_address),
            None => WayBack::new(attributes, &self.gateways, self.ground),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Symbols {
    places: BTreeMap<SymbolId, Place>,
    interfaces: BTreeMap<SymbolId, SymbolInterface>,
    /// Whether any came or went since [`Symbols::follow_fast_path`].
    changed: bool,
    ways_back: WaysBack,
    /// With a fast path.
    crossings: Option<Crossings>,
    pub(crate) keeper: SymbolKeeper,
}

impl Symbols {
    pub(crate) fn new(
        places: BTreeMap<SymbolId, Place>,
        crossings: Option<Crossings>,
        keeper: SymbolKeeper,
    ) -> Self {
        let (interfaces, ways_back) = (BTreeMap::new(), WaysBack::default());
        Self { places, interfaces, changed: true, ways_back, crossings, keeper }
    }

    /// Takes in where a symbol belongs that is to be made.
    pub(crate) fn place(&mut self, symbol: SymbolId, place: Place) {
        self.places.insert(symbol, place);
    }

    /// Has a symbol belong elsewhere: the same interface in the same namespace, with other ways out.
    pub(crate) fn replace(
        &mut self,
        symbol: SymbolId,
        place: Place,
        namespaces: &mut [Namespace],
        now: Time,
    ) {
        if self.places.get(&symbol) == Some(&place) {
            return;
        }
        self.places.insert(symbol, place.clone());
        let Some(interface) = self.interfaces.get_mut(&symbol) else { return };
        let namespace = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace);
        let Some(watched) = namespace.and_then(Namespace::watched) else { return };
        let before = interface.device().note;
        interface.set_ways_out(&mut watched.netlink, &place.gateways, place.by_address);
        let Device { place: kept, note, .. } = interface.device();
        if note != before {
            self.keeper.note(&kept, &note, now);
        }
        let way_back = place.way_back(&interface.attributes);
        self.ways_back.set(symbol, &place.name, interface.ifindex, way_back, watched);
    }

    /// Forgets where a symbol belonged whose interface has been removed.
    pub(crate) fn displace(&mut self, symbol: SymbolId) {
        self.places.remove(&symbol);
    }

    /// Takes over the interfaces of the symbols that an earlier daemon left. What else it left goes when its keeper is
    /// dismissed, by [`Symbols::start_keeper`].
    pub(crate) fn adopt_all(
        &mut self,
        namespaces: &mut [Namespace],
        registry: &Registry,
        now: Time,
    ) -> (Option<Predecessor>, Vec<Adopted>) {
        let (predecessor, mut left) = self.keeper.take_over();
        let mut adopted = Vec::new();
        for (symbol, place) in self.places.clone() {
            let Some(namespace) = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace)
            else {
                continue;
            };
            let Some(kept) = left.remove(&keeper_place(namespace, &place)) else { continue };
            match self.adopt(symbol, &place, kept, namespace, registry, now) {
                Ok(interface) => adopted.push(interface),
                Err(error) => {
                    let name = &place.name;
                    info!(target: "control::symbol", "symbol {name}: its former interface cannot be used: {error}");
                }
            }
        }
        for place in left.keys() {
            info!(target: "control::symbol", "interface {}: no symbol any more, is removed", place.interface);
        }
        (predecessor, adopted)
    }

    fn adopt(
        &mut self,
        symbol: SymbolId,
        place: &Place,
        kept: Kept,
        namespace: &mut Namespace,
        registry: &Registry,
        now: Time,
    ) -> Result<Adopted, SetupError> {
        let Watched { netns, netlink, .. } = namespace.enter(registry, now)?;
        let (mut interface, carrier) =
            SymbolInterface::adopt(netns, netlink, &place.name, &place.gateways, place.by_address, kept)?;
        let failed = |error| SetupError::system(format!("read symbol {}", place.name), error);
        let stale = interface.tap.discard().map_err(failed)?;
        watch(symbol, &interface, registry).map_err(failed)?;
        let ifindex = IfIndex(interface.ifindex.0);
        self.interfaces.insert(symbol, interface);
        self.changed = true;
        Ok(Adopted { symbol, ifindex, carrier, stale })
    }

    /// Starts a keeper with all interfaces, and dismisses the one of an earlier daemon.
    pub(crate) fn start_keeper(&mut self, predecessor: Option<Predecessor>, registry: &Registry, now: Time) {
        let devices = self.interfaces.values().map(SymbolInterface::device);
        self.keeper.start(predecessor, devices, registry, now);
    }

    /// Replaces a keeper that was lost, if it is time for it.
    pub(crate) fn follow_keeper(&mut self, registry: &Registry, now: Time) {
        if self.keeper.timeout().is_some_and(|time| time <= now) {
            self.start_keeper(None, registry, now);
        }
    }

    /// Makes a symbol's interface.
    pub(crate) fn create(
        &mut self,
        symbol: SymbolId,
        attributes: &Attributes,
        namespaces: &mut [Namespace],
        registry: &Registry,
        now: Time,
    ) -> Result<IfIndex, Failure> {
        // What is left of an earlier one would have the name.
        self.remove(symbol, namespaces, registry, now);
        let failure = |error: SetupError| match error {
            SetupError::NoNetNs { .. } => Failure::NamespaceAbsent,
            other => Failure::Refused(other.to_string()),
        };
        let Some(place) = self.places.get(&symbol) else { return Err(Failure::Removed) };
        let Some(namespace) = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace) else {
            return Err(Failure::NamespaceAbsent);
        };
        let watched = namespace.enter(registry, now).map_err(failure)?;
        let taken = self.interfaces.values().map(|interface| interface.ifindex.0).collect();
        let number = self.crossings.as_mut().and_then(|crossings| crossings.number(&taken, watched));
        let (netns, netlink) = (&watched.netns, &mut watched.netlink);
        let interface = SymbolInterface::create(
            netns,
            netlink,
            &place.name,
            number,
            &place.gateways,
            place.by_address,
            attributes,
        );
        let interface = interface.map_err(failure)?;
        watch(symbol, &interface, registry)
            .map_err(|error| failure(SetupError::system(format!("watch symbol {}", place.name), error)))?;
        self.keeper.hold(&interface.device(), now);
        let way_back = place.way_back(attributes);
        self.ways_back.set(symbol, &place.name, interface.ifindex, way_back, watched);
        let ifindex = IfIndex(interface.ifindex.0);
        self.interfaces.insert(symbol, interface);
        self.changed = true;
        Ok(ifindex)
    }

    /// Brings a symbol's interface in line with its port.
    pub(crate) fn update(
        &mut self,
        symbol: SymbolId,
        attributes: &Attributes,
        namespaces: &mut [Namespace],
        now: Time,
    ) -> Result<(), Failure> {
        let (Some(interface), Some(place)) = (self.interfaces.get_mut(&symbol), self.places.get(&symbol))
        else {
            return Err(Failure::Removed);
        };
        let namespace = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace);
        let watched = namespace.and_then(Namespace::watched).ok_or(Failure::NamespaceAbsent)?;
        let before = interface.device().note;
        let updated = interface.update(&mut watched.netlink, attributes);
        let Device { place: kept, note, .. } = interface.device();
        if note != before {
            self.keeper.note(&kept, &note, now);
        }
        let way_back = place.way_back(attributes);
        self.ways_back.set(symbol, &place.name, interface.ifindex, way_back, watched);
        updated.map_err(|error| {
            Failure::Refused(format!("interface {}: cannot be changed like its port: {error}", place.name))
        })
    }

    /// Sets a symbol's carrier, if its interface is there.
    pub(crate) fn set_carrier(
        &self,
        symbol: SymbolId,
        up: bool,
        namespaces: &mut [Namespace],
    ) -> io::Result<()> {
        let (Some(interface), Some(place)) = (self.interfaces.get(&symbol), self.places.get(&symbol)) else {
            return Ok(());
        };
        interface.tap.set_carrier(up)?;
        let namespace = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace);
        match namespace.and_then(Namespace::watched) {
            Some(watched) => watched.netlink.settle_carrier(interface.ifindex),
            None => Ok(()),
        }
    }

    /// Removes a symbol's interface.
    pub(crate) fn remove(
        &mut self,
        symbol: SymbolId,
        namespaces: &mut [Namespace],
        registry: &Registry,
        now: Time,
    ) {
        let place = self.places.get(&symbol);
        let namespace =
            namespaces.iter_mut().find(|found| place.is_some_and(|place| place.namespace == found.id));
        self.remove_from(symbol, namespace.and_then(Namespace::watched), registry, now);
    }

    /// Removes all interfaces.
    pub(crate) fn remove_all(&mut self, namespaces: &mut [Namespace], registry: &Registry, now: Time) {
        while let Some(symbol) = self.interfaces.keys().next().copied() {
            self.remove(symbol, namespaces, registry, now);
        }
    }

    fn remove_from(
        &mut self,
        symbol: SymbolId,
        mut watched: Option<&mut Watched>,
        registry: &Registry,
        now: Time,
    ) {
        let Some(interface) = self.interfaces.remove(&symbol) else { return };
        self.changed = true;
        // As long as the keeper holds it too, closing it here would leave it with epoll.
        let descriptor = interface.tap.as_raw_fd();
        if let Err(error) = registry.deregister(&mut SourceFd(&descriptor)) {
            warn!(target: "control::symbol", "symbol {}: {error}", self.name(symbol));
        }
        self.keeper.forget(&interface.device().place, now);
        let name = self.places.get(&symbol).map_or("?", |place| &place.name);
        self.ways_back.remove(symbol, name, interface.ifindex, watched.as_deref_mut());
        if let Some(watched) = watched {
            interface.remove(&watched.netns, &mut watched.netlink);
        }
    }

    /// Removes the interfaces of a namespace that is gone, and names their symbols.
    pub(crate) fn remove_all_in(
        &mut self,
        namespace: NamespaceId,
        registry: &Registry,
        now: Time,
    ) -> Vec<SymbolId> {
        let here = |symbol: &SymbolId| is_in(&self.places, *symbol, namespace);
        let gone: Vec<SymbolId> = self.interfaces.keys().copied().filter(here).collect();
        for symbol in &gone {
            self.remove_from(*symbol, None, registry, now);
        }
        gone
    }

    /// Puts routes and rules for answers in again that the kernel may have dropped.
    pub(crate) fn restore_ways_back(&mut self, namespace: NamespaceId, watched: &mut Watched) {
        for (symbol, place) in self.places.iter().filter(|(_, place)| place.namespace == namespace) {
            self.ways_back.restore(*symbol, &place.name, watched);
        }
    }

    /// Brings the fast path in line with the interfaces, if any came or went since the last call.
    pub(crate) fn follow_fast_path(&mut self, cache: &mut Cache, namespaces: &mut [Namespace]) {
        let Some(crossings) = &mut self.crossings else { return };
        if !core::mem::take(&mut self.changed) {
            return;
        }
        // What is known may lead to what is about to go.
        cache.begin_anew();
        let (mut attached, mut crossed) = (BTreeSet::new(), BTreeSet::new());
        for namespace in namespaces {
            let id = namespace.id;
            let Some(watched) = namespace.watched() else { continue };
            let is_here = crossings.is_here(&watched.netns);
            // If it cannot be told, it is as it was.
            let shaped = watched.netlink.shaped();
            let (mut own, mut fast) = (BTreeSet::new(), Vec::new());
            for (symbol, interface) in &mut self.interfaces {
                let Some(place) = self.places.get(symbol).filter(|place| place.namespace == id) else {
                    continue;
                };
                let ifindex = interface.ifindex.0;
                own.insert(ifindex);
                interface.fast = None;
                if let Ok(shaped) = &shaped {
                    interface.note_shaper(shaped.get(&interface.ifindex));
                }
                let in_reach = is_here || ELSEWHERE.contains(&ifindex);
                if in_reach && place.by_address.is_none() && !interface.is_shaped() {
                    fast.push(interface);
                }
            }
            if fast.is_empty() {
                continue;
            }
            let near = if is_here { None } else { crossings.near(id, watched, &own, cache) };
            if !is_here {
                crossed.insert(id);
                let Some(near) = near else { continue };
                attached.insert(near.get());
            }
            for interface in fast {
                let ifindex = interface.ifindex.0;
                attached.insert(ifindex);
                if watched.netns.run(|| cache.add_symbol(ifindex)).is_ok() {
                    interface.fast = Some(FastInterface { ifindex, near });
                }
            }
        }
        cache.retain(&attached);
        crossings.retain(&crossed);
    }

    /// Looks at what the fast path depends on in a namespace in which something has changed.
    pub(crate) fn look_at_fast_path(
        &mut self,
        namespace: NamespaceId,
        watched: &mut Watched,
    ) -> io::Result<()> {
        let Some(crossings) = &mut self.crossings else { return Ok(()) };
        self.changed |= crossings.is_broken(namespace, watched);
        let shaped = watched.netlink.shaped()?;
        let here = |symbol: &SymbolId| is_in(&self.places, *symbol, namespace);
        for (_, interface) in self.interfaces.iter_mut().filter(|(symbol, _)| here(symbol)) {
            self.changed |= interface.note_shaper(shaped.get(&interface.ifindex));
        }
        Ok(())
    }

    /// Removes what the fast path alone needs.
    pub(crate) fn remove_crossings(&mut self) {
        self.crossings.iter_mut().for_each(|crossings| crossings.retain(&BTreeSet::new()));
    }

    /// How the fast path reaches a symbol's interface, if it does, and its MTU.
    pub(crate) fn fast_interface(&self, symbol: SymbolId) -> Option<(FastInterface, usize)> {
        let interface = self.interfaces.get(&symbol)?;
        Some((interface.fast?, usize::try_from(interface.attributes.mtu).ok()?))
    }

    /// A symbol's device, if it is there.
    pub(crate) fn tap(&mut self, symbol: SymbolId) -> Option<&mut Tap> {
        self.interfaces.get_mut(&symbol).map(|interface| &mut interface.tap)
    }

    /// A symbol's interface name.
    pub(crate) fn name(&self, symbol: SymbolId) -> &str {
        self.places.get(&symbol).map_or("?", |place| &place.name)
    }

    /// The interfaces of a namespace's symbols.
    pub(crate) fn interfaces_in(&self, namespace: NamespaceId) -> Vec<IfIndex> {
        let here = |symbol: &SymbolId| is_in(&self.places, *symbol, namespace);
        let interfaces = self.interfaces.iter().filter(|(symbol, _)| here(symbol));
        interfaces.map(|(_, interface)| IfIndex(interface.ifindex.0)).collect()
    }

    /// Of these addresses, those on the interface of each symbol of a namespace that the daemon has not put there.
    pub(crate) fn foreign_addresses(
        &self,
        namespace: NamespaceId,
        present: &[InterfaceAddress],
    ) -> Vec<(SymbolId, Vec<(IpAddr, u8)>)> {
        let here = |symbol: &SymbolId| is_in(&self.places, *symbol, namespace);
        let interfaces = self.interfaces.iter().filter(|(symbol, _)| here(symbol));
        interfaces.map(|(symbol, interface)| (*symbol, interface.foreign_addresses(present))).collect()
    }

    /// Looks at what somebody has done to the interfaces of a namespace's symbols, and puts back what can be.
    pub(crate) fn follow(
        &mut self,
        namespace: NamespaceId,
        watched: &mut Watched,
    ) -> io::Result<Vec<(SymbolId, Standing)>> {
        let Watched { netns, netlink, .. } = watched;
        let present = netlink.addresses(None)?;
        let places = &self.places;
        let interfaces = self.interfaces.iter_mut().filter(|(symbol, _)| is_in(places, **symbol, namespace));
        interfaces
            .map(|(symbol, interface)| Ok((*symbol, interface.follow(netns, netlink, &present)?)))
            .collect()
    }

    /// Gives each symbol of a namespace the groups of its interface.
    pub(crate) fn sort_groups(
        &self,
        namespace: NamespaceId,
        groups: &[(IfIndex, Group)],
    ) -> Vec<SymbolGroups> {
        let here = |symbol: &SymbolId| is_in(&self.places, *symbol, namespace);
        self.interfaces
            .iter()
            .filter(|(symbol, _)| here(symbol))
            .map(|(symbol, interface)| {
                let own = groups.iter().filter(|(ifindex, _)| ifindex.0 == interface.ifindex.0);
                SymbolGroups { symbol: *symbol, groups: own.map(|(_, group)| *group).collect() }
            })
            .collect()
    }
}

fn is_in(places: &BTreeMap<SymbolId, Place>, symbol: SymbolId, namespace: NamespaceId) -> bool {
    places.get(&symbol).is_some_and(|place| place.namespace == namespace)
}

/// Has mio tell of what programs send.
fn watch(symbol: SymbolId, interface: &SymbolInterface, registry: &Registry) -> io::Result<()> {
    let descriptor = interface.tap.as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), Source::Symbol(symbol).token(), Interest::READABLE)
}

/// How the keeper calls a symbol's place.
fn keeper_place(namespace: &Namespace, place: &Place) -> l2link_os::keeper::Place {
    let netns = namespace.name().unwrap_or_default().to_owned();
    l2link_os::keeper::Place { netns, interface: place.name.clone() }
}

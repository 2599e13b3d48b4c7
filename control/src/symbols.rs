//! The symbols' interfaces.

use crate::namespaces::Namespace;
use crate::source::Source;
use crate::symbol_interface::SymbolInterface;
use control_core::seen::{IfIndex, SymbolGroups};
use control_core::{Attributes, Failure, NamespaceId};
use core::net::IpAddr;
use frames::SymbolId;
use frames::message::Group;
use l2link::Time;
use l2link_os::{SetupError, Tap};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

/// Where a symbol belongs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) namespace: NamespaceId,
    pub(crate) name: String,
    pub(crate) gateways: Vec<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct Symbols {
    places: BTreeMap<SymbolId, Place>,
    interfaces: BTreeMap<SymbolId, SymbolInterface>,
}

impl Symbols {
    pub(crate) fn new(places: BTreeMap<SymbolId, Place>) -> Self {
        Self { places, interfaces: BTreeMap::new() }
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
        self.interfaces.remove(&symbol);
        let failure = |error: SetupError| match error {
            SetupError::NoNetNs { .. } => Failure::NamespaceAbsent,
            other => Failure::Refused(other.to_string()),
        };
        let Some(place) = self.places.get(&symbol) else { return Err(Failure::Removed) };
        let Some(namespace) = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace) else {
            return Err(Failure::NamespaceAbsent);
        };
        let watched = namespace.enter(registry, now).map_err(failure)?;
        let (netns, netlink) = (&watched.netns, &mut watched.netlink);
        let interface = SymbolInterface::create(netns, netlink, &place.name, &place.gateways, attributes);
        let interface = interface.map_err(failure)?;
        let descriptor = interface.tap.as_raw_fd();
        registry
            .register(&mut SourceFd(&descriptor), Source::Symbol(symbol).token(), Interest::READABLE)
            .map_err(|error| failure(SetupError::system(format!("watch symbol {}", place.name), error)))?;
        let ifindex = IfIndex(interface.ifindex.0);
        self.interfaces.insert(symbol, interface);
        Ok(ifindex)
    }

    /// Brings a symbol's interface in line with its port.
    pub(crate) fn update(
        &mut self,
        symbol: SymbolId,
        attributes: &Attributes,
        namespaces: &mut [Namespace],
    ) -> Result<(), Failure> {
        let (Some(interface), Some(place)) = (self.interfaces.get_mut(&symbol), self.places.get(&symbol))
        else {
            return Err(Failure::Removed);
        };
        let namespace = namespaces.iter_mut().find(|namespace| namespace.id == place.namespace);
        let watched = namespace.and_then(Namespace::watched).ok_or(Failure::NamespaceAbsent)?;
        interface.update(&mut watched.netlink, attributes).map_err(|error| {
            Failure::Refused(format!("interface {}: cannot be changed like its port: {error}", place.name))
        })
    }

    /// Removes a symbol's interface.
    pub(crate) fn remove(&mut self, symbol: SymbolId) {
        self.interfaces.remove(&symbol);
    }

    /// Removes the interfaces of a namespace that is gone, and names their symbols.
    pub(crate) fn remove_all_in(&mut self, namespace: NamespaceId) -> Vec<SymbolId> {
        let here =
            |symbol: &SymbolId| self.places.get(symbol).is_some_and(|place| place.namespace == namespace);
        let gone: Vec<SymbolId> = self.interfaces.keys().copied().filter(here).collect();
        for symbol in &gone {
            self.interfaces.remove(symbol);
        }
        gone
    }

    /// A symbol's device, if it is there.
    pub(crate) fn tap(&mut self, symbol: SymbolId) -> Option<&mut Tap> {
        self.interfaces.get_mut(&symbol).map(|interface| &mut interface.tap)
    }

    /// A symbol's interface name.
    pub(crate) fn name(&self, symbol: SymbolId) -> &str {
        self.places.get(&symbol).map_or("?", |place| &place.name)
    }

    /// Gives each symbol of a namespace the groups of its interface.
    pub(crate) fn sort_groups(
        &self,
        namespace: NamespaceId,
        groups: &[(IfIndex, Group)],
    ) -> Vec<SymbolGroups> {
        let here =
            |symbol: &SymbolId| self.places.get(symbol).is_some_and(|place| place.namespace == namespace);
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

//! Packets that come down a tunnel to be routed (PROTOCOL.md, *Packets to be routed*): those of file symbols, whose programs know no
//! neighbors.
//!
//! They are addressed to the port itself, as no frame is that leaves it, and go the way of address symbols' packets from here on: out by
//! the kernel's own routes ([`Outlet`]), without anything being rewritten.

use crate::action::Action;
use crate::port::{Port, Ports};
use crate::relay::{LinkVerdict, OFFLOAD, PortVerdict, Relay};
use crate::symbol::Symbols;
use crate::translation::{Outlet, Translations, is_another_host};
use core::net::IpAddr;
use frames::data::PARCEL_MAX;
use frames::inet::{Obstacle, addresses, error_about};
use frames::{DownTunnel, DropReason, SymbolId};
use l2link::{Batch, Counters, PeerId, Time};
use std::collections::BTreeSet;

/// Which addresses which symbols have had packets routed from: a socket is kept for each.
#[derive(Debug, Default)]
pub(crate) struct RoutedSources(BTreeSet<(PeerId, SymbolId, IpAddr)>);

impl RoutedSources {
    /// Whether any symbol sends from an address.
    pub(crate) fn has(&self, source: IpAddr) -> bool {
        self.0.iter().any(|(.., known)| *known == source)
    }
}

/// Whether a parcel is to be routed.
pub(crate) fn is_to_be_routed(parcel: &[u8], port: &Port) -> bool {
    parcel.get(OFFLOAD..).is_some_and(|frame| frame.starts_with(&port.state.mac.0))
}

/// By what it leaves.
pub(crate) fn judge<'a>(
    tunnel: DownTunnel,
    parcel: &'a mut [u8],
    port: &Port,
    symbols: &Symbols,
    translations: &mut Translations,
    ports: &Ports,
    drops: &mut Counters,
) -> LinkVerdict<'a> {
    let outlet = addresses(parcel).and_then(|(source, destination)| {
        let row = symbols.row(tunnel)?;
        let fits = port.addresses().any(|own| own == source) && is_another_host(destination, ports);
        fits.then_some(Outlet { source, port: port.id, peer: row.peer, symbol: row.symbol })
    });
    match outlet {
        Some(outlet) => {
            translations.routed.0.insert((outlet.peer, outlet.symbol, outlet.source));
            LinkVerdict::Route { outlet, parcel }
        }
        None => {
            drops.drop(DropReason::NotRoutable);
            LinkVerdict::Drop(DropReason::NotRoutable)
        }
    }
}

impl Relay {
    /// A packet that was routed does not come through: the error about it goes up as if it had arrived at the port.
    pub(crate) fn handle_routed_obstacle(
        &mut self,
        outlet: &Outlet,
        packet: &[u8],
        obstacle: Obstacle,
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let Some(port) = self.ports.get(outlet.port) else { return PortVerdict::Drop(DropReason::PortDown) };
        let station = port.state.mac;
        let mut error = core::mem::take(&mut self.translations.scratch);
        error.resize(PARCEL_MAX, 0);
        let told = match error_about(packet, obstacle, station, &mut error) {
            None => PortVerdict::Drop(DropReason::NotRoutable),
            Some(length) => {
                error.truncate(length);
                let arrival = self.classify_port_parcel(outlet.port, &error);
                self.handle_port_parcel(&arrival, &error, now, batch)
            }
        };
        self.translations.scratch = error;
        told
    }

    /// A symbol is gone, and sends nothing any more.
    pub(crate) fn forget_routed(&mut self, peer: PeerId, symbol: SymbolId) {
        let routed = &mut self.translations.routed.0;
        let mut gone = Vec::new();
        routed.retain(|(owner, of, source)| {
            let stays = (*owner, *of) != (peer, symbol);
            if !stays {
                gone.push(*source);
            }
            stays
        });
        for source in gone {
            if !self.translations.has(source) {
                self.actions.push_back(Action::ForgetSource(source));
            }
        }
    }
}

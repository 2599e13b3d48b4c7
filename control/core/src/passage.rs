//! Copies of the parcels that pass through the link, with what the tables say of them: for captures.

use crate::{Control, SymbolConfig};
use frames::data::Tunnel;
use frames::inet::addresses;
use frames::{DownTunnel, SymbolId, UpTunnel};
use l2link::PeerId;
use l2link::passage::{Passage, Way};

impl Control {
    /// From now on [`Control::poll_passage`] gives copies of all parcels away that come from the link or go into it.
    pub fn keep_passages(&mut self) {
        self.link.keep_passages();
    }

    /// Ends [`Control::keep_passages`].
    pub fn drop_passages(&mut self) {
        self.link.drop_passages();
    }

    /// The next parcel that went through the link, as it was there, and the symbol that it is of, if it is of one. To be polled after
    /// each parcel that was dealt with.
    pub fn poll_passage(&mut self) -> Option<(Passage, Option<SymbolId>)> {
        let passage = self.link.poll_passage()?;
        let symbol = self.symbol_of(&passage);
        Some((passage, symbol))
    }

    /// The name of a device on the segment.
    #[must_use]
    pub fn peer_name(&self, peer: PeerId) -> &str {
        self.link.peer_name(peer).unwrap_or("?")
    }

    /// Every symbol, as it is configured.
    pub fn symbol_configs(&self) -> impl Iterator<Item = (SymbolId, &SymbolConfig)> {
        self.symbols.iter().map(|symbol| (symbol.id, &symbol.config))
    }

    /// A symbol, as it is configured.
    #[must_use]
    pub fn symbol_config(&self, symbol: SymbolId) -> Option<&SymbolConfig> {
        self.symbol(symbol).map(|symbol| &symbol.config)
    }

    fn symbol_of(&self, passage: &Passage) -> Option<SymbolId> {
        let Passage { way, peer, tunnel, ref parcel } = *passage;
        let mut own = self
            .symbols
            .iter()
            .filter(|symbol| self.relays.get(symbol.relay.0).is_some_and(|relay| relay.peer == Some(peer)));
        match (way, tunnel) {
            (_, Tunnel::NONE) => {
                let (source, destination) = addresses(parcel)?;
                let control_address = if way == Way::Sent { source } else { destination };
                let stands =
                    |translation: &crate::Translation| translation.control_address == control_address;
                own.find(|symbol| symbol.config.translation.as_ref().is_some_and(stands))
                    .map(|symbol| symbol.id)
            }
            (Way::Sent, Tunnel(number)) => {
                own.find(|symbol| symbol.down_tunnel == Some(DownTunnel(number))).map(|symbol| symbol.id)
            }
            (Way::Received, Tunnel(number)) => {
                let symbol = self.tables.receive.get(UpTunnel(number))?.symbol;
                own.find(|own| own.id == symbol).map(|symbol| symbol.id)
            }
        }
    }
}

//! Copies of the parcels that pass through the link, with what the tables say of them: for captures.

use crate::relay::Relay;
use frames::data::Tunnel;
use frames::inet::addresses;
use frames::{DownTunnel, PortId, UpTunnel};
use l2link::passage::{Passage, Way};

impl Relay {
    /// From now on [`Relay::poll_passage`] gives copies of all parcels away that come from the link or go into it.
    pub fn keep_passages(&mut self) {
        self.link.keep_passages();
    }

    /// Ends [`Relay::keep_passages`].
    pub fn drop_passages(&mut self) {
        self.link.drop_passages();
    }

    /// The next parcel that went through the link, as it was there, and the port that it is of, if it is of one. To be polled after
    /// each parcel that was dealt with.
    pub fn poll_passage(&mut self) -> Option<(Passage, Option<PortId>)> {
        let passage = self.link.poll_passage()?;
        let port = self.port_of_passage(&passage);
        Some((passage, port))
    }

    /// The name of a device on the segment.
    #[must_use]
    pub fn peer_name(&self, peer: l2link::PeerId) -> &str {
        self.link.peer_name(peer).unwrap_or("?")
    }

    fn port_of_passage(&self, passage: &Passage) -> Option<PortId> {
        let Passage { way, peer, tunnel, ref parcel } = *passage;
        match (way, tunnel) {
            (_, Tunnel::NONE) if self.partners.contains_key(&peer) => None,
            (_, Tunnel::NONE) => {
                let (source, destination) = addresses(parcel)?;
                let control_address = if way == Way::Received { source } else { destination };
                self.translations.port_of(peer, control_address)
            }
            (Way::Received, Tunnel(number)) => {
                self.symbols.row(DownTunnel(number)).filter(|row| row.peer == peer).map(|row| row.port)
            }
            (Way::Sent, Tunnel(number)) => self.dispatch.port_of(peer, UpTunnel(number)),
        }
    }
}

//! What `show` tells of given addresses.

use super::{Given, Refusal};
use frames::PortId;
use frames::message::Status;

impl Given {
    /// The addresses that controls want a port to have in vain, each with its control and the reason.
    pub(crate) fn refused(&self, port: PortId) -> impl Iterator<Item = String> {
        let of_port = self.told.iter().filter(move |((_, at, _), _)| *at == port);
        let refused = of_port.filter(|(_, refusal)| refusal.status != Status::OK);
        refused.map(|((peer, _, address), Refusal { status, text })| {
            format!("{address} of {}: {status}: {text}", self.name(*peer))
        })
    }

    /// How many addresses ports have from controls.
    pub(crate) fn len(&self) -> u64 {
        self.entries.values().filter(|entry| entry.there).count() as u64
    }
}

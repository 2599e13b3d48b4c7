//! [`Quiet`]: keeps the relay's kernel from answering for controls, as long as the daemon runs.

use crate::source::Source;
use crate::wire::register;
use l2link_os::{Discard, DiscardWatch, NetNs, PortDiscard, SetupError};
use mio::Registry;

/// The discard table. It is put back when somebody else removes it.
#[derive(Debug)]
pub(crate) struct Quiet {
    ports: Vec<PortDiscard>,
    discard: Discard,
    watch: DiscardWatch,
}

impl Quiet {
    /// Puts in the table, and removes what a crash left behind; `None` without any port.
    pub(crate) fn begin(
        netns: &NetNs,
        ports: Vec<PortDiscard>,
        registry: &Registry,
    ) -> Result<Option<Self>, SetupError> {
        if ports.is_empty() {
            return match Discard::sweep(netns) {
                // Without the program nft there cannot be anything.
                Ok(()) | Err(SetupError::NoNft { .. }) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let discard = Discard::install(netns, &ports)?;
        let watch = DiscardWatch::open(netns)?;
        register(registry, &watch, Source::Discard)
            .map_err(|error| SetupError::system("watching the nftables", error))?;
        Ok(Some(Self { ports, discard, watch }))
    }

    /// Has the table be about these ports, in one step. On an error it is about those that it was about.
    pub(crate) fn replace(&mut self, ports: Vec<PortDiscard>) -> Result<(), SetupError> {
        if self.ports != ports {
            self.discard.replace(&ports)?;
            self.ports = ports;
        }
        Ok(())
    }

    /// Puts the table back if it is gone. That takes some milliseconds, and happens when a firewall is loaded anew.
    pub(crate) fn restore(&mut self) {
        match self.watch.is_gone() {
            Ok(false) => return,
            Ok(true) => log::warn!(
                target: "relay::port",
                "somebody removed the nftables table inet l2relay (`nft flush ruleset`?): putting it back"
            ),
            Err(error) => log::error!(target: "relay::port", "watching the nftables: {error}"),
        }
        if let Err(error) = self.discard.replace(&self.ports) {
            log::error!(target: "relay::port", "the relay's kernel may disturb controls: {error}");
        }
    }

    /// Leaves the table for a successor.
    pub(crate) fn leave(self) {
        self.discard.leave();
    }

    /// Removes the table.
    pub(crate) fn end(self) -> Result<(), SetupError> {
        self.discard.remove()
    }
}

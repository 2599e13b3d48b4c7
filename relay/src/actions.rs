//! What the core asks of the daemon.

use crate::answer::event;
use crate::daemon::Daemon;
use crate::source::Source;
use l2link::{PeerId, Time};
use l2link_os::api::success;
use l2link_os::routes::Families;
use relay_core::{Action, GivenAddress, VerifyRow};
use serde_json::{Value, json};
use std::io;

impl Daemon {
    /// Carries out what the core asks for, and returns whether something is left: what the end of many rules leads to at once
    /// must not hold up keepalives.
    pub(crate) fn act(&mut self, now: Time) -> bool {
        for _ in 0..ACTIONS {
            let Some(action) = self.relay.poll_action() else { return false };
            match action {
                Action::SetCapture { port, capture } => {
                    self.ports.set_capture(port, capture, self.cache.as_mut(), now);
                }
                Action::ForgetFlow { port, flow } => {
                    if let Some(cache) = &mut self.cache {
                        cache.forget_flow(self.ports.ifindex(port).0, &flow);
                    }
                }
                Action::Join { port, group } => self.ports.join(port, group, now),
                Action::Leave { port, group } => self.ports.leave(port, group, now),
                Action::ChangeRoutes(operations) => self.routes.change(operations, &mut self.relay, now),
                Action::Verified(rows) => self.verified(rows),
                Action::LookAtRoutes => self.routes.look(Families::Both),
                Action::RememberControls(names) => self.remembered.set(&names),
                Action::AddAddress(address) => {
                    if let Some(interface) = self.ports.interface(address.port) {
                        self.forwarding.keep_secondaries(interface);
                    }
                    let added = self.interfaces.add(&address);
                    self.address_changed(&address, added, now);
                }
                Action::DeleteAddress(address) => {
                    let deleted = self.interfaces.delete(&address);
                    self.address_changed(&address, deleted, now);
                }
                Action::OpenTransit { peer, relay } => {
                    if let Some(ifindex) = self.transits.add(peer, &relay, self.poll.registry(), now) {
                        self.relay.handle_transit_opened(peer, ifindex.0);
                    }
                }
                Action::CloseTransit { peer } => self.close_transit(peer, now),
                Action::ForgetSource(source) => self.outlets.forget(source),
                Action::Tell(told) if self.api.monitored() => self.api.broadcast(&event(&told, now)),
                Action::Tell(_) => {}
            }
        }
        true
    }

    /// The kernel tells at once of the routes that go with the interface: it is heard before anything else is done to them.
    fn close_transit(&mut self, peer: PeerId, now: Time) {
        self.transits.remove(peer);
        for _ in 0..FOLLOWED {
            if !self.routes.follow(&mut self.relay, now) {
                return;
            }
        }
        self.ready.insert(Source::Routes);
    }

    /// An address that came or went is told of by the kernel, like any other.
    fn address_changed(&mut self, address: &GivenAddress, result: io::Result<()>, now: Time) {
        if let Err(error) = result {
            let errno = error.raw_os_error().unwrap_or(0);
            self.relay.handle_address_failure(address, errno, &error.to_string(), now);
        }
    }

    /// Tells those who asked what a verification found.
    fn verified(&mut self, mut rows: Vec<VerifyRow>) {
        rows.extend(self.forwarding.differences());
        let rows: Vec<Value> = rows.iter().map(|row| json!(row)).collect();
        for client in std::mem::take(&mut self.verifying) {
            self.api.answer(client, &success(rows.clone()));
        }
    }
}

/// Actions in one turn.
const ACTIONS: usize = 512;

/// Parts of the kernel's news of routes that are heard at once.
const FOLLOWED: usize = 8;

//! Frames of the link, and packets of ports and of other relays, through the core and out.

use crate::capture;
use crate::daemon::Daemon;
use crate::fast_path;
use crate::wire::{Failed, Taken, Wire};
use frames::DropReason;
use l2link::Time;
use l2link_os::Turn;
use l2link_os::capture::Direction;
use relay_core::{Arrival, LinkVerdict, PortVerdict, Recorded};

impl Daemon {
    /// Reads frames of the link. Returns whether there may be more.
    pub(crate) fn read_link(&mut self, now: Time) -> bool {
        let (mut more, mut taken) = (false, Taken::default());
        let mut turn = Turn::USUAL;
        while turn.goes_on() {
            let received = self.wire.receive(&mut self.relay, now);
            more = received.is_ok();
            let count = received.unwrap_or_else(|Failed| {
                turn.note_failure();
                0
            });
            let transfers = self.wire.took_transfers();
            for index in 0..count {
                turn.note(self.wire.frame_mut(index).len());
                let tunnel = self.tunnel_of(index);
                let mut next = Some(self.relay.handle_link_frame(self.wire.frame_mut(index), now));
                let dropped = matches!(next, Some(LinkVerdict::Drop(_)));
                *(if dropped { &mut taken.dropped } else { &mut taken.kept }) += 1;
                while let Some(verdict) = next {
                    let mut seen = self.captures.handling();
                    let mut fate = PortVerdict::Sent;
                    if let Some(parcel) = verdict.parcel() {
                        self.busy_poll.note_parcel(parcel.len());
                        if transfers {
                            self.conversations.note_transfer(parcel, now);
                        }
                    }
                    match verdict {
                        LinkVerdict::Transmit { port, parcel } => {
                            if let Some(cache) = &self.cache {
                                cache.fit_segments(self.ports.ifindex(port).0, parcel);
                            }
                            capture::leaves(&mut seen, &self.ports, port, parcel);
                            if !self.ports.queue(port, parcel) {
                                self.relay.handle_drops(DropReason::PortDown, 1);
                                capture::refused(&mut seen, DropReason::PortDown);
                            }
                            if let (Some(tunnel), Some(cache)) = (tunnel, &mut self.cache) {
                                fast_path::learn_tunnel(cache, &self.relay, tunnel, port);
                            }
                        }
                        LinkVerdict::Route { outlet, parcel } => {
                            let scope = self.ports.ifindex(outlet.port);
                            let registry = self.poll.registry();
                            if let Some(cache) = &self.cache {
                                cache.fit_segments(scope.0, parcel);
                            }
                            capture::leaves(&mut seen, &self.ports, outlet.port, parcel);
                            let routed = self.outlets.send(&outlet, parcel, &mut self.ports, registry, now);
                            for (reason, times) in [
                                (DropReason::PortTxFull, routed.full),
                                (DropReason::PortTxError, routed.errors),
                            ] {
                                self.relay.handle_drops(reason, times);
                                if times > 0 {
                                    capture::refused(&mut seen, reason);
                                }
                            }
                            if let Some((packet, obstacle)) = routed.stopped {
                                self.wire.make_room(&mut self.relay);
                                let batch = &mut self.wire.batch;
                                let told = self.relay.handle_obstacle(&outlet, packet, obstacle, now, batch);
                                log::trace!(target: "relay::link", "stopped: {obstacle:?}: {told:?}");
                            }
                        }
                        LinkVerdict::Forward { peer, parcel } => {
                            let copy = seen.is_some().then(|| parcel.to_vec());
                            let written = self.transits.write(peer, parcel);
                            if let Some((seen, parcel)) = seen.as_mut().zip(copy) {
                                seen.went(capture::transit(&self.relay, peer, Direction::Inbound, &parcel));
                            }
                            if !written {
                                self.relay.handle_drops(DropReason::PortTxError, 1);
                                capture::refused(&mut seen, DropReason::PortTxError);
                            }
                        }
                        LinkVerdict::Own { peer, port, icmp, parcel } => {
                            let mut parcel = parcel.to_vec();
                            let arrival = self.relay.classify_port_parcel(port, &parcel);
                            let verdict =
                                take_parcel(&mut self.relay, &mut self.wire, &arrival, &parcel, now);
                            let kernels = icmp || verdict == PortVerdict::Drop(DropReason::NotForPort);
                            if !kernels {
                                fate = verdict;
                            }
                            if kernels && !self.transits.write(peer, &mut parcel) {
                                self.relay.handle_drops(DropReason::PortTxError, 1);
                            }
                        }
                        LinkVerdict::Consumed => {}
                        LinkVerdict::Drop(reason) => {
                            log::trace!(target: "relay::link", "dropped: {reason}");
                            fate = PortVerdict::Drop(reason);
                        }
                    }
                    if let Some(seen) = seen {
                        let captures = &mut self.captures;
                        capture::end(seen, fate, &mut self.relay, &self.ports, captures, &mut self.api);
                    }
                    next = self.relay.next_parcel(self.wire.frame_mut(index));
                }
            }
            self.relay.handle_link_events(now);
            self.ports.flush(&mut self.relay);
            if more && count == 0 {
                more = false;
                break;
            }
        }
        self.wire.damp(taken, more, self.poll.registry(), now);
        more
    }

    /// Reads parcels of a port. Returns whether there may be more.
    pub(crate) fn read_port(&mut self, place: usize, now: Time) -> bool {
        let Some(id) = self.ports.id(place) else { return false };
        let mut more = false;
        let ifindex = self.ports.ifindex(id).0;
        let seen = self.captures.is_active().then(|| self.ports.interface(id)).flatten();
        let name = seen.map(str::to_owned);
        let mut turn = self.conversations.turn(now);
        while turn.goes_on() {
            let received = self.ports.receive(place, &mut self.relay, &mut self.conversations, now);
            more = received.is_ok();
            let count = received.unwrap_or_else(|Failed| {
                turn.note_failure();
                0
            });
            self.arrivals.clear();
            self.arrivals.extend((0..count).map(|index| {
                let parcel = self.ports.parcel(place, index);
                self.relay.classify_port_parcel(id, parcel)
            }));
            self.relay.fetch(&self.arrivals);
            for (index, arrival) in self.arrivals.iter().enumerate() {
                let parcel = self.ports.parcel(place, index);
                turn.note(parcel.len());
                let seen = capture::arrives(&self.captures, name.as_deref(), parcel);
                let verdict = take_parcel(&mut self.relay, &mut self.wire, arrival, parcel, now);
                if verdict == PortVerdict::Sent {
                    self.busy_poll.note_parcel(parcel.len());
                }
                fast_path::learn_flow(self.cache.as_mut(), &self.relay, ifindex, arrival, parcel, verdict);
                if let Some(seen) = seen {
                    let captures = &mut self.captures;
                    capture::end(seen, verdict, &mut self.relay, &self.ports, captures, &mut self.api);
                }
            }
            self.wire.flush(&mut self.relay);
            if more && count == 0 {
                self.commit_flows(id, true);
                return false;
            }
        }
        self.commit_flows(id, !more);
        more
    }

    /// Reads parcels that leave at another relay. Returns whether there may be more.
    pub(crate) fn read_transit(&mut self, place: usize, now: Time) -> bool {
        let mut turn = Turn::USUAL;
        while turn.goes_on() {
            self.wire.make_room(&mut self.relay);
            let Some((peer, parcel)) = self.transits.read(place, &mut self.conversations, now) else {
                self.wire.flush(&mut self.relay);
                return false;
            };
            let mut seen = self.captures.handling();
            if let Some(seen) = &mut seen {
                seen.came(capture::transit(&self.relay, peer, Direction::Outbound, parcel));
            }
            let len = parcel.len();
            turn.note(len);
            let verdict = self.relay.handle_transit(peer, parcel, now, &mut self.wire.batch);
            if let Some(seen) = seen {
                let captures = &mut self.captures;
                capture::end(seen, verdict, &mut self.relay, &self.ports, captures, &mut self.api);
            }
            match verdict {
                PortVerdict::Drop(reason) => {
                    log::trace!(target: "relay::transit", "dropped on the way to a relay: {reason}");
                }
                _ => self.busy_poll.note_parcel(len),
            }
        }
        self.wire.flush(&mut self.relay);
        true
    }

    /// Reads what the kernel said to virtual addresses. Returns whether there may be more.
    pub(crate) fn read_own_errors(&mut self, now: Time) -> bool {
        for _ in 0..ERRORS {
            self.wire.make_room(&mut self.relay);
            let Some((port, packet)) = self.outlets.next_error(now) else { return false };
            let verdict = self.relay.handle_own_error(port, packet, now, &mut self.wire.batch);
            log::trace!(target: "relay::punt", "an error of the relay's own kernel at {port}: {verdict:?}");
            if let Some(seen) = self.captures.handling() {
                let captures = &mut self.captures;
                capture::end(seen, verdict, &mut self.relay, &self.ports, captures, &mut self.api);
            }
        }
        true
    }
}

/// Sends a parcel up that is addressed to a port.
fn take_parcel(
    relay: &mut Recorded,
    wire: &mut Wire,
    arrival: &Arrival,
    parcel: &[u8],
    now: Time,
) -> PortVerdict {
    let mut verdict = relay.handle_port_parcel(arrival, parcel, now, &mut wire.batch);
    while verdict == PortVerdict::Full {
        wire.flush(relay);
        verdict = relay.resume_port_parcel(parcel, now, &mut wire.batch);
    }
    if let PortVerdict::Drop(reason) = verdict {
        log::trace!(target: "relay::punt", "dropped at a port: {reason}");
    }
    verdict
}

/// Errors of the relay's own kernel in one turn.
const ERRORS: usize = 64;

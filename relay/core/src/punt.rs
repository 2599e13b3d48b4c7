//! Packets at a port, on their way up.
//!
//! A packet is classified once; [`Selector`] picks its targets, or the targets of its first fragment hold for it too. All packets
//! that arrived together are classified, and the tables read where they are going to be looked up, before the first of them is
//! dealt with: so it is not each packet that waits for memory.
//! Then each target gets a copy, as far as its control's rate allows. The targets are in memory that is used again for
//! each packet, so that nothing is allotted, fragments that came too early excepted.

use crate::dispatch::{Ends, Sought, Target};
use crate::fragment::{Followed, FragmentKey};
use crate::police::PuntClass;
use crate::relay::{OFFLOAD, PortVerdict, Relay};
use crate::select::{Left, Selector};
use frames::inet::{self, Layer3, PacketView, Transport, classify, offloads_inner};
use frames::{DropReason, PortId};
use l2link::{Batch, Time};

/// A parcel from a port whose headers were read.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub(crate) port: PortId,
    pub(crate) view: Result<PacketView, DropReason>,
    sought: Option<Sought>,
}

impl Relay {
    /// Reads the headers of a parcel that arrived at a port. One that leaves something to be done inside a tunnel is dropped:
    /// whoever receives packets cuts them before, if they can be cut ([`frames::inet::Segments`]).
    #[must_use]
    pub fn classify_port_parcel(&self, port: PortId, parcel: &[u8]) -> Arrival {
        let view = match parcel.get(OFFLOAD..) {
            Some(_) if offloads_inner(parcel) => Err(DropReason::TunnelOffload),
            Some(frame) => classify(frame).map_err(|_| DropReason::BadPacket),
            None => Err(DropReason::BadPacket),
        };
        let ip = view
            .as_ref()
            .ok()
            .and_then(|view| if let Layer3::Ip(ip) = &view.layer3 { Some(ip) } else { None });
        let sought = ip.and_then(|ip| {
            let Transport::Ports { source, destination, .. } = ip.transport else { return None };
            let ends = Ends { local: (ip.destination, destination), remote: (ip.source, source) };
            Some(self.dispatch.seek(port, ip.protocol, ends))
        });
        Arrival { port, view, sought }
    }

    /// Has the tables read where [`Relay::handle_port_parcel`] is going to look for these.
    pub fn fetch(&self, arrivals: &[Arrival]) {
        self.dispatch.fetch(arrivals.iter().filter_map(|arrival| arrival.sought.as_ref()));
    }

    /// Takes a parcel that arrived at a port. `batch` must be large enough for [`Relay::parcel_frames_max`] frames
    /// when it is empty.
    pub fn handle_port_parcel(
        &mut self,
        arrival: &Arrival,
        parcel: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        match self.select(arrival, parcel, now) {
            Ok(Selected::Targets(class)) => {
                self.class = class;
                self.copies = 0;
                self.resume_port_parcel(parcel, now, batch)
            }
            Ok(Selected::Held) => PortVerdict::Held,
            Err(reason) => {
                self.drops.drop(reason);
                PortVerdict::Drop(reason)
            }
        }
    }

    /// Goes on with a parcel after [`PortVerdict::Full`].
    pub fn resume_port_parcel(&mut self, parcel: &[u8], now: Time, batch: &mut Batch) -> PortVerdict {
        let mut verdict = PortVerdict::Sent;
        while let Some(target) = self.targets.get(self.copies) {
            if !self.has_room(batch) {
                return PortVerdict::Full;
            }
            self.copies += 1;
            if let Err(reason) = self.send(&target, self.class, parcel, now, batch) {
                verdict = PortVerdict::Drop(reason);
            }
        }
        verdict
    }

    /// Sends fragments whose first has come. Returns whether the batch was too full for all of them.
    pub(crate) fn transmit_released(&mut self, batch: &mut Batch, now: Time) -> bool {
        while !self.released.is_empty() {
            if !self.has_room(batch) {
                return true;
            }
            if let Some((target, class, parcel)) = self.released.pop_front() {
                // A refusal has been counted, and there is nobody left to tell.
                let _ = self.send(&target, class, &parcel, now, batch);
            }
        }
        false
    }

    /// Fills `targets` for a packet at a port.
    fn select(&mut self, arrival: &Arrival, parcel: &[u8], now: Time) -> Result<Selected, DropReason> {
        let Arrival { port: id, view, sought } = *arrival;
        let port = self.ports.get(id).ok_or(DropReason::PortDown)?;
        let view = view?;
        let mut selector = Selector {
            link_ethertype: self.config.ethertype,
            ports: &self.ports,
            dispatch: &self.dispatch,
            memberships: &self.memberships,
            targets: &mut self.targets,
            sought,
            decision: None,
        };
        selector.check_for_port(port, &view).map_err(Left::reason)?;
        let fragment = fragment(&view);
        if let Some((packet, true)) = fragment {
            return self.follow(FragmentKey::new(id, packet), parcel, now);
        }
        let selected = selector.select(port, &view).map_err(Left::reason);
        if let Some(decision) = selector.decision {
            self.dispatch.commit(&decision);
        }
        if let Some((packet, _)) = fragment {
            let key = FragmentKey::new(id, packet);
            self.fragments.remember(key, selected, &self.targets, now);
            self.release_held(&key, selected);
        }
        selected.map(Selected::Targets)
    }

    /// What becomes of a later fragment.
    fn follow(&mut self, key: FragmentKey, parcel: &[u8], now: Time) -> Result<Selected, DropReason> {
        match self.fragments.follow(&key, now) {
            Some(Followed::Sent(class, targets)) => {
                self.targets.clear();
                for target in targets.iter().filter(|target| self.dispatch.in_force(target)) {
                    self.targets.push(*target);
                }
                if self.targets.is_empty() {
                    Err(DropReason::Unmatched)
                } else {
                    Ok(Selected::Targets(class))
                }
            }
            Some(Followed::Dropped(reason)) => Err(reason),
            None => {
                let held = self.fragments.hold(key, parcel, now);
                if held { Ok(Selected::Held) } else { Err(DropReason::OrphanFragment) }
            }
        }
    }

    /// Sends later fragments after their first, or drops them with it.
    fn release_held(&mut self, key: &FragmentKey, decision: Result<PuntClass, DropReason>) {
        while let Some(parcel) = self.fragments.release(key) {
            match decision {
                Ok(class) => {
                    let copies = self.targets.iter().map(|target| (*target, class, parcel.clone()));
                    self.released.extend(copies);
                }
                Err(reason) => self.drops.drop(reason),
            }
        }
    }

    /// Puts one copy of a parcel into the batch, if its rate allows.
    fn send(
        &mut self,
        target: &Target,
        class: PuntClass,
        parcel: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> Result<(), DropReason> {
        let control = self.controls.get_mut(&target.peer).ok_or(DropReason::NoSession)?;
        if !control.police.admit(class, now) {
            self.drops.drop(DropReason::PuntLimit);
            return Err(DropReason::PuntLimit);
        }
        match self.send_translated(target, parcel, now, batch) {
            Some(sent) => sent?,
            None => self.link.send_parcel(target.peer, target.tunnel.into(), parcel, batch, now)?,
        }
        self.dispatch.count(target, parcel.len().saturating_sub(OFFLOAD));
        Ok(())
    }

    fn has_room(&self, batch: &Batch) -> bool {
        batch.room() >= self.link.parcel_frames_max() || batch.is_empty()
    }
}

/// A packet that is not dropped.
enum Selected {
    /// `Relay::targets` get it.
    Targets(PuntClass),
    Held,
}

/// The packet as a piece of a larger one, and whether it is another one than the first.
fn fragment(view: &PacketView) -> Option<(inet::FragmentKey, bool)> {
    let Layer3::Ip(ip) = view.layer3 else { return None };
    Some((ip.fragment_key()?, ip.fragment?.offset > 0))
}

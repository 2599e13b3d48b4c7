//! [`Cache`]: the fast path as a daemon keeps it, in step with the tables of its core.
//!
//! A failure of the kernel to change one of its tables is logged, and ends the fast path: what goes the daemon's way is always right.

use crate::newcomers::Newcomers;
use crate::{Capture, Counted, Error, FastPath, LINK_HEADERS, Outlet};
use core::num::NonZeroU32;
use core::time::Duration;
use frames::SessionIndex;
use frames::data::{Packet, Tunnel};
use frames::header::{EthernetHeader, Frame, Kind};
use frames::inet::limit_mss;
use l2link::fast::{FastFlow, FastPeer, Flow};
use l2link::{PeerId, Time};
use log::{info, trace, warn};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;

/// Whether there is to be a fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// There is none.
    #[default]
    Off,
    /// Where it can be had.
    Auto,
    /// The daemon does not start without it.
    Require,
}

/// The fast path of a daemon.
#[derive(Debug)]
pub struct Cache {
    fast_path: FastPath,
    /// What the core counted when the generation began; `None` for none.
    changes: Option<u32>,
    generation: u32,
    /// Whether packets go and come by the link's interface.
    linked: bool,
    /// Bytes of the longest Ethernet frame that a link frame holds.
    frame_max: usize,
    newcomers: Newcomers,
    /// Decisions about packets of which others may still wait to be read.
    pending: Vec<FastFlow>,
    /// When counters are read next.
    count_at: Time,
    /// When the link's interface is tried again, if packets do not go by it.
    link_at: Time,
    /// What was logged of the link interface last.
    told: Option<String>,
    failed: bool,
}

/// The interface of the link.
#[derive(Debug, Clone, Copy)]
pub struct LinkInterface<'a> {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: &'a str,
    /// The kernel's word for its kind; none for hardware.
    pub kind: Option<&'a str>,
    /// Tells what it does of packets by itself.
    pub offloads: fn(&str) -> io::Result<Offloads>,
}

/// What an interface does of packets by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// Completes checksums of what is sent, or cuts it.
    pub transmit: bool,
    /// Joins packets of a TCP flow as they come (GRO).
    pub gro: bool,
}

impl LinkInterface<'_> {
    /// What it does of packets, if they can go and come by it the fast way, as far as that can be known without trying.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Offloads`], [`Error::Asking`].
    pub fn fit(&self) -> Result<Offloads, Error> {
        match (self.kind, (self.offloads)(self.name)) {
            (Some(kind), _) if kind != "veth" => Err(Error::Kind(self.name.to_owned(), kind.to_owned())),
            (_, Ok(Offloads { transmit: true, .. })) => Err(Error::Offloads(self.name.to_owned())),
            (_, Ok(offloads)) => Ok(offloads),
            (_, Err(error)) => Err(Error::Asking(error)),
        }
    }
}

/// The tunnel by which a link frame's packet comes, for [`Cache::learn_tunnel`]; to be taken before the frame is handled.
#[must_use]
pub fn tunnel_of(frame: &[u8]) -> Option<(SessionIndex, Tunnel)> {
    let frame = Frame::parse(frame).ok().filter(|frame| frame.header.kind == Kind::PACKET)?;
    Some((frame.header.receiver(), Packet::parse(frame.body).ok()?.tunnel))
}

impl Cache {
    /// Loads it, if it is wanted and can be had. `is_clear` tells whether data crosses the link in clear; the rest is as for
    /// [`Cache::follow_link`].
    ///
    /// # Errors
    /// Why not, if it is required.
    pub fn open(
        policy: Policy,
        ethertype: u16,
        is_clear: bool,
        link: Option<LinkInterface<'_>>,
    ) -> Result<Option<Self>, Error> {
        let loaded = match policy {
            Policy::Off => return Ok(None),
            Policy::Auto | Policy::Require if !is_clear => Err(Error::Sealed),
            Policy::Auto | Policy::Require => FastPath::load(ethertype),
        };
        match loaded.map(Self::new) {
            Ok(mut cache) if policy == Policy::Require => {
                cache.set_link(link)?;
                Ok(Some(cache))
            }
            Ok(mut cache) => {
                cache.follow_link(link);
                Ok(Some(cache))
            }
            Err(error) if policy == Policy::Require => Err(error),
            Err(error) => {
                info!(target: "fast_path", "all packets go by this daemon: {error}");
                Ok(None)
            }
        }
    }

    fn new(fast_path: FastPath) -> Self {
        Self {
            fast_path,
            changes: None,
            generation: 0,
            linked: false,
            frame_max: 0,
            newcomers: Newcomers::new(),
            pending: Vec::new(),
            count_at: Time(0),
            link_at: Time(0),
            told: None,
            failed: false,
        }
    }

    /// Has packets go and come by this link interface, or by none; by the daemon as long as the interface does what is the kernel's. To
    /// be called whenever anything about it changes.
    pub fn follow_link(&mut self, link: Option<LinkInterface<'_>>) {
        if let Err(error) = self.set_link(link) {
            self.tell(format!("all packets go by this daemon: {error}"));
        }
    }

    /// Whether it is time to try [`Cache::follow_link`] again, as the kernel does not tell when what was in the way has gone.
    pub fn is_link_due(&mut self, now: Time) -> bool {
        if self.linked || now < self.link_at {
            return false;
        }
        self.link_at = now + LINK_EVERY;
        true
    }

    fn tell(&mut self, told: String) {
        if self.told.as_ref() != Some(&told) {
            info!(target: "fast_path", "{told}");
            self.told = Some(told);
        }
    }

    fn set_link(&mut self, link: Option<LinkInterface<'_>>) -> Result<(), Error> {
        let fit = link.map(|link| link.fit()).transpose();
        let fitting = link.filter(|_| fit.is_ok());
        let set = self.fast_path.set_link(fitting.map(|link| link.ifindex));
        self.linked = fitting.is_some() && set.is_ok();
        let offloads = fit?;
        set?;
        if let (Some(LinkInterface { name, .. }), Some(Offloads { gro, .. })) = (link, offloads) {
            let one_by_one =
                format!(", one by one: `ethtool -K {name} gro on` has it join those of TCP, which is faster");
            self.tell(format!("{ACTIVE}{}", if gro { "" } else { &one_by_one }));
        }
        Ok(())
    }

    /// Takes packets that arrive at a port. `attach` gives the port's packet socket its filter, in the place of the one that it has.
    ///
    /// # Errors
    /// That of `attach`: then nothing is taken.
    pub fn set_port(
        &mut self,
        ifindex: u32,
        capture: &Capture<'_>,
        attach: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let prepared = self.fast_path.set_capture(ifindex, capture);
        self.keep(prepared);
        let Some(filter) = self.fast_path.port_filter() else { return Err(io::ErrorKind::NotFound.into()) };
        attach(filter)?;
        // Also if it was: the interface may be another one with the same number.
        let added = self.fast_path.add_port(ifindex);
        self.keep(added);
        Ok(())
    }

    /// Takes packets that leave by a symbol, whose interface is in the calling thread's namespace.
    pub fn add_symbol(&mut self, ifindex: u32) {
        if !self.fast_path.has(ifindex) {
            let added = self.fast_path.add_symbol(ifindex);
            self.keep(added);
        }
    }

    /// Takes packets that come over a crossing by its near end, which is in the calling thread's namespace.
    pub fn add_near_end(&mut self, near: u32) {
        let added = self.fast_path.add_near_end(near);
        self.keep(added);
    }

    /// Lets packets over a crossing come out of its far end, which is in the calling thread's namespace.
    pub fn add_far_end(&mut self, near: u32) {
        let added = self.fast_path.add_far_end(near);
        self.keep(added);
    }

    /// Has all packets go the daemon's way until [`Cache::follow`], and be decided about anew then.
    pub fn begin_anew(&mut self) {
        self.changes = None;
        let ended = self.fast_path.set_generation(None);
        self.keep(ended);
    }

    /// Whether packets are taken from a port, a symbol or a crossing.
    #[must_use]
    pub fn has(&self, ifindex: u32) -> bool {
        self.fast_path.has(ifindex)
    }

    /// Takes nothing any more from ports, symbols and crossings but these.
    pub fn retain(&mut self, ifindexes: &BTreeSet<u32>) {
        self.fast_path.retain(ifindexes);
    }

    /// Comes in line with the core: how often its tables changed, and what frames to peers begin with. With `active` false all
    /// packets go the daemon's way for now.
    pub fn follow(
        &mut self,
        changes: u32,
        active: bool,
        peers: impl Iterator<Item = (PeerId, Option<FastPeer>)>,
        now: Time,
    ) {
        self.newcomers.fade(now);
        let changes = Some(changes).filter(|_| active && !self.failed);
        if changes != self.changes {
            self.changes = changes;
            self.pending.clear();
            self.generation = self.generation.wrapping_add(1).max(1);
            let generation = changes.and_then(|_| NonZeroU32::new(self.generation));
            let begun = self.fast_path.set_generation(generation);
            self.keep(begun);
        }
        for (peer, begin) in peers {
            if let Some(begin) = &begin {
                self.frame_max = begin.frame_max.saturating_sub(LINK_HEADERS);
            }
            if changes.is_some() {
                let set = self.fast_path.set_peer(peer, begin.as_ref());
                self.keep(set);
            }
        }
    }

    /// Has a TCP connection have no packets that are too long for a link frame: lowers the segment size that a parcel which came by
    /// the link announces to who is behind this port or symbol, and whose packets then come by the kernel.
    pub fn fit_segments(&self, ifindex: u32, parcel: &mut [u8]) {
        let packet_max = self.frame_max.saturating_sub(size_of::<EthernetHeader>());
        if self.linked && !self.failed && self.has(ifindex) && limit_mss(parcel, packet_max) {
            trace!(target: "fast_path", "a connection by interface {ifindex} has packets of {packet_max} bytes at most");
        }
    }

    /// Notes a decision about a flow whose packets are read now at a port or symbol: it is in force from [`Cache::commit`] on, if the
    /// flow has had packets enough.
    pub fn learn_flow(&mut self, ifindex: u32, flow: FastFlow) {
        if self.changes.is_some()
            && self.pending.len() < PENDING_MAX
            && self.newcomers.meet(ifindex, &flow.flow)
        {
            self.pending.push(flow);
        }
    }

    /// Whether anything was learned that is not in force yet.
    #[must_use]
    pub fn has_learned(&self) -> bool {
        !self.pending.is_empty()
    }

    /// All packets that waited at a port or symbol have been sent, and none is overtaken by the next one, which goes by what was learned.
    /// With `drained` false some still wait, and what was learned is forgotten.
    pub fn commit(&mut self, ifindex: u32, drained: bool) {
        for flow in core::mem::take(&mut self.pending) {
            if drained {
                let added = self.fast_path.add_flow(ifindex, &flow);
                self.keep(added);
            }
        }
    }

    /// Has the packets of a flow be decided about anew.
    pub fn forget_flow(&mut self, ifindex: u32, flow: &Flow) {
        self.pending.retain(|learned| learned.flow != *flow);
        let removed = self.fast_path.remove_flow(ifindex, flow);
        self.keep(removed);
    }

    /// Notes where the packets of a tunnel go that come by a session.
    pub fn learn_tunnel(&mut self, (session, tunnel): (SessionIndex, Tunnel), outlet: &Outlet) {
        if self.changes.is_some() {
            let added = self.fast_path.add_tunnel(session, tunnel, outlet);
            self.keep(added);
        }
    }

    /// Whether it is time to take the counters.
    #[must_use]
    pub fn is_count_due(&self, now: Time) -> bool {
        self.count_at <= now
    }

    /// What went the fast way since the last call.
    pub fn take_counts(&mut self, now: Time) -> Vec<Counted> {
        self.count_at = now + COUNT_EVERY;
        let counted = self.fast_path.take_counts();
        counted.map_err(|error| self.fail(&error)).unwrap_or_default()
    }

    fn keep(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &Error) {
        if !core::mem::replace(&mut self.failed, true) {
            warn!(target: "fast_path", "all packets go by this daemon from now on: {error}");
            self.changes = None;
            // If this fails as well, no entry is renewed.
            let _ = self.fast_path.set_generation(None);
        }
    }
}

const ACTIVE: &str = "packets of known flows go by the kernel";
/// Flows that are learned at once.
const PENDING_MAX: usize = 4096;
/// Longest time for which counters are left alone: those that count no more are removed then.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Time between two tries of the link's interface.
const LINK_EVERY: Duration = Duration::from_secs(5);

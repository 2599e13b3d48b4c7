//! [`FastPath`]: the programs in the kernel, and their maps.

use crate::map::{self, Count, CountKey, FlowKey, State, StationKey, TunnelKey, mapped, words};
use crate::{CROSSING, Capture, Counted, Counts, Error, LINK_HEADERS, Outlet};
use core::num::NonZeroU32;
use core::time::Duration;
use frames::SessionIndex;
use frames::data::Tunnel;
use frames::header::{EthernetHeader, Flags, Kind, LinkHeader};
use l2link::PeerId;
use l2link::fast::{FAST_LEASE, FastFlow, FastPeer, FastTraffic, FastWay, Flow};
use libbpf_rs::libbpf_sys::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_XDP, XDP_FLAGS_SKB_MODE};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The fast path of one daemon. It ends when it is dropped.
#[derive(Debug)]
pub struct FastPath {
    object: Object,
    maps: Maps,
    ethertype: u16,
    generation: Option<NonZeroU32>,
    /// Attachments to the link interface.
    link: Option<Link>,
    /// Attachments to ports, symbols and near ends of crossings, by interface.
    places: BTreeMap<u32, OwnedFd>,
    /// Attachments to far ends of crossings, by near end.
    far_ends: BTreeMap<u32, OwnedFd>,
    peers: Vec<Option<map::Peer>>,
    stations: BTreeMap<u32, BTreeSet<StationKey>>,
    addresses: BTreeSet<[u8; 16]>,
    /// What was told of each counter.
    counted: BTreeMap<Vec<u8>, Count>,
}

#[derive(Debug)]
struct Maps {
    flows: MapHandle,
    tunnels: MapHandle,
    peers: MapHandle,
    counts: MapHandle,
    states: MapHandle,
    addresses: MapHandle,
    stations: MapHandle,
}

#[derive(Debug)]
struct Link {
    ifindex: u32,
    _strip: OwnedFd,
    _deliver: OwnedFd,
}

impl FastPath {
    /// Loads the programs, which do nothing yet. The link is known by its EtherType.
    ///
    /// # Errors
    /// [`Error::Load`].
    pub fn load(ethertype: u16) -> Result<Self, Error> {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Info, |_, text| {
            log::debug!(target: "fast_path", "libbpf: {}", text.trim_end());
        })));
        let object = ObjectBuilder::default()
            .open_memory(PROGRAMS)
            .and_then(libbpf_rs::OpenObject::load)
            .map_err(|error| Error::Load { source: io::Error::other(error) })?;
        let maps = Maps::of(&object)?;
        let mut fast_path = Self {
            object,
            maps,
            ethertype,
            generation: None,
            link: None,
            places: BTreeMap::new(),
            far_ends: BTreeMap::new(),
            peers: Vec::new(),
            stations: BTreeMap::new(),
            addresses: BTreeSet::new(),
            counted: BTreeMap::new(),
        };
        fast_path.write_state()?;
        Ok(fast_path)
    }

    /// Has packets come from the link by this interface, or by none.
    ///
    /// # Errors
    /// [`Error::Taken`] and [`Error::Attach`]. Then they come the daemon's way.
    pub fn set_link(&mut self, ifindex: Option<u32>) -> Result<(), Error> {
        if self.link.as_ref().map(|link| link.ifindex) == ifindex {
            return Ok(());
        }
        self.link = None;
        for place in 0..self.peers.len() {
            self.write_peer(place, None)?;
        }
        let Some(ifindex) = ifindex else { return Ok(()) };
        if let Some((id, mode)) = other_program(ifindex) {
            return Err(Error::Taken { interface: interface_name(ifindex), id, mode });
        }
        let deliver = self.attach("deliver", ifindex, BPF_TCX_INGRESS, 0)?;
        // Drivers that cannot, or not with this MTU, have the kernel do it, a little later.
        let strip = self.attach("strip", ifindex, BPF_XDP, 0);
        let strip = strip.or_else(|_| self.attach("strip", ifindex, BPF_XDP, XDP_FLAGS_SKB_MODE))?;
        self.link = Some(Link { ifindex, _strip: strip, _deliver: deliver });
        Ok(())
    }

    /// Takes packets that arrive at a port's interface, which may be another one with the number of a former one.
    ///
    /// # Errors
    /// [`Error::Attach`].
    pub fn add_port(&mut self, ifindex: u32) -> Result<(), Error> {
        match self.attach("from_port", ifindex, BPF_TCX_INGRESS, 0) {
            Ok(place) => _ = self.places.insert(ifindex, place),
            // It is the same, and has the program.
            Err(Error::Attach { source, .. }) if source.raw_os_error() == Some(EEXIST) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes packets that leave by a symbol's interface in the calling thread's namespace, if it is still there.
    ///
    /// # Errors
    /// [`Error::Attach`].
    pub fn add_symbol(&mut self, ifindex: u32) -> Result<(), Error> {
        let place = self.attach_where_there("from_symbol", ifindex, BPF_TCX_EGRESS)?;
        self.places.extend(place.map(|place| (ifindex, place)));
        Ok(())
    }

    /// Takes packets that come over a crossing from symbols in another namespace, if it is still there. `near` is its end in the
    /// calling thread's.
    ///
    /// # Errors
    /// [`Error::Attach`].
    pub fn add_near_end(&mut self, near: u32) -> Result<(), Error> {
        let place = self.attach_where_there("from_crossing", near, BPF_TCX_INGRESS)?;
        self.places.extend(place.map(|place| (near, place)));
        Ok(())
    }

    /// Lets packets over a crossing come out of its far end, which is in the calling thread's namespace, if it is still there.
    ///
    /// # Errors
    /// [`Error::Attach`].
    pub fn add_far_end(&mut self, near: u32) -> Result<(), Error> {
        let end = self.attach_where_there("into_namespace", CROSSING, BPF_TCX_INGRESS)?;
        self.far_ends.extend(end.map(|end| (near, end)));
        Ok(())
    }

    fn remove(&mut self, ifindex: u32) {
        self.places.remove(&ifindex);
        self.far_ends.remove(&ifindex);
        for station in self.stations.remove(&ifindex).unwrap_or_default() {
            // One that is left over finds no packets.
            let _ = self.maps.stations.delete(station.as_bytes());
        }
    }

    /// Takes nothing any more from ports, symbols and crossings but these.
    pub fn retain(&mut self, ifindexes: &BTreeSet<u32>) {
        let gone: Vec<u32> =
            self.places.keys().filter(|ifindex| !ifindexes.contains(ifindex)).copied().collect();
        gone.into_iter().for_each(|ifindex| self.remove(ifindex));
    }

    /// Whether packets are taken from a port or symbol.
    #[must_use]
    pub fn has(&self, ifindex: u32) -> bool {
        self.places.contains_key(&ifindex)
    }

    /// The filter of a packet socket at a port: what [`FastPath::set_capture`] was told, without what goes the fast way.
    #[must_use]
    pub fn port_filter(&self) -> Option<BorrowedFd<'_>> {
        let program = self.object.progs().find(|program| program.name() == "port_filter")?;
        // SAFETY: the descriptor is the object's, which outlives the borrow.
        Some(unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) })
    }

    /// Sets what the packet socket at a port takes.
    ///
    /// # Errors
    /// [`Error::Map`], with some of it changed.
    pub fn set_capture(&mut self, ifindex: u32, capture: &Capture<'_>) -> Result<(), Error> {
        let stations: BTreeSet<_> = [&[capture.mac], capture.joined]
            .concat()
            .iter()
            .map(|mac| StationKey::new(ifindex, *mac))
            .collect();
        let own = StationKey::new(ifindex, capture.mac);
        for station in self.stations.insert(ifindex, stations.clone()).unwrap_or_default() {
            if !stations.contains(&station) {
                delete(&self.maps.stations, "stations", station.as_bytes())?;
            }
        }
        for station in &stations {
            let kind = if *station == own { STATION_OWN } else { STATION_JOINED };
            update(&self.maps.stations, "stations", station.as_bytes(), &[kind])?;
        }
        let addresses: BTreeSet<_> = capture.addresses.iter().map(|address| mapped(*address)).collect();
        let former = core::mem::replace(&mut self.addresses, addresses);
        for new in self.addresses.difference(&former) {
            update(&self.maps.addresses, "addresses", new, &[1])?;
        }
        for old in former.difference(&self.addresses) {
            delete(&self.maps.addresses, "addresses", old)?;
        }
        Ok(())
    }

    /// Begins another generation: no entry holds any more. With `None` all goes the daemon's way.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn set_generation(&mut self, generation: Option<NonZeroU32>) -> Result<(), Error> {
        if core::mem::replace(&mut self.generation, generation) == generation {
            return Ok(());
        }
        self.write_state()
    }

    /// Sets what frames to a peer begin with; without it they go the daemon's way.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn set_peer(&mut self, peer: PeerId, begin: Option<&FastPeer>) -> Result<(), Error> {
        let place = peer.0 as usize;
        if self.peers.len() <= place {
            self.peers.resize(place + 1, None);
        }
        let link = self.link.as_ref().map(|link| link.ifindex);
        self.write_peer(place, link.and_then(|link| Some(self.peer(begin?, link))))
    }

    /// Has the packets of a flow that are met at an interface go its way, for one [`FAST_LEASE`].
    ///
    /// A flow with a packet that does not fit a link frame is the daemon's as a whole for that time, so that its packets do not
    /// overtake each other.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn add_flow(&mut self, ifindex: u32, flow: &FastFlow) -> Result<(), Error> {
        let Some(generation) = self.generation else { return Ok(()) };
        let FastFlow { flow, way, frame } = flow;
        let place = way.peer.0 as usize;
        let Some(Some(peer)) = self.peers.get(place) else { return Ok(()) };
        let fits = frame + LINK_HEADERS <= peer.frame_max as usize;
        let key = flow_key(ifindex, flow);
        let value = map::Flow {
            until: lease_end(),
            generation: generation.get(),
            peer: if fits { way.peer.0 } else { THE_DAEMON },
            tunnel: way.tunnel.0.to_be_bytes(),
            zero: 0,
        };
        if fits && self.is_the_daemons(&key)? {
            return Ok(());
        }
        update(&self.maps.flows, "flows", key.as_bytes(), value.as_bytes())
    }

    /// Has the packets of a flow go the daemon's way.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn remove_flow(&mut self, ifindex: u32, flow: &Flow) -> Result<(), Error> {
        delete(&self.maps.flows, "flows", flow_key(ifindex, flow).as_bytes())
    }

    /// Has the packets of a tunnel that come by a session leave here, for one [`FAST_LEASE`].
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn add_tunnel(
        &mut self,
        session: SessionIndex,
        tunnel: Tunnel,
        outlet: &Outlet,
    ) -> Result<(), Error> {
        let Some(generation) = self.generation else { return Ok(()) };
        let key = TunnelKey { receiver: session.0.to_be_bytes(), tunnel: tunnel.0.to_be_bytes() };
        let value = map::Tunnel {
            until: lease_end(),
            generation: generation.get(),
            ifindex: outlet.ifindex,
            frame_max: u32::try_from(outlet.frame_max).unwrap_or(u32::MAX),
            peer: outlet.peer.0,
            own: outlet.own.0,
            to_symbol: outlet.receives.into(),
            zero: 0,
            near: outlet.near.map_or(0, NonZeroU32::get),
            zero_too: 0,
        };
        update(&self.maps.tunnels, "tunnels", key.as_bytes(), value.as_bytes())
    }

    /// What went the fast way since the last call.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn take_counts(&mut self) -> Result<Vec<Counted>, Error> {
        let mut taken = Vec::new();
        for bytes in self.maps.counts.keys() {
            let value = self.maps.counts.lookup(&bytes, MapFlags::ANY).map_err(failed("counts"))?;
            let Some(count) = value.and_then(|value| Count::read_from_bytes(&value).ok()) else { continue };
            let Ok(key) = CountKey::read_from_bytes(&bytes) else { continue };
            match self.counted.insert(bytes.clone(), count) {
                Some(before) if before == count => {
                    // Nothing for a while: it begins at zero if there is more.
                    self.counted.remove(&bytes);
                    taken.extend(self.forget(&bytes, &key, &count)?);
                }
                before => taken.push(counted(&key, &count, before.as_ref())),
            }
        }
        Ok(taken)
    }

    fn write_peer(&mut self, place: usize, new: Option<map::Peer>) -> Result<(), Error> {
        if self.peers[place] != new {
            let absent = map::Peer { ifindex: 0, frame_max: 0, headers: [0; LINK_HEADERS], zero: [0; 6] };
            update(&self.maps.peers, "peers", &key(place), new.unwrap_or(absent).as_bytes())?;
            self.peers[place] = new;
        }
        Ok(())
    }

    /// Whether a flow had a packet lately that does not fit.
    fn is_the_daemons(&self, key: &FlowKey) -> Result<bool, Error> {
        let known = self.maps.flows.lookup(key.as_bytes(), MapFlags::ANY).map_err(failed("flows"))?;
        let known = known.and_then(|value| map::Flow::read_from_bytes(&value).ok());
        Ok(known.is_some_and(|known| known.peer == THE_DAEMON && known.until > now()))
    }

    /// Removes a counter, and tells what it has counted beyond what is known.
    fn forget(&self, bytes: &[u8], key: &CountKey, known: &Count) -> Result<Option<Counted>, Error> {
        let last = self.maps.counts.lookup_and_delete(bytes).map_err(failed("counts"))?;
        let last = last.and_then(|value| Count::read_from_bytes(&value).ok());
        Ok(last.filter(|last| last != known).map(|last| counted(key, &last, Some(known))))
    }

    fn write_state(&mut self) -> Result<(), Error> {
        let state = State {
            generation: self.generation.map_or(0, NonZeroU32::get),
            ethertype: self.ethertype.to_be_bytes(),
            zero: 0,
        };
        update(&self.maps.states, "states", &key(0), state.as_bytes())
    }

    fn peer(&self, peer: &FastPeer, link: u32) -> map::Peer {
        let ethernet = EthernetHeader {
            destination: peer.destination,
            source: peer.source,
            ethertype: self.ethertype.into(),
        };
        let header = LinkHeader::new(Kind::PACKET, Flags::empty(), 0, peer.receiver, 0);
        let mut headers = [0; LINK_HEADERS];
        let parts = [ethernet.as_bytes(), header.as_bytes()].concat();
        headers[..parts.len()].copy_from_slice(&parts);
        let frame_max = u32::try_from(peer.frame_max).unwrap_or(u32::MAX);
        map::Peer { ifindex: link, frame_max, headers, zero: [0; 6] }
    }

    /// As [`FastPath::attach`]; none if the interface has gone, which will be told.
    fn attach_where_there(
        &self,
        name: &'static str,
        ifindex: u32,
        kind: u32,
    ) -> Result<Option<OwnedFd>, Error> {
        match self.attach(name, ifindex, kind, 0) {
            Err(Error::Attach { source, .. }) if source.raw_os_error() == Some(ENODEV) => Ok(None),
            result => result.map(Some),
        }
    }

    fn attach(&self, name: &'static str, ifindex: u32, kind: u32, flags: u32) -> Result<OwnedFd, Error> {
        let program = self.object.progs().find(|program| program.name() == name);
        let source = io::Error::from(io::ErrorKind::NotFound);
        let failed = |source| Error::Attach { program: name, interface: interface_name(ifindex), source };
        let program = program.ok_or_else(|| failed(source))?;
        let index = i32::try_from(ifindex).unwrap_or(-1);
        let options = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
            flags,
            ..Default::default()
        };
        // SAFETY: the descriptor is a program's, and the options live until the call returns.
        let link = unsafe {
            libbpf_sys::bpf_link_create(program.as_fd().as_raw_fd(), index, kind, &raw const options)
        };
        if link < 0 {
            return Err(failed(io::Error::from_raw_os_error(-link)));
        }
        // SAFETY: the kernel has just made the descriptor, for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(link) })
    }
}

impl Maps {
    fn of(object: &Object) -> Result<Self, Error> {
        let map = |name: &'static str| {
            let map = object.maps().find(|map| map.name() == name);
            let absent = Error::Map { map: name, source: io::ErrorKind::NotFound.into() };
            MapHandle::try_from(&map.ok_or(absent)?).map_err(failed(name))
        };
        Ok(Self {
            flows: map("flows")?,
            tunnels: map("tunnels")?,
            peers: map("peers")?,
            counts: map("counts")?,
            states: map("states")?,
            addresses: map("addresses")?,
            stations: map("stations")?,
        })
    }
}

/// The XDP program at an interface of the calling thread's namespace that has none of this daemon's, and how it is there in the words of
/// `ip-link`(8).
fn other_program(ifindex: u32) -> Option<(u32, &'static str)> {
    let mut options = libbpf_sys::bpf_xdp_query_opts {
        sz: size_of::<libbpf_sys::bpf_xdp_query_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // SAFETY: the options live until the call returns, and begin with their size.
    let result = unsafe { libbpf_sys::bpf_xdp_query(i32::try_from(ifindex).ok()?, 0, &raw mut options) };
    // What cannot be known does not keep from trying. One in the card itself is not in the way.
    let modes = [(options.drv_prog_id, "xdpdrv"), (options.skb_prog_id, "xdpgeneric")];
    modes.into_iter().find(|(id, _)| result == 0 && *id != 0)
}

/// The name of an interface of the calling thread's namespace.
fn interface_name(ifindex: u32) -> String {
    let name = nix::net::if_::if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok());
    // Of one that has gone it is empty.
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("number {ifindex}"))
}

fn flow_key(ifindex: u32, flow: &Flow) -> FlowKey {
    FlowKey {
        ifindex,
        protocol: flow.protocol,
        version: if flow.source.0.is_ipv4() { 4 } else { 6 },
        zero: 0,
        source_port: flow.source.1.to_be_bytes(),
        destination_port: flow.destination.1.to_be_bytes(),
        source: words(flow.source.0),
        destination: words(flow.destination.0),
    }
}

fn counted(key: &CountKey, now: &Count, before: Option<&Count>) -> Counted {
    let zero = Count { packets: 0, frames: 0, bytes: 0, link_bytes: 0 };
    let before = before.unwrap_or(&zero);
    let tunnel = Tunnel(u32::from_be_bytes(key.tunnel));
    let what = if key.received == 0 {
        Counts::Sent(FastWay { peer: PeerId(key.peer), tunnel })
    } else {
        Counts::Received(FastWay { peer: PeerId(key.peer), tunnel })
    };
    let traffic = FastTraffic {
        packets: now.packets.wrapping_sub(before.packets),
        bytes: now.bytes.wrapping_sub(before.bytes),
        frames: now.frames.wrapping_sub(before.frames),
        frame_bytes: now.link_bytes.wrapping_sub(before.link_bytes),
    };
    Counted { what, traffic }
}

fn key(place: usize) -> [u8; 4] {
    u32::try_from(place).unwrap_or(u32::MAX).to_ne_bytes()
}

fn update(map: &MapHandle, name: &'static str, key: &[u8], value: &[u8]) -> Result<(), Error> {
    map.update(key, value, MapFlags::ANY).map_err(failed(name))
}

fn delete(map: &MapHandle, name: &'static str, key: &[u8]) -> Result<(), Error> {
    match map.delete(key) {
        Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => Err(failed(name)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(map: &'static str) -> impl Fn(libbpf_rs::Error) -> Error {
    move |error| Error::Map { map, source: io::Error::other(error) }
}

/// When an entry that is made now ends.
fn lease_end() -> u64 {
    now().saturating_add(u64::try_from(FAST_LEASE.as_nanos()).unwrap_or(u64::MAX))
}

/// The programs' clock in ns.
fn now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

/// What clang made of `fast_path.bpf.c`.
const PROGRAMS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fast_path.o"));
const ENODEV: i32 = nix::errno::Errno::ENODEV as i32;
const EEXIST: i32 = nix::errno::Errno::EEXIST as i32;
/// In place of a peer: packets of the flow are left to the daemon.
const THE_DAEMON: u32 = u32::MAX;
const STATION_OWN: u8 = 1;
const STATION_JOINED: u8 = 2;

#[cfg(test)]
mod tests;

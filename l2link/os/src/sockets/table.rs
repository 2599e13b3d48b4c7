//! [`SocketTable`]: the dump of a namespace's sockets.

use super::inet_diag::{
    self, Bound, CONNECTED_STATES, CONNECTION_STATES, LISTEN_STATES, Query, UNCONNECTED_STATES,
};
use super::netlink::Channel;
use super::packet_diag;
use super::proc_file::ProcFile;
use super::proc_raw;
use super::{Part, Socket, SocketKind};
use crate::{NetNs, SetupError};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::io;
use std::time::{Duration, Instant};

/// How long a look into the list of the kernel's protocols holds good. A module may be loaded at any time.
const PROTOCOLS_PERIOD: Duration = Duration::from_secs(1);
/// Room for answers. A dump never overruns it: the kernel waits for the reader.
const RECEIVE_BUFFER: usize = 256 * 1024;

const IPPROTO_RAW: u8 = 255;

/// The sockets of one network namespace.
#[derive(Debug)]
pub struct SocketTable {
    channel: Channel,
    raw: [Option<ProcFile>; 2],
    /// Whether the kernel has `INET_RAW_DIAG`; `None` before the first dump.
    raw_diag: Option<bool>,
    protocols: Option<ProcFile>,
    protocols_read: Option<Instant>,
    optional: [Optional; 3],
}

/// A protocol that not every kernel has. It is asked for only while the kernel lists it: asking would load its module.
#[derive(Debug)]
struct Optional {
    kind: SocketKind,
    part: Part,
    protocol: u8,
    /// States of its sockets that wait for packets from anyone, and of those that are connected.
    listener_states: u32,
    connection_states: u32,
    /// Its name in `/proc/net/protocols`.
    name: &'static str,
    present: bool,
}

impl SocketTable {
    /// Opens what is needed to look into `netns`.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or the socket or the files cannot be opened.
    pub fn open(netns: &NetNs) -> Result<Self, SetupError> {
        let channel = Channel::require("listing of sockets", netns, NETLINK_SOCK_DIAG, &[], RECEIVE_BUFFER)?;
        let file = |name: &str| {
            ProcFile::open(netns, name)
                .map_err(|error| SetupError::system(format!("opening /proc/net/{name}"), error))
        };
        Ok(Self {
            channel,
            raw: [file("raw")?, file("raw6")?],
            raw_diag: None,
            protocols: file("protocols")?,
            protocols_read: None,
            optional: [
                Optional::connected(SocketKind::Sctp, 132, "SCTP"),
                Optional::connected(SocketKind::Dccp, 33, "DCCP"),
                Optional::unconnected(SocketKind::UdpLite, 136, "UDP-Lite"),
            ],
        })
    }

    /// Every socket that waits for packets from anyone: TCP, SCTP and DCCP listeners, bound but unconnected UDP and
    /// UDP-Lite sockets, raw sockets, and packet sockets with a protocol. One entry per socket: two with
    /// `SO_REUSEPORT` are two.
    ///
    /// A socket that is opened or closed while the table is read may be missing or still in it; its event comes
    /// afterwards. So: drain the events first, then dump.
    ///
    /// # Errors
    /// If the kernel refuses or keeps changing faster than it can be read.
    pub fn dump_listeners(&mut self) -> io::Result<Vec<Socket>> {
        let mut sockets = self.dump_part(Part::Listeners, Bound::Anywhere)?;
        sockets.append(&mut self.dump_part(Part::Others, Bound::Anywhere)?);
        sockets.retain(|socket| socket.flow().is_none());
        Ok(sockets)
    }

    /// Those of one part that can be reached from outside: those that are bound to an
    /// address of the loopback network are left out; IPv4-mapped ones may be there. Connected UDP and UDP-Lite sockets are among the
    /// others: a socket that is connected between two looks is seen in both.
    ///
    /// # Errors
    /// As [`SocketTable::dump_listeners`].
    pub fn dump_reachable(&mut self, part: Part) -> io::Result<Vec<Socket>> {
        self.dump_part(part, Bound::BeyondLoopback)
    }

    fn dump_part(&mut self, part: Part, bound: Bound) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        let (kind, protocol, states) = match part {
            Part::Listeners => (SocketKind::Tcp, 6, LISTEN_STATES),
            Part::Others => (SocketKind::Udp, 17, UNCONNECTED_STATES | CONNECTED_STATES),
        };
        self.ports(kind, Query { protocol, states, bound }, &mut sockets)?;
        self.look_for_optional()?;
        for index in 0..self.optional.len() {
            let Optional { listener_states, connection_states, part: of, .. } = self.optional[index];
            match of {
                of if of != part => {}
                Part::Listeners => self.optional(index, listener_states, bound, &mut sockets)?,
                Part::Others => {
                    self.optional(index, listener_states | connection_states, bound, &mut sockets)?
                }
            }
        }
        sockets.retain(|socket| socket.local_port != 0);
        if part == Part::Others {
            self.raw(&mut sockets)?;
            absent_is_empty(packet_diag::dump(&mut self.channel, &mut sockets))?;
        }
        Ok(sockets)
    }

    /// Every connection: TCP sockets that do not listen (`TIME_WAIT`, `SYN_RECV` included), connected UDP, and
    /// likewise SCTP, DCCP and UDP-Lite.
    ///
    /// # Errors
    /// As [`SocketTable::dump_listeners`].
    pub fn dump_connections(&mut self) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        let bound = Bound::Anywhere;
        self.ports(SocketKind::Tcp, Query { protocol: 6, states: CONNECTION_STATES, bound }, &mut sockets)?;
        self.ports(SocketKind::Udp, Query { protocol: 17, states: CONNECTED_STATES, bound }, &mut sockets)?;
        self.look_for_optional()?;
        for index in 0..self.optional.len() {
            let Optional { connection_states, .. } = self.optional[index];
            self.optional(index, connection_states, bound, &mut sockets)?;
        }
        Ok(sockets)
    }

    fn ports(&mut self, kind: SocketKind, query: Query, sockets: &mut Vec<Socket>) -> io::Result<()> {
        inet_diag::dump(&mut self.channel, query, |_| Some(kind), sockets)
    }

    fn optional(
        &mut self,
        index: usize,
        states: u32,
        bound: Bound,
        sockets: &mut Vec<Socket>,
    ) -> io::Result<()> {
        let Optional { kind, protocol, present, .. } = self.optional[index];
        if !present {
            return Ok(());
        }
        absent_is_empty(self.ports(kind, Query { protocol, states, bound }, sockets))
    }

    /// Brings up to date which optional protocols the kernel has.
    fn look_for_optional(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.protocols_read.is_some_and(|read| now - read < PROTOCOLS_PERIOD) {
            return Ok(());
        }
        self.protocols_read = Some(now);
        let Some(file) = &mut self.protocols else { return Ok(()) };
        let text = file.read()?;
        for optional in &mut self.optional {
            optional.present =
                text.lines().any(|line| line.split_ascii_whitespace().next() == Some(optional.name));
        }
        Ok(())
    }

    fn raw(&mut self, sockets: &mut Vec<Socket>) -> io::Result<()> {
        if self.raw_diag != Some(false) {
            // Connected ones too: a raw socket receives by its protocol all the same.
            let states = UNCONNECTED_STATES | CONNECTED_STATES;
            let query = Query { protocol: IPPROTO_RAW, states, bound: Bound::Anywhere };
            let kind = |protocol| Some(SocketKind::Raw { protocol });
            match inet_diag::dump(&mut self.channel, query, kind, sockets) {
                Ok(()) => {
                    self.raw_diag = Some(true);
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.raw_diag = Some(false),
                Err(error) => return Err(error),
            }
        }
        for file in self.raw.iter_mut().flatten() {
            proc_raw::parse(file.read()?, sockets);
        }
        Ok(())
    }
}

impl Optional {
    /// A protocol with connections, as TCP.
    const fn connected(kind: SocketKind, protocol: u8, name: &'static str) -> Self {
        let (listener_states, connection_states) = (LISTEN_STATES, CONNECTION_STATES);
        let part = Part::Listeners;
        Self { kind, part, protocol, listener_states, connection_states, name, present: false }
    }

    /// A protocol without, as UDP.
    const fn unconnected(kind: SocketKind, protocol: u8, name: &'static str) -> Self {
        let (listener_states, connection_states) = (UNCONNECTED_STATES, CONNECTED_STATES);
        let part = Part::Others;
        Self { kind, part, protocol, listener_states, connection_states, name, present: false }
    }
}

/// What the kernel cannot show, it does not have.
fn absent_is_empty(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

//! [`Shortcuts`]: super-packets of TCP that leave by a port as they are.
//!
//! A raw socket takes no super-packet, so what symbols send by the kernel's routes would leave as 45 packets of 1,500 bytes, each
//! with a way of its own through the kernel. A port takes it whole, but passes by what the kernel does with packets of its own. So
//! nothing leaves by a port unless the kernel would only put an Ethernet header before it ([`OutputPath`]), and unless the
//! kernel has just taken a super-packet to the same destination, packet by packet:
//!
//! - The first of each 50 ms goes by the kernel, which refuses it where something forbids it, and keeps its neighbor in mind.
//! - With the second one the kernel is asked for the next hop, which is that of all others until the 50 ms are over.
//! - Whether there is a firewall or IPsec is asked when the kernel tells of a change, and once a second, as the older iptables tell
//!   nobody; where there is one, each ten seconds.
//!
//! Parcels that a port would collect go by the kernel, so that what follows them by the kernel does not overtake them.

use crate::complaint::Complaint;
use crate::ports::Ports;
use core::time::Duration;
use l2link::Time;
use l2link_os::{NetNs, NextHop, OutputPath, PortSocket, SetupError};
use std::collections::HashMap;
use std::net::IpAddr;

/// Source and destination.
pub(crate) type Ends = (IpAddr, IpAddr);

/// The ways of super-packets.
#[derive(Debug)]
pub(crate) struct Shortcuts {
    path: OutputPath,
    /// What was last found out about firewalls, and until when that counts.
    unfiltered: Option<(bool, Time)>,
    ways: Ways,
    complaint: Complaint,
}

impl Shortcuts {
    pub(crate) fn open(netns: &NetNs) -> Result<Self, SetupError> {
        Ok(Self {
            path: OutputPath::open(netns)?,
            unfiltered: None,
            ways: Ways::default(),
            complaint: Complaint::default(),
        })
    }

    /// Sends a super-packet by a port, if that may be. Its longest packet has `longest` bytes. Returns whether it was sent.
    pub(crate) fn send(
        &mut self,
        ends: Ends,
        longest: usize,
        parcel: &mut [u8],
        ports: &mut Ports,
        now: Time,
    ) -> bool {
        if parcel.len() <= PortSocket::COLLECTED {
            return false;
        }
        let Self { path, unfiltered, ways, complaint } = self;
        let next_hop = ways.next_hop(ends, now, || {
            is_unfiltered(path, unfiltered, complaint, now)
                .then(|| path.next_hop(ends.0, ends.1).ok())
                .flatten()?
        });
        let Some(next_hop) = next_hop else { return false };
        if next_hop.path_mtu.is_some_and(|mtu| longest > mtu as usize) {
            return false;
        }
        let sent = ports.send_to(next_hop.interface, next_hop.mac, longest, parcel);
        if !sent {
            ways.close(ends);
        }
        sent
    }

    /// The kernel has taken a super-packet, packet by packet.
    pub(crate) fn note_taken(&mut self, ends: Ends, now: Time) {
        self.ways.note_taken(ends, now);
    }
}

/// Whether nothing looks at what this machine sends. Says so when it changes.
fn is_unfiltered(
    path: &mut OutputPath,
    known: &mut Option<(bool, Time)>,
    complaint: &mut Complaint,
    now: Time,
) -> bool {
    if let Some((unfiltered, until)) = *known
        && now < until
        && !path.has_changed()
    {
        return unfiltered;
    }
    let unfiltered = match path.is_unfiltered() {
        Ok(unfiltered) => unfiltered,
        Err(error) => {
            let text = format!("asking what looks at packets on their way out: {error}");
            complaint.warn("relay::port", text, now);
            false
        }
    };
    if known.is_none_or(|(before, _)| before != unfiltered) {
        let how = if unfiltered {
            "may leave by the ports as they are: no firewall looks at what this machine sends"
        } else {
            "leave packet by packet, as a firewall or IPsec may look at what this machine sends"
        };
        log::info!(target: "relay::port", "super-packets of symbols {how}");
    }
    *known = Some((unfiltered, now + if unfiltered { LOOK_AGAIN } else { LOOK_AGAIN_FILTERED }));
    unfiltered
}

/// The ways that were used of late.
#[derive(Debug, Default)]
struct Ways(HashMap<Ends, Way>);

#[derive(Debug)]
struct Way {
    /// When the kernel last took a super-packet.
    since: Time,
    /// What it said of the next hop, if it has been asked since.
    next_hop: Option<Option<NextHop>>,
}

impl Ways {
    /// The next hop of a super-packet, for which the kernel may have to be asked; `None` if the kernel is to have the packets
    /// themselves.
    fn next_hop(&mut self, ends: Ends, now: Time, ask: impl FnOnce() -> Option<NextHop>) -> Option<NextHop> {
        let way = self.0.get_mut(&ends).filter(|way| way.counts(now))?;
        *way.next_hop.get_or_insert_with(ask)
    }

    /// It was no way.
    fn close(&mut self, ends: Ends) {
        if let Some(way) = self.0.get_mut(&ends) {
            way.next_hop = Some(None);
        }
    }

    fn note_taken(&mut self, ends: Ends, now: Time) {
        if self.0.get(&ends).is_some_and(|way| way.counts(now)) {
            return;
        }
        if self.0.len() >= WAYS_MAX {
            self.0.retain(|_, way| way.counts(now));
        }
        if self.0.len() < WAYS_MAX {
            self.0.insert(ends, Way { since: now, next_hop: None });
        }
    }
}

impl Way {
    fn counts(&self, now: Time) -> bool {
        now < self.since + WAY_COUNTS
    }
}

/// How long what the kernel said of a way counts.
const WAY_COUNTS: Duration = Duration::from_millis(50);
/// When it is asked for firewalls again where there is none.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// And where there is one, as there may be many chains.
const LOOK_AGAIN_FILTERED: Duration = Duration::from_secs(10);
/// So many destinations in 50 ms have a way of their own; super-packets to others leave packet by packet.
const WAYS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use frames::Mac;
    use l2link_os::IfIndex;
    use std::net::Ipv4Addr;

    const HOP: NextHop = NextHop { interface: IfIndex(7), mac: Mac([2, 0, 0, 0, 0, 9]), path_mtu: None };

    fn ends(number: u32) -> Ends {
        (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::from_bits(0x0a00_0000 | number).into())
    }

    fn at(milliseconds: u64) -> Time {
        Time::default() + Duration::from_millis(1000 + milliseconds)
    }

    fn known(ways: &mut Ways, ends: Ends, now: Time) -> Option<NextHop> {
        ways.next_hop(ends, now, || panic!("asked"))
    }

    #[test]
    fn the_first_goes_by_the_kernel_and_the_second_has_it_asked() {
        let mut ways = Ways::default();
        assert_eq!(known(&mut ways, ends(1), at(0)), None);
        ways.note_taken(ends(1), at(0));
        assert_eq!(known(&mut ways, ends(2), at(1)), None, "another destination");
        assert_eq!(ways.next_hop(ends(1), at(1), || Some(HOP)), Some(HOP));
        assert_eq!(known(&mut ways, ends(1), at(49)), Some(HOP));
        assert_eq!(known(&mut ways, ends(1), at(50)), None, "by the kernel again");
        ways.note_taken(ends(1), at(50));
        assert_eq!(ways.next_hop(ends(1), at(51), || None), None);
    }

    #[test]
    fn a_way_that_turns_out_to_be_none_is_closed_for_as_long() {
        let mut ways = Ways::default();
        ways.note_taken(ends(1), at(0));
        assert_eq!(ways.next_hop(ends(1), at(1), || Some(HOP)), Some(HOP));
        ways.close(ends(1));
        ways.note_taken(ends(1), at(2));
        assert_eq!(known(&mut ways, ends(1), at(49)), None);
        ways.note_taken(ends(1), at(50));
        assert_eq!(ways.next_hop(ends(1), at(51), || Some(HOP)), Some(HOP));
    }

    #[test]
    fn a_way_that_is_none_is_asked_for_once() {
        let mut ways = Ways::default();
        ways.note_taken(ends(1), at(0));
        assert_eq!(ways.next_hop(ends(1), at(1), || None), None);
        for now in [2, 20, 49] {
            ways.note_taken(ends(1), at(now));
            assert_eq!(known(&mut ways, ends(1), at(now)), None);
        }
        ways.note_taken(ends(1), at(50));
        assert_eq!(ways.next_hop(ends(1), at(51), || Some(HOP)), Some(HOP));
    }

    #[test]
    fn more_destinations_than_there_are_places_for_go_by_the_kernel() {
        let mut ways = Ways::default();
        (0..5000).for_each(|number| ways.note_taken(ends(number), at(0)));
        assert_eq!(ways.0.len(), WAYS_MAX);
        assert_eq!(known(&mut ways, ends(4999), at(1)), None);
        ways.note_taken(ends(4999), at(50));
        assert_eq!(ways.next_hop(ends(4999), at(51), || Some(HOP)), Some(HOP));
        assert_eq!(ways.0.len(), 1, "the others are over");
    }
}

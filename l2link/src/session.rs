//! One generation of keys between this device and a peer, and the table of all of them.
//!
//! A session is made by a handshake. It is a *candidate* until the first authentic frame of the other side opens under
//! its keys: that proves that the other side is alive now and holds the same keys, whatever old handshake frames an
//! attacker repeats. Then it belongs to its peer, and this side begins to send by it. Frames name it by the receiver's
//! index: the low ten bits are the place in the table, the rest is random, so that a frame of a dead session finds
//! nothing.

use crate::PublicKey;
use crate::Time;
use crate::attempt::HALF_OPEN_MAX;
use crate::interface::Interface;
use crate::peer::PEERS_MAX;
use crate::random::Random;
use crate::replay::ReplayWindow;
use crate::seal::Seal;
use core::time::Duration;
use frames::discovery::{Protection, Role};
use frames::header::{Flags, HEADERS_LEN, Kind, LinkHeader, TAG_LEN};
use frames::{BootId, Mac, SessionIndex};

/// Age at which the control replaces the keys of a session.
pub(crate) const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Pause before a rekey that failed is tried again; the old keys go on.
pub(crate) const REKEY_RETRY: Duration = Duration::from_secs(5);
/// Time to replace keys from when it is begun: older ones, of 180 s, are not used any more.
pub(crate) const REKEY_PATIENCE: Duration = Duration::from_secs(60);
/// For how long frames under the former keys are still taken after a rekey: reordering and queues on the way.
pub(crate) const PREVIOUS_KEPT: Duration = Duration::from_secs(1);

/// Places in the table: current and former keys of all peers, and as many handshakes under way.
const TABLE_MAX: usize = 1 << PLACE_BITS;
const _: () = assert!(TABLE_MAX >= 2 * PEERS_MAX + HALF_OPEN_MAX);
const PLACE_BITS: u32 = 10;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) local: SessionIndex,
    pub(crate) remote: SessionIndex,
    pub(crate) owner: Owner,
    pub(crate) association: u64,
    /// `None` in mode `none`.
    pub(crate) seal: Option<Seal>,
    /// Of conversations and of everything that is not data.
    replay: ReplayWindow,
    /// Of transfers, which others overtake by more than a window.
    bulk_replay: ReplayWindow,
    /// Counter of the newest frame sent.
    counter: u64,
    /// `sent` of the peer's newest keepalive here, and when it came.
    pub(crate) echo: Option<(u64, Time)>,
}

/// Whose session it is.
#[derive(Debug)]
pub(crate) enum Owner {
    /// Nobody's yet.
    Candidate(Box<Candidate>),
    /// The peer's at this place.
    Peer(usize),
}

/// The other side of a handshake, as its hello within the handshake names it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) boot: BootId,
    pub(crate) mac: Mac,
    /// Of its newest hello, if this device began; zero otherwise.
    pub(crate) stamp: u64,
    /// The key that it has proved, in mode `keys`.
    pub(crate) key: Option<PublicKey>,
    /// When it is given up.
    pub(crate) until: Time,
}

impl Session {
    pub(crate) fn new(
        local: SessionIndex,
        remote: SessionIndex,
        association: u64,
        seal: Option<Seal>,
        candidate: Candidate,
    ) -> Self {
        Self {
            local,
            remote,
            owner: Owner::Candidate(Box::new(candidate)),
            association,
            seal,
            replay: ReplayWindow::default(),
            bulk_replay: ReplayWindow::default(),
            counter: 0,
            echo: None,
        }
    }

    /// Marks the counter of an authentic frame as seen. Returns whether no later frame of the session came before it.
    #[inline]
    pub(crate) fn accept(&mut self, counter: u64, bulk: bool) -> bool {
        let (own, other) = match bulk {
            true => (&mut self.bulk_replay, &self.replay),
            false => (&mut self.replay, &self.bulk_replay),
        };
        own.accept(counter) && counter > other.newest()
    }

    /// Whether a frame of this counter may still be taken; ask before the costly check of its seal.
    #[inline]
    pub(crate) fn is_fresh(&self, counter: u64, bulk: bool) -> bool {
        if bulk { &self.bulk_replay } else { &self.replay }.is_fresh(counter)
    }

    /// Writes a frame of this session to the front of `slot` and returns its length. `body` writes the body and returns
    /// its length; it is given all the room that the link's MTU and the slot leave.
    #[inline]
    pub(crate) fn emit(
        &mut self,
        slot: &mut [u8],
        interface: &Interface,
        destination: Mac,
        kind: Kind,
        flags: Flags,
        body: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        let longest = slot.len().min(interface.frame_len_max());
        let room = slot.get_mut(HEADERS_LEN..longest.checked_sub(flags.tag_len())?)?;
        let body_len = body(room)?;
        let length = u16::try_from(body_len).ok()?;
        let counter = self.counter + 1;
        interface.write_headers(
            slot,
            destination,
            &LinkHeader::new(kind, flags, length, self.remote, counter),
        );
        if flags.contains(Flags::SEALED) {
            self.seal.as_ref()?.close(slot, body_len, counter, flags.contains(Flags::ENCRYPTED)).ok()?;
        }
        self.counter = counter;
        Some(HEADERS_LEN + body_len + flags.tag_len())
    }
}

/// The flags that frames of a protection carry.
pub(crate) fn flags(protection: Protection) -> Flags {
    match protection {
        Protection::SEALED => Flags::SEALED,
        Protection::ENCRYPTED => Flags::SEALED | Flags::ENCRYPTED,
        _ => Flags::empty(),
    }
}

/// Bytes of a body that one frame with these flags holds.
pub(crate) fn body_max(interface: &Interface, flags: Flags) -> usize {
    interface.mtu - size_of::<LinkHeader>() - flags.tag_len()
}
const _: () = assert!(TAG_LEN + size_of::<LinkHeader>() < crate::Config::MTU_MIN as usize);

/// All sessions by their local index.
#[derive(Debug, Default)]
pub(crate) struct SessionTable {
    places: Vec<Place>,
}

#[derive(Debug)]
enum Place {
    Free,
    Reserved(SessionIndex),
    Used(Box<Session>),
}

impl SessionTable {
    /// Allots an index; `None` if the table is full.
    pub(crate) fn reserve(&mut self, random: &mut Random) -> Option<SessionIndex> {
        let free = self.places.iter().position(|place| matches!(place, Place::Free));
        let place = free.unwrap_or(self.places.len());
        if place >= TABLE_MAX {
            return None;
        }
        let salt = random.u32() << PLACE_BITS;
        let index = SessionIndex(1 << 31 | salt | u32::try_from(place).ok()?);
        if place == self.places.len() {
            self.places.push(Place::Free);
        }
        self.places[place] = Place::Reserved(index);
        Some(index)
    }

    /// Puts a session at its reserved index.
    pub(crate) fn put(&mut self, session: Session) {
        let local = session.local;
        if let Some(place) = self.places.get_mut(place(local))
            && matches!(place, Place::Reserved(index) if *index == local)
        {
            *place = Place::Used(Box::new(session));
        }
    }

    /// Frees an index, whether there is a session or not.
    pub(crate) fn remove(&mut self, index: SessionIndex) {
        if let Some(place) = self.places.get_mut(place(index)) {
            let known = match place {
                Place::Free => false,
                Place::Reserved(known) => *known == index,
                Place::Used(session) => session.local == index,
            };
            if known {
                *place = Place::Free;
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: SessionIndex) -> Option<&Session> {
        match self.places.get(place(index)) {
            Some(Place::Used(session)) if session.local == index => Some(session),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: SessionIndex) -> Option<&mut Session> {
        match self.places.get_mut(place(index)) {
            Some(Place::Used(session)) if session.local == index => Some(session),
            _ => None,
        }
    }

    /// How many indexes are allotted.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn len(&self) -> usize {
        self.places.iter().filter(|place| !matches!(place, Place::Free)).count()
    }
}

fn place(index: SessionIndex) -> usize {
    (index.0 & ((1 << PLACE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(local: SessionIndex) -> Session {
        let candidate = Candidate {
            role: Role::Relay,
            name: "a".into(),
            boot: BootId(1),
            mac: Mac::default(),
            stamp: 0,
            key: None,
            until: Time(0),
        };
        Session::new(local, SessionIndex(7), 1, None, candidate)
    }

    #[test]
    fn an_index_finds_its_session_and_nothing_after_it() {
        let (mut table, mut random) = (SessionTable::default(), Random::new(&[1; 32]));
        let first = table.reserve(&mut random).unwrap();
        assert!(table.get(first).is_none());
        table.remove(first);
        let first = table.reserve(&mut random).unwrap();
        assert_eq!((place(first), table.len()), (0, 1), "what was given back is reserved again");
        table.remove(SessionIndex(first.0 ^ 1 << 20));
        table.put(session(first));
        assert!(table.get(first).is_some());
        table.remove(SessionIndex(first.0 ^ 1 << 20));
        assert!(table.get_mut(first).is_some());
        table.remove(first);
        let second = table.reserve(&mut random).unwrap();
        table.put(session(second));
        assert_eq!(place(first), place(second));
        assert!(table.get(first).is_none() && table.get_mut(first).is_none() && table.get(second).is_some());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut table, mut random) = (SessionTable::default(), Random::new(&[1; 32]));
        assert_eq!((0..2000).filter_map(|_| table.reserve(&mut random)).count(), TABLE_MAX);
    }

    #[test]
    fn no_index_is_zero_whatever_is_drawn() {
        let (mut table, mut random) = (SessionTable::default(), Random::new(&[1; 32]));
        let mut indexes = (0..100).map(|_| table.reserve(&mut random).unwrap());
        assert!(indexes.all(|index| index.0 >> 31 == 1));
    }

    #[test]
    fn frames_stay_within_mtu_and_slot() {
        let interface = Interface { mac: Mac::default(), ethertype: 0x88b5, mtu: 1280 };
        let mut session = session(SessionIndex(1));
        let mut slot = [0; 2000];
        let mut fill = |slot: &mut [u8]| {
            let body = |room: &mut [u8]| Some(room.len());
            session.emit(slot, &interface, Mac::BROADCAST, Kind::DATA, Flags::empty(), body)
        };
        assert_eq!(fill(&mut slot), Some(1294));
        assert_eq!(fill(&mut slot[..100]), Some(100));
        assert_eq!(fill(&mut slot[..20]), None);
    }
}

//! [`SessionKeys`]: the keys of one session for a key log, which opens captures of encrypted frames.
//!
//! A [`crate::Link`] gives them away only if its owner asks for them: [`crate::Link::keep_session_keys`].

use crate::Secret;
use crate::handshake::SplitKeys;
use crate::seal;
use core::fmt;
use core::str::FromStr;
use frames::SessionIndex;
use frames::header::{Flags, Frame, HEADERS_LEN, LinkHeader};
use zerocopy::FromBytes;

/// Keys of one session, whose holder can read and forge its frames. The `Debug` form shows none; the `Display` form is the
/// line of a key log with all of them (`PROTOCOL.md`, *Key log*), and [`FromStr`] reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKeys {
    association: u64,
    /// The index of the session at the device that began it: *receiver* in frames to it.
    initiator: SessionIndex,
    /// At the other one.
    responder: SessionIndex,
    to_responder: Key,
    to_initiator: Key,
}

/// AES-128.
type Key = Secret<16>;

/// First word of a line. A seal of another kind will have another one.
const LABEL: &str = "L2LINK_AES_128_GCM";

impl SessionKeys {
    /// Those of a session with its own index and the peer's.
    pub(crate) fn new(association: u64, local: SessionIndex, remote: SessionIndex, keys: &SplitKeys) -> Self {
        let (initiator, responder) = if keys.initiates { (local, remote) } else { (remote, local) };
        let key = |long: &Secret| Key::written(|key| key.copy_from_slice(&long[..16]));
        let (to_responder, to_initiator) = (key(&keys.to_responder), key(&keys.to_initiator));
        Self { association, initiator, responder, to_responder, to_initiator }
    }

    /// The index by which frames name the session, at either end.
    #[must_use]
    pub fn receivers(&self) -> [SessionIndex; 2] {
        [self.initiator, self.responder]
    }

    /// Opens an encrypted frame of the session: the frame as it would be without encryption, its flag `ENCRYPTED` not set,
    /// its tag as it was. `None` if it is not an encrypted frame of the session.
    #[must_use]
    pub fn open(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let view = Frame::parse(frame).ok()?;
        let (header, body_len) = (*view.header, view.body.len());
        if !header.flags().contains(Flags::SEALED | Flags::ENCRYPTED) {
            return None;
        }
        let ends = [(self.responder, &self.to_responder), (self.initiator, &self.to_initiator)];
        let keys = ends.iter().filter(|(index, _)| *index == header.receiver()).map(|(_, key)| *key);
        keys.into_iter().find_map(|key| {
            let mut opened = frame.to_vec();
            let counter = header.counter.get();
            seal::key(&key[..]).ok().filter(|key| seal::open(key, &mut opened, body_len, counter, true))?;
            let flags = header.flags().difference(Flags::ENCRYPTED);
            let plain = LinkHeader::new(header.kind, flags, header.length.get(), header.receiver(), counter);
            let (place, _) = LinkHeader::mut_from_prefix(opened.get_mut(LINK_HEADER..)?).ok()?;
            *place = plain;
            Some(opened)
        })
    }
}

/// Where the link header begins.
const LINK_HEADER: usize = HEADERS_LEN - size_of::<LinkHeader>();

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({:016x}, {}, {}, ..)", self.association, self.initiator, self.responder)
    }
}

impl fmt::Display for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LABEL} {:016x} {:08x} {:08x}", self.association, self.initiator.0, self.responder.0)?;
        for key in [&self.to_responder, &self.to_initiator] {
            write!(f, " {:032x}", u128::from_be_bytes(**key))?;
        }
        Ok(())
    }
}

/// Why a line of a key log is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotKeys;

impl fmt::Display for NotKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not \"{LABEL} ASSOCIATION INITIATOR RESPONDER KEY KEY\"")
    }
}

impl core::error::Error for NotKeys {}

impl FromStr for SessionKeys {
    type Err = NotKeys;

    fn from_str(line: &str) -> Result<Self, NotKeys> {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(LABEL) {
            return Err(NotKeys);
        }
        let mut number = |digits: usize| {
            let word = words.next().filter(|word| word.len() == digits).ok_or(NotKeys)?;
            if !word.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotKeys);
            }
            u128::from_str_radix(word, 16).map_err(|_| NotKeys)
        };
        let association = number(16)?;
        let (initiator, responder) = (number(8)?, number(8)?);
        let (to_responder, to_initiator) = (number(32)?, number(32)?);
        let index = |number: u128| u32::try_from(number).map(SessionIndex).map_err(|_| NotKeys);
        let keys = Self {
            association: u64::try_from(association).map_err(|_| NotKeys)?,
            initiator: index(initiator)?,
            responder: index(responder)?,
            to_responder: to_responder.to_be_bytes().into(),
            to_initiator: to_initiator.to_be_bytes().into(),
        };
        if words.next().is_some() { Err(NotKeys) } else { Ok(keys) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use frames::header::{EthernetHeader, Kind, TAG_LEN};
    use rstest::rstest;
    use zerocopy::network_endian::U16;
    use zerocopy::{FromZeros, IntoBytes};

    const LINE: &str = "L2LINK_AES_128_GCM 0000000000000005 00000007 00000008 \
                        01010101010101010101010101010101 02020202020202020202020202020202";

    fn split(initiates: bool) -> SplitKeys {
        SplitKeys { initiates, to_responder: [1; 32].into(), to_initiator: [2; 32].into() }
    }

    fn keys(initiates: bool, local: u32, remote: u32) -> SessionKeys {
        SessionKeys::new(5, SessionIndex(local), SessionIndex(remote), &split(initiates))
    }

    /// A frame of the responder's.
    fn frame(receiver: u32, encrypt: bool) -> (Vec<u8>, Vec<u8>) {
        let flags = if encrypt { Flags::SEALED | Flags::ENCRYPTED } else { Flags::SEALED };
        let header = |flags| LinkHeader::new(Kind::KEEPALIVE, flags, 3, SessionIndex(receiver), 9);
        let ethernet = EthernetHeader { ethertype: U16::new(0x88b5), ..EthernetHeader::new_zeroed() };
        let frame = |flags| [ethernet.as_bytes(), header(flags).as_bytes(), b"abc", &[0; TAG_LEN]].concat();
        let mut sealed = frame(flags);
        Seal::new(&[2; 32], &[1; 32]).unwrap().close(&mut sealed, 3, 9, encrypt).unwrap();
        let mut plain = frame(Flags::SEALED);
        plain[HEADERS_LEN + 3..].copy_from_slice(&sealed[HEADERS_LEN + 3..]);
        (sealed, plain)
    }

    #[test]
    fn both_sides_log_the_same_line() {
        assert_eq!(keys(true, 7, 8).to_string(), LINE);
        assert_eq!(keys(false, 8, 7).to_string(), LINE);
        assert_eq!(LINE.parse(), Ok(keys(true, 7, 8)));
        let shown = format!("{:?}", keys(true, 7, 8));
        assert!(shown.starts_with("SessionKeys(0000000000000005") && !shown.contains("0101"), "{shown}");
    }

    #[test]
    fn the_line_is_that_of_the_specification() {
        let specification = include_str!("../../frames/PROTOCOL.md");
        let lines = specification.lines().filter(|line| line.starts_with(LABEL));
        let shown: Vec<(&str, Option<SessionKeys>)> = lines.map(|line| (line, line.parse().ok())).collect();
        let [(_, None), (line, Some(keys))] = &shown[..] else { panic!("{shown:?}") };
        assert_eq!(keys.to_string(), *line);
        assert_eq!(keys.receivers(), [SessionIndex(0x1122_3344), SessionIndex(0x5566_7788)]);
    }

    #[rstest]
    #[case::another_label(&LINE.replace("128", "256"))]
    #[case::a_short_key(&LINE[..LINE.len() - 1])]
    #[case::a_word_more(&format!("{LINE} 0"))]
    #[case::a_word_less(&LINE[..LINE.len() - 33])]
    #[case::a_sign(&LINE.replace("0000000000000005", "+000000000000005"))]
    #[case::empty("")]
    fn what_is_no_line_is_refused(#[case] line: &str) {
        let error = line.parse::<SessionKeys>().unwrap_err();
        assert_eq!(error.to_string(), "not \"L2LINK_AES_128_GCM ASSOCIATION INITIATOR RESPONDER KEY KEY\"");
    }

    #[test]
    fn an_encrypted_frame_is_opened_by_its_own_keys_only() {
        let (sealed, plain) = frame(7, true);
        assert_eq!(keys(true, 7, 8).open(&sealed), Some(plain));
        assert_eq!(keys(true, 8, 7).open(&sealed), None, "the other direction's key");
        assert_eq!(keys(true, 6, 8).open(&sealed), None, "another session");
        assert!(keys(true, 7, 7).open(&sealed).is_some(), "both ends chose the same index");
        let mut forged = sealed.clone();
        forged[HEADERS_LEN] ^= 1;
        assert_eq!(keys(true, 7, 8).open(&forged), None);
        for length in 0..sealed.len() {
            assert_eq!(keys(true, 7, 8).open(&sealed[..length]), None);
        }
        assert_eq!(keys(true, 7, 8).open(&frame(7, false).0), None, "nothing to open");
    }
}

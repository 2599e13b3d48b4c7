//! What daemon and keeper tell each other: one datagram each, at most one descriptor with it.
//!
//! ```text
//!  0               1               2               3
//! ┌───────────────┬───────────────┬───────────────┬───────────────┐
//! │   version 1   │     kind      │ n: namespace  │ i: interface  │
//! ├───────────────┴───────────────┴───────────────┴───────────────┤
//! │ namespace, n bytes │ interface, i bytes │ note, the rest      …
//! ```

use std::io;

/// Where a device belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of its network namespace; empty for the daemon's own.
    pub netns: String,
    /// Its interface name.
    pub interface: String,
}

/// A datagram. The place of those that concern no device is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// With the device: hold it, or here it is.
    Hold(Place, Vec<u8>),
    /// Replaces the note.
    Note(Place, Vec<u8>),
    /// Close the device.
    Forget(Place),
    /// Nothing is to be kept any more.
    Goodbye,
    /// Give me all that you hold.
    Take,
    /// That was all.
    End,
}

const VERSION: u8 = 1;
const HEAD: usize = 4;

/// Longest datagram in bytes.
pub(super) const LONGEST: usize = 1 << 16;

impl Message {
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let nowhere = Place { netns: String::new(), interface: String::new() };
        let (kind, place, note): (u8, &Place, &[u8]) = match self {
            Self::Hold(place, note) => (1, place, note),
            Self::Note(place, note) => (2, place, note),
            Self::Forget(place) => (3, place, &[]),
            Self::Goodbye => (4, &nowhere, &[]),
            Self::Take => (5, &nowhere, &[]),
            Self::End => (6, &nowhere, &[]),
        };
        let len = |text: &str| u8::try_from(text.len()).map_err(|_| invalid("a name is too long"));
        let head = [VERSION, kind, len(&place.netns)?, len(&place.interface)?];
        let bytes = [&head, place.netns.as_bytes(), place.interface.as_bytes(), note].concat();
        if bytes.len() > LONGEST { Err(invalid("the note is too long")) } else { Ok(bytes) }
    }

    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let Some((&[version, kind, netns, interface], rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(invalid("a datagram is too short"));
        };
        if version != VERSION {
            return Err(invalid("another version of the protocol"));
        }
        let split = |bytes: &[u8], len: u8| -> io::Result<(String, usize)> {
            let len = usize::from(len);
            let text = bytes.get(..len).ok_or_else(|| invalid("a datagram is too short"))?;
            let text = str::from_utf8(text).map_err(|_| invalid("a name is no text"))?;
            Ok((text.to_owned(), len))
        };
        let (netns, used) = split(rest, netns)?;
        let rest = &rest[used..];
        let (interface, used) = split(rest, interface)?;
        let (place, note) = (Place { netns, interface }, rest[used..].to_vec());
        match kind {
            1 => Ok(Self::Hold(place, note)),
            2 => Ok(Self::Note(place, note)),
            3 => Ok(Self::Forget(place)),
            4 => Ok(Self::Goodbye),
            5 => Ok(Self::Take),
            6 => Ok(Self::End),
            _ => Err(invalid("an unknown kind of datagram")),
        }
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { netns: "router".into(), interface: "eth1".into() }
    }

    #[test]
    fn a_hold_has_the_form_that_later_binaries_expect() {
        let hold = Message::Hold(place(), b"192.0.2.1/24\n".to_vec());
        assert_eq!(hold.encode().unwrap(), b"\x01\x01\x06\x04routereth1192.0.2.1/24\n");
        assert_eq!(Message::Take.encode().unwrap(), b"\x01\x05\0\0");
        assert_eq!(Message::End.encode().unwrap(), b"\x01\x06\0\0");
        assert_eq!(Message::Goodbye.encode().unwrap(), b"\x01\x04\0\0");
    }

    #[test]
    fn what_is_encoded_is_parsed() {
        let messages = [
            Message::Hold(place(), vec![0, 255]),
            Message::Note(Place { netns: String::new(), ..place() }, Vec::new()),
            Message::Forget(place()),
            Message::Goodbye,
            Message::Take,
            Message::End,
        ];
        for message in messages {
            assert_eq!(Message::parse(&message.encode().unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            &b""[..],
            b"\x01\x01\x01",
            b"\x02\x04\0\0",
            b"\x01\x63\0\0",
            b"\x01\x03\x02\x02abc",
            b"\x01\x03\x01\0\xff",
        ] {
            assert!(Message::parse(bytes).is_err(), "{bytes:?}");
        }
        let long = Place { netns: "n".repeat(256), interface: String::new() };
        assert!(Message::Forget(long).encode().is_err());
        assert!(Message::Hold(place(), vec![0; LONGEST]).encode().is_err());
    }
}

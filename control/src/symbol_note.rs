//! [`Note`]: what the daemon has put on a symbol's interface, for a successor that is to tell it from what others have.
//!
//! One line each: `192.0.2.1/24` an address, `via 192.0.2.254` a default route. A successor of another version skips the
//! lines that it does not know.

use core::net::IpAddr;

/// What is written down with the keeper.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    pub(crate) gateways: Vec<IpAddr>,
}

impl Note {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let addresses = self.addresses.iter().map(|(address, length)| format!("{address}/{length}\n"));
        let gateways = self.gateways.iter().map(|gateway| format!("via {gateway}\n"));
        addresses.chain(gateways).collect::<String>().into_bytes()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut note = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            if let Some(gateway) = line.strip_prefix("via ") {
                note.gateways.extend(gateway.parse::<IpAddr>());
            } else if let Some((address, length)) = line.split_once('/')
                && let (Ok(address), Ok(length)) = (address.parse(), length.parse())
            {
                note.addresses.push((address, length));
            }
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let note = Note {
            addresses: vec![("192.0.2.1".parse().unwrap(), 24), ("fe80::1".parse().unwrap(), 64)],
            gateways: vec!["2001:db8::1".parse().unwrap()],
        };
        assert_eq!(note.to_bytes(), b"192.0.2.1/24\nfe80::1/64\nvia 2001:db8::1\n");
        assert_eq!(Note::parse(&note.to_bytes()), note);
    }

    #[test]
    fn what_another_version_wrote_is_skipped() {
        let note = Note::parse(b"speed 1000\n192.0.2.1/x\nvia nowhere\n192.0.2.1/24\n\xff\n");
        assert_eq!(note, Note { addresses: vec![("192.0.2.1".parse().unwrap(), 24)], gateways: Vec::new() });
    }
}

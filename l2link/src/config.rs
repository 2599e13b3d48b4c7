//! What a link is told at its start.

use crate::{PrivateKey, PublicKey, Secret};
use core::time::Duration;
use frames::discovery::{Protection, Role};
use frames::{BootId, Mac};

/// Everything that a [`crate::Link`] is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// This device's name, unique among its role on the segment, 1 to 63 bytes.
    pub name: String,
    /// This device's role.
    pub role: Role,
    /// Random number of this process.
    pub boot: BootId,
    /// Ethernet address of the link interface.
    pub mac: Mac,
    /// EtherType of the protocol.
    pub ethertype: u16,
    /// MTU of the link interface in bytes (Ethernet header excluded), at least 1,280.
    pub mtu: u32,
    /// Security mode with its secret.
    pub security: Security,
    /// How session frames are protected. [`Protection::CLEAR`] exactly in mode `none`.
    pub control: Protection,
    /// How data frames are protected.
    pub data: Protection,
    /// Longest silence of this device towards a live peer.
    pub keepalive: Duration,
    /// How many silent intervals of a peer mean that contact is lost.
    pub missed: u32,
}

impl Config {
    /// Default of [`Config::keepalive`].
    pub const KEEPALIVE: Duration = Duration::from_millis(100);
    /// Default of [`Config::missed`].
    pub const MISSED: u32 = 3;
    /// Least link MTU.
    pub const MTU_MIN: u32 = 1280;
}

/// Security mode with its secret. Its `Debug` form shows no secret.
#[derive(Clone)]
pub enum Security {
    /// No protection: anyone on the segment is believed.
    None,
    /// One key shared by the devices of the segment.
    Psk(Secret),
    /// Each device has a key pair.
    Keys(Box<Keys>),
}

/// What a device knows in mode `keys`.
#[derive(Clone)]
pub struct Keys {
    /// This device's own.
    pub private: PrivateKey,
    /// Shared by the devices of the segment besides, if they have one.
    pub psk: Option<Secret>,
    /// Names and keys of the devices of the other role that may be peers: no name and no key twice.
    pub peers: Vec<(String, PublicKey)>,
}

impl core::fmt::Debug for Security {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Psk(_) => "Psk(..)",
            Self::Keys(_) => "Keys(..)",
        })
    }
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keys")
            .field("psk", &self.psk.is_some())
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_keys_nothing_secret_is_shown() {
        let public = PrivateKey::new(&[10; 32]).public();
        let peers = vec![("control1".to_owned(), public)];
        let keys = Keys { private: PrivateKey::new(&[9; 32]), psk: Some([7; 32].into()), peers };
        assert_eq!(
            format!("{keys:?}"),
            format!("Keys {{ psk: true, peers: [(\"control1\", {public})], .. }}")
        );
        let shown = [Security::None, Security::Psk([7; 32].into()), Security::Keys(Box::new(keys))];
        assert_eq!(shown.map(|security| format!("{security:?}")), ["None", "Psk(..)", "Keys(..)"]);
    }
}

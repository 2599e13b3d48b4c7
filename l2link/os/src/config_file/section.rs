//! The sections that the files of both daemons share.

use super::{ConfigError, ConfigSource, PeerSection, interface_name};
use crate::psk::{self, KeyKind, PskError};
use crate::{BusyPoll, KeyLog};
use core::time::Duration;
use fast_path::Policy;
use frames::discovery::{Protection, Role};
use frames::{BootId, Mac};
use l2link::{Config, Keys, PublicKey, Security};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// EtherType unless configured: IEEE 802 local experimental 1 (IEEE 802, 9.2.4).
const ETHERTYPE: u16 = 0x88b5;
/// Least EtherType; smaller values are lengths (IEEE 802.3, 3.2.6).
const ETHERTYPE_MIN: u32 = 0x600;
/// EtherTypes of protocols without which a segment does not work, or that carry other protocols.
const ETHERTYPES_TAKEN: [(u16, &str); 10] = [
    (0x0800, "IPv4"),
    (0x0806, "ARP"),
    (0x86dd, "IPv6"),
    (0x8100, "VLAN tags"),
    (0x88a8, "provider VLAN tags"),
    (0x8808, "Ethernet flow control"),
    (0x8809, "LACP"),
    (0x888e, "EAPOL (802.1X)"),
    (0x88cc, "LLDP"),
    (0x88e5, "MACsec"),
];
/// Allowed range of `keepalive_ms`.
const KEEPALIVE_MS: core::ops::RangeInclusive<u64> = 10..=10_000;
/// Allowed range of `missed`.
const MISSED: core::ops::RangeInclusive<u32> = 2..=20;
/// Longer is no wait for the next packet any more.
const BUSY_POLL_US_MAX: u64 = 1000;

/// Section `[link]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSection {
    /// Interface on the segment.
    pub interface: Spanned<String>,
    /// EtherType of the link protocol; 0x88b5 by default.
    pub ethertype: Option<Spanned<u32>>,
    /// Security mode; `psk` by default.
    pub security: Option<Spanned<SecurityMode>>,
    /// File of this device's private key, relative to the configuration file; for security mode `keys`.
    pub private_key_file: Option<Spanned<PathBuf>>,
    /// File of the shared key, relative to the configuration file.
    pub psk_file: Option<Spanned<PathBuf>>,
    /// Whether frames are unreadable on the wire; `false` by default: authentic, but readable.
    pub encrypt: Option<Spanned<bool>>,
    /// How data frames are protected; `sealed` by default.
    pub data: Option<Spanned<DataMode>>,
    /// Whether packets of known flows go by programs in the kernel; `off` by default.
    pub fast_path: Option<Spanned<FastPathWord>>,
    /// File to which the keys of sessions are written, relative to the configuration file; none by default.
    pub keylog_file: Option<Spanned<PathBuf>>,
    /// Longest silence towards a live peer in ms; 100 by default.
    pub keepalive_ms: Option<Spanned<u64>>,
    /// Silent intervals that mean that contact is lost; 3 by default.
    pub missed: Option<Spanned<u32>>,
    /// How long the next packet is looked for before the daemon sleeps, in µs; 50 by default.
    pub busy_poll_us: Option<Spanned<u64>>,
    /// Whose the addresses of ports are; the relay's by default. Only in a control's file.
    pub addressing: Option<Spanned<Addressing>>,
}

/// Values of `fast_path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FastPathWord {
    /// All packets go by the daemon.
    #[default]
    Off,
    /// Where it can be had.
    Auto,
    /// The daemon does not start without it.
    Require,
}

impl From<FastPathWord> for Policy {
    fn from(word: FastPathWord) -> Self {
        match word {
            FastPathWord::Off => Self::Off,
            FastPathWord::Auto => Self::Auto,
            FastPathWord::Require => Self::Require,
        }
    }
}

/// Values of `addressing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// A symbol has the addresses of its port.
    #[default]
    Relay,
    /// A port also has the addresses that programs give to its symbol.
    Control,
}

/// Values of `security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityMode {
    /// One key shared by the devices of the segment.
    Psk,
    /// Each device has a key pair.
    Keys,
    /// No protection at all.
    None,
}

/// Values of `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataMode {
    /// Protected as the control messages are.
    Sealed,
    /// Not protected: for a trusted or MACsec-protected segment.
    Clear,
}

/// What a valid `[link]` says.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Interface on the segment.
    pub interface: String,
    /// EtherType.
    pub ethertype: u16,
    /// Security mode with its secret.
    pub security: Security,
    /// How session frames are protected.
    pub control: Protection,
    /// How data frames are protected.
    pub data: Protection,
    /// Whether packets of known flows go by programs in the kernel.
    pub fast_path: Policy,
    /// File to which the keys of sessions are written.
    pub keylog: Option<PathBuf>,
    /// Longest silence towards a live peer.
    pub keepalive: Duration,
    /// Silent intervals that mean that contact is lost.
    pub missed: u32,
    /// How long the next packet is looked for before the daemon sleeps.
    pub busy_poll: Duration,
    /// Whose the addresses of ports are. Nothing to a relay.
    pub addressing: Addressing,
    /// What the operator should be told at every start.
    pub warnings: Vec<String>,
}

impl LinkSection {
    /// Checks the section in the file of a device of this role, and reads the key files. `peers` are those of the file.
    ///
    /// # Errors
    /// Names what is wrong, where, and how to mend it.
    pub fn check(
        &self,
        role: Role,
        peers: &[PeerSection],
        source: &ConfigSource,
    ) -> Result<LinkSettings, ConfigError> {
        let mut warnings = Vec::new();
        let security = match self.mode() {
            SecurityMode::Keys => self.keys(role, peers, source, &mut warnings)?,
            SecurityMode::Psk | SecurityMode::None => {
                self.no_keys(source)?;
                PeerSection::no_keys(peers, source)?;
                self.security(source, &mut warnings)?
            }
        };
        let (control, data) = self.protection(source, &mut warnings)?;
        let keylog = self.keylog(source, &mut warnings)?;
        Ok(LinkSettings {
            interface: interface_name(&self.interface, source)?,
            ethertype: self.ethertype(source)?,
            security,
            control,
            data,
            fast_path: self.fast_path(data, source)?,
            keylog,
            keepalive: self.keepalive(source)?,
            missed: self.missed(source)?,
            busy_poll: self.busy_poll(source)?,
            addressing: self.addressing(role, source)?,
            warnings,
        })
    }

    fn mode(&self) -> SecurityMode {
        self.security.as_ref().map_or(SecurityMode::Psk, |mode| *mode.get_ref())
    }

    fn security(&self, source: &ConfigSource, warnings: &mut Vec<String>) -> Result<Security, ConfigError> {
        match (self.mode(), &self.psk_file) {
            (SecurityMode::Psk | SecurityMode::Keys, Some(file)) => {
                key_file(file, source, psk::load).map(Security::Psk)
            }
            (SecurityMode::Psk | SecurityMode::Keys, None) => Err(source
                .error_at(
                    self.interface.span(),
                    "this link has no `psk_file`, which security = \"psk\" needs",
                )
                .help(format!(
                    "add `psk_file = \"psk\"` to [link]; {}",
                    psk::recipe(&source.resolve(Path::new("psk")), KeyKind::Psk)
                ))),
            (SecurityMode::None, Some(file)) => Err(source
                .error_at(file.span(), "there is a `psk_file`, but security = \"none\" does not use it")
                .help("remove one of the two")),
            (SecurityMode::None, None) => {
                let interface = self.interface.get_ref();
                warnings.push(format!(
                    "security = \"none\": anyone on the segment of {interface} can take over this device's ports"
                ));
                Ok(Security::None)
            }
        }
    }

    /// What mode `keys` takes.
    fn keys(
        &self,
        role: Role,
        peers: &[PeerSection],
        source: &ConfigSource,
        warnings: &mut Vec<String>,
    ) -> Result<Security, ConfigError> {
        let Some(file) = &self.private_key_file else {
            let span = self.security.as_ref().map_or(self.interface.span(), Spanned::span);
            let recipe = psk::recipe(&source.resolve(Path::new("key")), KeyKind::Private);
            return Err(source
                .error_at(span, "this link has no `private_key_file`, which security = \"keys\" needs")
                .help(format!("add `private_key_file = \"key\"` to [link]; {recipe}")));
        };
        let private = key_file(file, source, psk::load_private)?;
        let psk = self.psk_file.as_ref().map(|file| key_file(file, source, psk::load)).transpose()?;
        let peers = PeerSection::keys(peers, private.public(), source)?;
        if peers.is_empty() {
            let (path, other) = (source.path().display(), role.opposite());
            warnings
                .push(format!("{path}: there is no [[peer]]: no {other} is one that this device believes"));
        }
        Ok(Security::Keys(Box::new(Keys { private, psk, peers })))
    }

    fn no_keys(&self, source: &ConfigSource) -> Result<(), ConfigError> {
        match &self.private_key_file {
            Some(file) => Err(source
                .error_at(file.span(), "there is a `private_key_file`, which only security = \"keys\" uses")
                .help("add `security = \"keys\"`, or remove it")),
            None => Ok(()),
        }
    }

    /// Protection of session and of data frames.
    fn protection(
        &self,
        source: &ConfigSource,
        warnings: &mut Vec<String>,
    ) -> Result<(Protection, Protection), ConfigError> {
        let encrypt = self.encrypt.as_ref().is_some_and(|encrypt| *encrypt.get_ref());
        match (self.mode(), &self.data) {
            (SecurityMode::None, Some(data)) if *data.get_ref() == DataMode::Sealed => Err(source
                .error_at(data.span(), "data = \"sealed\" needs a key, and security = \"none\" has none")
                .help("remove it, or take security = \"psk\"")),
            (SecurityMode::None, _) => match &self.encrypt {
                Some(encrypt) if *encrypt.get_ref() => Err(source
                    .error_at(encrypt.span(), "encrypt = true needs a key, and security = \"none\" has none")
                    .help("remove it, or take security = \"psk\"")),
                _ => Ok((Protection::CLEAR, Protection::CLEAR)),
            },
            (SecurityMode::Psk | SecurityMode::Keys, data) => {
                let control = if encrypt { Protection::ENCRYPTED } else { Protection::SEALED };
                match data.as_ref().map_or(DataMode::Sealed, |data| *data.get_ref()) {
                    DataMode::Sealed => Ok((control, control)),
                    DataMode::Clear => {
                        warnings.push(
                            "data = \"clear\": packets cross the segment without protection, control messages with it"
                                .into(),
                        );
                        Ok((control, Protection::CLEAR))
                    }
                }
            }
        }
    }

    /// Whether there is to be a fast path for data of this protection.
    fn fast_path(&self, data: Protection, source: &ConfigSource) -> Result<Policy, ConfigError> {
        let Some(configured) = &self.fast_path else { return Ok(Policy::Off) };
        let policy = Policy::from(*configured.get_ref());
        if policy != Policy::Require || data == Protection::CLEAR {
            return Ok(policy);
        }
        let (span, message) = match &self.data {
            Some(data) => (data.span(), "data = \"sealed\" leaves nothing for fast_path = \"require\""),
            None => (
                configured.span(),
                "fast_path = \"require\" needs packets in clear, and without `data` they are sealed",
            ),
        };
        Err(source
            .error_at(span, message)
            .help("data = \"clear\" on all devices of the segment, if it is trusted; or fast_path = \"off\""))
    }

    fn keylog(
        &self,
        source: &ConfigSource,
        warnings: &mut Vec<String>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let Some(configured) = &self.keylog_file else { return Ok(None) };
        if self.mode() == SecurityMode::None {
            return Err(source
                .error_at(configured.span(), "there is a `keylog_file`, but security = \"none\" has no keys")
                .help("remove it: frames without security can be read as they are"));
        }
        let path = source.resolve(configured.get_ref());
        KeyLog::check(&path).map_err(|error| source.error_at(configured.span(), error.to_string()))?;
        warnings.push(format!(
            "KEY LOG: the keys of all sessions are written to {}: whoever reads that file can read, and forge, \
             everything on this link. Remove `keylog_file` and the file when you have seen enough",
            path.display()
        ));
        Ok(Some(path))
    }

    fn ethertype(&self, source: &ConfigSource) -> Result<u16, ConfigError> {
        let Some(configured) = &self.ethertype else { return Ok(ETHERTYPE) };
        let error = |message: String| {
            source.error_at(configured.span(), message).help(
                "0x88b5 and 0x88b6 are reserved for local use (IEEE 802); without this line it is 0x88b5",
            )
        };
        let value = *configured.get_ref();
        let ethertype =
            u16::try_from(value).map_err(|_| error(format!("EtherType {value:#x} is over 0xffff")))?;
        if value < ETHERTYPE_MIN {
            return Err(error(format!(
                "{value:#06x} is no EtherType: values under 0x0600 are lengths of 802.3 frames"
            )));
        }
        match ETHERTYPES_TAKEN.iter().find(|(taken, _)| *taken == ethertype) {
            Some((_, user)) => Err(error(format!("EtherType {ethertype:#06x} belongs to {user}"))),
            None => Ok(ethertype),
        }
    }

    fn keepalive(&self, source: &ConfigSource) -> Result<Duration, ConfigError> {
        let Some(configured) = &self.keepalive_ms else { return Ok(Config::KEEPALIVE) };
        let value = *configured.get_ref();
        if KEEPALIVE_MS.contains(&value) {
            return Ok(Duration::from_millis(value));
        }
        let (least, most) = (KEEPALIVE_MS.start(), KEEPALIVE_MS.end());
        Err(source
            .error_at(configured.span(), format!("keepalive_ms is {value}; {least} to {most} are allowed")))
    }

    fn busy_poll(&self, source: &ConfigSource) -> Result<Duration, ConfigError> {
        let Some(configured) = &self.busy_poll_us else { return Ok(BusyPoll::USUAL) };
        let value = *configured.get_ref();
        if value <= BUSY_POLL_US_MAX {
            return Ok(Duration::from_micros(value));
        }
        Err(source
            .error_at(
                configured.span(),
                format!("busy_poll_us is {value}; 0 to {BUSY_POLL_US_MAX} are allowed"),
            )
            .help("0 turns it off"))
    }

    fn addressing(&self, role: Role, source: &ConfigSource) -> Result<Addressing, ConfigError> {
        match &self.addressing {
            Some(addressing) if role == Role::Relay => Err(source
                .error_at(addressing.span(), "`addressing` in [link] is for the file of a control")
                .help(
                    "to let a control give a port addresses, write `addressing = true` in its [[port.allow]]",
                )),
            Some(addressing) => Ok(*addressing.get_ref()),
            None => Ok(Addressing::default()),
        }
    }

    fn missed(&self, source: &ConfigSource) -> Result<u32, ConfigError> {
        let Some(configured) = &self.missed else { return Ok(Config::MISSED) };
        let value = *configured.get_ref();
        if MISSED.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (MISSED.start(), MISSED.end());
        Err(source.error_at(configured.span(), format!("missed is {value}; {least} to {most} are allowed")))
    }
}

fn key_file<T>(
    file: &Spanned<PathBuf>,
    source: &ConfigSource,
    load: fn(&Path) -> Result<T, PskError>,
) -> Result<T, ConfigError> {
    let path = source.resolve(file.get_ref());
    psk::check_owner(&path, source.path())
        .and_then(|()| load(&path))
        .map_err(|error| source.error_at(file.span(), error.to_string()).help(error.help()))
}

impl LinkSettings {
    /// Whether a device of this name can be a peer: in mode `keys` only one with a key.
    #[must_use]
    pub fn may_meet(&self, name: &str) -> bool {
        match &self.security {
            Security::Keys(keys) => keys.peers.iter().any(|(known, _)| known == name),
            Security::None | Security::Psk(_) => true,
        }
    }

    /// Who can be a peer, by key: all in mode `keys`, none in others.
    #[must_use]
    pub fn peer_keys(&self) -> &[(String, PublicKey)] {
        match &self.security {
            Security::Keys(keys) => &keys.peers,
            Security::None | Security::Psk(_) => &[],
        }
    }

    /// Takes the secrets of `before`, which are the same, in the place of those that were read anew: so memory has them once.
    pub fn share_secrets(&mut self, before: &Self) {
        match (&mut self.security, &before.security) {
            (Security::Psk(psk), Security::Psk(known)) => *psk = known.clone(),
            (Security::Keys(keys), Security::Keys(known)) => {
                keys.private = known.private.clone();
                keys.psk = known.psk.clone();
            }
            (Security::None | Security::Psk(_) | Security::Keys(_), _) => {}
        }
    }

    /// The link's configuration, with what only the running device knows.
    #[must_use]
    pub fn config(&self, name: &str, role: Role, boot: BootId, mac: Mac, mtu: u32) -> Config {
        Config {
            name: name.to_owned(),
            role,
            boot,
            mac,
            ethertype: self.ethertype,
            mtu,
            security: self.security.clone(),
            control: self.control,
            data: self.data,
            keepalive: self.keepalive,
            missed: self.missed,
        }
    }
}

#[cfg(test)]
mod tests;

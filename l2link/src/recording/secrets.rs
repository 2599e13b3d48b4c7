//! The one place where secrets are written down: without them a recorded session cannot be made again.

use super::{Field, Malformed, Reader};
use crate::{Config, Keys, PrivateKey, PublicKey, Secret, Security};
use zeroize::Zeroizing;

/// Everything that whoever reads a recording must know and nobody else may: the seed, and the psk or private key of the link.
///
/// The bytes are never moved, and wiped in the end. They go into a recording, which is for its owner alone, and nowhere else.
#[must_use]
pub fn expose_secrets(seed: &Secret, security: &Security) -> Zeroizing<Vec<u8>> {
    // Of full size from the start: growing would leave copies in freed memory.
    let mut out = Zeroizing::new(Vec::with_capacity(LENGTH_MAX));
    out.extend_from_slice(&seed[..]);
    match security {
        Security::None => out.push(NONE),
        Security::Psk(psk) => {
            out.push(PSK);
            out.extend_from_slice(&psk[..]);
        }
        Security::Keys(keys) => {
            out.push(KEYS);
            out.extend_from_slice(keys.private.bytes());
            keys.psk.is_some().put(&mut out);
            keys.psk.iter().for_each(|psk| out.extend_from_slice(&psk[..]));
        }
    }
    out
}

/// Reads what [`expose_secrets`] gave: the seed, and the security mode, whose peers come from elsewhere.
///
/// # Errors
/// If it is something else.
pub fn take_secrets(reader: &mut Reader<'_>) -> Result<(Secret, Security), Malformed> {
    let seed = secret(reader)?;
    let security = match u8::take(reader)? {
        NONE => Security::None,
        PSK => Security::Psk(secret(reader)?),
        KEYS => {
            let private = PrivateKey::new(&*secret(reader)?);
            let psk = if bool::take(reader)? { Some(secret(reader)?) } else { None };
            Security::Keys(Box::new(Keys { private, psk, peers: Vec::new() }))
        }
        _ => return Err(Malformed),
    };
    reader.end()?;
    Ok((seed, security))
}

fn secret(reader: &mut Reader<'_>) -> Result<Secret, Malformed> {
    let bytes: &[u8; 32] = reader.bytes(32)?.try_into().map_err(|_| Malformed)?;
    Ok(Secret::written(|place| place.copy_from_slice(bytes)))
}

/// Seed, mode, private key, whether there is a psk, psk.
const LENGTH_MAX: usize = 32 + 1 + 32 + 1 + 32;

const NONE: u8 = 0;
const PSK: u8 = 1;
const KEYS: u8 = 2;

impl Config {
    /// Everything but the secrets.
    pub fn put_public(&self, out: &mut Vec<u8>) {
        let Self { name, role, boot, mac, ethertype, mtu, security, control, data, keepalive, missed } = self;
        name.put(out);
        role.put(out);
        boot.put(out);
        mac.put(out);
        ethertype.put(out);
        mtu.put(out);
        control.put(out);
        data.put(out);
        keepalive.put(out);
        missed.put(out);
        match security {
            Security::Keys(keys) => keys.peers.put(out),
            Security::None | Security::Psk(_) => Vec::<(String, PublicKey)>::new().put(out),
        }
    }

    /// Reads what [`Config::put_public`] wrote, and adds the secrets.
    ///
    /// # Errors
    /// If it is something else.
    pub fn take_public(reader: &mut Reader<'_>, security: Security) -> Result<Self, Malformed> {
        let mut config = Self {
            name: Field::take(reader)?,
            role: Field::take(reader)?,
            boot: Field::take(reader)?,
            mac: Field::take(reader)?,
            ethertype: Field::take(reader)?,
            mtu: Field::take(reader)?,
            security,
            control: Field::take(reader)?,
            data: Field::take(reader)?,
            keepalive: Field::take(reader)?,
            missed: Field::take(reader)?,
        };
        let peers = Field::take(reader)?;
        if let Security::Keys(keys) = &mut config.security {
            keys.peers = peers;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use frames::discovery::{Protection, Role};
    use frames::{BootId, Mac};
    use rstest::rstest;

    fn config(security: Security) -> Config {
        Config {
            name: "relay1".into(),
            role: Role::Relay,
            boot: BootId(7),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            ethertype: 0x88b5,
            mtu: 9000,
            security,
            control: Protection::SEALED,
            data: Protection::CLEAR,
            keepalive: Duration::from_millis(50),
            missed: 4,
        }
    }

    fn keys(psk: Option<Secret>) -> Security {
        let peers = vec![("control1".into(), PublicKey([5; 32])), ("control2".into(), PublicKey([6; 32]))];
        Security::Keys(Box::new(Keys { private: PrivateKey::new(&[9; 32]), psk, peers }))
    }

    #[rstest]
    #[case::none(Security::None)]
    #[case::psk(Security::Psk([3; 32].into()))]
    #[case::keys(keys(None))]
    #[case::keys_and_psk(keys(Some([4; 32].into())))]
    fn a_configuration_is_read_as_it_was_written(#[case] security: Security) {
        let written = config(security);
        let secrets = expose_secrets(&[1; 32].into(), &written.security);
        assert!(secrets.len() <= LENGTH_MAX && secrets.capacity() == LENGTH_MAX);
        let mut public = Vec::new();
        written.put_public(&mut public);
        let (seed, security) = take_secrets(&mut Reader::new(&secrets)).unwrap();
        let read = Config::take_public(&mut Reader::new(&public), security).unwrap();
        assert_eq!(*seed, [1; 32]);
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        assert_eq!(expose_secrets(&seed, &read.security), secrets);
        for length in 0..secrets.len() {
            assert!(take_secrets(&mut Reader::new(&secrets[..length])).is_err());
        }
    }

    #[test]
    fn nothing_secret_is_in_the_public_part() {
        let mut public = Vec::new();
        config(keys(Some([4; 32].into()))).put_public(&mut public);
        let private = PrivateKey::new(&[9; 32]);
        for secret in [&[4; 32], private.bytes()] {
            assert!(!public.windows(32).any(|window| window == secret));
        }
    }
}

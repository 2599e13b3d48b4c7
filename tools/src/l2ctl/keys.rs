//! Keys, made and told without a daemon, as `wg` does it: `genkey`, `pubkey`, `genpsk`.

use crate::Failure;
use l2link::{PrivateKey, Secret};
use l2link_os::confine::forbid_core_dumps;
use l2link_os::{psk, seed};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use zeroize::Zeroizing;

/// More than any key has.
const TEXT_MAX: usize = 4096;

/// Prints a new private key.
pub(crate) fn genkey(out: &mut impl Write) -> Result<(), Failure> {
    begin()?;
    let random = random()?;
    print(PrivateKey::new(&random).bytes(), out)
}

/// Prints a new shared key.
pub(crate) fn genpsk(out: &mut impl Write) -> Result<(), Failure> {
    begin()?;
    let random = random()?;
    print(&random, out)
}

/// Prints the public key of the private one that comes in.
pub(crate) fn pubkey(input: impl Read, out: &mut impl Write) -> Result<(), Failure> {
    begin()?;
    let mut text = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
    input.take(TEXT_MAX as u64).read_to_end(&mut text)?;
    let bytes = psk::decode(text.trim_ascii())
        .map_err(|found| Failure::Daemon(format!("standard input holds no private key: {found}")))?;
    writeln!(out, "{}", PrivateKey::new(&bytes).public())?;
    Ok(())
}

/// Nothing of a key is to be left by this process but what it prints.
fn begin() -> Result<(), Failure> {
    forbid_core_dumps().map_err(|error| Failure::Daemon(error.to_string()))
}

fn print(key: &[u8; 32], out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "{}", *psk::encode(key))?;
    warn();
    Ok(())
}

fn random() -> Result<Secret, Failure> {
    seed::random().map_err(|error| Failure::Daemon(error.to_string()))
}

/// Warns when what is printed goes to a file that others may read.
fn warn() {
    let metadata = io::stdout().as_fd().try_clone_to_owned().and_then(|stdout| File::from(stdout).metadata());
    if metadata.is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0) {
        // Nobody is left to tell if this fails.
        let _ = writeln!(
            io::stderr(),
            "warning: the key goes to a file that other users may read: `chmod 600` it; `umask 077` makes such files"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>) -> String {
        let mut out = Vec::new();
        command(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_new_key_has_a_public_one() {
        let (one, other) = (line(genkey), line(genkey));
        assert_ne!(one, other);
        let bytes = psk::decode(one.trim().as_bytes()).unwrap();
        assert_eq!((bytes[0] & 7, bytes[31] & 0xc0), (0, 0x40), "as RFC 7748 wants it");
        let public = line(|out| pubkey(one.as_bytes(), out));
        assert_eq!(public.trim().parse(), Ok(PrivateKey::new(&bytes).public()));
    }

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a\n";
        assert_eq!(
            line(|out| pubkey(alice.as_bytes(), out)),
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n"
        );
    }

    #[test]
    fn a_new_psk_is_one_that_daemons_read() {
        let psk = line(genpsk);
        assert!(psk::decode(psk.trim().as_bytes()).is_ok() && psk.len() == 45, "{psk}");
    }

    #[test]
    fn what_is_no_key_is_refused_without_telling_it() {
        for text in ["", "secret", "AAEC secret"] {
            let failure = pubkey(text.as_bytes(), &mut Vec::new()).unwrap_err().to_string();
            assert!(failure.contains("no private key") && !failure.contains("secret"), "{failure}");
        }
    }
}

//! The keys of a device, from their files: the one that it shares with others, and the one that it keeps for itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use l2link::{PrivateKey, Secret, wipe_stack};
use nix::unistd::geteuid;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// More than any key file has.
const FILE_MAX: usize = 4096;

/// Which of its keys a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// That which all devices of the segment share.
    Psk,
    /// That which no other device has.
    Private,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum PskError {
    /// The file cannot be read.
    #[error("key file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Of what.
        kind: KeyKind,
        /// The cause.
        source: io::Error,
    },
    /// Others than the owner may read or change the file.
    #[error("key file {} is open to other users (mode {mode:04o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody who has no part in this device.
    #[error("key file {} belongs to user {owner}, who can read and change it", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The file holds no key.
    #[error("key file {} holds no key: {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Of what.
        kind: KeyKind,
        /// What it holds, without telling any of it.
        found: String,
    },
}

impl PskError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Read { path, kind, source } if source.kind() == io::ErrorKind::NotFound => {
                recipe(path, *kind)
            }
            Self::Read { .. } => "run as root, or as the file's owner".into(),
            Self::Open { path, .. } => {
                format!("run `chmod 600 {}`; if others could read it, make a new key", path.display())
            }
            Self::Owner { path, .. } => {
                format!("run `chown root {}`; if that user is not to know it, make a new key", path.display())
            }
            Self::Content { path, kind, .. } => {
                format!(
                    "32 bytes as base64 (44 characters) or as 64 hexadecimal digits are needed; {}",
                    recipe(path, *kind)
                )
            }
        }
    }
}

/// How to make a key file.
#[must_use]
pub fn recipe(path: &Path, kind: KeyKind) -> String {
    let path = path.display();
    match kind {
        KeyKind::Psk => format!(
            "`(umask 077; head -c 32 /dev/urandom | base64 > {path})` makes a key, to be copied to every device of the segment"
        ),
        KeyKind::Private => format!(
            "`(umask 077; l2ctl genkey > {path})` makes a key for this device alone; `l2ctl pubkey < {path}` tells its public key"
        ),
    }
}

/// Whether a key file is root's, of the user as whom this process runs, or of whom the configuration is that names it: it is in
/// that one's hands anyway. A file that is not there is no matter of this.
///
/// # Errors
/// [`PskError::Owner`].
pub fn check_owner(path: &Path, config: &Path) -> Result<(), PskError> {
    let owner = |path: &Path| fs::metadata(path).ok().map(|file| file.uid());
    match owner(path) {
        Some(uid) if uid != 0 && uid != geteuid().as_raw() && owner(config) != Some(uid) => {
            Err(PskError::Owner { path: path.to_owned(), owner: uid })
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads the private key of this device, in the same forms.
///
/// # Errors
/// As [`load`].
pub fn load_private(path: &Path) -> Result<PrivateKey, PskError> {
    read(path, KeyKind::Private).map(|key| PrivateKey::new(&key))
}

/// Reads the shared key: 32 bytes as base64 (44 characters) or as 64 hexadecimal digits, on one line.
///
/// # Errors
/// If the file cannot be read, is open to others than its owner, or holds no key.
pub fn load(path: &Path) -> Result<Secret, PskError> {
    read(path, KeyKind::Psk)
}

fn read(path: &Path, kind: KeyKind) -> Result<Secret, PskError> {
    let failed = |source| PskError::Read { path: path.to_owned(), kind, source };
    let file = File::open(path).map_err(failed)?;
    // Asked of the descriptor, so that it is the file that is read.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PskError::Open { path: path.to_owned(), mode });
    }
    // Of full size from the start: growing would leave copies of the key in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_MAX));
    file.take(FILE_MAX as u64).read_to_end(&mut text).map_err(failed)?;
    let decoded = decode(text.trim_ascii());
    wipe_stack();
    decoded.map_err(|found| PskError::Content { path: path.to_owned(), kind, found })
}

/// The base64 form of a key.
#[must_use]
pub fn encode(key: &[u8; KEY_LEN]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(key))
}

/// Reads a key as [`load`] does, of the text of a file.
///
/// # Errors
/// What the text is, without telling any of it.
pub fn decode(text: &[u8]) -> Result<Secret, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() == 2 * KEY_LEN && text.iter().all(u8::is_ascii_hexdigit) {
        return Ok(Secret::written(|key| {
            for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
                *byte = (hex(digits[0]) << 4) | hex(digits[1]);
            }
        }));
    }
    if text.iter().any(u8::is_ascii_whitespace) {
        return Err("it has more than one word or line".into());
    }
    // The decoder wants room for the longest text of this length, one byte more than the key.
    let mut buffer = Zeroizing::new([0; KEY_LEN + 2]);
    match STANDARD.decode_slice(text, buffer.as_mut_slice()) {
        Ok(KEY_LEN) => Ok(Secret::written(|key| key.copy_from_slice(&buffer[..KEY_LEN]))),
        Ok(length) => Err(format!("it has {length} bytes")),
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => {
            Err(format!("it has {} characters", text.len()))
        }
        Err(base64::DecodeSliceError::DecodeError(_)) => Err("it is neither base64 nor hexadecimal".into()),
    }
}

/// Value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1EFF";

    fn load_text(text: &str, mode: u32) -> Result<Secret, PskError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("psk");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        load(&path)
    }

    #[rstest]
    #[case::base64(BASE64)]
    #[case::hex(HEX)]
    fn both_forms_are_read(#[case] text: &str, #[values("", "\n", "\r\n", " \n\n")] end: &str) {
        let key = load_text(&format!("{text}{end}"), 0o600).unwrap();
        assert_eq!(key[..3], [0, 1, 2]);
        assert_eq!(key[31], 0xff);
    }

    #[rstest]
    #[case::empty("", "it is empty")]
    #[case::short("AAECAw==", "it has 4 bytes")]
    #[case::short_hex(&HEX[2..], "it has 62 characters")]
    #[case::long("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8AAECAAAAAAAAAAAAA", "it has 60 characters")]
    #[case::junk("not a key", "more than one word")]
    #[case::letters("key!key!", "neither base64 nor hexadecimal")]
    #[case::two(
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=",
        "more than one"
    )]
    fn anything_else_is_refused(#[case] text: &str, #[case] expected: &str) {
        let error = load_text(text, 0o600).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("AAEC"), "{error}");
        assert!(error.help().contains("/dev/urandom"));
    }

    #[rstest]
    fn a_file_open_to_others_is_refused(#[values(0o640, 0o604, 0o620, 0o602, 0o610, 0o666)] mode: u32) {
        let error = load_text(BASE64, mode).unwrap_err();
        assert!(error.to_string().contains(&format!("(mode {mode:04o})")), "{error}");
        assert!(error.help().contains("`chmod 600 /"), "{}", error.help());
    }

    #[test]
    fn a_file_of_somebody_who_has_no_part_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [key, config] = ["psk", "relay.toml"].map(|name| folder.path().join(name));
        for file in [&key, &config] {
            fs::write(file, "").unwrap();
        }
        assert!(check_owner(&key, &config).is_ok());
        assert!(check_owner(Path::new("/nowhere/psk"), &config).is_ok());
        let give = |file: &Path| std::os::unix::fs::chown(file, Some(54_321), None);
        // Only root can give a file away.
        if give(&key).is_err() {
            return;
        }
        let error = check_owner(&key, &config).unwrap_err();
        assert!(
            error.to_string().ends_with("psk belongs to user 54321, who can read and change it"),
            "{error}"
        );
        assert!(error.help().contains("`chown root /"), "{}", error.help());
        give(&config).unwrap();
        assert!(check_owner(&key, &config).is_ok(), "who wrote the configuration chose the key");
    }

    #[test]
    fn a_missing_file_tells_how_to_make_one() {
        let error = load(Path::new("/nowhere/psk")).unwrap_err();
        assert!(
            error.to_string().starts_with("key file /nowhere/psk cannot be read: No such file"),
            "{error}"
        );
        assert!(error.help().contains("> /nowhere/psk"), "{}", error.help());
        let help = load_private(Path::new("/nowhere/key")).unwrap_err().help();
        assert!(help.contains("l2ctl genkey > /nowhere/key"), "{help}");
        assert!(load(Path::new("/")).unwrap_err().to_string().contains("not a regular file"));
    }
}

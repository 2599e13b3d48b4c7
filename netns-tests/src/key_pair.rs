//! Key pairs of devices in mode `keys`.

use crate::binary::binary;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A private key in a file, made by our own tool, and what others know it by.
#[derive(Debug)]
pub struct KeyPair {
    /// The file of the private key.
    pub file: PathBuf,
    /// The public key, as a configuration has it.
    pub public: String,
}

impl KeyPair {
    /// Makes one in `folder`.
    ///
    /// # Panics
    /// When `l2ctl` fails, or the file can be read by others.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let file = folder.join(name);
        let l2ctl = binary("l2ctl").display().to_string();
        let sh = |line: &str| {
            let output = Command::new("sh").args(["-ec", line]).output().expect("run a shell");
            assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        };
        sh(&format!("umask 077 && {l2ctl} genkey > {}", file.display()));
        assert_eq!(fs::metadata(&file).expect("a key file").permissions().mode() & 0o777, 0o600);
        let public = sh(&format!("{l2ctl} pubkey < {}", file.display()));
        Self { file, public }
    }

    /// A configuration with this key, more lines of `[link]`, and these peers in the place of the psk.
    #[must_use]
    pub fn configure(&self, config: &impl ToString, more: &str, peers: &[(&str, &Self)]) -> String {
        config.to_string().replace("psk_file = \"psk\"\n", &self.link(more, peers))
    }

    /// Lines in the place of `psk_file = "psk"`: this key, more lines, and the peers. A section follows.
    #[must_use]
    pub fn link(&self, more: &str, peers: &[(&str, &Self)]) -> String {
        let peer = |(name, key): &(&str, &Self)| {
            format!("[[peer]]\nname = \"{name}\"\npublic_key = \"{}\"\n", key.public)
        };
        let file = self.file.display();
        let peers: String = peers.iter().map(peer).collect();
        format!("security = \"keys\"\nprivate_key_file = \"{file}\"\n{more}\n{peers}")
    }
}

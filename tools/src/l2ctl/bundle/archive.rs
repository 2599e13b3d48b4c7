//! [`Archive`]: the file, as a compressed tape archive.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of one entry.
const ENTRY_MAX: usize = 16 << 20;

/// A file that is being written. One that was made for it is removed again unless it is finished.
pub(super) struct Archive {
    /// Where it is; none for standard output.
    path: Option<PathBuf>,
    tape: Option<tar::Builder<GzEncoder<File>>>,
    /// The folder of all entries.
    root: String,
    time: u64,
    entries: Vec<String>,
    notes: Vec<String>,
    folders: BTreeSet<String>,
}

impl Archive {
    /// A new file, which nobody else can read. One that is there stays as it is.
    pub(super) fn create(path: &Path, root: &str, time: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self::new(file, Some(path.to_owned()), root, time))
    }

    /// To standard output, whatever that is.
    pub(super) fn to_stdout(root: &str, time: u64) -> io::Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned()?.into();
        Ok(Self::new(file, None, root, time))
    }

    fn new(file: File, path: Option<PathBuf>, root: &str, time: u64) -> Self {
        Self {
            path,
            tape: Some(tar::Builder::new(GzEncoder::new(file, Compression::default()))),
            root: root.to_owned(),
            time,
            entries: Vec::new(),
            notes: Vec::new(),
            folders: BTreeSet::new(),
        }
    }

    /// Puts an entry in, cut if it is too long.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > ENTRY_MAX {
            self.note(name, &format!("the first {ENTRY_MAX} of {} bytes only", bytes.len()));
        }
        self.entries.push(name.to_owned());
        self.write(name, &bytes[..bytes.len().min(ENTRY_MAX)])
    }

    /// Notes that something is not there, or not all of it.
    pub(super) fn note(&mut self, name: &str, why: &impl Display) {
        self.notes.push(format!("{name}: {}", why.to_string().trim().replace('\n', "\n    ")));
    }

    /// A folder of its own for a daemon: several of a role are told apart by their names.
    pub(super) fn folder(&mut self, role: &str, name: &str) -> String {
        let safe =
            |text: &str| text.replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-', "_");
        let (role, name) = (safe(role), safe(name));
        let folder = if self.folders.contains(&role) { format!("{role}-{name}") } else { role };
        self.folders.insert(folder.clone());
        folder
    }

    /// The name in a folder for a file of the machine: its own, or where that is taken its whole path.
    pub(super) fn file(&self, folder: &str, path: &Path) -> String {
        let own = format!("{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if !self.entries.contains(&own) {
            return own;
        }
        let whole = path.to_string_lossy();
        format!("{folder}/{}", whole.trim_start_matches('/').replace('/', "_"))
    }

    pub(super) fn left_out(&self) -> usize {
        self.notes.len()
    }

    /// Writes the list of all entries, and ends the file. Returns its size in bytes, 0 of what is no file.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let list = |lines: &[String]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        let text = format!(
            "Made by l2ctl {} support-bundle.\n\nIn it:\n{}\nCould not be had, or not all of it:\n{}",
            env!("CARGO_PKG_VERSION"),
            list(&self.entries),
            if self.notes.is_empty() { "  nothing\n".to_owned() } else { list(&self.notes) }
        );
        self.write("README.txt", text.as_bytes())?;
        let Some(tape) = &mut self.tape else { return Ok(0) };
        tape.finish()?;
        let file = tape.get_mut();
        file.try_finish()?;
        file.get_mut().flush()?;
        let size = file.get_ref().metadata()?.len();
        self.tape = None;
        Ok(size)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(tape) = &mut self.tape else { return Ok(()) };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        tape.append_data(&mut header, format!("{}/{name}", self.root), bytes)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let (Some(_), Some(path)) = (&self.tape, &self.path) {
            // What is not whole is of no use; that it cannot be removed changes nothing.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nothing_is_overwritten_and_nothing_half_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.tar.gz");
        let mut half = Archive::create(&path, "root", 0).unwrap();
        half.add("one", b"1").unwrap();
        drop(half);
        assert!(!path.exists());

        let mut whole = Archive::create(&path, "root", 0).unwrap();
        whole.add("folder/one", b"1").unwrap();
        whole.note("two", &"it is not there");
        let size = whole.finish().unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (size, 0o600));
        let refused = Archive::create(&path, "root", 0).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::metadata(&path).unwrap().len(), size);

        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&path).unwrap()));
        let names: Vec<String> = read
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["root/folder/one", "root/README.txt"]);
    }

    #[test]
    fn files_of_one_name_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::create(&folder.path().join("bundle"), "root", 0).unwrap();
        let name = archive.file("config", Path::new("/etc/l2link/relay.toml"));
        assert_eq!(name, "config/relay.toml");
        archive.add(&name, b"1").unwrap();
        assert_eq!(
            archive.file("config", Path::new("/root/../lab/relay.toml")),
            "config/root_.._lab_relay.toml"
        );
        assert_eq!(archive.file("config", Path::new("control.toml")), "config/control.toml");
    }

    #[test]
    fn several_daemons_of_a_role_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::create(&folder.path().join("bundle"), "root", 0).unwrap();
        assert_eq!(archive.folder("relay", "relay1"), "relay");
        assert_eq!(archive.folder("relay", "../relay2"), "relay-___relay2");
        assert_eq!(archive.folder("control", "control1"), "control");
    }
}

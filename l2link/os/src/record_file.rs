//! [`RecordFile`]: the file into which a daemon records what its core is given (`--record`, see [`l2link::recording`]).
//!
//! # Theory of operation
//! A disk may be slow, full or gone, and the daemon must not notice. So a thread writes the file, and the event loop puts bytes into
//! its queue, which takes 64 MiB and no more. What a recording without a gap cannot be had for any longer ends it, with a
//! warning: a write that fails, and a queue that is full. The daemon goes on without it.
//!
//! Whoever reads the file has the keys of the link and every packet. It is made anew, with mode 0600, and no link in its place
//! is followed; one that is there is kept, as `FILE.old`, since it may be that of the life whose end somebody wants to understand.
//! Every copy in memory is wiped.

use crate::SetupError;
use core::time::Duration;
use l2link::recording::Sink;
use log::{info, warn};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use zeroize::Zeroize as _;

/// The end of the file at which the daemon is: a [`Sink`] for its core.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    /// `None` when it is over.
    queue: Option<Sender<Vec<u8>>>,
    spare: Receiver<Vec<u8>>,
    state: Arc<State>,
    /// Tells of the writer's end, if it was started.
    done: Receiver<()>,
}

/// The end at which the disk is.
#[derive(Debug)]
pub struct Writer<W = File> {
    path: PathBuf,
    file: W,
    queue: Receiver<Vec<u8>>,
    spare: Sender<Vec<u8>>,
    state: Arc<State>,
    done: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    started: AtomicBool,
    failed: AtomicBool,
    /// Bytes in the queue.
    waiting: AtomicUsize,
}

/// Bytes that wait for the disk at most.
const QUEUE_MAX: usize = 64 * 1024 * 1024;
/// How long the end of the daemon waits for the disk.
const END_MAX: Duration = Duration::from_secs(5);

impl RecordFile {
    /// Makes the file. Its writer is to be started when the daemon has given up its privileges, which it else would keep.
    ///
    /// # Errors
    /// [`SetupError::Recording`] if something else than a file is in its place, [`SetupError::System`] if it cannot be made.
    pub fn create(path: &Path) -> Result<(Self, Writer), SetupError> {
        let failed = |source| SetupError::system(format!("make the recording {}", path.display()), source);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => fs::rename(path, old(path)).map_err(failed)?,
            Ok(_) => {
                let problem = "it is there, and is no regular file; name another one".to_owned();
                return Err(SetupError::Recording { path: path.to_owned(), problem });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC)
            .open(path)
            .map_err(failed)?;
        warn!(
            target: "os::record",
            "everything is recorded to {}: who reads that file has the keys of the link and every packet. Stop the \
             daemon when you have seen enough, and remove the file",
            path.display()
        );
        Ok(pair(path, file))
    }
}

fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

fn pair<W: Write>(path: &Path, file: W) -> (RecordFile, Writer<W>) {
    let ((to_writer, queue), (spare_back, spare), (done_back, done)) = (channel(), channel(), channel());
    let state = Arc::new(State::default());
    let (own, path) = (Arc::clone(&state), path.to_owned());
    let writer = Writer { path: path.clone(), file, queue, spare: spare_back, state, done: done_back };
    (RecordFile { path, queue: Some(to_writer), spare, state: own, done }, writer)
}

impl<W: Write + Send + 'static> Writer<W> {
    /// Begins to write.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub fn start(self) -> Result<(), SetupError> {
        let state = Arc::clone(&self.state);
        thread::Builder::new()
            .name("record".into())
            .spawn(move || self.run())
            .map_err(|error| SetupError::system("start the thread that records", error))?;
        state.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn run(mut self) {
        while let Ok(mut bytes) = self.queue.recv() {
            let written = self.file.write_all(&bytes);
            self.state.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
            bytes[..].zeroize();
            bytes.clear();
            if let Err(error) = written {
                self.state.failed.store(true, Ordering::Relaxed);
                let path = self.path.display();
                warn!(target: "os::record", "the recording {path} ends here, before the daemon does: {error}");
                break;
            }
            // Nobody may want it any more.
            let _ = self.spare.send(bytes);
        }
        for mut bytes in self.queue.try_iter() {
            bytes.zeroize();
        }
        let _ = self.done.send(());
    }
}

impl Sink for RecordFile {
    fn put(&mut self, bytes: &[u8]) -> bool {
        let Some(queue) = &self.queue else { return false };
        let waiting = self.state.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        let full = waiting + bytes.len() > QUEUE_MAX;
        if full {
            let path = self.path.display();
            warn!(target: "os::record", "the recording {path} ends here, before the daemon does: the disk does not keep up");
        }
        if full || self.state.failed.load(Ordering::Relaxed) {
            self.queue = None;
            return false;
        }
        let mut copy = self.spare.try_recv().unwrap_or_default();
        copy.extend_from_slice(bytes);
        if let Err(back) = queue.send(copy) {
            let mut copy = back.0;
            copy.zeroize();
            self.queue = None;
            return false;
        }
        true
    }
}

/// The rest is written, unless the disk hangs.
impl Drop for RecordFile {
    fn drop(&mut self) {
        self.queue = None;
        if self.state.started.load(Ordering::Relaxed) && self.done.recv_timeout(END_MAX).is_err() {
            info!(target: "os::record", "{} may not be all written", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    #[test]
    fn all_of_it_is_in_a_file_of_mode_0600_and_the_last_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        for life in [b"first", b"other"] {
            let (mut file, writer) = RecordFile::create(&path).unwrap();
            assert!(file.put(life));
            writer.start().unwrap();
            assert!((0..1_000).all(|_| file.put(b".")));
            drop(file);
            let written = fs::read(&path).unwrap();
            assert_eq!((&written[..5], written.len()), (&life[..], 1_005));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        }
        assert!(fs::read(folder.path().join("record.old")).unwrap().starts_with(b"first"));
    }

    #[test]
    fn neither_a_link_nor_a_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("record"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        for path in [&path, folder.path(), &folder.path().join("absent/record")] {
            assert!(RecordFile::create(path).is_err(), "{}", path.display());
        }
        assert!(!target.exists());
    }

    /// A disk that is full after so many bytes, or hangs.
    struct Disk {
        room: usize,
        gate: Option<Receiver<()>>,
        kept: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            let length = bytes.len().min(self.room);
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= length;
            self.kept.lock().unwrap().extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_ends_the_recording_and_nothing_else() {
        let kept = Arc::default();
        let disk = Disk { room: 10, gate: None, kept: Arc::clone(&kept) };
        let (mut file, writer) = pair(Path::new("record"), disk);
        writer.start().unwrap();
        let begin = Instant::now();
        while file.put(b"abc") {
            assert!(begin.elapsed() < Duration::from_secs(10), "it goes on for ever");
            thread::yield_now();
        }
        assert!(!file.put(b"abc"));
        drop(file);
        assert_eq!(*kept.lock().unwrap(), b"abcabcabca");
    }

    #[test]
    fn a_disk_that_hangs_is_not_waited_for() {
        let (open, gate) = sync_channel(0);
        let disk = Disk { room: usize::MAX, gate: Some(gate), kept: Arc::default() };
        let (mut file, writer) = pair(Path::new("record"), disk);
        writer.start().unwrap();
        let chunk = vec![0; 1 << 20];
        let begin = Instant::now();
        let taken = (0..100).take_while(|_| file.put(&chunk)).count();
        assert_eq!(taken, QUEUE_MAX >> 20);
        assert!(begin.elapsed() < Duration::from_secs(10));
        drop(open);
    }
}

//! [`Recorder`]: what a `Recorded` core holds while what it is given is written down, or read.

use super::replay::{Shown, Unfit};
use super::{Field, LAYOUT, MAGIC};
use crate::{Batch, recorded_struct};
use core::fmt::{self, Debug, Write as _};
use core::hash::Hasher as _;
use frames::DropReason;
use rustc_hash::FxHasher;

/// Where the bytes of a recording go.
pub trait Sink: Debug {
    /// Takes the next bytes, and does not wait for any disk. Returns whether the recording goes on: one that does not is
    /// given no more. Whoever takes them wipes every copy that is not the recording itself, as keys are among them.
    fn put(&mut self, bytes: &[u8]) -> bool;
}

/// Writes inputs down, or, in a replay, takes what comes out.
///
/// It is dropped with its core; what was not flushed then still goes to the sink, also while a panic unwinds.
#[derive(Debug)]
pub struct Recorder {
    way: Way,
    /// Records that the sink has not been given yet.
    buffer: Vec<u8>,
    digest: Digest,
}

#[derive(Debug)]
enum Way {
    Write(Box<dyn Sink>),
    /// The sink has taken enough.
    Ended,
    /// What came out since the last input, if somebody wants to see it.
    Replay(Option<Vec<Shown>>),
}

/// Something that came out of a core.
#[derive(Clone, Copy)]
pub enum Output<'a> {
    /// What becomes of a frame or packet, and its bytes if it leaves.
    Verdict(&'a dyn Debug, &'a [u8]),
    /// A frame or packet is dropped.
    Drop(DropReason),
    /// Link frames were written into the batch, of which so many were there before. The last of these may have grown.
    Frames(&'a Batch, usize),
    /// The shell is asked to do something.
    Action(&'a dyn Debug),
    /// Monitors are told something.
    Event(&'a dyn Debug),
    /// What the shell, or an operator, is answered.
    Answer(&'a dyn Debug),
}

/// A batch as it is given to a core: what is in it bears upon what can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchState {
    slots: u32,
    slot_len: u32,
    held: u32,
}
recorded_struct!(BatchState { slots, slot_len, held });

impl BatchState {
    /// That of a batch.
    #[must_use]
    pub fn of(batch: &Batch) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let slots = batch.room() + batch.len();
        Self { slots: number(slots), slot_len: number(batch.slot_len()), held: number(batch.len()) }
    }

    /// Frames in it.
    #[must_use]
    pub fn held(self) -> usize {
        self.held as usize
    }

    /// Brings the batch of a replay to where the recorded one was: it was sent, or made anew.
    ///
    /// # Errors
    /// [`Unfit`] if the batch at hand can never become that one.
    pub fn restore(self, batch: &mut Batch, recorder: &mut Recorder) -> Result<(), Unfit> {
        let present = Self::of(batch);
        if present == self {
            return Ok(());
        }
        recorder.sent(batch);
        batch.clear();
        if (self.slots, self.slot_len) != (present.slots, present.slot_len) {
            if u64::from(self.slots) * u64::from(self.slot_len) > BATCH_MAX {
                return Err(Unfit);
            }
            *batch = Batch::new(self.slots as usize, self.slot_len as usize);
        }
        if self.held == 0 { Ok(()) } else { Err(Unfit) }
    }
}

impl Recorder {
    /// Begins a recording of a program of this version, at this time on the wall in µs. `secrets` are those of
    /// [`super::expose_secrets`], `configuration` is the rest of what the core is made of.
    #[must_use]
    pub fn begin(
        sink: Box<dyn Sink>,
        (program, version): (&str, &str),
        wall: u64,
        secrets: &[u8],
        configuration: &[u8],
    ) -> Self {
        let mut recorder =
            Self { way: Way::Write(sink), buffer: Vec::with_capacity(2 * CHUNK), digest: Digest::default() };
        let buffer = &mut recorder.buffer;
        buffer.extend_from_slice(&MAGIC);
        LAYOUT.put(buffer);
        program.to_owned().put(buffer);
        version.to_owned().put(buffer);
        wall.put(buffer);
        buffer.extend_from_slice(&head(secrets.len(), 0));
        // Past the buffer, in which they would stay.
        recorder.flush();
        recorder.give(secrets);
        recorder.record(|buffer| buffer.extend_from_slice(configuration));
        recorder.flush();
        recorder
    }

    /// One for a replay.
    #[must_use]
    pub fn of_replay() -> Self {
        Self { way: Way::Replay(None), buffer: Vec::new(), digest: Digest::default() }
    }

    /// The core is about to be given this.
    pub fn input(&mut self, input: &impl Field) {
        if matches!(self.way, Way::Write(_)) {
            self.record(|buffer| input.put(buffer));
            if self.buffer.len() >= CHUNK {
                self.flush();
            }
        }
    }

    /// This came out.
    pub fn output(&mut self, output: Output<'_>) {
        self.digest.add(output);
        if let Way::Replay(Some(shown)) = &mut self.way
            && let Some(output) = Shown::of(output)
        {
            shown.push(output);
        }
    }

    /// Gives what was written down to the sink. Returns whether the recording goes on: to be called once per turn.
    pub fn flush(&mut self) -> bool {
        let buffer = core::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.give(&buffer);
        }
        self.buffer = buffer;
        self.buffer.clear();
        !matches!(self.way, Way::Ended)
    }

    /// Writes down that this is all: the digest of what came out last is in the recording, too.
    pub fn end(&mut self) {
        if matches!(self.way, Way::Write(_)) {
            self.record(|_| ());
            self.flush();
            self.way = Way::Ended;
        }
    }

    /// The digest of all that came out.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.0.finish()
    }

    /// In a replay, whether what comes out from now on is to be kept, to be shown.
    pub fn keep_shown(&mut self, keep: bool) {
        if let Way::Replay(shown) = &mut self.way {
            *shown = keep.then(|| shown.take().unwrap_or_default());
        }
    }

    /// What came out since the last call.
    pub fn take_shown(&mut self) -> Vec<Shown> {
        match &mut self.way {
            Way::Replay(Some(shown)) => core::mem::take(shown),
            Way::Write(_) | Way::Ended | Way::Replay(None) => Vec::new(),
        }
    }

    /// The frames of a batch are on the segment.
    pub(super) fn sent(&mut self, batch: &Batch) {
        if let Way::Replay(Some(shown)) = &mut self.way {
            shown.extend(batch.frames().map(|frame| Shown::Frame { sent: true, frame: frame.to_vec() }));
        }
    }

    fn record(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; HEAD]);
        put(&mut self.buffer);
        let head = head(self.buffer.len() - start - HEAD, self.digest());
        if let Some(place) = self.buffer[start..].first_chunk_mut() {
            *place = head;
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        if let Way::Write(sink) = &mut self.way
            && !sink.put(bytes)
        {
            self.way = Way::Ended;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Bytes of a record before its content.
pub(super) const HEAD: usize = 12;
/// So many bytes are not kept until the end of the turn.
const CHUNK: usize = 256 * 1024;
/// Larger than any batch of a daemon.
const BATCH_MAX: u64 = 1 << 30;

fn head(length: usize, digest: u64) -> [u8; HEAD] {
    let length = u32::try_from(length + HEAD - 4).unwrap_or(u32::MAX);
    let mut head = [0; HEAD];
    let (first, second) = head.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&digest.to_le_bytes());
    head
}

/// A running digest of what comes out. It finds differences, and proves nothing against who makes them on purpose.
#[derive(Default)]
struct Digest(FxHasher);

impl Digest {
    fn add(&mut self, output: Output<'_>) {
        let (kind, text, bytes): (u8, Option<&dyn Debug>, &[u8]) = match output {
            Output::Verdict(verdict, bytes) => (1, Some(verdict), bytes),
            Output::Drop(reason) => {
                self.0.write_u64(reason as u64);
                (2, None, &[])
            }
            Output::Frames(batch, before) => {
                for frame in batch.frames().skip(before.saturating_sub(1)) {
                    self.bytes(frame);
                }
                (3, None, &[])
            }
            Output::Action(action) => (4, Some(action), &[]),
            Output::Event(event) => (5, Some(event), &[]),
            Output::Answer(answer) => (6, Some(answer), &[]),
        };
        self.0.write_u8(kind);
        if let Some(text) = text {
            // It takes all that is written.
            let _ = write!(self, "{text:?}");
        }
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_u64(bytes.len() as u64);
        self.0.write(bytes);
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Limited, Memory};

    fn recorder(takes: u32) -> (Recorder, Memory) {
        let memory = Memory::default();
        let sink = Box::new(Limited(takes, memory.clone()));
        (Recorder::begin(sink, ("l2relay", "1.2.3"), 5, b"secrets", b"rest"), memory)
    }

    #[test]
    fn a_turn_is_given_away_as_one_and_the_rest_when_it_is_dropped() {
        let (mut recorder, memory) = recorder(u32::MAX);
        let before = memory.bytes().len();
        recorder.input(&7_u32);
        recorder.input(&8_u32);
        assert_eq!(memory.bytes().len(), before, "it is kept until the end of the turn");
        assert!(recorder.flush());
        assert_eq!(memory.bytes().len(), before + 2 * (HEAD + 4));
        recorder.input(&9_u32);
        drop(recorder);
        assert!(memory.bytes().ends_with(&9_u32.to_le_bytes()));
    }

    #[test]
    fn a_sink_that_has_enough_is_given_no_more() {
        // Three are the beginning: what it is, the secrets, the configuration.
        let (mut recorder, memory) = recorder(5);
        recorder.input(&7_u32);
        assert!(recorder.flush());
        let bytes = memory.bytes();
        recorder.input(&8_u32);
        assert!(!recorder.flush());
        recorder.input(&9_u32);
        recorder.end();
        assert!(!recorder.flush());
        assert_eq!(memory.bytes(), bytes);
    }

    #[test]
    fn a_long_turn_does_not_wait_for_its_end() {
        let (mut recorder, memory) = recorder(u32::MAX);
        let long = vec![0_u8; CHUNK];
        recorder.input(&long);
        assert!(memory.bytes().len() > CHUNK);
        drop(recorder);
    }

    #[test]
    fn a_batch_of_a_replay_is_made_anew_unless_its_memory_would_be_too_much() {
        let restored = |slots, slot_len| {
            let mut batch = Batch::new(1, 100);
            let state = BatchState { slots, slot_len, held: 0 };
            let restored = state.restore(&mut batch, &mut Recorder::of_replay());
            assert_eq!(BatchState::of(&batch) == state, restored.is_ok());
            restored.is_ok()
        };
        assert!(restored(7, 80));
        assert!(restored(1 << 15, 1 << 15));
        assert!(!restored((1 << 15) + 1, 1 << 15));
        assert!(!restored(u32::MAX, u32::MAX));
    }

    #[test]
    fn whatever_comes_out_changes_the_digest() {
        let mut batch = Batch::new(2, 100);
        batch.slot().unwrap()[..3].copy_from_slice(b"abc");
        batch.commit(3);
        let mut longer = Batch::new(2, 100);
        longer.slot().unwrap()[..3].copy_from_slice(b"abc");
        longer.commit(4);
        let outputs = [
            Output::Verdict(&1, b""),
            Output::Verdict(&2, b""),
            Output::Verdict(&1, b"a"),
            Output::Drop(DropReason::Unmatched),
            Output::Drop(DropReason::BadSeal),
            Output::Frames(&batch, 0),
            Output::Frames(&longer, 0),
            Output::Action(&1),
            Output::Event(&1),
            Output::Answer(&1),
        ];
        let digest = |outputs: &[Output<'_>]| {
            let mut recorder = Recorder::of_replay();
            outputs.iter().for_each(|output| recorder.output(*output));
            recorder.digest()
        };
        let mut digests: Vec<u64> = outputs.iter().map(|output| digest(&[*output])).collect();
        digests.push(digest(&[]));
        digests.push(digest(&[outputs[0], outputs[1]]));
        digests.push(digest(&[outputs[1], outputs[0]]));
        assert_eq!(format!("{:?}", Digest::default()), "0000000000000000");
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), outputs.len() + 3);
        // The last frame of before may have grown; those before it are as they were.
        assert_eq!(digest(&[Output::Frames(&batch, 1)]), digest(&[Output::Frames(&batch, 0)]));
        assert_ne!(digest(&[Output::Frames(&longer, 1)]), digest(&[Output::Frames(&batch, 1)]));
    }
}

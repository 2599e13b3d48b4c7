//! [`Replay`]: a recording is given to the core again.

use super::recorder::HEAD;
use super::{Field, LAYOUT, MAGIC, Malformed, Output, RECORD_MAX, Reader, Recorder, take_secrets};
use crate::{Secret, Security, Time};
use core::fmt;
use frames::DropReason;
use std::io::{self, ErrorKind, Read};
use zeroize::{Zeroize as _, Zeroizing};

/// A core that is given what was written down.
pub trait Replay: Sized {
    /// Whose recordings these are.
    const PROGRAM: &'static str;
    /// What is written down.
    type Input: Field;

    /// Makes the core anew, from its secrets and the rest of what the recording begins with.
    ///
    /// # Errors
    /// [`Malformed`] if that is something else.
    fn begin(secrets: (Secret, Security), configuration: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// When the core was made.
    fn started(&self) -> Time;

    /// When this was given, if it says so; else it was when the last one was given that does.
    fn time(input: &Self::Input) -> Option<Time>;

    /// How an input is shown.
    fn show(input: &Self::Input) -> Shown;

    /// Gives the core an input.
    ///
    /// # Errors
    /// [`Unfit`]: then the replay is another one than was recorded.
    fn apply(&mut self, input: Self::Input) -> Result<(), Unfit>;

    /// Where what comes out goes.
    fn recorder(&mut self) -> &mut Recorder;

    /// How often each reason to drop occurred so far.
    fn dropped(&self, reason: DropReason) -> u64;
}

/// An input was an answer to something that has not come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

/// Something that went in or came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A link frame came from the segment, or went there.
    Frame {
        /// Which of the two.
        sent: bool,
        /// All of it.
        frame: Vec<u8>,
    },
    /// Anything else that went in, with the packet if it is one: offload header and Ethernet frame.
    Input(String, Option<Vec<u8>>),
    /// What became of a frame or packet, with the packet if it left.
    Verdict(String, Option<Vec<u8>>),
    /// It was dropped.
    Drop(DropReason),
    /// The shell was asked for something.
    Action(String),
    /// Monitors were told something.
    Event(String),
    /// The shell, or an operator, was answered.
    Answer(String),
}

impl Shown {
    /// `None` for link frames, which are shown when they are sent.
    pub(super) fn of(output: Output<'_>) -> Option<Self> {
        Some(match output {
            Output::Verdict(verdict, parcel) => {
                Self::Verdict(format!("{verdict:?}"), (!parcel.is_empty()).then(|| parcel.to_vec()))
            }
            Output::Drop(reason) => Self::Drop(reason),
            Output::Frames(..) => return None,
            Output::Action(action) => Self::Action(format!("{action:?}")),
            Output::Event(event) => Self::Event(format!("{event:?}")),
            Output::Answer(answer) => Self::Answer(format!("{answer:?}")),
        })
    }
}

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which daemon it is of.
    pub program: String,
    /// The daemon's version.
    pub version: String,
    /// When it began: µs since 1970.
    pub wall: u64,
}

/// A recording that is read.
#[derive(Debug)]
pub struct Recording<R> {
    header: Header,
    reader: R,
    record: Zeroizing<Vec<u8>>,
}

/// A core on its way through a recording.
#[derive(Debug)]
pub struct Told<R, C> {
    recording: Recording<R>,
    core: C,
    /// Of the last input.
    number: u64,
    now: Time,
    /// How the last input is shown.
    last: Option<Shown>,
}

/// One step through a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An input was given to the core.
    Input {
        /// Its number, from 1.
        number: u64,
        /// When, since the daemon's start.
        time: Time,
        /// It, and what came out, if that was asked for.
        shown: Vec<Shown>,
    },
    /// There are no more.
    End {
        /// How many there were.
        inputs: u64,
        /// When, since the daemon's start.
        time: Time,
        /// Whether the same came out.
        comparison: Comparison,
    },
}

/// Whether a replay is the same as what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// It is.
    Same,
    /// The recording ends in the middle. What came of all inputs but the last was the same.
    Cut,
    /// Something else came of an input than was recorded: the last one that was given.
    Differs {
        /// The input.
        input: Option<Shown>,
    },
}

/// Why a recording cannot be replayed.
#[derive(Debug)]
pub enum NotReplayed {
    /// It cannot be read.
    Io(io::Error),
    /// It is no recording.
    Foreign,
    /// It has this layout.
    Layout(u16),
    /// It is of this version, and the program at hand of the other.
    Version(String, &'static str),
    /// It is of neither daemon.
    Program(String),
    /// It ends before its first input.
    Empty,
    /// The record behind this many inputs is malformed.
    Malformed(u64),
}

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Foreign => f.write_str("it is not a recording of l2relay or l2control (--record)"),
            Self::Layout(layout) => {
                write!(
                    f,
                    "the recording has layout {layout}, and this program reads {LAYOUT}: use the l2replay "
                )?;
                f.write_str("of the version that recorded it")
            }
            Self::Version(theirs, own) => {
                write!(
                    f,
                    "the recording is of version {theirs}, and this is {own}: only the l2replay of the same "
                )?;
                f.write_str("version does the same")
            }
            Self::Program(program) => write!(f, "the recording is of `{program}`, which is not known here"),
            Self::Empty => f.write_str("the recording was cut short before its first input"),
            Self::Malformed(inputs) => {
                write!(f, "what stands behind input {inputs} is no input: the file is damaged")
            }
        }
    }
}

impl core::error::Error for NotReplayed {}

impl<R: Read> Recording<R> {
    /// Reads what a recording says of itself.
    ///
    /// # Errors
    /// [`NotReplayed`] unless it is one that this program, of version `own`, can replay.
    pub fn open(mut reader: R, own: &'static str) -> Result<Self, NotReplayed> {
        let mut magic = [0; MAGIC.len()];
        let cut = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => NotReplayed::Foreign,
            _ => NotReplayed::Io(error),
        };
        reader.read_exact(&mut magic).map_err(cut)?;
        if magic != MAGIC {
            return Err(NotReplayed::Foreign);
        }
        let cut = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => NotReplayed::Empty,
            _ => NotReplayed::Io(error),
        };
        let mut layout = [0; 2];
        reader.read_exact(&mut layout).map_err(cut)?;
        if u16::from_le_bytes(layout) != LAYOUT {
            return Err(NotReplayed::Layout(u16::from_le_bytes(layout)));
        }
        let mut word = || {
            let mut length = [0; 4];
            reader.read_exact(&mut length).map_err(cut)?;
            let mut text = vec![0; (u32::from_le_bytes(length) as usize).min(WORD_MAX)];
            reader.read_exact(&mut text).map_err(cut)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let (program, version) = (word()?, word()?);
        if version != own {
            return Err(NotReplayed::Version(version, own));
        }
        let mut wall = [0; 8];
        reader.read_exact(&mut wall).map_err(cut)?;
        let header = Header { program, version, wall: u64::from_le_bytes(wall) };
        Ok(Self { header, reader, record: Zeroizing::default() })
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Makes the core anew that it is of.
    ///
    /// # Errors
    /// [`NotReplayed`] if its beginning is damaged.
    pub fn tell<C: Replay>(mut self) -> Result<Told<R, C>, NotReplayed> {
        if self.next()?.is_none() {
            return Err(NotReplayed::Empty);
        }
        let secrets =
            take_secrets(&mut Reader::new(self.content())).map_err(|Malformed| NotReplayed::Malformed(0))?;
        // Before it grows, and leaves them behind.
        self.record.zeroize();
        if self.next()?.is_none() {
            return Err(NotReplayed::Empty);
        }
        let mut configuration = Reader::new(self.content());
        let core = C::begin(secrets, &mut configuration).and_then(|core| configuration.end().map(|()| core));
        let core = core.map_err(|Malformed| NotReplayed::Malformed(0))?;
        let now = core.started();
        Ok(Told { recording: self, core, number: 0, now, last: None })
    }

    /// Reads the next record, and gives its digest; `None` if it is not all there.
    fn next(&mut self) -> Result<Option<u64>, NotReplayed> {
        let mut length = [0; 4];
        let whole = |read: io::Result<()>| match read {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(NotReplayed::Io(error)),
        };
        if !whole(self.reader.read_exact(&mut length))? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if !(HEAD - 4..=RECORD_MAX).contains(&length) {
            return Err(NotReplayed::Malformed(0));
        }
        self.record.resize(length, 0);
        if !whole(self.reader.read_exact(&mut self.record))? {
            return Ok(None);
        }
        Ok(self.record.first_chunk().map(|digest| u64::from_le_bytes(*digest)))
    }

    fn content(&self) -> &[u8] {
        &self.record[HEAD - 4..]
    }
}

impl<R: Read, C: Replay> Told<R, C> {
    /// Gives the core the next input. What goes in and comes out is kept if `shows`.
    ///
    /// # Errors
    /// [`NotReplayed`] if the file cannot be read, or is damaged.
    pub fn step(&mut self, shows: bool) -> Result<Step, NotReplayed> {
        let behind = self.number;
        let malformed = |Malformed| NotReplayed::Malformed(behind);
        let digest = self.recording.next().map_err(|error| match error {
            NotReplayed::Malformed(_) => malformed(Malformed),
            other => other,
        })?;
        let comparison = match digest {
            None => Some(Comparison::Cut),
            Some(digest) if digest != self.core.recorder().digest() => {
                Some(Comparison::Differs { input: self.last.take() })
            }
            Some(_) => self.recording.content().is_empty().then_some(Comparison::Same),
        };
        if let Some(comparison) = comparison {
            return Ok(Step::End { inputs: self.number, time: self.since_start(), comparison });
        }
        let input = Reader::new(self.recording.content()).whole::<C::Input>().map_err(malformed)?;
        self.number += 1;
        self.now = C::time(&input).unwrap_or(self.now);
        let shown = C::show(&input);
        self.core.recorder().keep_shown(shows);
        if self.core.apply(input) == Err(Unfit) {
            let comparison = Comparison::Differs { input: Some(shown) };
            return Ok(Step::End { inputs: self.number, time: self.since_start(), comparison });
        }
        let mut all = Vec::new();
        if shows {
            all.push(shown.clone());
            all.extend(self.core.recorder().take_shown());
        }
        self.last = Some(shown);
        Ok(Step::Input { number: self.number, time: self.since_start(), shown: all })
    }

    /// The core, as it is now.
    #[must_use]
    pub fn core(&self) -> &C {
        &self.core
    }

    fn since_start(&self) -> Time {
        Time(self.now.0.saturating_sub(self.core.started().0))
    }
}

/// Longer than any name or version.
const WORD_MAX: usize = 256;

//! A core that is recorded and replayed: what a replay finds, and what it says of files that are none.

use core::fmt::Debug;
use core::time::Duration;
use frames::DropReason;
use frames::message::{PortAddress, PortFlags, PortRoute};
use frames::route::{Prefix, RouteKind};
use l2link::recording::{
    BatchState, Bytes, Comparison, Field, LAYOUT, Malformed, Memory, NotReplayed, Output, Reader, Recorder,
    Recording, Replay, Shown, Step, Unfit, expose_secrets,
};
use l2link::{Batch, Secret, Security, Time, recorded_enum};
use rstest::rstest;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

const PROGRAM: &str = "adder";
const VERSION: &str = "1.2.3";

/// What an [`Adder`] is given.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    Add(Time, u64),
    /// One frame of this length goes into a batch.
    Send(BatchState, u8),
    Drop,
}
recorded_enum!(Input { 0 => Add(time, number), 1 => Send(batch, length), 2 => Drop });

/// A core: it adds up, and says so in every way there is.
struct Adder {
    started: Time,
    sum: u64,
    batch: Batch,
    dropped: u64,
    recorder: Recorder,
}

const START: Time = Time(1_000);
const SECRETS: [u8; 32] = [7; 32];

impl Adder {
    fn new(sum: u64, recorder: Recorder) -> Self {
        Self { started: START, sum, batch: Batch::new(2, 60), dropped: 0, recorder }
    }

    fn recorded(memory: &Memory) -> Self {
        let secrets = expose_secrets(&SECRETS.into(), &Security::None);
        let configuration = 40_u64.to_le_bytes();
        Self::new(
            40,
            Recorder::begin(Box::new(memory.clone()), (PROGRAM, VERSION), 5, &secrets, &configuration),
        )
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Add(_, number) => {
                self.sum += number;
                self.recorder.output(Output::Verdict(&self.sum, if number > 1 { b"packet" } else { b"" }));
                self.recorder.output(Output::Action(&number));
                self.recorder.output(Output::Event(&"added"));
                self.recorder.output(Output::Answer(&true));
            }
            Input::Send(_, length) => {
                let before = self.batch.len();
                let slot = self.batch.slot().unwrap();
                slot[..usize::from(length)].fill(u8::try_from(self.sum).unwrap());
                self.batch.commit(length.into());
                self.recorder.output(Output::Frames(&self.batch, before));
            }
            Input::Drop => {
                self.dropped += 1;
                self.recorder.output(Output::Drop(DropReason::Unmatched));
            }
        }
    }

    fn record(&mut self, input: Input) {
        self.recorder.input(&input);
        self.handle(input);
    }

    fn send(&mut self, length: u8) {
        self.record(Input::Send(BatchState::of(&self.batch), length));
    }
}

impl Replay for Adder {
    const PROGRAM: &'static str = PROGRAM;
    type Input = Input;

    fn begin((seed, _): (Secret, Security), configuration: &mut Reader<'_>) -> Result<Self, Malformed> {
        assert_eq!(*seed, SECRETS);
        Ok(Self::new(u64::take(configuration)?, Recorder::of_replay()))
    }

    fn started(&self) -> Time {
        self.started
    }

    fn time(input: &Input) -> Option<Time> {
        if let Input::Add(time, _) = input { Some(*time) } else { None }
    }

    fn show(input: &Input) -> Shown {
        match input {
            Input::Add(_, number) => Shown::Input(format!("add {number}"), None),
            Input::Send(..) => Shown::Input("send".into(), None),
            Input::Drop => Shown::Input("drop".into(), None),
        }
    }

    fn apply(&mut self, input: Input) -> Result<(), Unfit> {
        if let Input::Send(state, _) = input {
            state.restore(&mut self.batch, &mut self.recorder)?;
        }
        self.handle(input);
        Ok(())
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn dropped(&self, _: DropReason) -> u64 {
        self.dropped
    }
}

/// Two numbers added, two frames sent, one more in a batch of another size, something dropped.
fn recording() -> Memory {
    let memory = Memory::default();
    let mut adder = Adder::recorded(&memory);
    adder.record(Input::Add(Time(1_500), 1));
    adder.record(Input::Add(Time(2_500), 2));
    adder.send(3);
    adder.send(4);
    adder.batch = Batch::new(3, 80);
    adder.send(70);
    adder.record(Input::Drop);
    adder.recorder.end();
    memory
}

fn open(bytes: &[u8]) -> Result<Recording<&[u8]>, NotReplayed> {
    Recording::open(bytes, VERSION)
}

/// Number and time of an input, and what is shown of it.
type Told = (u64, Time, Vec<Shown>);
/// How many inputs there were, when the last was given, and whether the same came of them.
type End = (u64, Time, Comparison);

/// All that a replay shows, and how it ends.
fn replay(bytes: &[u8], shows: bool) -> Result<(Vec<Told>, End), NotReplayed> {
    let mut told = open(bytes)?.tell::<Adder>()?;
    let mut steps = vec![];
    loop {
        match told.step(shows)? {
            Step::Input { number, time, shown } => steps.push((number, time, shown)),
            Step::End { inputs, time, comparison } => return Ok((steps, (inputs, time, comparison))),
        }
    }
}

#[test]
fn a_replay_does_the_same_and_shows_all_of_it() {
    let input = |text: &str| Shown::Input(text.into(), None);
    let bytes = recording().bytes();
    let header = open(&bytes).unwrap().header().clone();
    assert_eq!((header.program.as_str(), header.version.as_str(), header.wall), (PROGRAM, VERSION, 5));

    let (steps, end) = replay(&bytes, true).unwrap();
    assert_eq!(end, (6, Time(1_500), Comparison::Same));
    let added = |sum: &str, packet: Option<&[u8]>, number: &str| {
        vec![
            input(&format!("add {number}")),
            Shown::Verdict(sum.into(), packet.map(<[u8]>::to_vec)),
            Shown::Action(number.into()),
            Shown::Event("\"added\"".into()),
            Shown::Answer("true".into()),
        ]
    };
    let sent = |length: usize| Shown::Frame { sent: true, frame: vec![43; length] };
    let expected = [
        (1, Time(500), added("41", None, "1")),
        (2, Time(1_500), added("43", Some(b"packet"), "2")),
        (3, Time(1_500), vec![input("send")]),
        (4, Time(1_500), vec![input("send")]),
        // The first batch was sent before the second one was there.
        (5, Time(1_500), vec![input("send"), sent(3), sent(4)]),
        (6, Time(1_500), vec![input("drop"), Shown::Drop(DropReason::Unmatched)]),
    ];
    assert_eq!(steps, expected);

    let (steps, end) = replay(&bytes, false).unwrap();
    assert_eq!(end.2, Comparison::Same);
    assert!(steps.len() == 6 && steps.iter().all(|(.., shown)| shown.is_empty()));
}

#[test]
fn whatever_is_whole_of_a_recording_is_replayed() {
    let bytes = recording().bytes();
    let mut inputs = 0;
    for length in 0..bytes.len() {
        match replay(&bytes[..length], false) {
            Ok((steps, (number, _, Comparison::Cut))) => {
                assert!(number >= inputs && steps.len() as u64 == number, "at {length}");
                inputs = number;
            }
            Err(NotReplayed::Foreign) => assert!(length < 8, "at {length}"),
            Err(NotReplayed::Empty) => assert!(length >= 8 && inputs == 0, "at {length}"),
            other => panic!("at {length}: {other:?}"),
        }
    }
    assert_eq!(inputs, 6);
}

#[test]
fn a_difference_is_found_at_its_input() {
    let mut bytes = recording().bytes();
    // 2 becomes 3 where it was added; what the input is for the replay, is what comes out.
    let at = bytes.windows(8).rposition(|bytes| bytes == 2_u64.to_le_bytes()).unwrap();
    bytes[at] = 3;
    let (steps, end) = replay(&bytes, false).unwrap();
    assert_eq!(steps.len(), 2);
    let input = Some(Shown::Input("add 3".into(), None));
    assert_eq!(end, (2, Time(1_500), Comparison::Differs { input }));
}

/// A batch that holds what the replay has not put there: the recording is of a core that did something else.
#[test]
fn a_batch_that_cannot_be_is_a_difference() {
    for (held, slot_len) in [(1, 60), (0, 1 << 30)] {
        let memory = Memory::default();
        let mut adder = Adder::recorded(&memory);
        let mut other = if slot_len == 60 { Batch::new(2, 60) } else { Batch::new(0, slot_len) };
        (0..held).for_each(|_| other.commit(1));
        let mut state = Vec::new();
        BatchState::of(&other).put(&mut state);
        if slot_len != 60 {
            // Two slots, of which the memory would be too much.
            state[0] = 2;
        }
        let state = Reader::new(&state).whole::<BatchState>().unwrap();
        assert_eq!(state.held(), held);
        adder.recorder.input(&Input::Send(state, 1));
        adder.recorder.end();
        let input = Some(Shown::Input("send".into(), None));
        let (_, end) = replay(&memory.bytes(), false).unwrap();
        assert_eq!(end, (1, Time(0), Comparison::Differs { input }));
    }
}

#[rstest]
#[case::magic(0, b'M', "it is not a recording of l2relay or l2control (--record)")]
#[case::layout(
    8,
    99,
    "the recording has layout 99, and this program reads 3: use the l2replay of the version that recorded it"
)]
#[case::version(
    19 + 4,
    b'2',
    "the recording is of version 2.2.3, and this is 1.2.3: only the l2replay of the same version does the same"
)]
#[case::length(36, 1, "what stands behind input 0 is no input: the file is damaged")]
#[case::length_without_a_digest(36, 7, "what stands behind input 0 is no input: the file is damaged")]
#[case::length_of_everything(36 + 3, 0xff, "what stands behind input 0 is no input: the file is damaged")]
fn a_damaged_beginning_is_told(#[case] at: usize, #[case] byte: u8, #[case] told: &str) {
    let mut bytes = recording().bytes();
    assert_ne!(bytes[at], byte);
    bytes[at] = byte;
    assert_eq!(replay(&bytes, false).unwrap_err().to_string(), told);
    assert_eq!(LAYOUT, 3);
}

#[test]
fn a_damaged_input_is_told_with_its_place() {
    let memory = Memory::default();
    let mut adder = Adder::recorded(&memory);
    adder.record(Input::Drop);
    adder.record(Input::Drop);
    adder.recorder.flush();
    let whole = memory.bytes();
    for (from_the_end, byte) in [(1, 9), (13, 0)] {
        // There is no input 9, and no record without a digest.
        let mut bytes = whole.clone();
        let at = bytes.len() - from_the_end;
        bytes[at] = byte;
        let error = replay(&bytes, false).unwrap_err().to_string();
        assert_eq!(error, "what stands behind input 1 is no input: the file is damaged");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_a_short_one() {
    struct Broken<'a>(&'a [u8]);

    impl io::Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is gone")),
                length => Ok(length),
            }
        }
    }

    let bytes = recording().bytes();
    for length in [0, 8, 10, 30, 36, 50, bytes.len() - 1] {
        let told = Recording::open(Broken(&bytes[..length]), VERSION).and_then(Recording::tell::<Adder>);
        let error = told.and_then(|mut told| {
            while let Step::Input { .. } = told.step(false)? {}
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "the disk is gone", "at {length}");
    }
}

#[test]
fn every_kind_of_value_is_read_as_it_was_written() {
    fn round<T: Field + PartialEq + Debug>(value: T) {
        let mut out = Vec::new();
        value.put(&mut out);
        assert_eq!(Reader::new(&out).whole::<T>().as_ref(), Ok(&value));
        for length in 0..out.len() {
            assert_eq!(Reader::new(&out[..length]).whole::<T>(), Err(Malformed), "{value:?} at {length}");
        }
    }

    assert_eq!(Malformed.to_string(), "a record is malformed");
    assert_eq!(format!("{:?}", Bytes::from(&b"frame"[..])), "5 bytes");
    let prefix = |address: &str, length| Prefix::new(address.parse().unwrap(), length).unwrap();
    DropReason::ALL.iter().for_each(|reason| round(*reason));
    round(PortFlags::PRESENT | PortFlags::UP);
    round(prefix("192.0.2.0", 24));
    round(prefix("2001:db8::", 32));
    round(PortAddress::new("192.0.2.1".parse().unwrap(), 24).given());
    round(PortRoute::new(prefix("::", 0), Some("fe80::1".parse().unwrap()), true));
    round(RouteKind::Blackhole);
    round(Cow::Borrowed("text"));
    round(Cow::Borrowed(&[1_u16, 2][..]));
    round(Cow::Borrowed(&7_u128));
    round(BTreeSet::from([1_u8, 2]));
    round([Some(true), None, Some(false)]);
    round(80..=443_u16);
    round((usize::MAX, i32::MIN));
    round(Duration::new(1, 999_999_999));
    round(Bytes::from(&b"frame"[..]));
}

#[rstest]
#[case::reason(refused::<DropReason>(&u16::MAX.to_le_bytes()))]
#[case::prefix_too_long(refused::<Prefix>(&[4, 0, 0, 0, 0, 33]))]
#[case::address_of_no_version(refused::<Prefix>(&[5, 0, 0, 0, 0, 0]))]
#[case::neither_true_nor_false(refused::<bool>(&[2]))]
#[case::a_second_of_nanoseconds(refused::<Duration>(&[&[0; 8][..], &1_000_000_000_u32.to_le_bytes()].concat()))]
#[case::no_text(refused::<String>(&[1, 0, 0, 0, 0xff]))]
#[case::no_variant(refused::<RouteKind>(&[0]))]
fn what_is_no_value_is_refused(#[case] is_refused: bool) {
    assert!(is_refused);
}

fn refused<T: Field>(bytes: &[u8]) -> bool {
    Reader::new(bytes).whole::<T>().is_err()
}

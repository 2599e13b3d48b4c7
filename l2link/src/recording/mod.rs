//! Recordings: what was given to a core, in order, so that the same can be given to it again.
//!
//! # Theory of operation
//! A core decides by what it is given, and by nothing else: the time is an input, randomness follows from the seed, and no map
//! is gone through in an order that is not the same in every process. So a core that is made anew from the same configuration and
//! the same seed, and is given the same inputs, does the same, down to the bytes of its frames. That is what a recording
//! is good for: what happened on somebody's machine happens again at a desk, without the machine, as often as one likes.
//!
//! Each core has a `Recorded` around it, which the shell uses in its place: it has a method for each method that changes the core,
//! which writes the input down and then gives it to the core. What only reads goes through. What comes out is not written down,
//! but goes into a *digest*, and each record begins with the digest of all that came out before it: so a replay that differs finds
//! the input at which it does.
//!
//! ```text
//! recording: MAGIC, layout u16, program, version, wall clock of the start in µs u64, records...
//! record:    length of what follows u32, digest u64, content
//! content:   of the first record the secrets, of the second the configuration, then of each an input, of the last nothing
//! ```
//!
//! Numbers are little-endian, texts and lists begin with their length ([`Field`]). A daemon that is killed, or whose disk is
//! full, leaves a recording without an end: whatever is whole of it can be replayed.
//!
//! A recording has everything of the sessions in it, as they could not be made again without: the seed, the psk or private key,
//! and every packet. That is said in one place, [`expose_secrets`].
//!
//! Nothing here does IO: bytes go to a [`Sink`], and come from whoever reads.

mod field;
mod fields;
mod memory;
mod recorder;
mod replay;
mod secrets;

pub use field::{Bytes, Field, Malformed, Reader};
pub use memory::{Limited, Memory};
pub use recorder::{BatchState, Output, Recorder, Sink};
pub use replay::{Comparison, Header, NotReplayed, Recording, Replay, Shown, Step, Told, Unfit};
pub use secrets::{expose_secrets, take_secrets};

/// First bytes of every recording.
pub const MAGIC: [u8; 8] = *b"L2RECORD";
/// The layout of records. Another number for every change of a [`Field`] or an input.
pub const LAYOUT: u16 = 3;
/// Longest record: more than the sockets, or the interfaces, of any machine take.
const RECORD_MAX: usize = 256 * 1024 * 1024;

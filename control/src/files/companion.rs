//! [`Companion`]: keeps the loop on the processor of the program that writes.
//!
//! # Theory of operation
//!
//! A program that writes packets waits for the answer to each. If the loop is on another processor, the program's one falls asleep
//! meanwhile or turns to somebody else, and to have it back costs more than all the rest. On one processor the kernel switches from one
//! to the other and back, and the other processors are free for whoever takes the packets. The kernel does not bring the two
//! together by itself: it has a thread that is woken go where nobody is.
//!
//! So the loop goes to the thread from which many writes come in a row, stays there while they come, and then may be anywhere
//! again. A thread that leaves time after time, since the kernel has idle processors for it, is left alone for a while: nothing
//! would be gained.
//!
//! Reads are different: while a program handles one packet, the loop takes the next ones from the link.

use core::time::Duration;
use l2link::Time;
use l2link_os::processors::{self, Processors};
use log::trace;

/// Who writes now, and where the loop is because of it.
#[derive(Debug, Default)]
pub(crate) struct Companion {
    thread: u32,
    in_a_row: u32,
    last: Time,
    /// When to look where the thread is.
    look_at: Time,
    /// Looks in a row that did not find it where the loop is.
    missed: u32,
    /// While the loop stays with it.
    place: Option<Processors>,
}

impl Companion {
    /// A write of a thread was answered.
    pub(crate) fn note(&mut self, thread: u32, now: Time) {
        if thread != self.thread || now - self.last > PAUSE {
            (self.thread, self.in_a_row, self.missed) = (thread, 0, 0);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = now;
        if self.in_a_row >= MANY && now >= self.look_at {
            self.look(now);
        }
    }

    /// Whether the loop is where the thread was found last.
    pub(crate) fn is_beside(&self) -> bool {
        self.place.is_some() && self.missed == 0
    }

    /// When to call [`Companion::handle_timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.place.is_some().then(|| self.last + PAUSE)
    }

    /// Leaves a thread that writes no more.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.poll_timeout().is_some_and(|time| time <= now) {
            self.leave();
        }
    }

    /// Has the loop run anywhere. If the writes go on, it comes back.
    pub(crate) fn leave(&mut self) {
        self.place = None;
    }

    fn look(&mut self, now: Time) {
        self.look_at = now + LOOK;
        if !self.is_followed() {
            trace!(target: "control::files", "thread {} is not followed", self.thread);
            self.leave();
            (self.missed, self.look_at) = (0, now + REST);
        }
    }

    fn is_followed(&mut self) -> bool {
        let Some(processor) = processors::of_thread(self.thread) else { return false };
        let stays_on = self.place.as_ref().and_then(Processors::only);
        self.missed = if stays_on.is_none_or(|own| own == processor) { 0 } else { self.missed + 1 };
        if self.missed == MISSES {
            return false;
        }
        if self.place.is_none() {
            self.place = Processors::of_this_thread().ok();
        }
        self.place.as_mut().is_some_and(|place| place.stay_on(processor).is_ok())
    }
}

/// Writes in a row for which a thread is followed: a fraction of a millisecond.
const MANY: u32 = 32;
/// Longest between two writes in a row.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks, each of some 10 µs.
const LOOK: Duration = Duration::from_millis(5);
/// Looks in vain after which it is left alone.
const MISSES: u32 = 4;
/// For so long.
const REST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CpuSet, sched_getaffinity};
    use nix::unistd::{Pid, gettid};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, JoinHandle};

    /// A thread that goes where it is told, and waits.
    struct Writer {
        thread: u32,
        orders: Sender<usize>,
        done: Receiver<u32>,
        _handle: JoinHandle<()>,
    }

    impl Writer {
        fn on(processor: usize) -> Self {
            let (orders, ordered) = channel();
            let (tell, done) = channel();
            let handle = thread::spawn(move || {
                let mut place = Processors::of_this_thread().unwrap();
                for processor in ordered {
                    place.stay_on(processor).unwrap();
                    tell.send(gettid().as_raw().cast_unsigned()).unwrap();
                }
            });
            orders.send(processor).unwrap();
            Self { thread: done.recv().unwrap(), orders, done, _handle: handle }
        }

        fn go(&self, processor: usize) {
            self.orders.send(processor).unwrap();
            self.done.recv().unwrap();
        }
    }

    fn own() -> Vec<usize> {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
        (0..CpuSet::count()).filter(|processor| set.is_set(*processor).unwrap()).collect()
    }

    fn write(companion: &mut Companion, writer: &Writer, count: u32, now: &mut Time) {
        for _ in 0..count {
            *now = *now + Duration::from_micros(10);
            companion.note(writer.thread, *now);
        }
    }

    #[test]
    fn the_loop_is_with_a_writer_while_it_writes() {
        let (all, mut companion, mut now) = (own(), Companion::default(), Time(1_000_000));
        for processor in &all {
            let writer = Writer::on(*processor);
            write(&mut companion, &writer, MANY - 1, &mut now);
            assert_eq!((own(), companion.is_beside()), (all.clone(), false), "a few writes");
            write(&mut companion, &writer, 1, &mut now);
            assert_eq!((own(), companion.is_beside()), (vec![*processor], true));
            companion.handle_timeout(now);
            assert_eq!(own(), [*processor], "it writes");
            now = companion.poll_timeout().unwrap();
            companion.handle_timeout(now);
            assert_eq!((own(), companion.poll_timeout()), (all.clone(), None), "it writes no more");
        }
    }

    #[test]
    fn writers_in_turn_are_not_followed() {
        let (all, mut companion, mut now) = (own(), Companion::default(), Time(1_000_000));
        let writers = [Writer::on(all[0]), Writer::on(all[0])];
        for writer in writers.iter().cycle().take(200) {
            write(&mut companion, writer, MANY - 1, &mut now);
        }
        assert_eq!((own(), companion.poll_timeout()), (all, None));
    }

    #[test]
    fn a_writer_that_leaves_time_after_time_is_left_alone() {
        let (all, mut companion, mut now) = (own(), Companion::default(), Time(1_000_000));
        // With one processor there is nowhere to go.
        let [first, .., last] = all[..] else { return };
        let writer = Writer::on(first);
        write(&mut companion, &writer, MANY, &mut now);
        for target in [last, first, last, first].into_iter().take(MISSES as usize) {
            assert_ne!(own(), all);
            writer.go(target);
            write(&mut companion, &writer, 501, &mut now);
        }
        assert_eq!(own(), all);
        write(&mut companion, &writer, 15_000, &mut now);
        assert_eq!(own(), all, "for a while");
        write(&mut companion, &writer, 6_000, &mut now);
        assert_eq!(own(), [first], "then it is tried again");
    }

    #[test]
    fn a_writer_that_is_not_to_be_seen_is_not_followed() {
        let (all, mut companion, mut now) = (own(), Companion::default(), Time(1_000_000));
        for _ in 0..1000 {
            now = now + Duration::from_micros(10);
            companion.note(0, now);
        }
        assert_eq!((own(), companion.poll_timeout()), (all, None));
    }
}

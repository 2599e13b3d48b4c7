//! The sending half of a reliable stream.
//!
//! `bytes` holds the stream from `acked` to its end. Everything between `acked` and `next` has been sent and stands in
//! `flights`, which follow one another without a gap: one flight per segment on the wire, in one of three states.
//!
//! ```text
//!            acked                      next          limit      end
//!   done ──────┤ flight │ flight │ flight ├── unsent ────┤ blocked ─┤
//! ```
//!
//! A flight is *lost* when three flights sent after it have arrived (their order of transmission counts, so a repeated
//! flight can be found lost again), or when nothing was acknowledged for the retransmission time-out; then all flights
//! on the way are. Each time-out without progress doubles the next one. A flight that is larger than the present MTU
//! allows is cut when it is repeated. When the reader's credit is used up and nothing is on the way, the sender asks
//! with an empty segment at time-out pace, as the acknowledgement with new credit may have been lost.

use super::WINDOW;
use crate::Time;
use crate::rtt::Rtt;
use core::time::Duration;
use frames::session::Ack;
use std::collections::VecDeque;

/// How many later flights must arrive before one counts as lost: reordering by less than that is not taken for loss.
const REORDERING: u64 = 3;

#[derive(Debug)]
pub(crate) struct SendStream {
    bytes: VecDeque<u8>,
    acked: u64,
    next: u64,
    limit: u64,
    flights: VecDeque<Flight>,
    lost: usize,
    order: u64,
    newest_arrived: u64,
    /// When the retransmission timer was started.
    timer: Option<Time>,
    doublings: u32,
    ask: bool,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    start: u64,
    end: u64,
    sent: Time,
    order: u64,
    state: State,
    repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flying,
    Lost,
    Arrived,
}

/// An acknowledgement of bytes that were never sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

impl Default for SendStream {
    fn default() -> Self {
        Self {
            bytes: VecDeque::new(),
            acked: 0,
            next: 0,
            limit: WINDOW,
            flights: VecDeque::new(),
            lost: 0,
            order: 0,
            newest_arrived: 0,
            timer: None,
            doublings: 0,
            ask: false,
        }
    }
}

impl SendStream {
    /// Appends a whole message.
    pub(crate) fn push(&mut self, message: &[u8]) {
        self.bytes.extend(message);
    }

    /// Bytes that are not acknowledged yet.
    pub(crate) fn backlog(&self) -> usize {
        self.bytes.len()
    }

    /// Chooses the next stretch to send, of at most `room` bytes: its offset and length. An empty stretch asks for
    /// credit.
    pub(crate) fn take(&mut self, room: usize, now: Time) -> Option<(u64, usize)> {
        let stretch = self.take_lost(room, now).or_else(|| self.take_unsent(room, now));
        if let Some((start, end)) = stretch {
            self.timer.get_or_insert(now);
            return Some((start, length(start, end)));
        }
        if self.is_blocked() {
            self.timer.get_or_insert(now);
            return core::mem::take(&mut self.ask).then_some((self.next, 0));
        }
        None
    }

    /// Copies the stretch that [`SendStream::take`] chose.
    pub(crate) fn copy(&self, offset: u64, out: &mut [u8]) {
        let start = length(self.acked, offset);
        let (front, back) = self.bytes.as_slices();
        let from_front = front.get(start..).unwrap_or_default();
        let split = from_front.len().min(out.len());
        let (head, tail) = out.split_at_mut(split);
        head.copy_from_slice(&from_front[..split]);
        let start = start.saturating_sub(front.len());
        tail.copy_from_slice(&back[start..start + tail.len()]);
    }

    /// Takes an acknowledgement. Returns a round-trip time, if it holds one.
    pub(crate) fn handle_ack(&mut self, ack: &Ack<'_>, now: Time) -> Result<Option<Duration>, NeverSent> {
        let highest = ack.ranges.last().map_or(ack.cumulative, |range| range.end.get());
        if highest > self.next {
            return Err(NeverSent);
        }
        let grown = ack.limit > self.limit;
        self.limit = self.limit.max(ack.limit);
        let mut newest: Option<Flight> = None;
        self.drop_before(ack.cumulative, &mut newest);
        self.mark_ranges(ack, &mut newest);
        self.find_lost();
        if newest.is_some() || grown && self.flights.is_empty() {
            self.doublings = 0;
            self.ask = false;
            self.timer = self.flights.iter().any(|flight| flight.state == State::Flying).then_some(now);
        }
        Ok(newest.filter(|flight| !flight.repeated).map(|flight| now - flight.sent))
    }

    /// When [`SendStream::handle_timeout`] is due.
    pub(crate) fn deadline(&self, rtt: &Rtt) -> Option<Time> {
        self.timer.map(|started| started + rtt.timeout(self.doublings))
    }

    /// The time-out passed: repeats what is on the way, or asks for credit.
    pub(crate) fn handle_timeout(&mut self, rtt: &Rtt, now: Time) {
        if self.deadline(rtt).is_none_or(|deadline| deadline > now) {
            return;
        }
        self.timer = None;
        self.doublings = self.doublings.saturating_add(1);
        for flight in &mut self.flights {
            if flight.state == State::Flying {
                flight.state = State::Lost;
                self.lost += 1;
            }
        }
        self.ask = self.is_blocked();
    }

    /// Whether [`SendStream::take`] would choose something.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lost > 0 || self.next < self.end().min(self.limit) || self.ask
    }

    fn end(&self) -> u64 {
        self.acked + self.bytes.len() as u64
    }

    fn is_blocked(&self) -> bool {
        self.flights.is_empty() && self.next < self.end() && self.next >= self.limit
    }

    fn take_lost(&mut self, room: usize, now: Time) -> Option<(u64, u64)> {
        if self.lost == 0 {
            return None;
        }
        let index = self.flights.iter().position(|flight| flight.state == State::Lost)?;
        let flight = &mut self.flights[index];
        let whole = *flight;
        flight.end = flight.end.min(flight.start + room as u64);
        self.order += 1;
        (flight.sent, flight.order, flight.state, flight.repeated) = (now, self.order, State::Flying, true);
        let taken = *flight;
        if taken.end < whole.end {
            self.flights.insert(index + 1, Flight { start: taken.end, ..whole });
        } else {
            self.lost -= 1;
        }
        Some((taken.start, taken.end))
    }

    fn take_unsent(&mut self, room: usize, now: Time) -> Option<(u64, u64)> {
        let end = self.end().min(self.limit).min(self.next + room as u64);
        if end <= self.next {
            return None;
        }
        self.order += 1;
        let start = core::mem::replace(&mut self.next, end);
        let (sent, order) = (now, self.order);
        self.flights.push_back(Flight { start, end, sent, order, state: State::Flying, repeated: false });
        Some((start, end))
    }

    fn drop_before(&mut self, cumulative: u64, newest: &mut Option<Flight>) {
        while let Some(flight) = self.flights.front_mut() {
            if flight.end > cumulative {
                flight.start = flight.start.max(cumulative);
                break;
            }
            let flight = *flight;
            self.flights.pop_front();
            self.arrive(flight, newest);
        }
        if cumulative > self.acked {
            self.bytes.drain(..length(self.acked, cumulative));
            self.acked = cumulative;
        }
    }

    fn mark_ranges(&mut self, ack: &Ack<'_>, newest: &mut Option<Flight>) {
        let mut ranges = ack.ranges.iter().peekable();
        for index in 0..self.flights.len() {
            let flight = self.flights[index];
            while ranges.next_if(|range| range.end.get() < flight.end).is_some() {}
            let Some(range) = ranges.peek() else { return };
            if range.start.get() <= flight.start && flight.state != State::Arrived {
                self.flights[index].state = State::Arrived;
                self.arrive(flight, newest);
            }
        }
    }

    /// Notes that a flight arrived that was not known to have.
    fn arrive(&mut self, flight: Flight, newest: &mut Option<Flight>) {
        match flight.state {
            State::Arrived => return,
            State::Lost => self.lost -= 1,
            State::Flying => {}
        }
        self.newest_arrived = self.newest_arrived.max(flight.order);
        if newest.is_none_or(|newest| newest.order < flight.order) {
            *newest = Some(flight);
        }
    }

    fn find_lost(&mut self) {
        for flight in &mut self.flights {
            if flight.state == State::Flying && flight.order + REORDERING <= self.newest_arrived {
                flight.state = State::Lost;
                self.lost += 1;
            }
        }
    }
}

/// Bytes from `start` to `end` of a stretch that is in memory.
#[allow(clippy::cast_possible_truncation, reason = "both lie in a buffer in memory")]
fn length(start: u64, end: u64) -> usize {
    (end - start) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::session::{AckRange, Stream};
    use zerocopy::network_endian::U64;

    fn range(start: u64, end: u64) -> AckRange {
        AckRange { start: U64::new(start), end: U64::new(end) }
    }

    fn ack(cumulative: u64, ranges: &[AckRange]) -> Ack<'_> {
        Ack { stream: Stream::Rules, cumulative, limit: WINDOW, ranges }
    }

    fn stream(bytes: usize) -> SendStream {
        let mut stream = SendStream::default();
        let bytes: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        stream.push(&bytes);
        stream
    }

    fn sent(stream: &mut SendStream, room: usize, at: u64) -> Vec<(u64, usize)> {
        core::iter::from_fn(|| stream.take(room, Time(at))).collect()
    }

    #[test]
    fn cuts_and_copies_what_was_pushed() {
        let mut stream = stream(250);
        assert_eq!(sent(&mut stream, 100, 0), [(0, 100), (100, 100), (200, 50)]);
        assert!(!stream.is_waiting());
        let mut out = [0; 100];
        stream.copy(100, &mut out);
        assert!(out.iter().enumerate().all(|(index, byte)| usize::from(*byte) == 100 + index));
        assert_eq!(stream.handle_ack(&ack(250, &[]), Time(90)), Ok(Some(Duration::from_micros(90))));
        assert_eq!(stream.backlog(), 0);
        assert_eq!(stream.deadline(&Rtt::default()), None);
    }

    #[test]
    fn a_gap_of_three_is_repeated_at_once_and_only_the_gap() {
        let mut stream = stream(500);
        sent(&mut stream, 100, 0);
        let _ = stream.handle_ack(&ack(0, &[range(100, 300)]), Time(50));
        assert_eq!(sent(&mut stream, 100, 50), [], "two later ones may be reordering");
        let _ = stream.handle_ack(&ack(0, &[range(100, 400)]), Time(60));
        assert_eq!(sent(&mut stream, 100, 60), [(0, 100)]);
        let _ = stream.handle_ack(&ack(0, &[range(100, 500)]), Time(70));
        assert_eq!(sent(&mut stream, 100, 70), [], "the repetition is on its way");
        assert_eq!(
            stream.handle_ack(&ack(500, &[]), Time(80)),
            Ok(None),
            "no round-trip time of a repetition"
        );
    }

    #[test]
    fn a_repetition_that_is_lost_is_found_by_what_was_sent_after_it() {
        let mut stream = stream(900);
        (0..7).for_each(|_| assert!(stream.take(100, Time(0)).is_some()));
        let _ = stream.handle_ack(&ack(0, &[range(200, 700)]), Time(50));
        assert_eq!(sent(&mut stream, 100, 60), [(0, 100), (100, 100), (700, 100), (800, 100)]);
        let _ = stream.handle_ack(&ack(0, &[range(200, 900)]), Time(110));
        assert_eq!(sent(&mut stream, 100, 120), [(0, 100)], "three came that were sent after it");
    }

    #[test]
    fn a_time_out_repeats_all_cut_anew_and_doubles() {
        let (mut stream, rtt) = (stream(300), Rtt::default());
        sent(&mut stream, 150, 0);
        let first = stream.deadline(&rtt).unwrap();
        stream.handle_timeout(&rtt, Time(first.0 - 1));
        assert!(!stream.is_waiting());
        stream.handle_timeout(&rtt, first);
        assert_eq!(sent(&mut stream, 100, first.0), [(0, 100), (100, 50), (150, 100), (250, 50)]);
        assert_eq!(stream.deadline(&rtt).unwrap() - first, (first - Time(0)) * 2);
        let _ = stream.handle_ack(&ack(120, &[]), first);
        stream.handle_timeout(&rtt, Time(10_000_000));
        assert_eq!(sent(&mut stream, 100, 10_000_000)[0], (120, 30));
    }

    #[test]
    fn credit_stops_the_sender_and_asking_starts_it_again() {
        let (mut stream, rtt) = (stream(300_000), Rtt::default());
        let window = usize::try_from(WINDOW).unwrap();
        assert_eq!(sent(&mut stream, 1 << 20, 0), [(0, window)]);
        assert_eq!(sent(&mut stream, 1 << 20, 0), []);
        let _ = stream.handle_ack(&ack(WINDOW, &[]), Time(100));
        assert_eq!(sent(&mut stream, 1 << 20, 100), []);
        stream.handle_timeout(&rtt, stream.deadline(&rtt).unwrap());
        assert_eq!(sent(&mut stream, 1 << 20, 50_000), [(WINDOW, 0)]);
        let next_asked = stream.deadline(&rtt);
        let _ = stream.handle_ack(&ack(WINDOW, &[]), Time(50_050));
        assert_eq!(stream.deadline(&rtt), next_asked, "no new credit, no haste");
        let _ = stream.handle_ack(&Ack { limit: WINDOW + 7, ..ack(WINDOW, &[]) }, Time(50_100));
        assert_eq!(sent(&mut stream, 1 << 20, 50_100), [(WINDOW, 7)]);
        assert_eq!(stream.deadline(&rtt), Some(Time(50_100) + rtt.timeout(0)));
    }

    #[test]
    fn a_repetition_that_is_cut_stays_in_order() {
        let (mut stream, rtt) = (stream(300), Rtt::default());
        sent(&mut stream, 150, 0);
        stream.handle_timeout(&rtt, Time(1_000_000));
        sent(&mut stream, 100, 1_000_000);
        let _ = stream.handle_ack(&ack(250, &[]), Time(1_000_100));
        stream.handle_timeout(&rtt, Time(2_000_000));
        assert_eq!(sent(&mut stream, 100, 2_000_000), [(250, 50)]);
    }

    #[test]
    fn new_credit_says_nothing_of_what_is_on_the_way() {
        let (mut stream, rtt) = (stream(200), Rtt::default());
        sent(&mut stream, 100, 0);
        stream.handle_timeout(&rtt, stream.deadline(&rtt).unwrap());
        sent(&mut stream, 100, 20_000);
        let deadline = stream.deadline(&rtt);
        let _ = stream.handle_ack(&Ack { limit: WINDOW + 7, ..ack(0, &[]) }, Time(30_000));
        assert_eq!(stream.deadline(&rtt), deadline);
    }

    #[test]
    fn who_has_said_all_asks_for_no_credit() {
        let window = usize::try_from(WINDOW).unwrap();
        let mut stream = stream(window);
        assert_eq!(sent(&mut stream, window, 0), [(0, window)]);
        let _ = stream.handle_ack(&ack(WINDOW, &[]), Time(10));
        assert_eq!(sent(&mut stream, window, 20), []);
        assert_eq!(stream.deadline(&Rtt::default()), None);
    }

    #[test]
    fn what_arrives_late_is_not_repeated() {
        let (mut stream, rtt) = (stream(100), Rtt::default());
        sent(&mut stream, 100, 0);
        stream.handle_timeout(&rtt, Time(1_000_000));
        assert!(stream.is_waiting());
        let _ = stream.handle_ack(&ack(100, &[]), Time(1_000_100));
        assert!(!stream.is_waiting());
    }

    #[test]
    fn the_newest_of_what_arrived_tells_the_round_trip_time() {
        let mut stream = stream(200);
        assert!(stream.take(100, Time(0)).is_some());
        assert!(stream.take(100, Time(50)).is_some());
        let rtt = stream.handle_ack(&ack(200, &[]), Time(60));
        assert_eq!(rtt, Ok(Some(Duration::from_micros(10))));
    }

    #[test]
    fn an_ack_of_what_was_never_sent_changes_nothing() {
        let mut stream = stream(100);
        sent(&mut stream, 50, 0);
        assert_eq!(stream.handle_ack(&ack(101, &[]), Time(1)), Err(NeverSent));
        assert_eq!(stream.handle_ack(&ack(0, &[range(50, 101)]), Time(1)), Err(NeverSent));
        assert_eq!(stream.backlog(), 100);
    }

    #[test]
    fn an_old_ack_after_a_new_one_changes_nothing() {
        let mut stream = stream(300);
        sent(&mut stream, 100, 0);
        let _ = stream.handle_ack(&ack(200, &[]), Time(10));
        assert_eq!(stream.handle_ack(&ack(0, &[range(100, 200)]), Time(20)), Ok(None));
        assert_eq!((stream.backlog(), stream.is_waiting()), (100, false));
    }
}

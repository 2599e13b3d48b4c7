//! [`Recorded`]: a [`Relay`] that has everything written down that it is given (`l2relay --record`, see [`l2link::recording`]).
//!
//! The shell has it in the place of the relay. What only reads goes through; each method that changes the relay is here once more,
//! so that none can be called past the recording: the relay behind it cannot be had mutable. Of those that look on only, nothing
//! is written down: copies for captures and the keys of sessions bear upon nothing else.

mod by_hand;
mod input;
mod kernel;
mod replayed;

pub use input::Input;
pub use replayed::ReplayedRelay;

use crate::Action;
use crate::config::RelayConfig;
use crate::punt::Arrival;
use crate::relay::{LinkVerdict, PortVerdict, Relay};
use crate::translation::Outlet;
use core::fmt::Debug;
use core::ops::Deref;
use frames::inet::Obstacle;
use frames::{DropReason, PortId};
use l2link::fast::{FastTraffic, FastWay};
use l2link::passage::Passage;
use l2link::recording::{BatchState, Field, Output, Recorder, Sink, expose_secrets};
use l2link::{Batch, Config, Link, PeerId, Secret, SessionKeys, Time};
use std::collections::BTreeSet;

/// The program whose recordings these are.
pub const PROGRAM: &str = "l2relay";

/// A relay, and what records it.
#[derive(Debug)]
pub struct Recorded {
    relay: Relay,
    recorder: Option<Box<Recorder>>,
}

/// All that a [`Relay`] is made of.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Its own configuration.
    pub config: RelayConfig,
    /// Its link's.
    pub link: Config,
    /// What nobody else may know.
    pub seed: Secret,
    /// As for [`Relay::new`].
    pub remembered: Option<BTreeSet<String>>,
    /// The time.
    pub now: Time,
}

impl Beginning {
    /// The relay.
    #[must_use]
    pub fn relay(self) -> Relay {
        Relay::new(self.config, Link::new(self.link, self.seed, self.now), self.remembered)
    }
}

impl From<Relay> for Recorded {
    /// A relay that is not recorded.
    fn from(relay: Relay) -> Self {
        Self { relay, recorder: None }
    }
}

impl Deref for Recorded {
    type Target = Relay;

    fn deref(&self) -> &Relay {
        &self.relay
    }
}

impl Recorded {
    /// A relay that is recorded from its beginning on, at this time on the wall in µs.
    #[must_use]
    pub fn begin(beginning: Beginning, sink: Box<dyn Sink>, wall: u64) -> Self {
        let secrets = expose_secrets(&beginning.seed, &beginning.link.security);
        let mut rest = Vec::new();
        beginning.config.put(&mut rest);
        beginning.link.put_public(&mut rest);
        beginning.remembered.put(&mut rest);
        beginning.now.put(&mut rest);
        let program = (PROGRAM, env!("CARGO_PKG_VERSION"));
        let recorder = Recorder::begin(sink, program, wall, &secrets, &rest);
        Self { relay: beginning.relay(), recorder: Some(Box::new(recorder)) }
    }

    /// Gives what was recorded in this turn away; the end of a recording that cannot go on.
    pub fn flush(&mut self) {
        if self.recorder.as_mut().is_some_and(|recorder| !recorder.flush()) {
            self.recorder = None;
        }
    }

    /// Ends the recording in order.
    pub fn end(&mut self) {
        if let Some(mut recorder) = self.recorder.take() {
            recorder.end();
        }
    }

    /// As [`Relay::handle_link_frame`].
    #[inline]
    pub fn handle_link_frame<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> LinkVerdict<'a> {
        let Some(recorder) = &mut self.recorder else { return self.relay.handle_link_frame(frame, now) };
        recorder.input(&Input::LinkFrame { frame: (&*frame).into(), now });
        let verdict = self.relay.handle_link_frame(frame, now);
        verdict.tell(recorder);
        verdict
    }

    /// As [`Relay::next_parcel`]. Written down only if there is one.
    #[inline]
    pub fn next_parcel<'a>(&'a mut self, frame: &'a mut [u8]) -> Option<LinkVerdict<'a>> {
        let verdict = self.relay.next_parcel(frame)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&Input::NextParcel);
            verdict.tell(recorder);
        }
        Some(verdict)
    }

    /// As [`Relay::handle_port_parcel`].
    #[inline]
    pub fn handle_port_parcel(
        &mut self,
        arrival: &Arrival,
        parcel: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let (port, state) = (arrival.port, BatchState::of(batch));
        self.note(|| Input::PortParcel { port, parcel: parcel.into(), now, batch: state });
        let verdict = self.relay.handle_port_parcel(arrival, parcel, now, batch);
        self.sent(verdict, batch, state)
    }

    /// As [`Relay::resume_port_parcel`].
    pub fn resume_port_parcel(&mut self, parcel: &[u8], now: Time, batch: &mut Batch) -> PortVerdict {
        let state = BatchState::of(batch);
        self.note(|| Input::ResumePortParcel { now, batch: state });
        let verdict = self.relay.resume_port_parcel(parcel, now, batch);
        self.sent(verdict, batch, state)
    }

    /// As [`Relay::handle_transit`].
    pub fn handle_transit(
        &mut self,
        peer: PeerId,
        parcel: &mut [u8],
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let state = BatchState::of(batch);
        self.note(|| Input::Transit { peer, parcel: (&*parcel).into(), now, batch: state });
        let verdict = self.relay.handle_transit(peer, parcel, now, batch);
        self.sent(verdict, batch, state)
    }

    /// As [`Relay::handle_obstacle`].
    pub fn handle_obstacle(
        &mut self,
        outlet: &Outlet,
        packet: &[u8],
        obstacle: Obstacle,
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let state = BatchState::of(batch);
        let outlet = *outlet;
        self.note(|| Input::Obstacle { outlet, packet: packet.into(), obstacle, now, batch: state });
        let verdict = self.relay.handle_obstacle(&outlet, packet, obstacle, now, batch);
        self.sent(verdict, batch, state)
    }

    /// As [`Relay::handle_own_error`].
    pub fn handle_own_error(
        &mut self,
        port: PortId,
        packet: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> PortVerdict {
        let state = BatchState::of(batch);
        self.note(|| Input::OwnError { port, packet: packet.into(), now, batch: state });
        let verdict = self.relay.handle_own_error(port, packet, now, batch);
        self.sent(verdict, batch, state)
    }

    /// As [`Relay::poll_transmit`].
    #[inline]
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        let state = BatchState::of(batch);
        self.note(|| Input::PollTransmit { now, batch: state });
        let waits = self.relay.poll_transmit(batch, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.output(Output::Frames(batch, state.held()));
        }
        waits
    }

    /// As [`Relay::poll_action`]. Written down only if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.relay.poll_action()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&Input::PollAction);
            recorder.output(match &action {
                Action::Tell(event) => Output::Event(event),
                other => Output::Action(other),
            });
        }
        Some(action)
    }

    /// As [`Relay::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Time) {
        self.note(|| Input::Timeout { now });
        self.relay.handle_timeout(now);
    }

    /// As [`Relay::handle_link_events`].
    pub fn handle_link_events(&mut self, now: Time) {
        self.note(|| Input::LinkEvents { now });
        self.relay.handle_link_events(now);
    }

    /// As [`Relay::handle_drops`]. None at all are not written down.
    pub fn handle_drops(&mut self, reason: DropReason, times: u64) {
        if times > 0 {
            self.note(|| Input::Drops { reason, times });
        }
        self.relay.handle_drops(reason, times);
    }

    /// As [`Relay::handle_fast_sent`].
    pub fn handle_fast_sent(&mut self, way: FastWay, traffic: &FastTraffic) {
        self.note(|| Input::FastSent { way, traffic: *traffic });
        self.relay.handle_fast_sent(way, traffic);
    }

    /// As [`Relay::handle_fast_received`].
    pub fn handle_fast_received(&mut self, way: FastWay, traffic: &FastTraffic) {
        self.note(|| Input::FastReceived { way, traffic: *traffic });
        self.relay.handle_fast_received(way, traffic);
    }

    /// As [`Relay::close`].
    pub fn close(&mut self, now: Time) {
        self.note(|| Input::Close { now });
        self.relay.close(now);
    }

    /// As [`Relay::keep_session_keys`].
    pub fn keep_session_keys(&mut self) {
        self.relay.keep_session_keys();
    }

    /// As [`Relay::drop_session_keys`].
    pub fn drop_session_keys(&mut self) {
        self.relay.drop_session_keys();
    }

    /// As [`Relay::poll_session_keys`].
    pub fn poll_session_keys(&mut self) -> Option<SessionKeys> {
        self.relay.poll_session_keys()
    }

    /// As [`Relay::keep_passages`].
    pub fn keep_passages(&mut self) {
        self.relay.keep_passages();
    }

    /// As [`Relay::drop_passages`].
    pub fn drop_passages(&mut self) {
        self.relay.drop_passages();
    }

    /// As [`Relay::poll_passage`].
    pub fn poll_passage(&mut self) -> Option<(Passage, Option<PortId>)> {
        self.relay.poll_passage()
    }

    #[inline]
    fn note<'a>(&mut self, input: impl FnOnce() -> Input<'a>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input());
        }
    }

    fn answer<T: Debug>(&mut self, answer: T) -> T {
        if let Some(recorder) = &mut self.recorder {
            recorder.output(Output::Answer(&answer));
        }
        answer
    }

    #[inline]
    fn sent(&mut self, verdict: PortVerdict, batch: &Batch, before: BatchState) -> PortVerdict {
        if let Some(recorder) = &mut self.recorder {
            recorder.output(Output::Frames(batch, before.held()));
            recorder.output(match &verdict {
                PortVerdict::Drop(reason) => Output::Drop(*reason),
                other => Output::Verdict(other, &[]),
            });
        }
        verdict
    }
}

impl LinkVerdict<'_> {
    fn tell(&self, recorder: &mut Recorder) {
        match self {
            Self::Transmit { port, parcel } => recorder.output(Output::Verdict(port, parcel)),
            Self::Route { outlet, parcel } => recorder.output(Output::Verdict(outlet, parcel)),
            Self::Forward { peer, parcel } => recorder.output(Output::Verdict(peer, parcel)),
            Self::Own { peer, port, icmp, parcel } => {
                recorder.output(Output::Verdict(&(peer, port, icmp), parcel));
            }
            Self::Consumed => {}
            Self::Drop(reason) => recorder.output(Output::Drop(*reason)),
        }
    }
}

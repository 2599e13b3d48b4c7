//! [`Recorded`]: a [`Control`] that has everything written down that it is given (`l2control --record`, see
//! [`l2link::recording`]).
//!
//! The shell has it in the place of the control. What only reads goes through; each method that changes the control is here once
//! more, so that none can be called past the recording: the control behind it cannot be had mutable. Of those that look on only,
//! nothing is written down: copies for captures and the keys of sessions bear upon nothing else.

mod by_hand;
mod files;
mod input;
mod kernel;
mod replayed;

pub use input::Input;
pub use replayed::ReplayedControl;

use crate::action::Action;
use crate::parcels::{LinkVerdict, SymbolVerdict};
use crate::{Config, Control};
use core::fmt::Debug;
use core::ops::Deref;
use frames::{DropReason, SymbolId};
use l2link::fast::{FastTraffic, FastWay};
use l2link::passage::Passage;
use l2link::recording::{BatchState, Field, Output, Recorder, Sink, expose_secrets};
use l2link::{Batch, Secret, SessionKeys, Time};

/// The program whose recordings these are.
pub const PROGRAM: &str = "l2control";

/// A control, and what records it.
#[derive(Debug)]
pub struct Recorded {
    control: Control,
    recorder: Option<Box<Recorder>>,
}

/// All that a [`Control`] is made of.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Its own configuration.
    pub config: Config,
    /// Its link's.
    pub link: l2link::Config,
    /// What nobody else may know.
    pub seed: Secret,
    /// The time.
    pub now: Time,
}

impl Beginning {
    /// The control.
    #[must_use]
    pub fn control(self) -> Control {
        Control::new(self.config, self.link, self.seed, self.now)
    }
}

impl From<Control> for Recorded {
    /// A control that is not recorded.
    fn from(control: Control) -> Self {
        Self { control, recorder: None }
    }
}

impl Deref for Recorded {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Recorded {
    /// A control that is recorded from its beginning on, at this time on the wall in µs.
    #[must_use]
    pub fn begin(beginning: Beginning, sink: Box<dyn Sink>, wall: u64) -> Self {
        let secrets = expose_secrets(&beginning.seed, &beginning.link.security);
        let mut rest = Vec::new();
        beginning.config.put(&mut rest);
        beginning.link.put_public(&mut rest);
        beginning.now.put(&mut rest);
        let program = (PROGRAM, env!("CARGO_PKG_VERSION"));
        let recorder = Recorder::begin(sink, program, wall, &secrets, &rest);
        Self { control: beginning.control(), recorder: Some(Box::new(recorder)) }
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

    /// As [`Control::handle_link_frame`].
    #[inline]
    pub fn handle_link_frame<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> LinkVerdict<'a> {
        let Some(recorder) = &mut self.recorder else { return self.control.handle_link_frame(frame, now) };
        recorder.input(&Input::LinkFrame { frame: (&*frame).into(), now });
        let verdict = self.control.handle_link_frame(frame, now);
        verdict.tell(recorder);
        verdict
    }

    /// As [`Control::next_parcel`]. Written down only if there is one.
    #[inline]
    pub fn next_parcel<'a>(&'a mut self, frame: &'a mut [u8], now: Time) -> Option<LinkVerdict<'a>> {
        let verdict = self.control.next_parcel(frame, now)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&Input::NextParcel { now });
            verdict.tell(recorder);
        }
        Some(verdict)
    }

    /// As [`Control::handle_undelivered`].
    pub fn handle_undelivered(&mut self) {
        self.note(|| Input::Undelivered);
        self.control.handle_undelivered();
    }

    /// As [`Control::handle_symbol_parcel`].
    #[inline]
    pub fn handle_symbol_parcel(
        &mut self,
        symbol: SymbolId,
        parcel: &mut [u8],
        now: Time,
        batch: &mut Batch,
    ) -> SymbolVerdict {
        let state = BatchState::of(batch);
        self.note(|| Input::SymbolParcel { symbol, parcel: (&*parcel).into(), now, batch: state });
        let verdict = self.control.handle_symbol_parcel(symbol, parcel, now, batch);
        if let Some(recorder) = &mut self.recorder {
            recorder.output(Output::Frames(batch, state.held()));
            recorder.output(match &verdict {
                SymbolVerdict::Drop(reason) => Output::Drop(*reason),
                other => Output::Verdict(other, &[]),
            });
        }
        verdict
    }

    /// As [`Control::poll_transmit`].
    #[inline]
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Time) -> bool {
        let state = BatchState::of(batch);
        self.note(|| Input::PollTransmit { now, batch: state });
        let waits = self.control.poll_transmit(batch, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.output(Output::Frames(batch, state.held()));
        }
        waits
    }

    /// As [`Control::poll_action`]. Written down only if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.control.poll_action()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&Input::PollAction);
            recorder.output(match &action {
                Action::Report(report) => Output::Event(report),
                other => Output::Action(other),
            });
        }
        Some(action)
    }

    /// As [`Control::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Time) {
        self.note(|| Input::Timeout { now });
        self.control.handle_timeout(now);
    }

    /// As [`Control::handle_link_events`].
    pub fn handle_link_events(&mut self, now: Time) {
        self.note(|| Input::LinkEvents { now });
        self.control.handle_link_events(now);
    }

    /// As [`Control::handle_drops`]. None at all are not written down.
    pub fn handle_drops(&mut self, reason: DropReason, times: u64) {
        if times > 0 {
            self.note(|| Input::Drops { reason, times });
        }
        self.control.handle_drops(reason, times);
    }

    /// As [`Control::handle_fast_sent`].
    pub fn handle_fast_sent(&mut self, way: FastWay, traffic: &FastTraffic) {
        self.note(|| Input::FastSent { way, traffic: *traffic });
        self.control.handle_fast_sent(way, traffic);
    }

    /// As [`Control::handle_fast_received`].
    pub fn handle_fast_received(&mut self, way: FastWay, traffic: &FastTraffic, now: Time) {
        self.note(|| Input::FastReceived { way, traffic: *traffic, now });
        self.control.handle_fast_received(way, traffic, now);
    }

    /// As [`Control::handle_shutdown`].
    pub fn handle_shutdown(&mut self) {
        self.note(|| Input::Shutdown);
        self.control.handle_shutdown();
    }

    /// As [`Control::handle_close`].
    pub fn handle_close(&mut self, now: Time) {
        self.note(|| Input::Close { now });
        self.control.handle_close(now);
    }

    /// As [`Control::keep_session_keys`].
    pub fn keep_session_keys(&mut self) {
        self.control.keep_session_keys();
    }

    /// As [`Control::drop_session_keys`].
    pub fn drop_session_keys(&mut self) {
        self.control.drop_session_keys();
    }

    /// As [`Control::poll_session_keys`].
    pub fn poll_session_keys(&mut self) -> Option<SessionKeys> {
        self.control.poll_session_keys()
    }

    /// As [`Control::keep_passages`].
    pub fn keep_passages(&mut self) {
        self.control.keep_passages();
    }

    /// As [`Control::drop_passages`].
    pub fn drop_passages(&mut self) {
        self.control.drop_passages();
    }

    /// As [`Control::poll_passage`].
    pub fn poll_passage(&mut self) -> Option<(Passage, Option<SymbolId>)> {
        self.control.poll_passage()
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
}

impl LinkVerdict<'_> {
    fn tell(&self, recorder: &mut Recorder) {
        match self {
            Self::Deliver { symbol, parcel } => recorder.output(Output::Verdict(symbol, parcel)),
            Self::Queued => recorder.output(Output::Verdict(self, &[])),
            Self::Consumed => {}
            Self::Drop(reason) => recorder.output(Output::Drop(*reason)),
        }
    }
}

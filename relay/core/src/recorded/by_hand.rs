//! What operators do.

use super::{Input, Recorded};
use crate::{Decided, HandError};
use l2link::Time;
use l2link::route_text::RouteText;
use std::borrow::Cow;

/// Each as the method of [`Relay`](crate::Relay) of the same name.
#[allow(missing_docs, clippy::missing_errors_doc, reason = "the relay's methods say what they do")]
impl Recorded {
    pub fn weigh(&mut self, control: &str, weight: Option<u16>) -> Result<(), HandError> {
        self.note(|| Input::Weigh { control: control.into(), weight });
        let done = self.relay.weigh(control, weight);
        self.answer(done)
    }

    pub fn drain(&mut self, control: &str, draining: bool) -> Result<(), HandError> {
        self.note(|| Input::Drain { control: control.into(), draining });
        let done = self.relay.drain(control, draining);
        self.answer(done)
    }

    pub fn decide(&mut self, control: &str, decided: Decided) {
        self.note(|| Input::Decide { control: control.into(), decided });
        self.relay.decide(control, decided);
    }

    pub fn forget(&mut self, control: &str, force: bool, now: Time) -> Result<(), HandError> {
        self.note(|| Input::Forget { control: control.into(), force, now });
        let done = self.relay.forget(control, force, now);
        self.answer(done)
    }

    pub fn add_route(&mut self, text: &RouteText) -> Result<(), HandError> {
        self.note(|| Input::AddRoute { route: Cow::Borrowed(text) });
        let done = self.relay.add_route(text);
        self.answer(done)
    }

    pub fn delete_route(&mut self, selector: &RouteText) -> Result<RouteText, HandError> {
        self.note(|| Input::DeleteRoute { selector: Cow::Borrowed(selector) });
        let done = self.relay.delete_route(selector);
        self.answer(done)
    }
}

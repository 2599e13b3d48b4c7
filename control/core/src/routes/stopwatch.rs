//! [`Stopwatch`]: how long changes of routes take until they are in force at a relay.
//!
//! One change is timed at a time, whatever number there is, so that a million routes cost no more than one. The time
//! begins in the turn of the loop in which the change was noticed, so it has in it what waits in the pump.

use core::time::Duration;
use frames::RequestId;
use frames::route::RouteKey;
use l2link::Time;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stopwatch {
    #[default]
    Idle,
    /// This route changed just now.
    Changed(RouteKey),
    /// It has yet to be told.
    Runs { key: RouteKey, since: Time },
    /// It was told by this request.
    Told { key: RouteKey, since: Time, request: RequestId },
}

impl Stopwatch {
    /// A route changed.
    pub(super) fn changed(&mut self, key: RouteKey) {
        if *self == Self::Idle {
            *self = Self::Changed(key);
        }
    }

    /// The turn of the loop in which it changed.
    pub(super) fn start(&mut self, now: Time) {
        if let Self::Changed(key) = *self {
            *self = Self::Runs { key, since: now };
        }
    }

    /// A route was told, or was found to be as it had been told.
    pub(super) fn told(&mut self, told: &RouteKey, request: Option<RequestId>) {
        if let Self::Runs { key, since } = *self
            && key == *told
        {
            *self = request.map_or(Self::Idle, |request| Self::Told { key, since, request });
        }
    }

    /// The relay dealt with everything up to `done`: the route that was timed, if it is among that, and how long it took.
    pub(super) fn stop(&mut self, done: RequestId, now: Time) -> Option<(RouteKey, Duration)> {
        let Self::Told { key, since, request } = *self else { return None };
        // Numbers wrap around.
        if done.0.wrapping_sub(request.0) > u32::MAX / 2 {
            return None;
        }
        *self = Self::Idle;
        Some((key, now - since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::route::Prefix;

    fn key(third: u8) -> RouteKey {
        let prefix = Prefix::new([10, 0, third, 0].into(), 24).unwrap();
        RouteKey { table: RouteKey::MAIN, prefix, metric: 0 }
    }

    #[test]
    fn times_one_change_from_its_turn_to_the_answer() {
        let mut stopwatch = Stopwatch::default();
        stopwatch.changed(key(1));
        stopwatch.changed(key(2));
        stopwatch.start(Time(100));
        stopwatch.start(Time(200));
        stopwatch.told(&key(2), Some(RequestId(7)));
        stopwatch.told(&key(1), Some(RequestId(8)));
        assert_eq!(stopwatch.stop(RequestId(7), Time(300)), None);
        assert_eq!(stopwatch.stop(RequestId(9), Time(400)), Some((key(1), Duration::from_micros(300))));
        assert_eq!(stopwatch.stop(RequestId(10), Time(500)), None);
    }

    #[test]
    fn what_needs_not_be_told_is_not_timed() {
        let mut stopwatch = Stopwatch::default();
        stopwatch.changed(key(1));
        stopwatch.start(Time(1));
        stopwatch.told(&key(1), None);
        assert_eq!(stopwatch, Stopwatch::Idle);
    }
}

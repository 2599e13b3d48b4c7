//! [`ReplayedRelay`]: a relay that is given what was recorded.

use super::{Beginning, Input, PROGRAM, Recorded};
use frames::DropReason;
use l2link::recording::{BatchState, Bytes, Field, Malformed, Reader, Recorder, Replay, Shown, Unfit};
use l2link::{Batch, Config, Secret, Security, Time};

/// A relay on its way through a recording, with what of the shell bears upon it.
#[derive(Debug)]
pub struct ReplayedRelay {
    recorded: Recorded,
    started: Time,
    batch: Batch,
    /// The last link frame, as the relay left it.
    frame: Vec<u8>,
    /// The last parcel from a port.
    parcel: Vec<u8>,
}

impl Replay for ReplayedRelay {
    const PROGRAM: &'static str = PROGRAM;
    type Input = Input<'static>;

    fn begin((seed, security): (Secret, Security), rest: &mut Reader<'_>) -> Result<Self, Malformed> {
        let beginning = Beginning {
            config: Field::take(rest)?,
            link: Config::take_public(rest, security)?,
            seed,
            remembered: Field::take(rest)?,
            now: Field::take(rest)?,
        };
        let started = beginning.now;
        let recorded = Recorded { relay: beginning.relay(), recorder: Some(Box::new(Recorder::of_replay())) };
        Ok(Self { recorded, started, batch: Batch::new(0, 0), frame: Vec::new(), parcel: Vec::new() })
    }

    fn started(&self) -> Time {
        self.started
    }

    fn time(input: &Input<'static>) -> Option<Time> {
        input.time()
    }

    fn show(input: &Input<'static>) -> Shown {
        match input {
            Input::LinkFrame { frame, .. } => Shown::Frame { sent: false, frame: frame.0.to_vec() },
            Input::PortParcel { parcel: Bytes(bytes), .. }
            | Input::Transit { parcel: Bytes(bytes), .. }
            | Input::Obstacle { packet: Bytes(bytes), .. }
            | Input::OwnError { packet: Bytes(bytes), .. } => {
                Shown::Input(format!("{input:?}"), Some(bytes.to_vec()))
            }
            other => Shown::Input(format!("{other:?}"), None),
        }
    }

    fn apply(&mut self, input: Input<'static>) -> Result<(), Unfit> {
        self.give(input)
    }

    fn recorder(&mut self) -> &mut Recorder {
        self.recorded.recorder.get_or_insert_with(|| Box::new(Recorder::of_replay()))
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.recorded.dropped(reason)
    }
}

impl ReplayedRelay {
    /// Calls the method that the input is of. What it answers is in the recorder's digest.
    fn give(&mut self, input: Input<'_>) -> Result<(), Unfit> {
        match input {
            Input::LinkFrame { frame, now } => {
                self.frame = frame.0.into_owned();
                let _ = self.recorded.handle_link_frame(&mut self.frame, now);
            }
            Input::NextParcel => {
                let _ = self.recorded.next_parcel(&mut self.frame).ok_or(Unfit)?;
            }
            Input::PortParcel { port, parcel, now, batch } => {
                self.meet(batch)?;
                self.parcel = parcel.0.into_owned();
                let arrival = self.recorded.classify_port_parcel(port, &self.parcel);
                let _ = self.recorded.handle_port_parcel(&arrival, &self.parcel, now, &mut self.batch);
            }
            Input::ResumePortParcel { now, batch } => {
                self.meet(batch)?;
                let _ = self.recorded.resume_port_parcel(&self.parcel, now, &mut self.batch);
            }
            Input::Transit { peer, parcel, now, batch } => {
                self.meet(batch)?;
                let _ = self.recorded.handle_transit(peer, &mut parcel.0.into_owned(), now, &mut self.batch);
            }
            Input::Obstacle { outlet, packet, obstacle, now, batch } => {
                self.meet(batch)?;
                let _ = self.recorded.handle_obstacle(&outlet, &packet.0, obstacle, now, &mut self.batch);
            }
            Input::OwnError { port, packet, now, batch } => {
                self.meet(batch)?;
                let _ = self.recorded.handle_own_error(port, &packet.0, now, &mut self.batch);
            }
            Input::PollTransmit { now, batch } => {
                self.meet(batch)?;
                self.recorded.poll_transmit(&mut self.batch, now);
            }
            Input::PollAction => {
                let _ = self.recorded.poll_action().ok_or(Unfit)?;
            }
            Input::Timeout { now } => self.recorded.handle_timeout(now),
            Input::LinkEvents { now } => self.recorded.handle_link_events(now),
            Input::PortState { port, state } => self.recorded.handle_port_state(port, state.into_owned()),
            Input::Addresses { addresses } => self.recorded.handle_addresses(&addresses),
            Input::LinkInterface { mac, mtu } => self.recorded.handle_link_interface(mac, mtu),
            Input::Drops { reason, times } => self.recorded.handle_drops(reason, times),
            Input::FastSent { way, traffic } => self.recorded.handle_fast_sent(way, &traffic),
            Input::FastReceived { way, traffic } => self.recorded.handle_fast_received(way, &traffic),
            Input::Close { now } => self.recorded.close(now),
            Input::TransitOpened { peer, ifindex } => self.recorded.handle_transit_opened(peer, ifindex),
            Input::TransitLost { peer } => self.recorded.handle_transit_lost(peer),
            Input::AddressFailure { address, errno, text, now } => {
                self.recorded.handle_address_failure(&address, errno, &text, now);
            }
            Input::LookBegins => self.recorded.handle_look_begins(),
            Input::RouteSeen { seen } => self.recorded.handle_route_seen(&seen),
            Input::LookEnds { all, now } => self.recorded.handle_look_ends(all, now),
            Input::RouteTold { told } => self.recorded.handle_route_told(&told),
            Input::RouteGone { key, nexthops } => self.recorded.handle_route_gone(key, nexthops),
            Input::RouteOverwritten { key } => self.recorded.handle_route_overwritten(key),
            Input::ForeignRouteGone { key } => self.recorded.handle_foreign_route_gone(key),
            Input::InterfacesChanged { now } => self.recorded.handle_interfaces_changed(now),
            Input::ChangeRoutes => self.recorded.change_routes(),
            Input::RoutesChanged { failures, now } => self.recorded.handle_routes_changed(&failures, now),
            Input::Verify => self.recorded.verify(),
            Input::Weigh { control, weight } => drop(self.recorded.weigh(&control, weight)),
            Input::Drain { control, draining } => drop(self.recorded.drain(&control, draining)),
            Input::Decide { control, decided } => self.recorded.decide(&control, decided),
            Input::Forget { control, force, now } => drop(self.recorded.forget(&control, force, now)),
            Input::AddRoute { route } => drop(self.recorded.add_route(&route)),
            Input::DeleteRoute { selector } => drop(self.recorded.delete_route(&selector)),
            Input::Reconfigure { ports, fib } => self.recorded.reconfigure(&ports, fib),
            Input::SetLiveness { keepalive, missed } => self.recorded.set_liveness(keepalive, missed),
            Input::SetPeers { peers, now } => self.recorded.set_peers(&peers, now),
        }
        Ok(())
    }

    /// Brings the batch to where it was.
    fn meet(&mut self, state: BatchState) -> Result<(), Unfit> {
        let recorder = self.recorded.recorder.as_mut().ok_or(Unfit)?;
        state.restore(&mut self.batch, recorder)
    }
}

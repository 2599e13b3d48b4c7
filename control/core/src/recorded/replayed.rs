//! [`ReplayedControl`]: a control that is given what was recorded.

use super::{Beginning, Input, PROGRAM, Recorded};
use frames::DropReason;
use l2link::recording::{BatchState, Bytes, Field, Malformed, Reader, Recorder, Replay, Shown, Unfit};
use l2link::{Batch, Config, Secret, Security, Time};

/// A control on its way through a recording, with what of the shell bears upon it.
#[derive(Debug)]
pub struct ReplayedControl {
    recorded: Recorded,
    started: Time,
    batch: Batch,
    /// The last link frame, as the control left it.
    frame: Vec<u8>,
}

impl Replay for ReplayedControl {
    const PROGRAM: &'static str = PROGRAM;
    type Input = Input<'static>;

    fn begin((seed, security): (Secret, Security), rest: &mut Reader<'_>) -> Result<Self, Malformed> {
        let beginning = Beginning {
            config: Field::take(rest)?,
            link: Config::take_public(rest, security)?,
            seed,
            now: Field::take(rest)?,
        };
        let started = beginning.now;
        let recorded =
            Recorded { control: beginning.control(), recorder: Some(Box::new(Recorder::of_replay())) };
        Ok(Self { recorded, started, batch: Batch::new(0, 0), frame: Vec::new() })
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
            Input::SymbolParcel { parcel: Bytes(bytes), .. }
            | Input::FileWrite { data: Bytes(bytes), .. } => {
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

impl ReplayedControl {
    /// Calls the method that the input is of. What it answers is in the recorder's digest.
    fn give(&mut self, input: Input<'_>) -> Result<(), Unfit> {
        match input {
            Input::LinkFrame { frame, now } => {
                self.frame = frame.0.into_owned();
                let _ = self.recorded.handle_link_frame(&mut self.frame, now);
            }
            Input::NextParcel { now } => {
                let _ = self.recorded.next_parcel(&mut self.frame, now).ok_or(Unfit)?;
            }
            Input::Undelivered => self.recorded.handle_undelivered(),
            Input::SymbolParcel { symbol, parcel, now, batch } => {
                self.meet(batch)?;
                let mut parcel = parcel.0.into_owned();
                let _ = self.recorded.handle_symbol_parcel(symbol, &mut parcel, now, &mut self.batch);
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
            Input::Drops { reason, times } => self.recorded.handle_drops(reason, times),
            Input::FastSent { way, traffic } => self.recorded.handle_fast_sent(way, &traffic),
            Input::FastReceived { way, traffic, now } => {
                self.recorded.handle_fast_received(way, &traffic, now);
            }
            Input::Monitored { monitored } => self.recorded.set_monitored(monitored),
            Input::InterfaceChanged { mac, mtu } => self.recorded.handle_interface_changed(mac, mtu),
            Input::Shutdown => self.recorded.handle_shutdown(),
            Input::Close { now } => self.recorded.handle_close(now),
            Input::SymbolCreated { symbol, interface, now } => {
                self.recorded.handle_symbol_created(symbol, interface, now);
            }
            Input::SymbolFailed { symbol, failure, now } => {
                self.recorded.handle_symbol_failed(symbol, failure, now);
            }
            Input::SymbolAdopted { symbol, interface, carrier, now } => {
                self.recorded.handle_symbol_adopted(symbol, interface, carrier, now);
            }
            Input::SymbolAddresses { symbol, addresses } => {
                self.recorded.handle_symbol_addresses(symbol, &addresses);
            }
            Input::SymbolAltered { symbol, altered, now } => {
                self.recorded.handle_symbol_altered(symbol, altered.as_deref(), now);
            }
            Input::Hint { namespace, part, now } => self.recorded.handle_hint(namespace, part, now),
            Input::Sockets { namespace, part, seen, now } => {
                self.recorded.handle_sockets(namespace, part, &seen, now);
            }
            Input::Connections { namespace, seen, now } => {
                self.recorded.handle_connections(namespace, &seen, now);
            }
            Input::SocketClosed { namespace, closed, now } => {
                self.recorded.handle_socket_closed(namespace, &closed, now);
            }
            Input::ClosedOverrun { namespace, now } => self.recorded.handle_closed_overrun(namespace, now),
            Input::MembershipsChanged { namespace, now } => {
                self.recorded.handle_memberships_changed(namespace, now);
            }
            Input::Memberships { namespace, seen, now } => {
                self.recorded.handle_memberships(namespace, &seen, now);
            }
            Input::RouteDumpBegins { namespace, families } => {
                self.recorded.handle_route_dump_begins(namespace, families);
            }
            Input::RouteDumped { namespace, route } => self.recorded.handle_route_dumped(namespace, &route),
            Input::RouteDumpEnds { namespace, families, now } => {
                self.recorded.handle_route_dump_ends(namespace, families, now);
            }
            Input::Route { namespace, route, change } => {
                self.recorded.handle_route(namespace, &route, change);
            }
            Input::RouteGone { namespace, key, protocol, nexthops } => {
                self.recorded.handle_route_gone(namespace, key, protocol, nexthops);
            }
            Input::RoutesLost { namespace } => self.recorded.handle_routes_lost(namespace),
            Input::PumpRoutes { now } => _ = self.recorded.pump_routes(now),
            Input::Verify { now } => self.recorded.verify(now),
            Input::FileOpen { request, symbol, file, writes, wall, now } => {
                self.recorded.handle_file_open(request, symbol, file, writes, wall, now);
            }
            Input::FileClosed { handle, now } => self.recorded.handle_file_closed(handle, now),
            Input::FileRead { request, handle, size, waits } => {
                let _ = self.recorded.handle_file_read(request, handle, size, waits);
            }
            Input::FileTaken { handle, length } => self.recorded.handle_file_taken(handle, length),
            Input::FilePoll { handle, poll } => _ = self.recorded.handle_file_poll(handle, poll),
            Input::FileInterrupt { request, now } => self.recorded.handle_file_interrupt(request, now),
            Input::FileWrite { handle, data, now, batch } => {
                self.meet(batch)?;
                let _ = self.recorded.handle_file_write(handle, &data.0, now, &mut self.batch);
            }
            Input::PollFileAnswer => {
                let _ = self.recorded.poll_file_answer();
            }
            Input::FilesGone { now } => self.recorded.handle_files_gone(now),
            Input::Weigh { relay, weight } => drop(self.recorded.weigh(&relay, weight)),
            Input::Drain { relay, draining } => drop(self.recorded.drain(&relay, draining)),
            Input::Decide { relay, decided } => self.recorded.decide(&relay, decided),
            Input::Forget { relay, force, now } => drop(self.recorded.forget(&relay, force, now)),
            Input::AddRule { symbol, address, now } => drop(self.recorded.add_rule(symbol, address, now)),
            Input::DeleteRule { symbol, address, now } => {
                drop(self.recorded.delete_rule(symbol, address, now));
            }
            Input::AddSymbol { config, now } => _ = self.recorded.add_symbol(config.into_owned(), now),
            Input::DeleteSymbol { symbol, now } => _ = self.recorded.delete_symbol(symbol, now),
            Input::DeleteRefusedSymbol { name, netns, kind } => {
                self.recorded.delete_refused_symbol(&name, netns.as_deref(), kind.as_deref());
            }
            Input::ChangeSymbol { symbol, config, now } => {
                self.recorded.change_symbol(symbol, config.into_owned(), now);
            }
            Input::AddRoute { route } => drop(self.recorded.add_route(&route)),
            Input::DeleteRoute { selector } => drop(self.recorded.delete_route(&selector)),
            Input::SetRoutes { config } => self.recorded.set_routes(config.into_owned()),
            Input::SetCarrierHold { hold } => self.recorded.set_carrier_hold(hold),
            Input::SetLiveness { keepalive, missed } => self.recorded.set_liveness(keepalive, missed),
            Input::SetPeers { peers, now } => self.recorded.set_peers(&peers, now),
            Input::SetRefused { refused } => self.recorded.set_refused(refused.into_owned()),
        }
        Ok(())
    }

    /// Brings the batch to where it was.
    fn meet(&mut self, state: BatchState) -> Result<(), Unfit> {
        let recorder = self.recorded.recorder.as_mut().ok_or(Unfit)?;
        state.restore(&mut self.batch, recorder)
    }
}

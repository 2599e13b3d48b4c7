//! The way of packets through the daemon: *wire to application* and *application to wire*.

use crate::capture::{self, Fate};
use crate::daemon::{Daemon, Taken};
use crate::fast_path;
use crate::link_interface::LinkInterface;
use ::fast_path::tunnel_of;
use control_core::{Control, LinkVerdict, Recorded, SymbolVerdict};
use frames::{DropReason, SymbolId};
use l2link::{Batch, Time};
use l2link_os::{Sent, Turn};

/// Frames that a batch holds beside the longest parcel.
const BATCH_SPARE: usize = 64;
impl Daemon {
    /// Wire to application: frames of the link to the core, parcels to the symbols.
    pub(crate) fn receive(&mut self, now: Time) -> Taken {
        let (mut kept, mut dropped) = (0, 0);
        let taken = self.receive_batches(&mut kept, &mut dropped, now);
        self.link.damp(kept, dropped, matches!(taken, Taken::All), self.poll.registry(), now);
        taken
    }

    fn receive_batches(&mut self, kept: &mut usize, dropped: &mut usize, now: Time) -> Taken {
        let Some(socket) = self.link.socket() else { return Taken::All };
        let mut turn = Turn::USUAL;
        while turn.goes_on() {
            let count = match socket.receive() {
                Ok(0) => return Taken::All,
                Ok(count) => count,
                Err(error) => {
                    self.receive.warn(now, format_args!("receiving on {}: {error}", self.link_name));
                    return Taken::Some;
                }
            };
            let transfers = socket.took_transfers();
            for index in 0..count {
                turn.note(socket.frame_mut(index).len());
                let tunnel = self.cache.as_ref().and_then(|_| tunnel_of(socket.frame_mut(index)));
                let mut next = Some(self.control.handle_link_frame(socket.frame_mut(index), now));
                *(if matches!(next, Some(LinkVerdict::Drop(_))) { &mut *dropped } else { &mut *kept }) += 1;
                while let Some(verdict) = next {
                    let seen = self.captures.handling();
                    let fate = match verdict {
                        LinkVerdict::Deliver { symbol, parcel } => {
                            let fast = self
                                .cache
                                .as_mut()
                                .and_then(|cache| Some((cache, self.symbols.fast_interface(symbol)?)));
                            if let Some((cache, (interface, _))) = &fast {
                                cache.fit_segments(interface.ifindex, parcel);
                            }
                            let copy = if seen.is_some() { parcel.to_vec() } else { Vec::new() };
                            self.busy_poll.note_parcel(parcel.len());
                            if transfers {
                                self.conversations.note_transfer(parcel, now);
                            }
                            let delivered = self.symbols.tap(symbol).map(|tap| tap.write(parcel));
                            let refused = !matches!(delivered, Some(Ok(())));
                            if let (Some(tunnel), Some((cache, interface))) = (tunnel, fast) {
                                fast_path::learn_tunnel(cache, &self.control, tunnel, symbol, interface);
                            }
                            Fate::Delivered { symbol, parcel: copy, refused }
                        }
                        LinkVerdict::Queued => Fate::Queued,
                        LinkVerdict::Consumed => Fate::Nothing,
                        LinkVerdict::Drop(reason) => Fate::Dropped(reason),
                    };
                    if matches!(fate, Fate::Delivered { refused: true, .. }) {
                        self.control.handle_undelivered();
                    }
                    if let Some(seen) = seen {
                        let (captures, api) = (&mut self.captures, &mut self.api);
                        capture::end_received(seen, fate, &mut self.control, captures, api);
                    }
                    next = self.control.next_parcel(socket.frame_mut(index), now);
                }
            }
        }
        Taken::Some
    }

    /// Application to wire: parcels of a symbol to the core, link frames to the socket.
    pub(crate) fn read_symbol(&mut self, symbol: SymbolId, now: Time) -> Taken {
        let fast = self.cache.as_ref().and_then(|_| self.symbols.fast_interface(symbol));
        let ifindex = fast.map(|(interface, _)| interface.ifindex);
        let Some(tap) = self.symbols.tap(symbol) else { return Taken::All };
        let mut turn = self.conversations.turn(now);
        while turn.goes_on() {
            let parcel = match tap.read(&mut self.conversations, now) {
                Ok(Some(parcel)) => parcel,
                Ok(None) => {
                    self.commit_flows(ifindex, true, now);
                    return Taken::All;
                }
                Err(error) => {
                    self.lose_symbol(symbol, error, now);
                    return Taken::All;
                }
            };
            turn.note(parcel.len());
            let seen = capture::sent(&self.captures, &self.control, symbol, parcel);
            let mut verdict = self.control.handle_symbol_parcel(symbol, parcel, now, &mut self.batch);
            while verdict == SymbolVerdict::Flush && !self.batch.is_empty() {
                send(&mut self.link, &mut self.batch, &mut self.control);
                verdict = self.control.handle_symbol_parcel(symbol, parcel, now, &mut self.batch);
            }
            if verdict == SymbolVerdict::Sent {
                self.busy_poll.note_parcel(parcel.len());
            }
            if let (Some(cache), Some(ifindex), SymbolVerdict::Sent) = (&mut self.cache, ifindex, verdict)
                && let Some(flow) = self.control.fast_flow(symbol, parcel)
            {
                cache.learn_flow(ifindex, flow);
            }
            if let Some(seen) = seen {
                let dropped = match verdict {
                    SymbolVerdict::Drop(reason) => Some(reason),
                    SymbolVerdict::Sent | SymbolVerdict::Flush => None,
                };
                let (captures, api) = (&mut self.captures, &mut self.api);
                capture::end_sent(seen, dropped, &mut self.control, captures, api);
            }
        }
        self.commit_flows(ifindex, false, now);
        Taken::Some
    }

    pub(crate) fn transmit(&mut self, now: Time) {
        if let Some(keylog) = &mut self.keylog {
            while let Some(keys) = self.control.poll_session_keys() {
                keylog.write(&keys);
            }
        }
        loop {
            let more = self.control.poll_transmit(&mut self.batch, now);
            if self.batch.is_empty() {
                return;
            }
            let full = self.batch.room() == 0;
            send(&mut self.link, &mut self.batch, &mut self.control);
            if !(more && full) {
                return;
            }
        }
    }
}

pub(crate) fn send(link: &mut LinkInterface, batch: &mut Batch, control: &mut Recorded) {
    let Sent { sent: _, full, errors } = link.send(batch);
    control.handle_drops(DropReason::LinkTxFull, full);
    control.handle_drops(DropReason::LinkTxError, errors);
}

/// A batch with room for the longest parcel, and more.
pub(crate) fn new_batch(control: &Control) -> Batch {
    let link = control.link();
    Batch::new(link.parcel_frames_max() + BATCH_SPARE, link.frame_len_max())
}

//! What the model of a relay has of the control's routes.

use frames::message::{Message, RouteAdd, RouteNexthop, RouteReply, RoutesDigestReply, RoutesDone, Status};
use frames::route::{RouteContent, RouteKey, RouteKind, RoutesDigest, Slice, TableDigest};
use l2link::{Link, PeerId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) kind: RouteKind,
    pub(crate) nexthops: Vec<RouteNexthop>,
    epoch: u32,
}

#[derive(Debug, Default)]
pub(crate) struct RoutesModel {
    pub(crate) held: BTreeMap<RouteKey, Held>,
    /// What it has lost: the control does not know.
    lost: BTreeSet<RouteKey>,
    epoch: u32,
    unsaid: BTreeSet<RouteKey>,
    pub(crate) ended: bool,
    newest: u32,
    /// What it refuses.
    pub(crate) refuse: BTreeSet<RouteKey>,
    pub(crate) adds: usize,
    pub(crate) deletes: usize,
}

impl RoutesModel {
    /// A new association begins.
    pub(crate) fn begin(&mut self) {
        self.epoch += 1;
        (self.ended, self.newest) = (false, 0);
    }

    /// Loses a route.
    pub(crate) fn lose(&mut self, key: RouteKey) {
        if self.held.remove(&key).is_some() {
            self.lost.insert(key);
        }
    }

    /// Takes a message and answers it.
    pub(crate) fn take(&mut self, message: &Message<'_>, peer: PeerId, link: &mut Link) {
        let request = match message {
            Message::RouteAdd(RouteAdd { request, key, content }) => {
                let held =
                    Held { kind: content.kind, nexthops: content.nexthops.to_vec(), epoch: self.epoch };
                self.held.insert(*key, held);
                self.unsaid.remove(key);
                self.adds += 1;
                if self.refuse.contains(key) {
                    let reply = RouteReply { key: *key, status: Status::CONFLICT, text: "taken" };
                    link.send_message(peer, &Message::RouteReply(reply));
                }
                *request
            }
            Message::RouteDelete(delete) => {
                let (held, lost) = (self.held.remove(&delete.key).is_some(), self.lost.remove(&delete.key));
                assert!(held || lost, "{} was never said", delete.key);
                self.deletes += 1;
                delete.request
            }
            Message::RoutesBegin(of) => {
                self.unsaid = self.held.keys().filter(|key| of.slice.contains(key)).copied().collect();
                of.request
            }
            Message::RoutesEnd(of) => {
                for key in core::mem::take(&mut self.unsaid) {
                    self.held.remove(&key);
                }
                if of.slice == Slice::ALL {
                    let epoch = self.epoch;
                    self.held.retain(|_, held| held.epoch == epoch);
                    self.ended = true;
                }
                of.request
            }
            Message::RoutesDigestRequest(of) => {
                let mut parts = [TableDigest::default(); Slice::PARTS];
                for (part, digest) in of.slice.parts().zip(&mut parts) {
                    *digest = self.digest(part);
                }
                link.send_message(peer, &Message::RoutesDigestReply(RoutesDigestReply { of: *of, parts }));
                of.request
            }
            _ => return,
        };
        assert_eq!(request.0, self.newest + 1, "route messages are numbered in a row");
        self.newest = request.0;
        link.send_message(peer, &Message::RoutesDone(RoutesDone { request }));
        self.tell_digest(peer, link);
    }

    pub(crate) fn tell_digest(&self, peer: PeerId, link: &mut Link) {
        let digest = RoutesDigest { request: self.newest, table: self.digest(Slice::ALL) };
        link.set_routes_digest(peer, self.ended.then_some(digest));
    }

    pub(crate) fn digest(&self, slice: Slice) -> TableDigest {
        let mut sum = TableDigest::default();
        for (key, held) in self.held.iter().filter(|(key, _)| slice.contains(key)) {
            sum += TableDigest::of(key, &RouteContent { kind: held.kind, mtu: 0, nexthops: &held.nexthops });
        }
        sum
    }
}

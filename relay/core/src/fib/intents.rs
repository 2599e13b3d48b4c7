//! What controls want: intents come, change and go.

use super::{Answer, Entry, Fib, Intent, OPERATOR, Refusal, Speaker, Work};
use crate::port::Ports;
use frames::RequestId;
use frames::message::{RouteAdd, RouteNexthop, Status};
use frames::route::{RouteContent, RouteKey, Slice, TableDigest};
use l2link::PeerId;

impl Fib {
    /// A control says a route.
    pub(crate) fn add(&mut self, peer: PeerId, add: &RouteAdd<'_>, ports: &Ports) {
        let key = add.key;
        let Some(speaker) = self.speakers.get_mut(&peer) else { return };
        speaker.newest = add.request.0;
        speaker.unsaid.remove(&key);
        let epoch = speaker.epoch;
        let may_all = peer == OPERATOR;
        let refusal = permit(&speaker.name, &key, &add.content, ports).err().filter(|_| !may_all);
        self.mark(peer);
        if self.entries.len() >= self.config.max && !self.entries.contains_key(&key) {
            if let Some(speaker) = self.speakers.get_mut(&peer) {
                speaker.turned_away = true;
            }
            let text = format!("the relay takes {} routes at most", self.config.max);
            self.answer(peer, key, Status::TABLE_FULL, text);
            return;
        }
        let content = self.contents.intern(&add.content);
        let new = Intent { peer, content, epoch, permitted: refusal.is_none() };
        self.count(new, &key, true);
        let entry = self.entries.entry(key).or_insert_with(Entry::new);
        match &mut entry.intent {
            Some(intent) if intent.peer == peer => {
                let old = core::mem::replace(intent, new);
                // Tried again, and answered again, even if it is what was refused before.
                entry.blocked = false;
                entry.queue(key, &mut self.work);
                self.refusals.remove(&key);
                self.count(old, &key, false);
                self.contents.release(old.content);
                self.refuse_or_promote(key, peer, refusal);
            }
            None => {
                entry.intent = Some(new);
                entry.blocked = false;
                // An orphan waits for a control that may have it.
                entry.adopted &= !new.permitted;
                entry.queue(key, &mut self.work);
                if let Some(refusal) = refusal {
                    self.refuse(key, refusal);
                }
            }
            Some(owner) => {
                let (taken, text) = (owner.permitted, owner.conflict());
                let contenders = self.contenders.entry(key).or_default();
                let old = contenders.iter().position(|contender| contender.peer == peer);
                match old {
                    Some(place) => {
                        let old = core::mem::replace(&mut contenders[place], new);
                        self.count(old, &key, false);
                        self.contents.release(old.content);
                    }
                    None => contenders.push(new),
                }
                match refusal {
                    Some(refusal) => self.answer(peer, key, refusal.status, refusal.text),
                    None if taken => {
                        self.answer(peer, key, Status::CONFLICT, text.to_owned());
                    }
                    None => {
                        self.promote(key);
                        self.queue(key);
                    }
                }
            }
        }
    }

    /// A control takes a route back.
    pub(crate) fn delete(&mut self, peer: PeerId, key: RouteKey, request: u32) {
        let Some(speaker) = self.speakers.get_mut(&peer) else { return };
        speaker.newest = request;
        speaker.unsaid.remove(&key);
        self.mark(peer);
        self.withdraw(peer, key);
    }

    /// A control begins to say a part of its table anew.
    pub(crate) fn begin(&mut self, peer: PeerId, slice: Slice, request: u32) {
        let unsaid = self.keys_of(peer, |key, _| slice.contains(key));
        if let Some(speaker) = self.speakers.get_mut(&peer) {
            speaker.newest = request;
            speaker.unsaid = unsaid.into_iter().collect();
        }
        self.mark(peer);
    }

    /// A control has said a part of its table.
    pub(crate) fn end(&mut self, peer: PeerId, slice: Slice, request: u32) {
        let Some(speaker) = self.speakers.get_mut(&peer) else { return };
        speaker.newest = request;
        let mut swept: Vec<RouteKey> = core::mem::take(&mut speaker.unsaid).into_iter().collect();
        let (epoch, name) = (speaker.epoch, speaker.name.clone());
        if slice == Slice::ALL {
            speaker.ended = true;
            swept.extend(self.keys_of(peer, |_, intent| intent.epoch != epoch));
        }
        for key in swept {
            self.withdraw(peer, key);
        }
        self.mark(peer);
        if slice == Slice::ALL {
            self.claimed(&name);
            self.partners.sweep(peer, true);
        }
    }

    /// All routes of a control go.
    pub(super) fn give_up(&mut self, peer: PeerId) {
        for key in self.keys_of(peer, |_, _| true) {
            self.withdraw(peer, key);
        }
        self.partners.sweep(peer, false);
        if let Some(speaker) = self.speakers.get_mut(&peer) {
            log::info!(target: "relay::route", "the routes of control {} are given up", speaker.name);
            speaker.until = None;
            speaker.ended = false;
        }
    }

    /// A control is not to be remembered: its routes go, and orphans do not wait for it.
    pub(crate) fn forget(&mut self, peers: &[PeerId], name: &str) {
        for peer in peers {
            self.give_up(*peer);
            self.speakers.remove(peer);
        }
        self.claimed(name);
    }

    /// Digests of the parts of a slice of a control's table. Goes through the whole table: only asked when two tables
    /// that should be the same are not.
    pub(crate) fn digests(&self, peer: PeerId, slice: Slice) -> [TableDigest; Slice::PARTS] {
        let mut digests = [TableDigest::default(); Slice::PARTS];
        let parts: Vec<Slice> = slice.parts().collect();
        let mut add = |key: &RouteKey, intent: &Intent| {
            if intent.peer == peer
                && let Some(place) = parts.iter().position(|part| part.contains(key))
            {
                digests[place] += TableDigest::of(key, &self.contents.get(intent.content));
            }
        };
        for (key, entry) in &self.entries {
            entry.intent.iter().for_each(|intent| add(key, intent));
        }
        for (key, contenders) in &self.contenders {
            contenders.iter().for_each(|intent| add(key, intent));
        }
        digests
    }

    /// Ports are offered on other conditions: who may have which route is judged anew.
    pub(crate) fn permit_again(&mut self, ports: &Ports) {
        let owned = self.entries.iter().filter_map(|(key, entry)| Some((key, entry.intent.as_ref()?)));
        let contended = self.contenders.iter().flat_map(|(key, all)| all.iter().map(move |one| (key, one)));
        let changed = |(key, intent): &(&RouteKey, &Intent)| {
            let speaker = self.speakers.get(&intent.peer).filter(|_| !intent.is_by_hand());
            let content = self.contents.get(intent.content);
            speaker.is_some_and(|speaker| {
                permit(&speaker.name, key, &content, ports).is_ok() != intent.permitted
            })
        };
        let changed: Vec<(RouteKey, Intent)> =
            owned.chain(contended).filter(changed).map(|(key, intent)| (*key, *intent)).collect();
        for (key, intent) in changed {
            self.say_again(key, intent, ports);
        }
        let may_not =
            |speaker: &Speaker| !ports.iter().any(|port| port.config.permits_routing(&speaker.name));
        let routeless: Vec<PeerId> = self
            .speakers
            .iter()
            .filter(|(peer, speaker)| **peer != OPERATOR && may_not(speaker))
            .map(|(peer, _)| *peer)
            .collect();
        routeless.into_iter().for_each(|peer| self.partners.sweep(peer, false));
    }

    /// As if its control said it again, which it does not.
    fn say_again(&mut self, key: RouteKey, intent: Intent, ports: &Ports) {
        let Some(speaker) = self.speakers.get(&intent.peer) else { return };
        let (request, unsaid) = (RequestId(speaker.newest), speaker.unsaid.contains(&key));
        let content = self.contents.get(intent.content);
        let (kind, mtu, nexthops) = (content.kind, content.mtu, content.nexthops.to_vec());
        let content = RouteContent { kind, mtu, nexthops: &nexthops };
        self.add(intent.peer, &RouteAdd { request, key, content }, ports);
        if let Some(speaker) = self.speakers.get_mut(&intent.peer).filter(|_| unsaid) {
            speaker.unsaid.insert(key);
        }
        let owned = self.entries.get_mut(&key).and_then(|entry| entry.intent.as_mut());
        let contended = self.contenders.get_mut(&key).into_iter().flatten();
        if let Some(said) = owned.into_iter().chain(contended).find(|said| said.peer == intent.peer) {
            said.epoch = intent.epoch;
            if said.permitted {
                // It was told that it may not: what comes of it now is to be told too.
                let text = "it was not permitted".to_owned();
                self.refusals.entry(key).or_insert(Refusal { status: Status::NOT_PERMITTED, text });
            }
        }
    }

    fn withdraw(&mut self, peer: PeerId, key: RouteKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let removed = match entry.intent {
            Some(intent) if intent.peer == peer => {
                entry.intent = None;
                entry.blocked = false;
                self.refusals.remove(&key);
                self.promote(key);
                Some(intent)
            }
            _ => {
                let contenders = self.contenders.get_mut(&key);
                contenders.and_then(|contenders| {
                    let place = contenders.iter().position(|contender| contender.peer == peer)?;
                    Some(contenders.remove(place))
                })
            }
        };
        if self.contenders.get(&key).is_some_and(Vec::is_empty) {
            self.contenders.remove(&key);
        }
        let Some(intent) = removed else { return };
        self.count(intent, &key, false);
        self.contents.release(intent.content);
        self.queue(key);
    }

    /// After the owner's intent changed: it keeps the route if it may have it, or if nobody else may.
    fn refuse_or_promote(&mut self, key: RouteKey, owner: PeerId, refusal: Option<Refusal>) {
        let Some(refusal) = refusal else { return };
        let rival = self.contenders.get(&key).is_some_and(|all| all.iter().any(|intent| intent.permitted));
        if !rival {
            self.refuse(key, refusal);
            return;
        }
        let intent = self.entries.get_mut(&key).and_then(|entry| entry.intent.take());
        self.contenders.entry(key).or_default().extend(intent);
        self.answer(owner, key, refusal.status, refusal.text);
        self.promote(key);
    }

    /// Gives a route to the first contender that may have it, in place of an owner that may not.
    fn promote(&mut self, key: RouteKey) {
        let Some(contenders) = self.contenders.get_mut(&key) else { return };
        let place = contenders.iter().position(|intent| intent.permitted);
        let Some(heir) =
            place.or((!contenders.is_empty()).then_some(0)).map(|place| contenders.remove(place))
        else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.blocked = false;
        entry.adopted &= !heir.permitted;
        let former = entry.intent.replace(heir);
        contenders.extend(former);
        if contenders.is_empty() {
            self.contenders.remove(&key);
        }
        // It was told of a conflict: what comes of it now is to be told too.
        let text = "another one had it".to_owned();
        self.refusals.insert(key, Refusal { status: Status::CONFLICT, text });
    }

    /// Adds an intent to its control's digest, or takes it away.
    fn count(&mut self, intent: Intent, key: &RouteKey, add: bool) {
        let digest = TableDigest::of(key, &self.contents.get(intent.content));
        let Some(speaker) = self.speakers.get_mut(&intent.peer) else { return };
        if add {
            speaker.digest += digest;
        } else {
            speaker.digest -= digest;
        }
    }

    /// Notes that what was said so far is to be confirmed when it has been dealt with.
    fn mark(&mut self, peer: PeerId) {
        let heard = self.speakers.get(&peer).filter(|_| peer != OPERATOR);
        let Some(newest) = heard.map(|speaker| speaker.newest) else { return };
        if let Some(Work::Mark(last, request)) = self.work.back_mut()
            && *last == peer
        {
            *request = newest;
            return;
        }
        self.work.push_back(Work::Mark(peer, newest));
    }

    fn keys_of(&self, peer: PeerId, which: impl Fn(&RouteKey, &Intent) -> bool) -> Vec<RouteKey> {
        let owned = self.entries.iter().filter_map(|(key, entry)| Some((key, entry.intent.as_ref()?)));
        let contended = self.contenders.iter().flat_map(|(key, all)| all.iter().map(move |one| (key, one)));
        let all = owned.chain(contended);
        all.filter(|(key, intent)| intent.peer == peer && which(key, intent)).map(|(key, _)| *key).collect()
    }

    pub(super) fn answer(&mut self, peer: PeerId, key: RouteKey, status: Status, text: String) {
        if peer != OPERATOR {
            self.answers.push((peer, Answer::Reply { key, status, text }));
        }
    }
}

/// Whether a control may have a route. Every port by which it leads must permit it; one that leads nowhere, or to other relays,
/// which look for themselves, needs one port.
fn permit(control: &str, key: &RouteKey, content: &RouteContent<'_>, ports: &Ports) -> Result<(), Refusal> {
    let refuse = |status, text| Err(Refusal { status, text });
    if key.metric == 0 && key.prefix.address().is_ipv6() {
        // The kernel would take it for its default, 1024: another route.
        return refuse(Status::BAD_REQUEST, "a route of IPv6 has a metric".to_owned());
    }
    let own = || content.nexthops.iter().filter(|nexthop| nexthop.symbol().is_none());
    if own().next().is_none() {
        if ports.iter().any(|port| port.config.permits_route(control, key)) {
            return Ok(());
        }
        return refuse(Status::NOT_PERMITTED, "no port's permission list allows it".to_owned());
    }
    for port in own().map(RouteNexthop::port) {
        match ports.get(port) {
            None => return refuse(Status::NO_SUCH_PORT, format!("there is no {port}")),
            Some(port) if !port.config.permits_route(control, key) => {
                let text = format!("the permission list of port {} does not allow it", port.name());
                return refuse(Status::NOT_PERMITTED, text);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

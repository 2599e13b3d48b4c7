//! [`Crossings`]: the ways of the fast path to symbols in other namespaces.
//!
//! A namespace has one as long as symbols of the daemon are in it whose interfaces have a number of [`ELSEWHERE`]; see
//! `fast_path.bpf.c`. Without it all goes by the daemon, so nothing here is an error to anyone but the log.

use crate::namespaces::{Namespace, Watched};
use ::fast_path::{Cache, ELSEWHERE};
use control_core::NamespaceId;
use core::num::NonZeroU32;
use l2link_os::{Crossing, IfIndex, NetNs, Netlink, SetupError};
use log::{info, warn};
use std::collections::{BTreeMap, BTreeSet};

/// The crossings of a daemon with a fast path.
#[derive(Debug)]
pub(crate) struct Crossings {
    here: NetNs,
    netlink: Netlink,
    all: BTreeMap<NamespaceId, Crossing>,
    /// The number that was given last.
    last: u32,
    /// What was said last of a namespace that can have none.
    refused: BTreeMap<NamespaceId, String>,
}

impl Crossings {
    pub(crate) fn open() -> Result<Self, SetupError> {
        let here = NetNs::current()?;
        let netlink = Netlink::open(&here)?;
        Ok(Self { here, netlink, all: BTreeMap::new(), last: *ELSEWHERE.end(), refused: BTreeMap::new() })
    }

    /// Whether a namespace is the daemon's own, whatever its name.
    pub(crate) fn is_here(&self, netns: &NetNs) -> bool {
        netns.inode() == self.here.inode()
    }

    /// A number for the interface of another symbol in a namespace; none if the kernel is to choose it. `taken` are those of all
    /// symbols. One that was given back is not given again soon: the fast path may still know packets by it.
    pub(crate) fn number(&mut self, taken: &BTreeSet<u32>, watched: &mut Watched) -> Option<IfIndex> {
        if self.is_here(&watched.netns) {
            return None;
        }
        let behind = self.last + 1..=*ELSEWHERE.end();
        let mut free = behind.chain(ELSEWHERE).filter(|number| !taken.contains(number)).map(IfIndex);
        let number = free.find(|number| matches!(watched.netlink.link_by_index(*number), Ok(None)))?;
        self.last = number.0;
        Some(number)
    }

    /// The near end of the crossing to a namespace, which is made if it is not there. `own` are the numbers of the daemon's
    /// interfaces there.
    pub(crate) fn near(
        &mut self,
        namespace: NamespaceId,
        watched: &mut Watched,
        own: &BTreeSet<u32>,
        cache: &mut Cache,
    ) -> Option<NonZeroU32> {
        if let Some(crossing) = self.all.get(&namespace) {
            return NonZeroU32::new(crossing.near().0);
        }
        match self.make(watched, own, cache) {
            Ok(crossing) => {
                let near = crossing.near().0;
                self.refused.remove(&namespace);
                self.all.insert(namespace, crossing);
                NonZeroU32::new(near)
            }
            Err(error) => {
                let told = error.to_string();
                if self.refused.get(&namespace) != Some(&told) {
                    let name = watched.netns.name().unwrap_or("of this daemon");
                    info!(target: "fast_path", "namespace {name}: packets of its symbols go by this daemon: {told}");
                    self.refused.insert(namespace, told);
                }
                None
            }
        }
    }

    fn make(
        &mut self,
        watched: &mut Watched,
        own: &BTreeSet<u32>,
        cache: &mut Cache,
    ) -> Result<Crossing, SetupError> {
        let here = (&self.here, &mut self.netlink);
        let crossing = Crossing::make(here, &mut watched.netlink, |ifindex| own.contains(&ifindex.0))?;
        let near = crossing.near().0;
        cache.add_near_end(near);
        if let Err(source) = watched.netns.run(|| cache.add_far_end(near)) {
            let _ = crossing.remove(&mut self.netlink);
            return Err(SetupError::system("enter a namespace", source));
        }
        Ok(crossing)
    }

    /// Whether the crossing to a namespace cannot be used any more. It is removed then.
    pub(crate) fn is_broken(&mut self, namespace: NamespaceId, watched: &mut Watched) -> bool {
        let Some(crossing) = self.all.get(&namespace) else { return false };
        let broken = matches!(crossing.is_whole(&mut watched.netlink), Ok(false));
        if broken {
            self.remove(namespace);
        }
        broken
    }

    /// Removes all but those to these namespaces.
    pub(crate) fn retain(&mut self, namespaces: &BTreeSet<NamespaceId>) {
        let unused: Vec<_> = self.all.keys().filter(|id| !namespaces.contains(id)).copied().collect();
        unused.into_iter().for_each(|namespace| self.remove(namespace));
    }

    fn remove(&mut self, namespace: NamespaceId) {
        let Some(crossing) = self.all.remove(&namespace) else { return };
        if let Err(error) = crossing.remove(&mut self.netlink) {
            warn!(target: "fast_path", "{namespace}: removing what leads there: {error}");
        }
    }
}

/// Removes what daemons that were killed have left.
pub(crate) fn sweep(namespaces: &[Namespace]) {
    for namespace in namespaces {
        let Some(name) = namespace.name() else { continue };
        match NetNs::named(name).and_then(|netns| Crossing::sweep_in(&netns)) {
            Ok(()) | Err(SetupError::NoNetNs { .. } | SetupError::NotANetNs { .. }) => {}
            Err(error) => warn!(target: "fast_path", "namespace {name}: {error}"),
        }
    }
}

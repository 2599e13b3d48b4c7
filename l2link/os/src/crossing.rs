//! [`Crossing`]: by what the fast path reaches symbols in another namespace.

use crate::interfaces::CableEnd;
use crate::{IfIndex, LinkInfo, NetNs, Netlink, SetupError};
use fast_path::{CROSSING, ELSEWHERE};
use std::io;

/// A cable to a namespace, by which nothing goes but packets of the fast path. It has no addresses.
#[derive(Debug)]
pub struct Crossing {
    near: IfIndex,
}

impl Crossing {
    /// Makes one from `here`, the namespace of `netlink`, in the place of what is left of an earlier one. `is_own` tells the interfaces of
    /// this daemon's symbols `there`.
    ///
    /// # Errors
    /// [`SetupError::CrossingTaken`] if interfaces there have numbers that are needed, such as the symbols of another daemon; [`SetupError::System`].
    pub fn make(
        (here, netlink): (&NetNs, &mut Netlink),
        there: &mut Netlink,
        is_own: impl Fn(IfIndex) -> bool,
    ) -> Result<Self, SetupError> {
        let system = |action: &'static str| move |source| SetupError::system(action, source);
        let links = there.links().map_err(system("list the interfaces of another namespace"))?;
        let far = IfIndex(CROSSING);
        let is_another = |link: &&LinkInfo| match link.ifindex {
            number if number == far => link.name != FAR_NAME,
            number => ELSEWHERE.contains(&number.0) && !is_own(number),
        };
        if let Some(other) = links.iter().find(is_another) {
            return Err(SetupError::CrossingTaken { interface: other.name.clone() });
        }
        there.delete_link(far).map_err(system("remove an earlier crossing"))?;
        let near_end = CableEnd { name: NEAR_NAME, ifindex: IfIndex(0), mtu: MTU };
        let far_end = CableEnd { name: FAR_NAME, ifindex: far, mtu: MTU };
        there.add_cable(far_end, near_end, here).map_err(system("make a crossing"))?;
        match raise(netlink, there) {
            Ok(near) => Ok(Self { near }),
            Err(error) => {
                let _ = there.delete_link(far);
                Err(SetupError::system("set a crossing up", error))
            }
        }
    }

    /// Number of the end here.
    #[must_use]
    pub fn near(&self) -> IfIndex {
        self.near
    }

    /// Whether packets can pass: somebody may have removed it or set it down. `there` is the other namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_whole(&self, there: &mut Netlink) -> io::Result<bool> {
        Ok(there.link_by_index(IfIndex(CROSSING))?.is_some_and(|end| end.carrier))
    }

    /// Removes it. `here` is the namespace that it was made from.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(self, here: &mut Netlink) -> io::Result<()> {
        here.delete_link(self.near)
    }

    /// Removes what a daemon that was killed has left of one in a namespace, unless there are symbols that may use it.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub fn sweep_in(netns: &NetNs) -> Result<(), SetupError> {
        let mut netlink = Netlink::open(netns)?;
        let failed = |source| SetupError::system("sweep what is left of a crossing", source);
        let far = IfIndex(CROSSING);
        let Some(link) = netlink.link_by_index(far).map_err(failed)? else { return Ok(()) };
        let links = netlink.links().map_err(failed)?;
        if link.name == FAR_NAME && !links.iter().any(|link| ELSEWHERE.contains(&link.ifindex.0)) {
            netlink.delete_link(far).map_err(failed)?;
        }
        Ok(())
    }
}

/// Sets both ends up, and tells the number of the near one.
fn raise(here: &mut Netlink, there: &mut Netlink) -> io::Result<IfIndex> {
    let far = IfIndex(CROSSING);
    let near = there.other_end(far)?.ok_or(io::ErrorKind::NotFound)?;
    for (netlink, end) in [(here, near), (there, far)] {
        // Without IPv6 there is nothing to switch off.
        let _ = netlink.set_addr_gen_none(end);
        netlink.set_up(end, true)?;
    }
    Ok(near)
}

const FAR_NAME: &str = "l2link-fast";
/// There may be crossings to several namespaces.
const NEAR_NAME: &str = "l2link-fast%d";
/// As large as veth(4) takes: no packet is to be too long for it.
const MTU: u32 = 65_535;

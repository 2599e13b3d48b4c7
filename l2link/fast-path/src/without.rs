//! [`FastPath`] of a program that was built without it.

use crate::{Capture, Counted, Error, Outlet};
use core::convert::Infallible;
use core::num::NonZeroU32;
use frames::SessionIndex;
use frames::data::Tunnel;
use l2link::PeerId;
use l2link::fast::{FastFlow, FastPeer, Flow};
use std::os::fd::BorrowedFd;

/// There is none.
#[derive(Debug)]
pub struct FastPath(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, reason = "nobody can call it")]
impl FastPath {
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn load(_ethertype: u16) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    pub fn set_link(&mut self, _ifindex: Option<u32>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn add_port(&mut self, _ifindex: u32) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn add_symbol(&mut self, _ifindex: u32) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn add_near_end(&mut self, _near: u32) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn add_far_end(&mut self, _near: u32) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn retain(&mut self, _ifindexes: &std::collections::BTreeSet<u32>) {
        match self.0 {}
    }

    #[must_use]
    pub fn has(&self, _ifindex: u32) -> bool {
        match self.0 {}
    }

    #[must_use]
    pub fn port_filter(&self) -> Option<BorrowedFd<'_>> {
        match self.0 {}
    }

    pub fn set_capture(&mut self, _ifindex: u32, _capture: &Capture<'_>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn set_generation(&mut self, _generation: Option<NonZeroU32>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn set_peer(&mut self, _peer: PeerId, _begin: Option<&FastPeer>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn add_flow(&mut self, _ifindex: u32, _flow: &FastFlow) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn remove_flow(&mut self, _ifindex: u32, _flow: &Flow) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn add_tunnel(
        &mut self,
        _session: SessionIndex,
        _tunnel: Tunnel,
        _outlet: &Outlet,
    ) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn take_counts(&mut self) -> Result<Vec<Counted>, Error> {
        match self.0 {}
    }
}
